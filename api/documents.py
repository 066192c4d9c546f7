# SPDX-License-Identifier: Apache-2.0
"""Documents that people write, as YAML or JSON, read strictly.

Of YAML a part: no aliases (a few lines of them can stand for gigabytes) and no tags; a key that stands twice is
refused, as in JSON; and of plain words only numbers, true, false and null are more than text. YAML 1.1 would also make
numbers of `1:20` and `010`, dates of days, and truths of `on` and `no`, which nobody means who writes addresses and
names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from xdpfw.model.errors import TooLarge, Unreadable

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
YAML = YAML_TYPES[0]
MOST_NODES, MOST_DEPTH = 1_000_000, 32

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_Base):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the library has it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)):
                raise Unreadable(f"{_place(key_node)}: a key must be a word")
            if key in found:
                raise Unreadable(f"{_place(key_node)}: {str(key)[:60]!r} stands there twice")
            found[key] = self.construct_object(value_node, deep=deep)
        return found


for _tag, _pattern, _first in (
    ("bool", "true|false|True|False|TRUE|FALSE", "tTfF"),
    ("null", "null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("int", "[-+]?(?:0|[1-9][0-9]{0,18})|0x[0-9A-Fa-f]{1,16}", "-+0123456789"),
    ("float", r"[-+]?[0-9]{1,18}\.[0-9]{1,18}(?:[eE][-+]?[0-9]{1,3})?", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))


def read_yaml(body: bytes) -> Any:
    """Raises Unreadable, and TooLarge for documents that are deeper or have more in them than anybody writes."""
    try:
        for _ in _checked(yaml.parse(body, Loader=_Loader)):
            pass
        return yaml.load(body, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Unreadable(f"the body is not YAML: {place}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(f"the body is not YAML: {str(error)[:200]}") from None


def _checked(events: Iterator[Any]) -> Iterator[None]:
    nodes = depth = documents = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable(f"{_place(event)}: aliases are not taken; write it out")
        if getattr(event, "tag", None):
            raise Unreadable(f"{_place(event)}: tags are not taken")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Unreadable(f"{_place(event)}: one document is wanted, not several")
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if nodes > MOST_NODES or depth > MOST_DEPTH:
            raise TooLarge(
                f"{_place(event)}: a document has at most {MOST_NODES:,} values, nested at most {MOST_DEPTH} deep"
            )
        yield


def _place(event: Any) -> str:
    return f"line {event.start_mark.line + 1}, column {event.start_mark.column + 1}"


def read_json(body: bytes) -> Any:
    """Raises Unreadable."""
    try:
        return json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the body is not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unreadable(f"{twice[:60]!r} stands twice in one object")
    return found


def write_yaml(document: Any) -> str:
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return str(text)
