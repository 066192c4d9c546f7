# SPDX-License-Identifier: Apache-2.0
"""Rules as documents: what REST takes and answers, the store keeps, and configuration files say.

A match field is a value or a list of values; what a value may look like is told by its reader below. Address fields
take names of sets and prefixes, `!` before one excludes it. Unknown fields are refused: a misspelt condition that is
passed over in silence would match everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from xdpfw.model import texts
from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.prefix import HOST_LENGTH, Prefix
from xdpfw.model.rule import (
    MAX_LENGTH,
    UNTAGGED,
    Action,
    AddressMatch,
    Flags,
    Fragment,
    IcmpType,
    Limit,
    Match,
    Mode,
    Range,
    Rule,
)

T = TypeVar("T")
Document = Mapping[str, Any]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
INTERFACE = re.compile(r"[^\s/:]{1,15}")
MAX_LIST = 1024
"""Values in one field of a match."""
MAX_RATE = 1_000_000_000_000
MAX_LOG_RATE = 100_000

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58,
    "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
}  # fmt: skip
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
ALL_FLAGS = 0xFF

ICMP_TYPES = {
    "echo-request": IcmpType(8, 128),
    "echo-reply": IcmpType(0, 129),
    "destination-unreachable": IcmpType(3, 1),
    "packet-too-big": IcmpType(None, 2),
    "time-exceeded": IcmpType(11, 3),
    "parameter-problem": IcmpType(12, 4),
    "redirect": IcmpType(5, 137),
    "router-solicitation": IcmpType(10, 133),
    "router-advertisement": IcmpType(9, 134),
    "timestamp-request": IcmpType(13, None),
    "timestamp-reply": IcmpType(14, None),
}
ICMP_NAMES = {value: name for name, value in ICMP_TYPES.items()}

SHOWN_FIELDS = ("position", "packets", "bytes", "warning")
"""What answers show beside: taken, so that what was read may be sent back, and ignored."""
RULE_FIELDS = ("id", "enabled", "comment", "match", "action", "mode", "limit", "log", *SHOWN_FIELDS)


class _Reader:
    """Collects faults with the places where they are, so that all of them are told at once."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, pointer: str, detail: str) -> None:
        self.faults.append(Fault(pointer, detail))

    def value(self, pointer: str, value: Any, read: Callable[[Any], T], instead: T) -> T:
        try:
            return read(value)
        except ValueError as error:
            self.fault(pointer, str(error))
        except InvalidInput as error:
            self.fault(pointer, error.detail)
        return instead

    def object(self, pointer: str, value: Any, known: Sequence[str]) -> Document:
        if not isinstance(value, dict):
            self.fault(pointer, "an object is wanted here")
            return {}
        for name in value:
            if name not in known:
                self.fault(f"{pointer}/{_escaped(name)}", f"there is no such field; there are {', '.join(known)}")
        return value

    def list(self, pointer: str, value: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
        """One value, or a list of them."""
        if not isinstance(value, list):
            return self._items([(pointer, value)], read)
        if len(value) > MAX_LIST:
            self.fault(pointer, f"at most {MAX_LIST:,} values; put many prefixes into a set")
            return ()
        if not value:
            self.fault(pointer, "an empty list matches nothing; leave the field out to match everything")
        return self._items([(f"{pointer}/{number}", item) for number, item in enumerate(value)], read)

    def _items(self, items: Iterable[tuple[str, Any]], read: Callable[[Any], T]) -> tuple[T, ...]:
        found: dict[T, None] = {}
        for pointer, item in items:
            value: T | None = self.value(pointer, item, read, None)
            if value is not None:
                found[value] = None
        return tuple(found)


def parse_rule(document: Any, pointer: str = "") -> Rule:
    """Raises InvalidInput, which names every fault; `pointer` says where the document stands."""
    reader = _Reader()
    rule = _rule(reader, document, pointer)
    raise_faults(reader.faults)
    return rule


def parse_rules(documents: Any, pointer: str = "") -> tuple[Rule, ...]:
    """An ordered list. Raises InvalidInput, also for an id that stands there twice."""
    if isinstance(documents, dict) and isinstance(documents.get("items"), list):
        documents = documents["items"]  # as the list of rules is answered
    if not isinstance(documents, list):
        raise InvalidInput("a list of rules is wanted", [Fault(pointer, "a list of rules is wanted")])
    reader = _Reader()
    rules: dict[str, Rule] = {}
    for number, document in enumerate(documents):
        rule = _rule(reader, document, f"{pointer}/{number}")
        if rule.id in rules and rule.id:
            reader.fault(f"{pointer}/{number}/id", f"there is a rule {rule.id!r} before it")
        rules[rule.id] = rule
    raise_faults(reader.faults)
    return tuple(rules.values())


def raise_faults(faults: Sequence[Fault]) -> None:
    if faults:
        first = faults[0]
        more = f" (the first of {len(faults)} faults)" if len(faults) > 1 else ""
        raise InvalidInput(f"{first.pointer or 'the rule'}: {first.detail}{more}", faults)


def _rule(reader: _Reader, document: Any, at: str) -> Rule:
    fields = reader.object(at, document, RULE_FIELDS)
    action = reader.value(f"{at}/action", fields.get("action"), _choice(Action, "pass, drop or limit"), Action.PASS)
    limit = _limit(reader, fields["limit"], f"{at}/limit") if fields.get("limit") is not None else None
    if (action is Action.LIMIT) != (limit is not None):
        reader.fault(f"{at}/limit", "action limit needs a limit, and no other action takes one")
    return Rule(
        id=reader.value(f"{at}/id", fields.get("id"), rule_id, ""),
        match=_match(reader, {} if fields.get("match") is None else fields["match"], f"{at}/match"),
        action=action,
        enabled=reader.value(f"{at}/enabled", fields.get("enabled", True), _flag, True),
        comment=reader.value(f"{at}/comment", fields.get("comment", ""), texts.comment, ""),
        mode=reader.value(
            f"{at}/mode", fields.get("mode", "enforce"), _choice(Mode, "enforce or monitor"), Mode.ENFORCE
        ),
        limit=limit,
        log_rate=_log_rate(reader, fields.get("log"), f"{at}/log"),
    )


def _match(reader: _Reader, document: Any, at: str) -> Match:
    fields = reader.object(at, document, MATCH_FIELDS)

    found = {
        name: reader.list(f"{at}/{name}", fields[name], read)
        for name, read in _READERS.items()
        if fields.get(name) is not None
    }
    for side in ("source", "destination"):
        if side in found:
            found[side] = _address(found[side])  # type: ignore[assignment]
    match = Match(**found)  # type: ignore[arg-type]
    for fault, needed, name in _impossible(match):
        reader.fault(f"{at}/{name}", f"{fault}: this can match nothing unless protocol has {needed}")
    return match


def _impossible(match: Match) -> Iterable[tuple[str, str, str]]:
    """Fields that the protocols of a match rule out."""
    asked = set(match.protocol)
    needs = (
        ("source_ports", match.source_ports, {6, 17, 132}, "tcp, udp or sctp"),
        ("destination_ports", match.destination_ports, {6, 17, 132}, "tcp, udp or sctp"),
        ("icmp_types", match.icmp_types, {1, 58}, "icmp or icmpv6"),
        ("tcp_flags", match.tcp_flags, {6}, "tcp"),
    )
    for name, values, carriers, needed in needs:
        if values and asked and not asked & carriers:
            yield "only some protocols have this", needed, name


def _address(terms: Sequence[tuple[bool, str | Prefix]]) -> AddressMatch:
    def chosen(kind: type[T], negated: bool) -> tuple[T, ...]:
        return tuple(value for no, value in terms if no is negated and isinstance(value, kind))

    return AddressMatch(chosen(str, False), chosen(Prefix, False), chosen(str, True), chosen(Prefix, True))


def _limit(reader: _Reader, document: Any, at: str) -> Limit:
    fields = reader.object(at, document, ("rate", "unit", "burst", "per", "prefix4", "prefix6", "ban"))
    rate = reader.value(f"{at}/rate", fields.get("rate"), _whole("a rate per second", 1, MAX_RATE), 1)
    burst = fields.get("burst")
    ban = fields.get("ban")
    limit = Limit(
        rate=rate,
        unit=reader.value(f"{at}/unit", fields.get("unit", "packets"), _word("packets", "bytes"), "packets"),  # type: ignore[arg-type]
        burst=rate if burst is None else reader.value(f"{at}/burst", burst, _whole("a burst", 1, MAX_RATE), 1),
        per=reader.value(f"{at}/per", fields.get("per", "source"), _word("source", "rule"), "source"),  # type: ignore[arg-type]
        prefix4=reader.value(f"{at}/prefix4", fields.get("prefix4", 32), _whole("a length", 0, HOST_LENGTH[4]), 32),
        prefix6=reader.value(f"{at}/prefix6", fields.get("prefix6", 64), _whole("a length", 0, HOST_LENGTH[6]), 64),
        ban=0 if ban in (None, 0) else reader.value(f"{at}/ban", ban, texts.duration, 0),
    )
    if limit.ban and limit.per == "rule":
        reader.fault(f"{at}/ban", "nobody in particular exceeds a limit per rule: to ban, it has to be per source")
    for name in ("prefix4", "prefix6"):
        if limit.ban and not getattr(limit, name):
            reader.fault(
                f"{at}/{name}", "with this length the first ban would be on everybody; to ban, give a longer one"
            )
    return limit


def _log_rate(reader: _Reader, document: Any, at: str) -> int:
    if document is None:
        return 0
    fields = reader.object(at, document, ("rate",))
    return reader.value(f"{at}/rate", fields.get("rate"), _whole("events per second", 1, MAX_LOG_RATE), 0)


# readers of single values: each raises ValueError or InvalidInput, saying what would do


def rule_id(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"{_shown(value)} cannot name a rule: a small letter, then up to 62 of a-z 0-9 _ -")
    return value


def _address_term(value: Any) -> tuple[bool, str | Prefix]:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)}: the name of a set or a prefix is wanted, ! before it excludes it")
    text = value.removeprefix("!")
    return text != value, text if NAME.fullmatch(text) else Prefix.parse(text)


