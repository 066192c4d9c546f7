# SPDX-License-Identifier: Apache-2.0
"""doctor: is this machine fit, and if not, what mends it (works with the daemon down); and does the kernel hold what
the policy says."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cli.errors import DIFFERENT, DONE, FAILED, UNREACHABLE, Failure, Refused, code_of_status
from cli.session import Session

if TYPE_CHECKING:
    from cli.client import Document

_EXAMPLES = """\
examples:
  xdpfw doctor
  xdpfw doctor --json | jq -r '.items[] | select(.ok | not) | .mend'
  xdpfw doctor --verify           compare every table in the kernel with the policy; exit code 10 if they differ.
                                  Where no daemon answers: what is pinned with the database
  xdpfw doctor --repair           and write again what differs
"""
_A_START_REPAIRS = (
    "repairing needs a daemon, and starting one does it: it applies what differs from its database, and within 10 s"
    " what else does. `xdpfw doctor --verify` compares without one, `xdpfw doctor` says what may keep one from starting"
)
_PATIENCE = 300.0
"""Seconds: it waits for an import to end."""


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--verify", action="store_true", help="compare the kernel's tables with the policy instead")
    ways.add_argument("--repair", action="store_true", help="the same, and write again what differs")
    instance = parser.add_argument_group("with --verify, where no daemon answers")
    instance.add_argument("--state-dir", metavar="DIR", help="the instance's state directory")
    instance.add_argument("--instance", metavar="NAME", help="the instance's name")
    instance.add_argument("--bpffs", metavar="DIR", help="where bpffs is mounted (/sys/fs/bpf)")
    instance.add_argument("--config", metavar="FILE", help="the daemon's configuration")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_doctor)


def _doctor(session: Session) -> int:
    if session.args.verify or session.args.repair:
        return _verify(session)
    return _machine(session)


# the kernel's tables


def _verify(session: Session) -> int:
    session.client.timeout = max(session.client.timeout, _PATIENCE)
    return _repair(session) if session.args.repair else _compare(session)


def _compare(session: Session) -> int:
    try:
        found = session.client.get("/verification")
    except Failure as failure:
        if not _nobody_is_there(session, failure):
            raise
        session.warn(f"{failure.message}: what is pinned is compared with the database")
        found = _without_daemon(session, failure)
    _tell(session, found)
    return DONE if found["ok"] else DIFFERENT


def _repair(session: Session) -> int:
    try:
        found = session.client.write("POST", "/verification", {}, None).document
    except Failure as failure:
        if _nobody_is_there(session, failure):
            failure.notes.append(_A_START_REPAIRS)
        raise
    left = session.client.get("/verification") if not found["ok"] else found
    _tell(session, found)
    if not left["ok"]:
        raise Failure(FAILED, "not all of it could be mended", *_lines(left), "restart the daemon: it makes new tables")
    if not found["ok"]:
        session.say("it was written again, and nothing differs now")
    return DONE


def _nobody_is_there(session: Session, failure: Failure) -> bool:
    """On this machine: a daemon that is busy or starting has answered."""
    here = session.client.target.path is not None
    return here and failure.code == UNREACHABLE and not isinstance(failure, Refused)


def _without_daemon(session: Session, unreachable: Failure) -> Document:
    from dataclasses import asdict

    from cli.verbs.daemon import settings_anyway
    from xdpfw.model.errors import XdpfwError
    from xdpfw.without_daemon import verify

    said = {name: getattr(session.args, name) for name in ("state_dir", "instance", "bpffs")}
    try:
        return asdict(verify(settings_anyway(session, said)))
    except XdpfwError as error:
        code = UNREACHABLE if error.status == 409 else code_of_status(error.status)
        raise Failure(code, error.detail, *unreachable.notes) from None


def _tell(session: Session, found: Document) -> None:
    if session.json:
        session.document(found)
    for line in _lines(found):
        session.say(f"{session.screen.paint('DIFFERS', 'red')}  {line}")
    if found["ok"]:
        session.say(f"nothing differs: {found['prefixes']:,} prefixes and all rules, {found['seconds']:g} s")


def _lines(found: Document) -> list[str]:
    lines = []
    for each in found["deviations"]:
        lines += [f"{each['table']}: {detail}" for detail in each["details"]]
        if (more := each["places"] - len(each["details"])) > 0:
            lines.append(f"{each['table']}: and {more:,} more")
    return lines


# the machine


def _machine(session: Session) -> int:
    from dataclasses import asdict

    from xdpfw.kernel.doctor import checks

    items = [asdict(check) for check in checks()]
    daemon = _daemon(session)
    # A daemon that is not there says nothing about the machine; one that is there and cannot enforce does.
    healthy = all(item["ok"] for item in items) and daemon["ok"] is not False
    if session.json:
        session.document({"ok": healthy, "items": items, "daemon": daemon})
    else:
        for item in [*items, daemon]:
            _line(session, item)
    return DONE if healthy else FAILED


def _daemon(session: Session) -> dict[str, Any]:
    """`ok` is None where none answers."""
    check = {"name": "daemon", "meaning": "", "mend": ""}
    try:
        status = session.client.get("/status")
    except Failure as failure:
        meaning = "Nothing can be changed or shown; what is attached goes on filtering."
        return check | {"ok": None, "detail": failure.message, "meaning": meaning, "mend": "; ".join(failure.notes)}
    if status["ready"]:
        return check | {"ok": True, "detail": f"{status['version']} answers, revision {status['revision']}"}
    meaning = "It answers, but does not enforce the policy."
    return check | {"ok": False, "detail": "; ".join(status["problems"]), "meaning": meaning}


def _line(session: Session, item: dict[str, Any]) -> None:
    paint = session.screen.paint
    mark = {True: paint("ok  ", "green"), False: paint("FAIL", "red"), None: paint("none", "yellow")}[item["ok"]]
    session.say(f"{mark}  {paint(item['name'], 'bold')}: {item['detail']}")
    if not item["ok"]:
        for word in ("meaning", "mend"):
            if item[word]:
                session.say(f"      {'mend: ' if word == 'mend' else ''}{item[word]}")
