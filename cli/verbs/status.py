# SPDX-License-Identifier: Apache-2.0
"""status, show, counters: pages about what is."""

from __future__ import annotations

import argparse
from typing import Any

from cli.client import Document, segment
from cli.errors import DONE
from cli.render import RIGHT, Cell, Column, Screen, Table, bits, count, duration, number, rate, size
from cli.session import Session
from cli.times import ago, local, still

_EXAMPLES = {
    "status": """\
examples:
  xdpfw status
  xdpfw status --json | jq .maps
""",
    "show": """\
examples:
  xdpfw show 198.51.100.7
  xdpfw show 2001:db8::7 --json | jq -r .verdict
""",
    "counters": """\
examples:
  xdpfw counters                          every attached interface
  xdpfw counters eth0 --json | jq .dropped
""",
}
_NEARLY_FULL = 0.9


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES[verb]
    if verb == "show":
        parser.add_argument("address", metavar="ADDRESS")
    elif verb == "counters":
        parser.add_argument("interface", metavar="IFACE", nargs="?")
    parser.set_defaults(run={"status": _status, "show": _show, "counters": _counters}[verb])


def _status(session: Session) -> int:
    status = session.client.get("/status")
    if session.json:
        session.document(status)
        return DONE
    _headline(session, status)
    session.say()
    _interfaces(session, status["interfaces"])
    session.say()
    sizes = [f"{each['name']} {number(each['entries'])}" for each in status["sets"]]
    session.say(f"sets       {', '.join(sizes)}")
    for name, fill in status["maps"].items():
        _fill(session, name, fill)
    _bans(session, status["bans"])
    _events(session, status["events"])
    return DONE


def _headline(session: Session, status: Document) -> None:
    paint, policy = session.screen.paint, status["policy"]
    ready = paint("ready", "green") if status["ready"] else paint("NOT READY", "red")
    session.say(f"xdpfw {status['version']}, instance {status['instance']}: {ready}, up {duration(status['uptime'])}")
    mode = policy["mode"] if policy["mode"] == "enforce" else paint("monitor (nothing is dropped)", "yellow")
    session.say(f"policy     default {policy['default']}, {mode}, revision {status['revision']}")
    panic = status.get("panic") or {}
    if panic.get("on"):
        kept = ", ".join(panic["keep"]) or "nobody"
        session.say(paint(f"PANIC      everything is dropped; let through: {kept}; `xdpfw panic --off` ends it", "red"))
    for problem in status["problems"]:
        session.say(f"{paint('problem', 'red')}    {problem}")
    for warning in status["warnings"]:
        session.say(f"{paint('warning', 'yellow')}    {warning}")
    operation = status["operation"]
    if operation:
        done, total = operation["done"], operation["total"]
        share = f", {100 * done // total} %" if total else ""
        into = f" {operation['set']}" if operation.get("set") else ""
        session.say(f"running    {operation['kind']}{into}: {number(done)} of {number(total)}{share}")


_STATES = {"attached": "green", "error": "red", "absent": "yellow", "detached": ""}


def _interfaces(session: Session, interfaces: list[Document]) -> None:
    columns = [Column("interface"), Column("state"), Column("mode"), Column("driver"), Column("MTU", RIGHT)]
    columns += [Column("passed", RIGHT), Column("dropped", RIGHT)]
    rows: list[list[Cell]] = []
    for each in interfaces:
        traffic = [_packets(each["passed"]), _packets(each["dropped"])]
        mode: Cell = each["mode"] or ""
        if each["mode"] == "generic" and each["desired"] != "generic":
            mode = ("generic", "yellow")
        state: Cell = (each["state"], _STATES.get(each["state"], ""))
        rows.append([each["name"], state, mode, each["driver"] or "", str(each["mtu"] or ""), *traffic])
    Table(session.screen, columns).write(rows)
    for each in interfaces:
        if each["warning"]:
            session.say(f"  {each['name']}: {session.screen.paint(each['warning'], 'yellow')}")


def _packets(counted: Document | None) -> str:
    return f"{count(counted['packets'])} / {size(counted['bytes'])}" if counted else ""


