# SPDX-License-Identifier: Apache-2.0
"""confirm and rollback: keep a change that waits, take it back, or go back to an earlier revision."""

from __future__ import annotations

import argparse

from cli.client import Document, segment
from cli.differences import show
from cli.errors import DIFFERENT, DONE, NOT_FOUND, USAGE, Failure
from cli.options import confirm, dry_run, force
from cli.render import RIGHT, Column, Table
from cli.session import Session
from cli.times import local

_EXAMPLES = {
    "confirm": """\
examples:
  xdpfw policy default drop --confirm 60s
  xdpfw confirm                           it works: keep it
""",
    "rollback": """\
examples:
  xdpfw rollback                          take back what waits for confirmation
  xdpfw rollback --list                   the revisions of the policy that can be gone back to
  xdpfw rollback --to 41 --dry-run        what that would change
  xdpfw rollback --to 41                  entries that were written one by one stay
""",
}


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES[verb]
    if verb == "rollback":
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--to", type=_revision, metavar="REVISION", help="the policy as it was at that revision")
        what.add_argument("--list", action="store_true", help="the revisions that can be gone back to")
        confirm(parser)
        force(parser)
    dry_run(parser)
    parser.set_defaults(run=_confirm if verb == "confirm" else _rollback)


def _revision(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a revision; xdpfw rollback --list shows them")
    return int(text)


def _confirm(session: Session) -> int:
    session.args.force = False
    waiting = _waiting(session)
    written = session.write("POST", f"/confirmations/{segment(waiting['id'])}").written()
    return _settled(session, waiting, written, "would stay" if session.args.dry_run else "stays")


def _rollback(session: Session) -> int:
    args = session.args
    if args.list:
        return _list(session)
    if args.to is not None:
        return _to(session)
    if args.confirm_within:
        raise Failure(USAGE, "--confirm goes with --to REVISION")
    waiting = _waiting(session)
    written = session.write("DELETE", f"/confirmations/{segment(waiting['id'])}").written()
    return _settled(session, waiting, written, "would be taken back" if args.dry_run else "is taken back")


def _waiting(session: Session) -> Document:
    items: list[Document] = session.client.get("/confirmations")["items"]
    if not items:
        raise Failure(NOT_FOUND, "nothing waits for confirmation", "xdpfw rollback --list shows earlier revisions")
    return items[0]


def _settled(session: Session, waiting: Document, written: Document, what: str) -> int:
    if session.json:
        session.document(written)
    else:
        author = waiting["author"]
        session.say(f"{author['method']} {author['path']} of {author['actor']} (revision {waiting['revision']}) {what}")
        show(session, waiting["differences"], waiting["more"])
    return session.outcome(written)


def _to(session: Session) -> int:
    args = session.args
    view = session.write("POST", "/rollback", {"revision": args.to}).written()
    if session.json:
        session.document(view)
    else:
        show(session, view["differences"], view["more"])
        done = "would be" if args.dry_run else "is"
        as_it_was = f"nothing of revision {args.to} has changed since"
        session.say(f"the policy {done} that of revision {args.to}" if view["changed"] else as_it_was)
    return DIFFERENT if args.dry_run and view["changed"] else DONE


def _list(session: Session) -> int:
    items = session.client.items("/revisions")
    if session.json:
        session.document({"items": items, "next": None, "total": len(items)})
        return DONE
    columns = [Column("revision", RIGHT), Column("made"), Column("by"), Column("request", flexible=True), Column("")]
    Table(session.screen, columns).write(map(_row, items))
    return DONE


def _row(item: Document) -> list[str]:
    author = item["author"]
    by = "" if author is None else author["label"] or author["actor"]
    request = "" if author is None else f"{author['method']} {author['path']}".strip()
    made = local(item["made_at"]) if item["made_at"] else "before these"
    return [str(item["revision"]), made, by, request, "" if item["whole"] else "without its lists"]
