# SPDX-License-Identifier: Apache-2.0
"""program: what runs in the driver, as the kernel tells it."""

from __future__ import annotations

import argparse

from cli.client import Document, Query, segment
from cli.errors import DONE
from cli.options import duration
from cli.render import RIGHT, Cell, Column, Table, number, size
from cli.session import Session
from cli.times import local

_EXAMPLES = """\
examples:
  xdpfw program                           on every attached interface
  xdpfw program eth0 --measure 5s         with its runs, counted for five seconds
"""
_SLACK = 30.0


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interface", metavar="IFACE", nargs="?")
    parser.add_argument("--measure", metavar="TIME", type=duration, help="count its runs for so long (at most 60s)")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_program)


def _program(session: Session) -> int:
    args = session.args
    if args.measure:
        session.client.timeout = max(session.client.timeout, args.measure + _SLACK)
    names = [args.interface] if args.interface else _attached(session)
    query: Query = {"measure": args.measure}
    found = [session.client.get(f"/interfaces/{segment(name)}/program", query) for name in names]
    if session.json:
        session.document(found[0] if args.interface else {"items": found, "next": None, "total": len(found)})
        return DONE
    for program in found:
        _page(session, program)
    if not found:
        session.warn("no interface is attached: xdpfw attach IFACE")
    return DONE


def _attached(session: Session) -> list[str]:
    return [each["name"] for each in session.client.items("/interfaces") if each["state"] == "attached"]


def _page(session: Session, program: Document) -> None:
    session.say(f"{program['interface']}: {program['name']}, id {program['id']}, tag {program['tag']}")
    session.say(f"  loaded        {local(program['loaded_at'])}, compiled by {program['compiler']}")
    code = size(program["machine_code"]) + " of machine code" if program["machine_code"] else "interpreted: no JIT"
    verified = f", {number(program['verified'])} walked by the verifier" if program["verified"] else ""
    session.say(f"  instructions  {number(program['instructions'])}, {code}{verified}")
    session.say(f"  compiled for  {', '.join(program['features']) or 'sources alone'}")
    if program["measured"]:
        measured = program["measured"]
        each = "" if measured["ns_per_run"] is None else f", {measured['ns_per_run']:.0f} ns each"
        session.say(f"  runs          {number(measured['runs'])} in {measured['seconds']:g} s{each}")
    rows: list[list[Cell]] = [
        [m["name"], str(m["id"]), m["type"], str(m["key_size"]), str(m["value_size"]), number(m["entries"]),
         size(m["memory"]), m["pin"]]
        for m in program["maps"]
    ]  # fmt: skip
    columns = [Column("map"), Column("id", RIGHT), Column("type")]
    columns += [Column(title, RIGHT) for title in ("key", "value", "entries", "memory")]
    Table(session.screen, [*columns, Column("pin", flexible=True)]).write(rows)
    session.say(f"{len(rows)} maps, {size(sum(m['memory'] for m in program['maps']))}")
