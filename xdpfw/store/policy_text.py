# SPDX-License-Identifier: Apache-2.0
"""A policy as text in a store."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from xdpfw.model.policy import Panic, Policy
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode, Slots
from xdpfw.model.rule_form import parse_rules
from xdpfw.model.rule_show import show_rule


def policy_text(policy: Policy) -> str:
    return json.dumps(
        {
            "default": policy.default,
            "mode": policy.mode,
            "ethertypes": list(policy.ethertypes),
            "rules": [show_rule(rule) for rule in policy.rules],
            "slots": policy.slots.of,
        }
        | ({"panic": asdict(policy.panic)} if policy.panic else {})
    )


def policy_of(text: str | None) -> Policy:
    document: dict[str, Any] = json.loads(text) if text else {}
    if "rules" not in document:
        return Policy()
    return Policy(
        Verdict(document["default"]),
        Mode(document["mode"]),
        parse_rules(document["rules"]),
        tuple(document["ethertypes"]),
        Slots(document["slots"]),
        _panic_of(document.get("panic")),
    )


def _panic_of(document: dict[str, Any] | None) -> Panic | None:
    if document is None:
        return None
    return Panic(document["since"], Verdict(document["default"]), Mode(document["mode"]))
