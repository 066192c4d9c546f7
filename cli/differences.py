# SPDX-License-Identifier: Apache-2.0
"""What a change makes different, one line for each thing, as a diff."""

from __future__ import annotations

import json
from typing import Any

from cli.client import Document
from cli.render import number, printable
from cli.session import Session

_LONGEST = 400
_WHOSE = ("origin",)
"""Fields that tell whose claim it is that differs."""


def show(session: Session, differences: list[Document], more: int, indent: str = "") -> None:
    for each in differences:
        sign, style, text = _line(each["before"], each["after"])
        line = f"{indent}{sign} {each['path']}{f'  {text}' if text else ''}"
        session.say(session.screen.paint(printable(line), style))
    if more:
        session.say(f"{indent}  and {number(more)} more")


def _line(before: Document | None, after: Document | None) -> tuple[str, str, str]:
    if before is None or after is None:
        sides: Document = after if after is not None else before or {}
        text = ", ".join(f"{name} {_value(value)}" for name, value in sides.items() if value not in ("", None, {}, []))
        return ("+", "green", text) if before is None else ("-", "red", text)
    sides = {name: (before.get(name), after.get(name)) for name in (*before, *after)}
    changes = [f"{name} {_value(old)} → {_value(new)}" for name, (old, new) in sides.items() if old != new]
    return "~", "yellow", ", ".join([*(f"{name} {before[name]}" for name in _WHOSE if name in before), *changes])


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
