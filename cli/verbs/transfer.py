# SPDX-License-Identifier: Apache-2.0
"""import and export: whole files of prefixes."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from cli.client import Document, Query, segment
from cli.errors import DONE, FAILED, USAGE, Failure, Refused
from cli.lists import FORMATS, Item, bodies, format_of, read, valid
from cli.options import lifetime, writing
from cli.progress import Progress
from cli.render import duration, number
from cli.session import Session
from cli.verbs.entries import explain, warn_if_ineffective
from cli.verbs.sets import json_entries

_EXAMPLES = {
    "import": """\
examples:
  xdpfw import block spamhaus.txt                            adds; what is there stays
  xdpfw import block feed.txt --replace --origin feed        the feed's claims become the file, at once
  curl -s https://example.net/list | xdpfw import block - --replace --origin example --skip-invalid
""",
    "export": """\
examples:
  xdpfw export block > block.txt
  xdpfw export block --format ndjson > block.ndjson          with expiry, comment and origin
""",
}
_LONG_TIMEOUT = 600.0
_LONG_BYTES = 1 << 18
_SHOWN_FAULTS = 10


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES[verb]
    parser.add_argument("set", metavar="SET")
    if verb == "export":
        parser.add_argument("--within", metavar="PREFIX", help="only entries inside this network")
        parser.add_argument("--origin", metavar="O", help="only what this origin claims")
        parser.add_argument("--format", choices=("text", "ndjson"), default="text", help="text")
        parser.set_defaults(run=_export)
        return
    parser.add_argument("file", metavar="FILE", help="- reads standard input")
    parser.add_argument(
        "--replace", action="store_true", help="the file takes the place of what is there (of the origin, if given)"
    )
    parser.add_argument("--format", choices=tuple(FORMATS), help="by the file's name, else text")
    parser.add_argument("--skip-invalid", action="store_true", help="pass over what is no prefix, and say so")
    parser.add_argument("--progress", action="store_true", help="show progress also without a terminal")
    lifetime(parser)
    writing(parser)
    parser.set_defaults(run=_import)


def _import(session: Session) -> int:
    args = session.args
    # A million prefixes take seconds on a small machine; --timeout still means what it says when it was given.
    session.client.timeout = max(session.client.timeout, _LONG_TIMEOUT) if args.timeout == 30.0 else args.timeout
    form = format_of(args.file, args.format)
    with opened(args.file) as file, Progress(session, f"import {args.set}", wanted=args.progress) as progress:
        if args.replace:
            written = _replace(session, file, form, progress, args.origin)
        else:
            written = _first_of_origin(session, file, form, progress) or _merge(session, file, form, progress)
    _report(session, written)
    return session.outcome(written)


def opened(name: str) -> Any:
    if name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise Failure(USAGE, f"{name}: {error.strerror}; nothing was changed") from None


def _replace(
    session: Session, file: BinaryIO, form: str, progress: Progress, origin: str | None, etag: str | None = None
) -> Document:
    """One PUT: packets meet the old set or the new one, nothing between."""
    args = session.args
    query: Query = session.write_query() | {"origin": origin, "ttl": args.ttl, "comment": args.comment}
    query["skip_invalid"] = args.skip_invalid
    length = None if args.file == "-" else Path(args.file).stat().st_size
    path = f"/sets/{segment(args.set)}/entries"
    try:
        with session.forcible():
            blocks = progress.sending(file, length)
            answer = session.client.upload(path, query, FORMATS[form], blocks, length, etag)
        session.tell_waiting(answer)
        return answer.written()
    except Refused as refused:
        explain(refused, [])
        _advise(refused)
        raise


def _first_of_origin(session: Session, file: BinaryIO, form: str, progress: Progress) -> Document | None:
    """Adding to nothing is replacing nothing: a long list of an origin without a claim in the set goes in by one PUT,
    which takes a fraction of the time. None where that is not so."""
    args = session.args
    if form != "text" or args.file == "-" or Path(args.file).stat().st_size < _LONG_BYTES:
        return None
    origin = args.origin or "manual"
    answer = session.client.read(f"/sets/{segment(args.set)}/entries", {"origin": origin, "limit": 1})
    etag = answer.headers.get("ETag")
    if answer.document["total"] or not etag:
        return None
    try:
        return _replace(session, file, form, progress, origin, etag)
    except Refused as refused:
        if refused.status != 412:
            raise
        # Somebody wrote to the set since it was looked at.
        file.seek(0)
        return None


def _merge(session: Session, file: BinaryIO, form: str, progress: Progress) -> Document:
    """PATCHes, one if the API's limit on a body allows. Several are rehearsed first, so that a fault anywhere in the
    file is found before anything is changed."""
    args = session.args
    claim = {"ttl": args.ttl, "comment": args.comment, "origin": args.origin}
    items, places = read(file, form, {name: value for name, value in claim.items() if value is not None})
    skipped: list[dict[str, str]] = []
    if args.skip_invalid:
        items, places, skipped = valid(items, places)
    if not items:
        raise Failure(FAILED, f"{args.file} holds no prefix; nothing was changed", *_shown(skipped))
    progress.sent()
    pieces = list(bodies(items))
    if len(pieces) > 1 and args.confirm_within:
        raise Failure(USAGE, "a list as long as this is several changes, and one alone can wait for confirmation",
                      "--replace --origin NAME makes one of it")  # fmt: skip
    if len(pieces) > 1 and not args.dry_run:
        for first, piece in pieces:
            _patch(session, first, piece, places, rehearse=True)
    result: Document = {}
    for at, (first, piece) in enumerate(pieces):
        try:
            _add_up(result, _patch(session, first, piece, places, rehearse=args.dry_run))
        except Failure as failure:
            if at:
                failure.notes.append(f"the first {number(first)} prefixes are in; importing the file again is safe")
            raise
    return {**result, "skipped": skipped}


def _patch(session: Session, first: int, piece: list[Item], places: list[str], *, rehearse: bool) -> Document:
    query: Query = {"dry_run": rehearse}
    try:
        answer = session.write("PATCH", f"/sets/{segment(session.args.set)}/entries", {"add": piece}, query=query)
    except Refused as refused:
        explain(refused, places, first)
        _advise(refused)
        raise
    return answer.written()


def _add_up(result: Document, written: Document) -> None:
    """Counts add up; of all else the last answer holds, but a change is a change."""
    sums = {name: result.get(name, 0) + written.get(name, 0) for name in ("added", "refreshed", "removed", "kept")}
    changed = bool(result.get("changed")) or bool(written.get("changed"))
    effective = written.get("effective")
    if result and result.get("effective") != effective:
        effective = "mixed"
    result.update({**written, **sums, "changed": changed, "effective": effective})


def _advise(refused: Refused) -> None:
    if refused.status == 422 and refused.faults:
        refused.notes.append("--skip-invalid loads the rest")
    if refused.status == 404:
        refused.notes.append("xdpfw set create makes a set; xdpfw list shows those there are")


def _shown(skipped: list[dict[str, str]]) -> list[str]:
    lines = [f"{each['pointer']}: {each['detail']}" for each in skipped[:_SHOWN_FAULTS]]
    if len(skipped) > len(lines):
        lines.append(f"and {number(len(skipped) - len(lines))} more like these")
    return lines


def _report(session: Session, written: Document) -> None:
    args = session.args
    skipped = written.get("skipped") or []
    if session.json:
        session.document({"set": args.set, **written})
    else:
        words = [f"{word} {number(written[word])}" for word in ("added", "refreshed", "removed", "kept")
                 if written.get(word)]  # fmt: skip
        ends = f", for {duration(args.ttl)}" if args.ttl is not None else ""
        dry = "would be " if args.dry_run else ""
        done = f"{dry}{', '.join(words)}" if words else "nothing to change"
        tail = f"{number(written.get('total', 0))} entries, revision {written.get('revision')}"
        session.say(f"{args.set}: {done}{ends} ({tail})")
    if skipped:
        session.warn(f"{number(len(skipped))} skipped, being no prefixes")
        for line in _shown(skipped):
            session.messages.line(f"  {line}")
    if args.set in ("allow", "block") and written.get("total"):
        warn_if_ineffective(session, args.set, written)


def _export(session: Session) -> int:
    args = session.args
    path = f"/sets/{segment(args.set)}/entries"
    query: Query = {"within": args.within, "origin": args.origin}
    if session.json:
        json_entries(session, args.set, query)
        return DONE
    sys.stdout.flush()
    for block in session.client.stream(path, query, FORMATS[args.format]):
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
    return DONE
