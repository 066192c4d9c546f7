# SPDX-License-Identifier: Apache-2.0
"""Files of prefixes, read for an import that adds: plain text, JSON, NDJSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from cli.errors import USAGE, Failure
from cli.values import plain_lines

Item = str | dict[str, Any]
# What an exported entry carries beside what can be said about an entry when it is added.
_CAN_BE_SAID = ("prefix", "expires_at", "comment", "origin")
BODY_BYTES = 4 << 20
"""The API takes bodies of 8 MiB in a PATCH; half of that leaves room whatever the spelling."""

FORMATS = {"text": "text/plain", "json": "application/json", "ndjson": "application/x-ndjson"}


def format_of(name: str, chosen: str | None) -> str:
    """The format asked for, else by the file's name, else text."""
    if chosen:
        return chosen
    for suffix, form in ((".json", "json"), (".ndjson", "ndjson"), (".jsonl", "ndjson")):
        if name.lower().endswith(suffix):
            return form
    return "text"


def read(file: BinaryIO, form: str, said: dict[str, Any]) -> tuple[list[Item], list[str]]:
    """The entries of a file and the place of each. `said` (ttl, comment, origin) holds where an entry says nothing
    of its own. Raises Failure (usage) for a file that is not of that form."""
    items: list[Item] = []
    places: list[str] = []
    for place, item in _FORMS[form](file):
        for each in _claims(item, place):
            items.append(_with(each, said) if said else each)
            places.append(place)
    return items, places


def _with(item: Item, said: dict[str, Any]) -> Item:
    own = {"prefix": item} if isinstance(item, str) else item
    whole = {**said, **own}
    if "expires_at" in own:
        whole.pop("ttl", None)
    return whole


def _text_items(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    with io.TextIOWrapper(file, "utf-8", errors="backslashreplace") as lines:
        for number, text in plain_lines(lines):
            yield f"line {number}", text


def _json_items(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    try:
        document = json.load(file)
    except ValueError as error:
        raise Failure(USAGE, f"the file is not JSON: {error}") from None
    if not isinstance(document, list):
        raise Failure(USAGE, "the file holds no JSON list of prefixes or of objects with a prefix")
    for number, item in enumerate(document, 1):
        yield f"item {number}", item


def _ndjson_items(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except ValueError as error:
                raise Failure(USAGE, f"line {number} is not JSON: {error}") from None


_FORMS = {"text": _text_items, "json": _json_items, "ndjson": _ndjson_items}


def _claims(item: Any, place: str) -> Iterator[Item]:
    """What can be added: one for each claim of an exported entry. Fields that are null say nothing."""
    if isinstance(item, str):
        yield item
        return
    if not isinstance(item, dict) or not isinstance(item.get("prefix"), str):
        raise Failure(USAGE, f"{place} is neither a prefix nor an object with a prefix; nothing was changed")
    for claim in item.get("claims") or [item]:
        whole = {**item, **claim}
        each = {name: whole[name] for name in _CAN_BE_SAID if whole.get(name) not in (None, "")}
        # An exported ttl is what was left when it was written: the time it ends says the same and stays true.
        if "expires_at" not in each and whole.get("ttl") is not None:
            each["ttl"] = whole["ttl"]
        yield each


def bodies(items: list[Item]) -> Iterator[tuple[int, list[Item]]]:
    """(index of the first, items) in as few pieces as the API's limit on a body allows."""
    first, length = 0, 0
    for at, item in enumerate(items):
        width = len(json.dumps(item, ensure_ascii=False).encode()) + 1 if isinstance(item, dict) else len(item) + 3
        if length + width > BODY_BYTES and at > first:
            yield first, items[first:at]
            first, length = at, 0
        length += width
    if items[first:]:
        yield first, items[first:]


def valid(items: list[Item], places: list[str]) -> tuple[list[Item], list[str], list[dict[str, str]]]:
    """The items whose prefix can be read, their places, and the others as (pointer, detail)."""
    from xdpfw.model.errors import InvalidInput
    from xdpfw.model.prefix import Prefix

    kept: list[Item] = []
    kept_places: list[str] = []
    skipped: list[dict[str, str]] = []
    for item, place in zip(items, places, strict=True):
        try:
            Prefix.parse(item if isinstance(item, str) else item["prefix"])
        except InvalidInput as error:
            skipped.append({"pointer": place, "detail": error.detail})
        else:
            kept.append(item)
            kept_places.append(place)
    return kept, kept_places, skipped
