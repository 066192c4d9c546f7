# SPDX-License-Identifier: Apache-2.0
"""block, unblock, allow, unallow, unban: one call, one change, all or nothing."""

from __future__ import annotations

import argparse
import sys

from cli.client import Document, Query, segment
from cli.errors import Refused
from cli.options import lifetime, origin, writing
from cli.render import duration, number
from cli.session import Session
from cli.values import prefixes_of

_EXAMPLES = {
    "block": """\
examples:
  xdpfw block 198.51.100.7
  xdpfw block 198.51.100.0/24 2001:db8::/32 --for 1h --comment "scans port 22"
  grep -o '[0-9.]*' attackers.txt | xdpfw block - --origin my-script
  xdpfw block 192.0.2.0/24 --dry-run      exit code 10 if it would change something
""",
    "unblock": """\
examples:
  xdpfw unblock 198.51.100.7
  xdpfw unblock 198.51.100.0/24 --origin fail2ban:sshd    only that origin's claim
  xdpfw unblock - --ignore-missing < old-list.txt
""",
    "allow": """\
examples:
  xdpfw allow 192.0.2.10                  passes, also inside a blocked range
  xdpfw allow 192.0.2.0/24 --for 2h --comment "the auditors"
""",
    "unallow": """\
examples:
  xdpfw unallow 192.0.2.10
""",
    "unban": """\
examples:
  xdpfw list banned                       who is banned, until when, by which rule
  xdpfw unban 198.51.100.7
  xdpfw export banned | xdpfw unban - --ignore-missing    all of them
  xdpfw list banned --origin rule:web     one rule's; its bans also end with the rule
""",
}
_SETS = {"unban": "banned"}
_SHOWN_FAULTS = 10


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefixes", nargs="+", metavar="PREFIX", help="address or network; - reads standard input")
    if verb.startswith("un"):
        origin(parser, "remove this origin's claim alone")
        parser.add_argument("--ignore-missing", action="store_true", help="what is not there is no error")
        parser.set_defaults(run=_remove)
    else:
        lifetime(parser)
        parser.add_argument(
            "--exactly", action="store_true", help="make it end at that time, also where it now lasts longer"
        )
        parser.set_defaults(run=_add)
    writing(parser)
    parser.set_defaults(verb=verb, set=_SETS.get(verb, verb.removeprefix("un")))
    parser.epilog = _EXAMPLES[verb]


def _add(session: Session) -> int:
    args = session.args
    prefixes, places = prefixes_of(args.prefixes, sys.stdin)
    query: Query = {"ttl_policy": "set" if args.exactly else None}
    claim = {"ttl": args.ttl, "comment": args.comment, "origin": args.origin}
    said = {name: value for name, value in claim.items() if value is not None}
    adds = [{"prefix": prefix, **said} for prefix in prefixes] if said else prefixes
    written = _patch(session, query, {"add": adds}, places)
    _tell(session, written, prefixes, _done(written, args.dry_run, args.ttl))
    return session.outcome(written)


def _remove(session: Session) -> int:
    args = session.args
    prefixes, places = prefixes_of(args.prefixes, sys.stdin)
    query: Query = {"ignore_missing": args.ignore_missing, "origin": args.origin}
    written = _patch(session, query, {"remove": prefixes}, places)
    would = "would be " if args.dry_run else ""
    _tell(session, written, prefixes, f"{would}removed {number(written.get('removed', 0))}")
    return session.outcome(written)


def _patch(session: Session, query: Query, body: Document, places: list[str]) -> Document:
    args = session.args
    try:
        return session.write("PATCH", f"/sets/{segment(args.set)}/entries", body, query=query).written()
    except Refused as refused:
        explain(refused, places)
        if refused.faults:
            refused.notes.append("nothing was changed")
        if refused.status == 413:
            refused.notes.append("xdpfw import takes lists of any length")
        if refused.status == 404 and args.verb.startswith("un"):
            refused.notes.append("nothing was removed; --ignore-missing removes what is there")
        raise


def explain(refused: Refused, places: list[str], first: int = 0) -> None:
    """Faults of the input, each at the place where it stands, instead of the API's own words for the first of them.

    `/add/3` and `/remove/3` count from 0, from `first` in `places`."""
    if not refused.faults:
        return
    many = len(refused.faults)
    refused.message = f"{many} {'faults' if many > 1 else 'fault'} in the input"
    lines = [_fault(pointer, detail, places[first:]) for pointer, detail in refused.faults[:_SHOWN_FAULTS]]
    if many > len(lines):
        lines.append(f"and {many - len(lines)} more like these")
    refused.notes[:0] = lines


def _fault(pointer: str, detail: str, places: list[str]) -> str:
    index = pointer.strip("/").split("/")[1:2]
    if index and index[0].isdigit() and int(index[0]) < len(places):
        pointer = places[int(index[0])]
    return f"{pointer}: {detail}" if pointer else detail


def _done(written: Document, dry: bool, ttl: int | None) -> str:
    parts = []
    for word in ("added", "refreshed"):
        if written.get(word):
            parts.append(f"{word} {number(written[word])}")
    text = ("would be " if dry else "") + ", ".join(parts) if parts else "already there, for as long or longer"
    return f"{text}, for {duration(ttl)}" if parts and ttl is not None else text


def _tell(session: Session, written: Document, prefixes: list[str], done: str) -> None:
    if session.json:
        session.document(written)
    else:
        what = prefixes[0] if len(prefixes) == 1 else f"{number(len(prefixes))} prefixes"
        total = f"{session.args.set} has {number(written.get('total', 0))}" if "total" in written else ""
        session.say(f"{what}: {done}" + (f" ({total}, revision {written.get('revision')})" if total else ""))
    warn_if_ineffective(session, session.args.verb, written)


def warn_if_ineffective(session: Session, verb: str, written: Document) -> None:
    """What packets meet now is not what was asked for: say so, and why."""
    if problem := ineffective(verb, written):
        session.warn(problem)


def ineffective(verb: str, written: Document) -> str | None:
    """What is wrong with the effect of a write, if anything, for people."""
    effective, because = written.get("effective"), written.get("because") or "xdpfw show ADDRESS tells more"
    if verb == "block" and effective not in (None, "drop"):
        words = {"pass": "these packets still pass", "mixed": "not all of these packets are dropped"}
        return f"{words.get(str(effective), 'it depends on the packet whether it is dropped')}: {because}"
    if verb == "allow" and effective not in (None, "pass"):
        return f"not all of these packets pass: {because}"
    if verb in ("unblock", "unban") and effective in ("drop", "mixed"):
        return (
            f"{'some of these packets are' if effective == 'mixed' else 'these packets are'} still dropped: {because}"
        )
    return None