def protocol(value: Any) -> int:
    name = value.lower() if isinstance(value, str) else ""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    number = _number(value)
    if number is None or number > 255:
        raise ValueError(f"{_shown(value)} is no protocol: 0 to 255, or {', '.join(PROTOCOLS)}")
    return number


def icmp_type(value: Any) -> IcmpType:
    if isinstance(value, str) and value.lower() in ICMP_TYPES:
        return ICMP_TYPES[value.lower()]
    number = _number(value)
    if number is None or number > 255:
        raise ValueError(f"{_shown(value)} is no ICMP type: 0 to 255, or {', '.join(ICMP_TYPES)}")
    return IcmpType(number, number)


def tcp_flags(value: Any) -> Flags:
    """`syn,ack/syn`: of syn and ack exactly syn is set; `rst`: rst is set; `all/none`: a null scan."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)}: flags are text such as syn,ack/syn")
    mask_text, slash, value_text = value.partition("/")
    mask = _flag_bits(mask_text)
    wanted = _flag_bits(value_text) if slash else mask
    if not mask or wanted & ~mask:
        raise ValueError(f"{value!r}: before the slash stand all flags to look at, after it those of them that are set")
    return Flags(mask, wanted)


def _flag_bits(text: str) -> int:
    if text in ("all", "none"):
        return ALL_FLAGS if text == "all" else 0
    bits = 0
    for name in text.lower().split(","):
        if name not in TCP_FLAGS:
            raise ValueError(f"{name!r} is no TCP flag; there are {', '.join(TCP_FLAGS)}, all and none")
        bits |= TCP_FLAGS[name]
    return bits


def _vlan(value: Any) -> Range:
    return Range(UNTAGGED, UNTAGGED) if value == "none" else _range("a VLAN id (or none)", 4095)(value)


def interface(value: Any) -> str:
    if not isinstance(value, str) or not INTERFACE.fullmatch(value) or len(value.encode("utf-8", "replace")) > 15:
        raise ValueError(f"{_shown(value)} cannot be the name of an interface")
    return value


def _range(what: str, last: int) -> Callable[[Any], Range]:
    def read(value: Any) -> Range:
        first_text, dash, last_text = value.partition("-") if isinstance(value, str) else (value, "", "")
        first, end = _number(first_text), _number(last_text if dash else first_text)
        if first is None or end is None or not first <= end <= last:
            raise ValueError(f"{_shown(value)} is not {what}: a number up to {last}, or a range such as 10-20")
        return Range(first, end)

    return read


def _number(value: Any) -> int | None:
    """A number from 0 on, also in text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _whole(what: str, least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = None if isinstance(value, str) else _number(value)
        if number is None or not least <= number <= most:
            raise ValueError(f"{_shown(value)} is not {what}: a whole number from {least:,} to {most:,}")
        return number

    return read


def _choice(kind: type[T], words: str) -> Callable[[Any], T]:
    def read(value: Any) -> T:
        try:
            return kind(value)  # type: ignore[call-arg]
        except ValueError:
            raise ValueError(f"{_shown(value)}: one of {words} is wanted") from None

    return read


def _word(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{_shown(value)}: one of {' or '.join(words)} is wanted")
        return str(value)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)}: true or false is wanted")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "source": _address_term,
    "destination": _address_term,
    "protocol": protocol,
    "source_ports": _range("a port", 65535),
    "destination_ports": _range("a port", 65535),
    "icmp_types": icmp_type,
    "tcp_flags": tcp_flags,
    "vlan": _vlan,
    "length": _range("a frame's length", MAX_LENGTH),
    "fragment": _choice(Fragment, "none, first or later"),
    "interfaces": interface,
}
"""What reads one value of each field of a match."""
MATCH_FIELDS = tuple(_READERS)


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:60]


def _escaped(name: Any) -> str:
    """A step of a JSON pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")