def _events(session: Session, events: Document) -> None:
    """Only what somebody who watches them may miss."""
    lost = [f"{number(count)} on CPU {cpu}" for cpu, count in enumerate(events["lost"]) if count]
    if lost:
        session.say(f"events     lost since the start, because they came too fast: {', '.join(lost)}")


def _bans(session: Session, bans: Document) -> None:
    if bans["made"] or bans["used"]:
        refused = bans["refused"]
        more = f", {session.screen.paint(f'{number(refused)} packets found no room for theirs', 'yellow')}"
        session.say(f"bans       {number(bans['used'])} of {number(bans['size'])}{more if refused else ''}")


def _fill(session: Session, name: str, fill: Document) -> None:
    used, whole = fill["used"], fill["size"]
    if used is None or used < 0:
        return
    text = f"map        {name}: {number(used)} of {number(whole)}"
    if whole and used / whole >= _NEARLY_FULL:
        text = session.screen.paint(f"{text}, nearly full", "yellow")
    session.say(text)


def _show(session: Session) -> int:
    answer = session.client.get(f"/addresses/{segment(session.args.address)}")
    if session.json:
        session.document(answer)
        return DONE
    address_page(session.screen, answer)
    return DONE


def address_page(screen: Screen, answer: Document) -> None:
    """What becomes of packets from an address, by which entries, and where it was seen."""
    word, style = {"drop": ("is dropped", "red"), "pass": ("passes", "green")}.get(
        answer["verdict"], ("is dropped or passes, depending on the packet", "yellow")
    )
    screen.line(f"{answer['address']} {screen.paint(word, style)}: {answer['because']}")
    if answer["matches"]:
        screen.line()
        columns = [Column("set"), Column("prefix"), Column("expires", RIGHT), Column("packets", RIGHT)]
        columns += [Column("bytes", RIGHT), Column("origin"), Column("comment", flexible=True)]
        Table(screen, columns).write(_match_row(match) for match in answer["matches"])
    if answer["interfaces"]:
        screen.line()
        columns = [Column("seen on"), Column("passed", RIGHT), Column("dropped", RIGHT), Column("last", RIGHT)]
        Table(screen, columns).write(
            [each["name"], _packets(each["passed"]), _packets(each["dropped"]), ago(each["last_seen"])]
            for each in answer["interfaces"]
        )


def _match_row(match: Document) -> list[Cell]:
    until = match["expires_at"]
    expires = f"{still(until)} ({local(until)})" if until else "for ever"
    hits = [count(match["packets"]), size(match["bytes"])]
    return [match["set"], match["prefix"], expires, *hits, match["origin"], match["comment"]]


def _counters(session: Session) -> int:
    args = session.args
    if args.interface:
        names = [args.interface]
    else:
        names = [item["name"] for item in session.client.items("/interfaces") if item["state"] == "attached"]
    answers = [session.client.get(f"/interfaces/{segment(name)}/counters") for name in names]
    if session.json:
        session.document(answers[0] if args.interface else {"items": answers})
        return DONE
    if not answers:
        session.say("nothing is attached; xdpfw attach IFACE")
    for at, answer in enumerate(answers):
        if at:
            session.say()
        _counters_page(session, answer)
    return DONE


def _counters_page(session: Session, answer: Document) -> None:
    session.say(session.screen.paint(answer["name"], "bold"))
    columns = [Column("why"), Column("passed", RIGHT), Column("bytes", RIGHT)]
    columns += [Column("dropped", RIGHT), Column("bytes", RIGHT)]
    monitored = answer["monitored"]["packets"] > 0
    if monitored:
        columns.append(Column("would drop", RIGHT))
    rows = [_counter_row(why, each, monitored) for why, each in answer["reasons"].items()]
    rows.append(_counter_row("total", answer, monitored))
    Table(session.screen, columns).write(rows)
    for word in ("passed", "dropped"):
        now = answer[word]
        if "pps" in now:
            session.say(f"{word} now: {rate(now['pps'])}, {bits(now['bps'])}")


def _counter_row(why: str, each: dict[str, Any], monitored: bool) -> list[Cell]:
    row: list[Cell] = [why]
    for word in ("passed", "dropped"):
        row += [number(each[word]["packets"]), size(each[word]["bytes"])]
    return [*row, number(each["monitored"]["packets"])] if monitored else row
