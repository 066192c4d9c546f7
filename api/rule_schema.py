# SPDX-License-Identifier: Apache-2.0
"""Rules in the OpenAPI document. What is taken is decided by xdpfw/model/rule_form.py; this tells clients about it."""

from __future__ import annotations

from typing import Any

from xdpfw.model.rule_form import MAX_LIST, MAX_LOG_RATE, MAX_RATE, SHOWN_FIELDS


def _values(description: str, item: dict[str, Any], example: Any) -> dict[str, Any]:
    """One value, or a list of them."""
    many = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_LIST}
    return {"description": description, "anyOf": [item, many], "examples": [example]}


_TEXT = {"type": "string"}
_NUMBER_OR_TEXT = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
_ADDRESS = "Names of sets and prefixes; ! before one excludes it"
NAME = {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"}

MATCH: dict[str, Any] = {
    "type": "object",
    "description": "All fields that are given must match; within a list, one value must. {} matches everything",
    "additionalProperties": False,
    "properties": {
        "source": _values(_ADDRESS, _TEXT, ["block", "!10.0.0.0/8"]),
        "destination": _values(_ADDRESS, _TEXT, ["192.0.2.80"]),
        "protocol": _values("Name or number", _NUMBER_OR_TEXT, ["tcp"]),
        "source_ports": _values("Ports and ranges of TCP, UDP and SCTP", _NUMBER_OR_TEXT, ["1024-65535"]),
        "destination_ports": _values("Ports and ranges of TCP, UDP and SCTP", _NUMBER_OR_TEXT, [80, "8000-8100"]),
        "icmp_types": _values("Types of ICMP and ICMPv6", _NUMBER_OR_TEXT, ["echo-request"]),
        "tcp_flags": _values("Flags to look at / those of them that are set", _TEXT, ["syn,ack/syn"]),
        "vlan": _values("Ids of the outermost tag, ranges, or none", _NUMBER_OR_TEXT, ["none", 7]),
        "length": _values("Bytes of the frame from its Ethernet header on", _NUMBER_OR_TEXT, ["0-128"]),
        "fragment": _values("none, first or later", {"type": "string", "enum": ["none", "first", "later"]}, ["later"]),
        "interfaces": _values("Names, also of absent interfaces", _TEXT, ["eth0"]),
    },
}

LIMIT: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "A token bucket; of action limit alone",
    "additionalProperties": False,
    "required": ["rate"],
    "properties": {
        "rate": {"type": "integer", "minimum": 1, "maximum": MAX_RATE, "description": "Per second, on average"},
        "unit": {"type": "string", "enum": ["packets", "bytes"], "default": "packets"},
        "burst": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_RATE, "description": "At once; the rate"},
        "per": {"type": "string", "enum": ["source", "rule"], "default": "source"},
        "prefix4": {"type": "integer", "minimum": 0, "maximum": 32, "default": 32},
        "prefix6": {"type": "integer", "minimum": 0, "maximum": 128, "default": 64},
        "ban": {**_NUMBER_OR_TEXT, "description": "Drop a source that exceeds it for so long; 0 for not at all"},
    },
}

PLACE: dict[str, Any] = {
    "position": {"type": ["integer", "null"], "minimum": 1, "description": "Place in the list, from 1 on"},
    "before": {"type": ["string", "null"], "description": "Id of the rule that it comes before"},
    "after": {"type": ["string", "null"], "description": "Id of the rule that it comes after"},
}

RULE: dict[str, Any] = {
    "type": "object",
    "description": "One row of the ordered policy. What answers show beside these fields is taken and ignored",
    "required": ["action"],
    "additionalProperties": False,
    "properties": {
        "id": {**NAME, "description": "Chosen by the client"},
        "enabled": {"type": "boolean", "default": True},
        "comment": {"type": "string", "maxLength": 1024, "default": ""},
        "match": MATCH,
        "action": {"type": "string", "enum": ["pass", "drop", "limit"]},
        "mode": {"type": "string", "enum": ["enforce", "monitor"], "default": "enforce"},
        "limit": LIMIT,
        "log": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "required": ["rate"],
            "properties": {"rate": {"type": "integer", "minimum": 1, "maximum": MAX_LOG_RATE}},
        },
        **{name: {"description": "Ignored"} for name in SHOWN_FIELDS},
    },
}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """What a route's openapi_extra says about a body that it reads itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_PLACED = {**RULE, "properties": {**RULE["properties"], **PLACE}}
RULES_BODY = body({"type": "array", "items": RULE})
RULE_BODY = body(_PLACED)
PATCH_BODY = body({**_PLACED, "required": []})
