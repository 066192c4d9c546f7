# SPDX-License-Identifier: Apache-2.0
"""doctor: is this machine fit, and if not, what mends it. Works with the daemon down."""

from __future__ import annotations

import argparse
from typing import Any

from cli.errors import DONE, FAILED, Failure
from cli.session import Session

_EXAMPLES = """\
examples:
  xdpfw doctor
  xdpfw doctor --json | jq -r '.items[] | select(.ok | not) | .mend'
"""


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_doctor)


def _doctor(session: Session) -> int:
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
