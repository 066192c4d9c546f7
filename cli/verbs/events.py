# SPDX-License-Identifier: Apache-2.0
"""events: who is talking, packet by packet, and what became of it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from cli.capture import Files
from cli.client import Document, Query
from cli.errors import DONE, USAGE, Failure
from cli.options import duration, positive
from cli.session import Session
from cli.values import bytes_of

_EXAMPLES = """\
examples:
  xdpfw events                                     some of what goes by now, then end
  xdpfw events --follow --verdict drop             what is dropped, until Ctrl-C
  xdpfw events --follow --within 198.51.100.0/24 --port 443 --fields time,source,verdict,rule
  xdpfw events --write drops.pcapng --verdict drop --for 10m
  xdpfw events --write ring.pcapng --rotate-size 100M --rotate-count 10

Without a rule that logs, a sample of all traffic is shown, at most one packet a second of each source (--repeat: more).
"""
_COUNT = 20
_SECONDS = 10
FIELDS = (
    "time", "interface", "verdict", "reason", "rule", "watching", "source", "source_port", "destination",
    "destination_port", "protocol", "icmp_type", "tcp_flags", "vlan", "length", "monitored",
)  # fmt: skip


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which")
    group.add_argument("--interface", metavar="IFACE")
    group.add_argument("--verdict", choices=("pass", "drop"))
    group.add_argument("--within", metavar="PREFIX", help="from or to this network")
    group.add_argument("--protocol", metavar="NAME|N")
    group.add_argument("--port", metavar="N", type=int, help="from or to this port")
    group.add_argument("--rule", metavar="ID", help="what this rule decided, or would have")
    group.add_argument("--sample", action="store_true", help="of all traffic, also where rules log")
    group.add_argument("--repeat", action="store_true", help="a source more than once a second")
    group = parser.add_argument_group("how long")
    group.add_argument("--follow", action="store_true", help="until Ctrl-C")
    group.add_argument("--limit", metavar="N", type=positive, help=f"so many ({_COUNT}, unless something else is said)")
    group.add_argument(
        "--for", dest="seconds", metavar="TIME", type=duration, help=f"for so long ({_SECONDS} s, likewise)"
    )
    group = parser.add_argument_group("how")
    group.add_argument("--fields", metavar="A,B…", type=_fields, help=", ".join(FIELDS))
    group.add_argument("--write", metavar="FILE.pcapng", help="a capture instead of lines; - is standard output")
    group.add_argument(
        "--snap", metavar="N", type=int, default=128, help="bytes of each frame in it (128, at most 256)"
    )
    group.add_argument("--rotate-size", metavar="SIZE", type=_size, help="begin a new file beyond so many bytes")
    group.add_argument("--rotate-count", metavar="N", type=positive, help="keep so many files (with --rotate-size)")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_events)


def _fields(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in FIELDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no field {unknown[0]!r}; there are {', '.join(FIELDS)}")
    return names


def _size(text: str) -> int:
    try:
        return bytes_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _events(session: Session) -> int:
    args = session.args
    if args.rotate_count and not args.rotate_size:
        raise Failure(USAGE, "--rotate-count goes with --rotate-size")
    if args.write and (session.json or args.fields):
        raise Failure(USAGE, "--write makes a capture; it does not go with --json or --fields")
    names = ("interface", "verdict", "within", "protocol", "port", "rule")
    query: Query = {name: getattr(args, name) for name in names}
    query |= {"sample": True if args.sample else None, "repeat": args.repeat}
    return _capture(session, query) if args.write else _show(session, query)


def _show(session: Session, query: Query) -> int:
    args = session.args
    unsaid = not (args.follow or args.limit or args.seconds)
    limit = _COUNT if unsaid else args.limit
    shown: list[Document] = []
    count = 0
    for event in _stream(session, query, _SECONDS if unsaid else args.seconds):
        count += 1
        if session.json and not args.follow:
            shown.append(_chosen(event, args.fields))
        elif session.json:
            _print(json.dumps(_chosen(event, args.fields), ensure_ascii=False))
        elif args.fields:
            _print("\t".join(_text(event[name]) for name in args.fields))
        else:
            _print(line(session, event))
        if count == limit:
            break
    if session.json and not args.follow:
        session.document({"items": shown, "next": None, "total": len(shown)})
    elif not count and not args.follow:
        if any(value is not None for name, value in query.items() if name != "repeat"):
            session.warn("nothing that fits went by in that time; --for waits longer, --follow until Ctrl-C")
        else:
            session.warn("no event came; is an interface attached, and is there traffic? `xdpfw status` tells")
    return DONE


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _stream(session: Session, query: Query, seconds: float | None) -> Iterator[Document]:
    rest = b""
    for piece in session.client.live("/events", query, "text/event-stream", seconds):
        *lines, rest = (rest + piece).split(b"\n")
        for text in lines:
            if text.startswith(b"data: "):
                yield json.loads(text[6:])


def _chosen(event: Document, fields: list[str] | None) -> Document:
    return {name: event[name] for name in fields} if fields else event


def _text(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def line(session: Session, event: Document) -> str:
    """An event for people: time, interface, verdict, why, source → destination, what it is, length, tag."""
    style = "red" if event["verdict"] == "drop" else "green"
    verdict = session.screen.paint(f"{event['verdict']:4}", style)
    why = f"rule {event['rule']}" if event["rule"] else event["reason"]
    if event["watching"]:
        why += f" (would be rule {event['watching']})"
    if event["monitored"]:
        why += " (monitor)"
    parts = [event["time"][11:23], event["interface"], verdict, why]
    if event["source"]:
        parts.append(f"{_end(event, 'source')} → {_end(event, 'destination')}")
    parts.append(_text(event["protocol"]))
    if event["tcp_flags"]:
        parts.append(f"[{event['tcp_flags']}]")
    if event["icmp_type"] is not None:
        parts.append(f"type {event['icmp_type']}")
    parts.append(f"{event['length']} B")
    if event["vlan"] is not None:
        parts.append(f"vlan {event['vlan']}")
    return "  ".join(parts)


def _end(event: Document, side: str) -> str:
    address, port = event[side], event[f"{side}_port"]
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _capture(session: Session, query: Query) -> int:
    args = session.args
    wanted = query | {"format": "pcapng", "snap": args.snap}
    pieces = session.client.live("/events", wanted, "application/x-pcapng", args.seconds)
    with (
        Files(args.write, args.rotate_size, args.rotate_count, args.limit) as files,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for piece in pieces:
            files.write(piece)
            if files.full:
                break
    plural = "" if files.packets == 1 else "s"
    kept = f", {files.packets - files.gone} of them" if files.gone else ""
    session.messages.line(f"{files.packets} packet{plural}{kept} in {', '.join(files.names) or 'no file'}")
    return DONE
