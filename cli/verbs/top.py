# SPDX-License-Identifier: Apache-2.0
"""top: who is talking. On a terminal the live view (`cli.live`), else one reading as a table."""

from __future__ import annotations

import argparse
import os
import sys
import time

from cli.client import Document, Query, segment
from cli.errors import DONE, USAGE, Failure
from cli.options import positive
from cli.render import RIGHT, Cell, Column, Table, bits, count, number, size
from cli.session import Session
from cli.times import ago

_EXAMPLES = """\
examples:
  xdpfw top                               live, all attached interfaces together; ? shows the keys
  xdpfw top eth0 --sort bps --of dropped
  xdpfw top eth0 --once --limit 50        one reading as a table; so it is too where the output is no terminal
  xdpfw top eth0 --family 6 --watch 2     a table every 2 s
  xdpfw top --json | jq .items
"""
SORTS = ("pps", "bps", "packets", "bytes", "share")
"""`share`: the part of the packets that is dropped."""
LIMIT = 10
_CLEAR = "\x1b[H\x1b[2J"


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interface", metavar="IFACE", nargs="?")
    parser.add_argument("--sort", choices=SORTS, help="live: pps; else bytes")
    parser.add_argument("--of", choices=("total", "passed", "dropped"), default="total", help="total")
    parser.add_argument("--order", choices=("desc", "asc"), default="desc", help="desc")
    parser.add_argument("--limit", type=positive, metavar="N", help="how many (10; live: what fits)")
    parser.add_argument("--family", choices=("4", "6"), help="IPv4 or IPv6 alone")
    parser.add_argument("--within", metavar="PREFIX", help="only addresses inside this network")
    often = parser.add_mutually_exclusive_group()
    often.add_argument("--once", action="store_true", help="one reading, then end")
    often.add_argument("--watch", type=positive, metavar="SECONDS", help="a table again and again, until Ctrl-C")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_top)


def _top(session: Session) -> int:
    args = session.args
    if args.watch and session.json:
        raise Failure(USAGE, "--json gives one document; it does not go with --watch")
    if _is_live(session):
        return _live(session)
    path = f"/interfaces/{segment(args.interface)}/talkers" if args.interface else "/talkers"
    query: Query = {name: getattr(args, name) for name in ("of", "order", "family", "within")}
    query |= {"sort": args.sort or "bytes", "limit": args.limit or LIMIT}
    while True:
        answer = session.client.get(path, query)
        if session.json:
            session.document(answer)
            return DONE
        if args.watch and session.screen.tty:
            session.screen.stream.write(_CLEAR)
        _page(session, answer)
        if not args.watch:
            return DONE
        session.screen.stream.flush()
        time.sleep(args.watch)


def _is_live(session: Session) -> bool:
    """The live view needs a terminal that shows it (Textual draws on stderr) and one that gives keys."""
    args = session.args
    if args.once or args.watch or session.json or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return session.screen.tty and session.messages.tty and sys.stdin.isatty()


def _live(session: Session) -> int:
    # Textual takes longer to import than any other verb to answer.
    from cli.live.app import run
    from cli.live.model import Model
    from cli.live.questions import AskSituation
    from cli.live.rows import View

    args = session.args
    view = View(args.interface, args.sort or "pps", args.order == "desc", args.of, args.family, args.within or "")
    if args.within and view.within is None:
        raise Failure(USAGE, f"--within {args.within}: not a prefix")
    model = Model(view, limit=args.limit)
    # What is wrong with the daemon or the question is told as by every other verb, before the screen changes.
    [(model.situation, model.rules)] = AskSituation()(session.client)
    next(model.ask(session.client))
    session.client.close()
    return run(model, session.new_client)


def _page(session: Session, answer: Document) -> None:
    items = answer["items"]
    everywhere = any(item.get("interfaces") for item in items)
    columns = [Column("address")]
    for word in ("passed", "dropped"):
        columns += [Column(word, RIGHT), Column("bytes", RIGHT), Column("now", RIGHT)]
    columns += [Column("last", RIGHT), Column("sets")]
    if everywhere:
        columns.append(Column("on", flexible=True))
    rows: list[list[Cell]] = []
    for item in items:
        row: list[Cell] = [item["address"], *_traffic(item), ago(item["last_seen"]), " ".join(item["sets"])]
        rows.append([*row, " ".join(item["interfaces"] or [])] if everywhere else row)
    blank: list[Cell] = [""] * (len(columns) - 7)
    # Without these the rows would look like all there is.
    if answer["total"] > len(items):
        rows.append(["not shown", *_traffic(_rest(answer)), *blank])
    rows.append(["other", *_traffic(answer["other"]), *blank])
    rows.append([("total", "bold"), *_traffic(answer["totals"]), *blank])
    Table(session.screen, columns).write(rows)
    session.say(f"{len(items)} of {number(answer['total'])} talkers")


def _rest(answer: Document) -> Document:
    """The tracked talkers that are not among the items: totals less other less items."""
    known = [answer["other"], *answer["items"]]
    return {
        word: {
            name: max(0, answer["totals"][word][name] - sum(part[word][name] for part in known))
            for name in ("packets", "bytes", "pps", "bps")
        }
        for word in ("passed", "dropped")
    }


def _traffic(both: Document) -> list[Cell]:
    cells: list[Cell] = []
    for word, style in (("passed", ""), ("dropped", "red")):
        part = both[word]
        painted = style if part["packets"] else ""
        cells += [(count(part["packets"]), painted), (size(part["bytes"]), painted), bits(part["bps"])]
    return cells
