# SPDX-License-Identifier: Apache-2.0
"""explain and replay: what the packet path says about a packet, or about all of a capture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.client import Document, Query
from cli.errors import DONE, USAGE, Failure
from cli.progress import Progress
from cli.render import RIGHT, Cell, Column, Table, number
from cli.session import Session
from cli.verbs.transfer import opened

_EXAMPLES = {
    "explain": """\
examples:
  xdpfw explain 198.51.100.7                                   a packet of which only the source is known
  xdpfw explain 198.51.100.7 192.0.2.80 --protocol tcp --destination-port 22 --interface eth0
  xdpfw explain 2001:db8::7 --protocol icmpv6 --icmp-type 128 --json | jq -r .rule
""",
    "replay": """\
examples:
  xdpfw replay attack.pcap                                     what would become of it, summed up
  xdpfw replay attack.pcapng --packets | grep drop             packet by packet
  tcpdump -i eth0 -c 1000 -w - | xdpfw replay -
""",
}
_OPTIONS = {
    "protocol": ("NAME|N", str),
    "source-port": ("N", int),
    "destination-port": ("N", int),
    "icmp-type": ("N", int),
    "tcp-flags": ("NAMES", str),
    "vlan": ("N", int),
    "length": ("BYTES", int),
    "fragment": ("none|first|later", str),
    "interface": ("IFACE", str),
}
_TYPES = {".pcapng": "application/x-pcapng", ".ntar": "application/x-pcapng"}
_PCAP = "application/vnd.tcpdump.pcap"
_LONG_TIMEOUT = 600.0


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES[verb]
    if verb == "replay":
        parser.add_argument("file", metavar="FILE", help="pcap or pcapng; - reads standard input")
        parser.add_argument("--interface", metavar="IFACE", help="as if it arrived there")
        parser.add_argument("--packets", action="store_true", help="a line for each packet instead of totals")
        parser.add_argument("--progress", action="store_true", help="show progress also without a terminal")
        parser.set_defaults(run=_replay)
        return
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("destination", metavar="DESTINATION", nargs="?")
    for option, (takes, kind) in _OPTIONS.items():
        parser.add_argument(f"--{option}", metavar=takes, type=kind)
    parser.set_defaults(run=_explain)


def _explain(session: Session) -> int:
    args = session.args
    names = ["source", "destination", *(option.replace("-", "_") for option in _OPTIONS)]
    said = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    told = session.client.write("POST", "/explain", body=said).written()
    if session.json:
        session.document(told)
    else:
        _page(session, told)
    return DONE


def _page(session: Session, told: Document) -> None:
    style = "red" if told["verdict"] == "drop" else "green"
    session.say(f"{session.screen.paint(told['verdict'], style)}: {told['because']}")
    if told["watching"]:
        session.say(f"rule {told['watching']}, in monitor mode, would have decided before")
    for side, matches in (("source", told["matches"]), ("destination", told["destination_matches"])):
        for match in matches:
            comment = f"  ({match['comment']})" if match["comment"] else ""
            session.say(f"  {side} {told['packet'][side]} is in {match['set']}: {match['prefix']}{comment}")
    session.say(f"  found in: {told['tier']}; revision {told['revision']}")


def _replay(session: Session) -> int:
    args = session.args
    session.client.timeout = max(session.client.timeout, _LONG_TIMEOUT) if args.timeout == 30.0 else args.timeout
    query: Query = {"interface": args.interface, "packets": args.packets}
    kind = _TYPES.get(Path(args.file).suffix.lower(), _PCAP)
    length = None if args.file == "-" else _size(args.file)
    with opened(args.file) as file, Progress(session, "replay", wanted=args.progress) as progress:
        blocks = progress.sending(file, length)
        if args.packets:
            return _lines(session, session.client.exchange("/replay", query, kind, blocks, length))
        answer = session.client.upload("/replay", query, kind, blocks, length, method="POST").written()
    if session.json:
        session.document(answer)
    else:
        _totals(session, answer)
    return DONE


def _size(name: str) -> int | None:
    try:
        return Path(name).stat().st_size
    except OSError as error:
        raise Failure(USAGE, f"{name}: {error.strerror}") from None


def _lines(session: Session, lines: Iterator[bytes]) -> int:
    packets = map(json.loads, lines)
    if session.json:
        items = list(packets)
        session.document({"items": items, "next": None, "total": len(items)})
        return DONE
    for packet in packets:
        rule = f" rule {packet['rule']}" if packet["rule"] else f" {packet['reason']}"
        sys.stdout.write(f"{packet['packet']} {packet['verdict']} {packet['source'] or '-'} {packet['length']}{rule}\n")
    return DONE


def _totals(session: Session, told: Document) -> None:
    session.say(
        f"{number(told['packets'])} packets: {number(told['passed'])} pass, {number(told['dropped'])} drop"
        + (f", {number(told['skipped'])} skipped (not Ethernet, or too long)" if told["skipped"] else "")
    )
    if told["monitored"]:
        session.say(f"monitor mode: {number(told['monitored'])} of those that pass would be dropped")
    rows: list[list[Cell]] = [[reason, number(count)] for reason, count in told["reasons"].items()]
    session.say()
    Table(session.screen, [Column("reason"), Column("packets", RIGHT)]).write(rows)
    session.say()
    shares: list[list[Cell]] = [
        [share["address"] or "others", number(share["passed"]), (number(share["dropped"]), _style(share["dropped"]))]
        for share in told["sources"]
    ]
    Table(session.screen, [Column("source"), Column("pass", RIGHT), Column("drop", RIGHT)]).write(shares)
    if told["distinct_sources"] > len(told["sources"]):
        session.say(f"{len(told['sources'])} of {number(told['distinct_sources'])} sources")


def _style(dropped: int) -> str:
    return "red" if dropped else ""
