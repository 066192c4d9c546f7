# SPDX-License-Identifier: Apache-2.0
"""The configuration document in the OpenAPI document. What is taken is decided by xdpfw/policy/config.py; this tells
clients about it."""

from __future__ import annotations

from typing import Any

from api.documents import YAML
from api.rule_schema import NAME, RULE

_MODE = {"type": "string", "enum": ["auto", "native", "generic"]}
_ENTRY = {
    "anyOf": [
        {"type": "string", "description": "A prefix"},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["prefix"],
            "properties": {
                "prefix": {"type": "string"},
                "origin": {"type": "string"},
                "comment": {"type": "string"},
                "ttl": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]},
                "expires_at": {"type": "string", "format": "date-time"},
            },
        },
    ]
}

CONFIG: dict[str, Any] = {
    "type": "object",
    "description": "The desired state. What is left out stays as it is",
    "additionalProperties": False,
    "properties": {
        "policy": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "default": {"type": "string", "enum": ["pass", "drop"]},
                "mode": {"type": "string", "enum": ["enforce", "monitor"]},
                "ethertypes": {"type": "array", "maxItems": 8, "items": {"type": "string"}},
            },
        },
        "rules": {"type": "array", "description": "All rules, in order", "items": RULE},
        "sets": {
            "type": "object",
            "propertyNames": NAME,
            "description": "By name; null deletes one",
            "additionalProperties": {
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {
                    "comment": {"type": "string", "maxLength": 1024},
                    "entries": {"type": "array", "description": "All of them; without it they stay", "items": _ENTRY},
                },
            },
        },
        "interfaces": {
            "type": "object",
            "description": "By name; null detaches one",
            "additionalProperties": {
                "anyOf": [
                    _MODE,
                    {"type": "object", "additionalProperties": False, "properties": {"mode": _MODE}},
                    {"type": "null"},
                ]
            },
        },
    },
}
EXAMPLE = {
    "policy": {"default": "pass"},
    "rules": [{"id": "allow", "match": {"source": ["allow"]}, "action": "pass"},
              {"id": "block", "match": {"source": ["block"]}, "action": "drop"}],
    "sets": {"allow": {"entries": ["192.0.2.0/28"]}, "block": {}},
    "interfaces": {"eth0": {"mode": "auto"}},
}  # fmt: skip
_CONTENT = {"application/json": {"schema": CONFIG, "example": EXAMPLE}, YAML: {"schema": CONFIG}}

CONFIG_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _CONTENT}}
CONFIG_ANSWER: dict[str, Any] = {"content": _CONTENT}
