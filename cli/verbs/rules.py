# SPDX-License-Identifier: Apache-2.0
"""rules: the ordered list, the first match wins."""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import Document, segment
from cli.errors import DONE, USAGE, Failure
from cli.options import common, duration, positive, writing
from cli.render import RIGHT, Cell, Column, Table, count, number, size
from cli.session import Session

_EXAMPLES = """\
examples:
  xdpfw rules                                                  in order, with what each has matched
  xdpfw rules add web drop --protocol tcp --destination-port 80,8000-8100 --before block
  xdpfw rules add guests pass --source 10.7.0.0/16,!10.7.0.1 --interface eth1
  xdpfw rules add ssh limit --protocol tcp --destination-port 22 --rate 10 --burst 30 --ban 1h
  xdpfw rules add probe drop --tcp-flags all/none --monitor    count what it would drop
  xdpfw rules edit web --destination-port 443 --comment "TLS only"
  xdpfw rules move web --position 1
  xdpfw rules remove web

A match option takes several values apart by commas; `any` with edit takes the condition out. A ! before a set or a
prefix excludes it.
"""

# Option to field of the match, and what it takes.
_MATCHES = {
    "source": ("source", "SET|PREFIX"),
    "destination": ("destination", "SET|PREFIX"),
    "protocol": ("protocol", "NAME|N"),
    "source-port": ("source_ports", "N|N-N"),
    "destination-port": ("destination_ports", "N|N-N"),
    "icmp-type": ("icmp_types", "NAME|N"),
    "tcp-flags": ("tcp_flags", "MASK/SET"),
    "vlan": ("vlan", "N|N-N|none"),
    "length": ("length", "N|N-N"),
    "fragment": ("fragment", "none|first|later"),
    "interface": ("interfaces", "IFACE"),
}
# Flags have commas in them.
_WHOLE = ("tcp_flags",)
_LIMITS = {"rate": "rate", "unit": "unit", "burst": "burst", "per": "per", "prefix4": "prefix4", "prefix6": "prefix6"}


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action_verb", metavar="list|add|edit|move|remove")
    listing = verbs.add_parser("list", prog="xdpfw rules list")
    listing.set_defaults(run=_list)
    common(listing)
    for name, run in (("add", _add), ("edit", _edit), ("move", _move), ("remove", _remove)):
        sub = verbs.add_parser(name, prog=f"xdpfw rules {name}")
        sub.add_argument("id", metavar="ID")
        if name == "add":
            sub.add_argument("action", choices=("pass", "drop", "limit"), metavar="pass|drop|limit")
        if name == "edit":
            sub.add_argument("--action", choices=("pass", "drop", "limit"), metavar="pass|drop|limit")
        if name in ("add", "edit"):
            _fields(sub)
        if name != "remove":
            _place(sub)
        writing(sub)
        common(sub)
        sub.set_defaults(run=run)
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_list)


