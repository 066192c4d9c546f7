# SPDX-License-Identifier: Apache-2.0
"""What a change makes different, one line for each thing, as a diff."""

from __future__ import annotations

import json
from typing import Any

from cli.client import Document
from cli.render import number, printable
from cli.session import Session

_LONGEST = 400


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
    names = dict.fromkeys((*before, *after))
    changes = [f"{name} {_value(before.get(name))} → {_value(after.get(name))}" for name in names]
    return "~", "yellow", ", ".join(changes)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
