# SPDX-License-Identifier: Apache-2.0
"""list (the sets, the entries of one) and set (create, describe, delete)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from cli.client import Document, Query, segment
from cli.errors import DONE, USAGE, Failure
from cli.options import common, positive, writing
from cli.render import RIGHT, Column, Table, count, number, size
from cli.session import Session
from cli.times import still

_LIST_EXAMPLES = """\
examples:
  xdpfw list                              the sets
  xdpfw list block                        the entries of one
  xdpfw list block --within 10.0.0.0/8 --origin fail2ban:sshd
"""
_SET_EXAMPLES = """\
examples:
  xdpfw set create partners --comment "their offices"
  xdpfw set describe partners "their offices and their VPN"
  xdpfw set delete partners
"""
_PAGE = 1000


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    if verb == "list":
        _configure_list(parser)
    else:
        _configure_set(parser)


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("set", metavar="SET", nargs="?")
    parser.add_argument("--within", metavar="PREFIX", help="only entries inside this network")
    parser.add_argument("--origin", metavar="O", help="only what this origin claims")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N entries")
    parser.epilog = _LIST_EXAMPLES
    parser.set_defaults(run=_list)


def _configure_set(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True, metavar="create|describe|delete")
    for action, run in (("create", _create), ("describe", _describe), ("delete", _delete)):
        sub = verbs.add_parser(action, prog=f"xdpfw set {action}")
        sub.add_argument("name", metavar="NAME")
        if action == "create":
            sub.add_argument("--comment", metavar="TEXT", default="", help="what it is for")
        elif action == "describe":
            sub.add_argument("comment", metavar="TEXT", help="what it is for")
        writing(sub)
        common(sub)
        sub.set_defaults(run=run)
    parser.epilog = _SET_EXAMPLES


def _list(session: Session) -> int:
    args = session.args
    if args.set is not None:
        return _list_entries(session)
    if args.within or args.origin or args.limit:
        raise Failure(USAGE, "--within, --origin and --limit choose entries of a set; name it: xdpfw list SET")
    items = session.client.items("/sets")
    if session.json:
        session.document({"items": items, "next": None, "total": len(items)})
        return DONE
    columns = [Column("set"), Column("entries", RIGHT), Column("IPv4", RIGHT), Column("IPv6", RIGHT)]
    columns += [Column("packets", RIGHT), Column("bytes", RIGHT), Column("comment", flexible=True)]
    Table(session.screen, columns).write(_set_row(each) for each in items)
    return DONE


def _set_row(each: Document) -> list[str]:
    sizes = [number(each[name]) for name in ("entries", "entries4", "entries6")]
    return [each["name"], *sizes, count(each["packets"]), size(each["bytes"]), each["comment"]]


def _pages(session: Session, name: str, query: Query, left: int | None) -> Iterator[Document]:
    """Page after page, `left` entries at most. A cursor is a position: what changes ahead of it meanwhile is seen."""
    cursor: str | None = None
    while True:
        size = _PAGE if left is None else min(left, _PAGE)
        page = session.client.get(f"/sets/{segment(name)}/entries", {**query, "limit": size, "cursor": cursor})
        yield page
        cursor = page["next"]
        if left is not None:
            left -= len(page["items"])
        if cursor is None or left == 0:
            return


def _list_entries(session: Session) -> int:
    args = session.args
    query: Query = {"within": args.within, "origin": args.origin}
    if session.json:
        json_entries(session, args.set, query, args.limit)
        return DONE
    columns = [Column("prefix"), Column("expires", RIGHT), Column("packets", RIGHT), Column("bytes", RIGHT)]
    columns += [Column("origin"), Column("comment", flexible=True)]
    table = Table(session.screen, columns)
    for page in _pages(session, args.set, query, args.limit):
        table.write(_entry_row(entry) for entry in page["items"])
        total, following = page["total"], page["next"]
    if following is not None:
        session.messages.line(f"xdpfw: {number(args.limit)} of {number(total)} shown")
    return DONE


def _entry_row(entry: Document) -> list[str]:
    origin = entry["origin"]
    if entry.get("claims") and len(entry["claims"]) > 1:
        origin += f" +{len(entry['claims']) - 1}"
    hits = [count(entry["packets"]), size(entry["bytes"])]
    return [entry["prefix"], still(entry["expires_at"]), *hits, origin, entry["comment"]]


def json_entries(session: Session, name: str, query: Query, limit: int | None = None) -> None:
    """One document, written as it comes: a million entries need no memory here."""
    separator = f'{{"set": {json.dumps(name)}, "items": [\n'
    for page in _pages(session, name, query, limit):
        for entry in page["items"]:
            sys.stdout.write(separator + json.dumps(entry, ensure_ascii=False))
            separator = ",\n"
    start = separator if separator.startswith("{") else "\n"
    sys.stdout.write(f'{start}], "next": {json.dumps(page["next"])}, "total": {page["total"]}}}\n')


def _create(session: Session) -> int:
    args = session.args
    answer = session.write("PUT", f"/sets/{segment(args.name)}", {"comment": args.comment})
    written = answer.written()
    created = written.get("created", answer.status == 201)
    would = "would be " if args.dry_run else ""
    what = f"{would}created" if created else f"{would}described anew" if written.get("changed") else "there already"
    return _written(session, written, f"set {args.name}: {what}")


def _describe(session: Session) -> int:
    """The ETag makes sure that a set deleted in between is not created again."""
    args = session.args
    path = f"/sets/{segment(args.name)}"
    etag = session.client.read(path).headers.get("ETag")
    written = session.write("PUT", path, {"comment": args.comment}, etag=etag).written()
    would = "would be " if args.dry_run else ""
    what = f"{would}described" if written.get("changed") else "described so already"
    return _written(session, written, f"set {args.name}: {what}")


def _delete(session: Session) -> int:
    args = session.args
    written = session.write("DELETE", f"/sets/{segment(args.name)}").written()
    return _written(session, written, f"set {args.name}: {'would be ' if args.dry_run else ''}deleted")


def _written(session: Session, written: Document, text: str) -> int:
    if session.json:
        session.document(written)
    else:
        session.say(text)
    return session.outcome(written)
