# SPDX-License-Identifier: Apache-2.0
"""top: who is talking."""

from __future__ import annotations

import argparse
import time

from cli.client import Document, Query, segment
from cli.errors import DONE, USAGE, Failure
from cli.options import positive
from cli.render import RIGHT, Cell, Column, Table, bits, count, number, size
from cli.session import Session
from cli.times import ago

_EXAMPLES = """\
examples:
  xdpfw top                               all attached interfaces together
  xdpfw top eth0 --sort pps --of dropped
  xdpfw top eth0 --family 6 --limit 50 --watch 2
"""
_CLEAR = "\x1b[H\x1b[2J"


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interface", metavar="IFACE", nargs="?")
    parser.add_argument("--sort", choices=("bytes", "packets", "bps", "pps"), default="bytes", help="bytes")
    parser.add_argument("--of", choices=("total", "passed", "dropped"), default="total", help="total")
    parser.add_argument("--order", choices=("desc", "asc"), default="desc", help="desc")
    parser.add_argument("--limit", type=positive, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--family", choices=("4", "6"), help="IPv4 or IPv6 alone")
    parser.add_argument("--within", metavar="PREFIX", help="only addresses inside this network")
    often = parser.add_mutually_exclusive_group()
    often.add_argument("--once", action="store_true", help="one reading, then end (what it does anyway)")
    often.add_argument("--watch", type=positive, metavar="SECONDS", help="read again and again, until Ctrl-C")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_top)


def _top(session: Session) -> int:
    args = session.args
    if args.watch and session.json:
        raise Failure(USAGE, "--json gives one document; it does not go with --watch")
    path = f"/interfaces/{segment(args.interface)}/talkers" if args.interface else "/talkers"
    query: Query = {name: getattr(args, name) for name in ("sort", "of", "order", "limit", "family", "within")}
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
