# SPDX-License-Identifier: Apache-2.0
"""audit: who changed what, when, from where; and who was refused."""

from __future__ import annotations

import argparse

from cli.client import Document, Query
from cli.differences import show
from cli.errors import DONE
from cli.options import positive
from cli.render import printable
from cli.session import Session
from cli.times import local

_EXAMPLES = """\
examples:
  xdpfw audit                             the last 20 writes
  xdpfw audit --resource sets/block --limit 100
  xdpfw audit --actor deploy --outcome refused
"""
_PAGE = 1000
_STYLES = {"accepted": "green", "refused": "red", "unchanged": "dim"}


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=positive, default=20, metavar="N", help="at most so many (20)")
    parser.add_argument("--actor", metavar="A", help="only of this one: uid:0, token:ID, or a token's name")
    parser.add_argument("--resource", metavar="PATH", help="only about this and what is below it: rules, sets/block")
    parser.add_argument("--outcome", choices=("accepted", "refused", "unchanged"), help="only with this outcome")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_audit)


def _audit(session: Session) -> int:
    args = session.args
    query: Query = {"actor": args.actor, "resource": args.resource, "outcome": args.outcome}
    items: list[Document] = []
    cursor, total = None, 0
    while len(items) < args.limit:
        size = min(_PAGE, args.limit - len(items))
        page = session.client.get("/audit", query | {"limit": size, "cursor": cursor})
        items += page["items"]
        cursor, total = page["next"], page["total"]
        if cursor is None:
            break
    if session.json:
        session.document({"items": items, "next": cursor, "total": total})
        return DONE
    for item in items:
        _show(session, item)
    if not items:
        session.say("nothing of that kind is written down")
    return DONE


def _show(session: Session, item: Document) -> None:
    author, outcome = item["author"], item["outcome"]
    who = f"{author['actor']} ({author['label']})" if author["label"] else author["actor"]
    place = f"{author['source']} pid {author['pid']}" if author["pid"] else author["source"]
    said = session.screen.paint(f"{outcome} {item['status']}", _STYLES.get(outcome, ""))
    where = f" from {place}" if place else ""
    asked = printable(f"{author['method']} {author['path']}  {who}{where}")
    session.say(f"{local(item['at'])}  {said}  {asked}  revision {item['revision']}")
    if item["detail"]:
        session.say(printable(f"    {item['detail']}"))
    show(session, item["differences"], item["more"], "    ")