def _fields(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what it matches")
    for option, (_, takes) in _MATCHES.items():
        group.add_argument(f"--{option}", metavar=takes, action="append")
    group = parser.add_argument_group("what it is")
    group.add_argument("--comment", metavar="TEXT")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument("--monitor", dest="mode", action="store_const", const="monitor", help="count only")
    mode.add_argument("--enforce", dest="mode", action="store_const", const="enforce", help="decide (the usual)")
    enabled = group.add_mutually_exclusive_group()
    enabled.add_argument("--disable", dest="enabled", action="store_const", const=False, help="do not look at it")
    enabled.add_argument("--enable", dest="enabled", action="store_const", const=True)
    group.add_argument("--log", metavar="RATE", type=positive, help="log so many events each second")
    group = parser.add_argument_group("the limit of action limit")
    group.add_argument("--rate", metavar="N", type=positive, help="per second, on average")
    group.add_argument("--unit", choices=("packets", "bytes"), help="packets")
    group.add_argument("--burst", metavar="N", type=positive, help="at once (as many as the rate)")
    group.add_argument("--per", choices=("source", "rule"), help="source")
    group.add_argument("--prefix4", metavar="LENGTH", type=int, help="sources are IPv4 networks of this length (32)")
    group.add_argument("--prefix6", metavar="LENGTH", type=int, help="and IPv6 networks of this one (64)")
    group.add_argument("--ban", metavar="TIME", type=duration, help="drop a source that exceeds it for so long")


def _place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_argument_group("where it stands").add_mutually_exclusive_group()
    place.add_argument("--before", metavar="ID")
    place.add_argument("--after", metavar="ID")
    place.add_argument("--position", metavar="N", type=positive, help="from 1 on")


def _list(session: Session) -> int:
    rules = session.client.items("/rules")
    if session.json:
        session.document({"items": rules, "next": None, "total": len(rules)})
        return DONE
    columns = [Column("", RIGHT), Column("rule"), Column("does"), Column("with", flexible=True, least=8)]
    columns += [Column("packets", RIGHT), Column("bytes", RIGHT), Column("comment", flexible=True)]
    Table(session.screen, columns).write(map(_row, rules))
    for rule in rules:
        if rule["warning"]:
            session.warn(f"rule {rule['id']}: {rule['warning']}")
    return DONE


def _row(rule: Document) -> list[Cell]:
    style = "" if rule["enabled"] else "dim"
    cells = [number(rule["position"]), rule["id"], _does(rule), told(rule)]
    cells += [count(rule["packets"]), size(rule["bytes"]), rule["comment"]]
    return [(cell, style) for cell in cells]


def _does(rule: Document) -> str:
    off = "" if rule["enabled"] else " (off)"
    return f"{rule['action']}{off}{', monitor' if rule['mode'] == 'monitor' else ''}"


def told(rule: Document) -> str:
    """What a rule matches and its limit, in a line."""
    parts = [f"{field} {','.join(map(str, values))}" for field, values in rule["match"].items()] or ["everything"]
    if limit := rule["limit"]:
        parts.append(f"over {number(limit['rate'])} {limit['unit']}/s per {limit['per']}")
        if limit["ban"]:
            parts.append(f"ban {limit['ban']} s")
    return "; ".join(parts)


def _add(session: Session) -> int:
    args = session.args
    document = _said(args) | {"action": args.action, "match": {k: v for k, v in _match(args).items() if v is not None}}
    limit = _limit(args)
    if limit:
        document["limit"] = limit
    written = session.write("PUT", _path(args.id), document | _where(args)).written()
    return _report(session, written, "would be added" if args.dry_run else "added")


def _edit(session: Session) -> int:
    args = session.args
    document = _said(args)
    if args.action:
        document["action"] = args.action
    if match := _match(args):
        document["match"] = match
    if limit := _limit(args):
        present = session.client.get(_path(args.id))["limit"] or {}
        document["limit"] = present | limit
    document |= _where(args)
    if not document:
        raise Failure(USAGE, "say what to change", "xdpfw rules edit --help lists what can be")
    return _report(session, session.write("PATCH", _path(args.id), document).written(), "changed")


def _move(session: Session) -> int:
    where = _where(session.args)
    if not where:
        raise Failure(USAGE, "say where: --before ID, --after ID or --position N")
    return _report(session, session.write("PATCH", _path(session.args.id), where).written(), "moved")


def _remove(session: Session) -> int:
    args = session.args
    answer = session.write("DELETE", _path(args.id))
    written = answer.written() if args.dry_run else {"changed": True, "id": args.id}
    if session.json:
        session.document(written)
    else:
        session.say(f"rule {args.id} {'would be removed' if args.dry_run else 'is removed'}")
    return session.outcome(written)


def _report(session: Session, written: Document, done: str) -> int:
    if session.json:
        session.document(written)
        return session.outcome(written)
    if not written["changed"]:
        session.say(f"rule {written['id']} is as it was")
    else:
        session.say(f"rule {written['id']} {done}, at position {written['position']}: {_does(written)} {told(written)}")
    if written["warning"]:
        session.warn(written["warning"])
    return session.outcome(written)


def _path(id: str) -> str:
    return f"/rules/{segment(id)}"


def _match(args: argparse.Namespace) -> dict[str, list[str] | None]:
    found: dict[str, list[str] | None] = {}
    for option, (field, _) in _MATCHES.items():
        given = getattr(args, option.replace("-", "_"))
        if given is not None:
            values = given if field in _WHOLE else [part for text in given for part in text.split(",") if part]
            found[field] = None if values == ["any"] else values
    return found


def _said(args: argparse.Namespace) -> dict[str, Any]:
    said = {name: getattr(args, name) for name in ("comment", "mode", "enabled")}
    document = {name: value for name, value in said.items() if value is not None}
    if args.log is not None:
        document["log"] = {"rate": args.log}
    return document


def _limit(args: argparse.Namespace) -> dict[str, Any]:
    limit = {field: getattr(args, option) for option, field in _LIMITS.items() if getattr(args, option) is not None}
    if args.ban is not None:
        limit["ban"] = args.ban
    return limit


def _where(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("before", "after", "position") if getattr(args, name) is not None}
