# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests. Fields that are not named here are refused: a misspelt `tll` must not become "for ever"."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from xdpfw.frames.build import LONGEST
from xdpfw.model import rule_form, texts
from xdpfw.model.errors import InvalidInput
from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import DEFAULT_ORIGIN
from xdpfw.model.prefix import Prefix, parse_address
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Fragment, Mode


def _prefix(value: Any) -> Prefix:
    if not isinstance(value, str):
        raise PydanticCustomError("prefix_type", 'a prefix is text, such as "203.0.113.0/24"')
    try:
        return Prefix.parse(value)
    except InvalidInput as error:
        raise PydanticCustomError("prefix", "{detail}", {"detail": error.detail}) from None


PrefixText = Annotated[
    Prefix,
    PlainValidator(_prefix),
    WithJsonSchema(
        {
            "type": "string",
            "format": "ip-prefix",
            "description": "IPv4 or IPv6 prefix or address",
            "examples": ["203.0.113.0/24"],
        }
    ),
]
Seconds = Annotated[
    int,
    PlainValidator(texts.duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "^[0-9]{1,10}[smhd]?$"},
            ],
            "description": "Seconds, or text such as 90s, 15m, 1h, 7d",
            "examples": [3600, "1h"],
        }
    ),
]
Instant = Annotated[
    datetime,
    PlainValidator(texts.instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2030-01-02T03:04:05Z"]}),
]
EtherType = Annotated[
    int,
    PlainValidator(texts.ethertype),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}], "examples": ["0x88cc"]}),
]
Comment = Annotated[
    StrictStr, AfterValidator(texts.comment), Field(description="One line for people", examples=["scanner"])
]
Origin = Annotated[
    StrictStr, AfterValidator(texts.origin), Field(description="Who claims this", examples=["fail2ban:sshd"])
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Timed(Body):
    """No ttl and no expires_at: for ever."""

    ttl: Seconds | None = None
    expires_at: Instant | None = None

    @model_validator(mode="after")
    def _one_end(self) -> _Timed:
        if self.ttl is not None and self.expires_at is not None:
            raise ValueError("give ttl or expires_at, not both")
        return self


class EntryBody(_Timed):
    """What one origin says about one prefix."""

    comment: Comment = ""
    origin: Origin = DEFAULT_ORIGIN


class AddedEntry(EntryBody):
    prefix: PrefixText


def _object(value: Any) -> Any:
    return {"prefix": value} if isinstance(value, str) else value


class EntriesPatch(Body):
    """All or nothing. A prefix may not stand in both lists."""

    add: list[Annotated[AddedEntry, BeforeValidator(_object, json_schema_input_type=str | AddedEntry)]] = Field(
        default=[],
        description="Prefixes, or objects with a ttl, comment or origin",
        examples=[["192.0.2.1"]],
    )
    remove: list[PrefixText] = Field(default=[], description="Prefixes that must be there")


class InterfaceBody(Body):
    mode: AttachMode = Field(default=AttachMode.AUTO, description="auto: native, else generic with a warning")


class SetBody(Body):
    comment: Comment = ""


class PolicyPatch(Body):
    """What is left out stays as it is."""

    default: Verdict | None = Field(default=None, description="Verdict on what no row decides")
    mode: Mode | None = Field(default=None, description="monitor counts what would be dropped, and passes it")
    ethertypes: list[EtherType] | None = Field(
        None,
        max_length=8,
        description="What passes under default drop beside IP and ARP",
        examples=[["0x88cc"]],
    )


def _address(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("address_type", 'an address is text, such as "203.0.113.7"')
    try:
        return parse_address(value)
    except InvalidInput as error:
        raise PydanticCustomError("address", "{detail}", {"detail": error.detail}) from None


def _flags(value: Any) -> int | None:
    """Flags that are set, by name, or as the number in the header."""
    return value if value is None or _is_octet(value) else rule_form.tcp_flags(value).value


def _type(value: Any) -> int | None:
    """A number: a name may mean one type of ICMP and another of ICMPv6."""
    if value is None or _is_octet(value):
        return value  # type: ignore[no-any-return]
    raise ValueError("a type is a number from 0 to 255")


def _is_octet(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _protocol(value: Any) -> int | None:
    return None if value is None else rule_form.protocol(value)


_NAMED = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0, "maximum": 255}, {"type": "null"}]}
AddressText = Annotated[
    Any,
    PlainValidator(_address),
    WithJsonSchema({"type": "string", "format": "ip-address", "examples": ["203.0.113.7"]}),
]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Protocol = Annotated[int | None, PlainValidator(_protocol), WithJsonSchema(_NAMED | {"examples": ["tcp"]})]
TcpFlags = Annotated[int | None, PlainValidator(_flags), WithJsonSchema(_NAMED | {"examples": ["syn,ack"]})]
IcmpNumber = Annotated[
    int | None,
    PlainValidator(_type),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": 255}, {"type": "null"}]}),
]


class ExplainBody(Body):
    """A packet: `source` and what else is known of it, or `frame`."""

    source: AddressText | None = None
    destination: AddressText | None = None
    protocol: Protocol = None
    source_port: Port | None = None
    destination_port: Port | None = None
    icmp_type: IcmpNumber = None
    tcp_flags: TcpFlags = None
    vlan: Annotated[int, Field(strict=True, ge=0, le=4095)] | None = None
    length: Annotated[int, Field(strict=True, ge=14, le=LONGEST)] | None = None
    fragment: Fragment = Fragment.NONE
    interface: Annotated[StrictStr, AfterValidator(rule_form.interface)] | None = None
    frame: Annotated[StrictStr, Field(max_length=16384, description="Raw bytes in base64")] | None = None


class PanicBody(Body):
    keep: list[PrefixText] = Field(
        default=[], max_length=1000, description="Whose packets pass, beside those who are kept anyway"
    )


class RollbackBody(Body):
    revision: StrictInt = Field(ge=0, le=2**62, description="The policy becomes as it was then", examples=[7])


class TokenBody(_Timed):
    name: Annotated[StrictStr, AfterValidator(texts.comment), Field(min_length=1, examples=["grafana"])]
    role: Literal["read", "write", "admin"] = Field(
        description="read: GET; write: all writes but admin's; admin: also tokens and interfaces"
    )
    sources: list[PrefixText] = Field(
        default=[], max_length=100, description="The only prefixes it may be used from; none: from everywhere"
    )
