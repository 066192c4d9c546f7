# SPDX-License-Identifier: Apache-2.0
"""Parameters that many calls share: names, prefixes, durations, write options, paging."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Depends, Header, Path, Query, Request
from pydantic import AfterValidator

from api.trail import author_of
from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.prefix import Address, InvalidPrefix, Prefix, parse_address
from xdpfw.model.requests import TalkerQuery, WriteOptions
from xdpfw.model.texts import duration, origin
from xdpfw.stats.history import SPAN

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
DEFAULT_LIMIT, MAX_LIMIT = 100, 10_000
MAX_WINDOW = 86_400
FASTEST, SLOWEST = 0.5, 60.0
"""Seconds between the events of a stream."""


def set_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name: a small letter, then up to 62 small letters, digits, '_' and '-'")
    return text


def interface_name(text: str) -> str:
    # dev_valid_name() of the kernel: no white space, no '/' nor ':', fewer than 16 bytes
    if not 0 < len(text.encode("utf-8", "replace")) < 16 or re.search(r"[\s/:]", text) or text in {".", ".."}:
        raise ValueError(f"{text!r} cannot be the name of an interface")
    return text


# Patterns and formats are for the OpenAPI document alone: what is refused is refused in our own words.
A_NAME = {"pattern": "^[a-z][a-z0-9_-]{0,62}$"}
AN_INTERFACE = {"pattern": "^[^\\s/:]{1,15}$"}
A_PREFIX = {"format": "ip-prefix"}

SetName = Annotated[
    str, Path(description="Name of the set", examples=["block"], json_schema_extra=A_NAME), AfterValidator(set_name)
]
InterfaceName = Annotated[
    str,
    Path(description="Name of the interface", examples=["eth0"], json_schema_extra=AN_INTERFACE),
    AfterValidator(interface_name),
]
OneInterface = Annotated[
    str | None,
    Query(description="Only of this interface", examples=["eth0"], json_schema_extra=AN_INTERFACE),
    AfterValidator(lambda text: text if text is None else interface_name(text)),
]
OriginQuery = Annotated[
    str | None,
    Query(description="Only the claims of this origin", examples=["fail2ban:sshd"]),
    AfterValidator(lambda text: text if text is None else origin(text)),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most so many items")]
Reasons = Annotated[bool, Query(description="Whether to tell the counts of each reason and rule")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before: a position, not a snapshot")
]


async def _path_prefix(
    prefix: Annotated[
        str,
        Path(description="Prefix; its slash as is or %2F", examples=["203.0.113.0/24"], json_schema_extra=A_PREFIX),
    ],
) -> Prefix:
    return Prefix.parse(prefix)


async def _path_address(
    ip: Annotated[
        str,
        Path(
            description="One IPv4 or IPv6 address", examples=["203.0.113.7"], json_schema_extra={"format": "ip-address"}
        ),
    ],
) -> Address:
    return parse_address(ip)


async def _within(
    within: Annotated[
        str | None,
        Query(description="Only what lies in this prefix", examples=["10.0.0.0/8"], json_schema_extra=A_PREFIX),
    ] = None,
) -> Prefix | None:
    try:
        return None if within is None else Prefix.parse(within)
    except InvalidInput as error:
        raise type(error)(error.detail, [Fault("?within", error.detail)]) from None


PathPrefix = Annotated[Prefix, Depends(_path_prefix)]
PathAddress = Annotated[Address, Depends(_path_address)]
Within = Annotated[Prefix | None, Depends(_within)]


async def _plain_options(
    request: Request,
    dry_run: Annotated[bool, Query(description="Answer what would change; change nothing")] = False,
    force: Annotated[bool, Query(description="Override the guards (409), never validation")] = False,
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="Only if the resource still has this ETag, else 412")
    ] = None,
    ssh: Annotated[
        str | None,
        Header(
            alias="X-SSH-Connection",
            max_length=200,
            description="The ssh session that the request comes from, as in SSH_CONNECTION: protected too",
            examples=["192.0.2.7 50022 198.51.100.1 22"],
            json_schema_extra={"format": "ssh-connection"},
        ),
    ] = None,
) -> WriteOptions:
    client, state, server = request.client, request.state, request.scope["server"]
    return WriteOptions(
        dry_run=dry_run,
        force=force,
        if_match=if_match,
        peer=client.host if client else None,
        local=server[0] if client else None,
        port=server[1] if client else None,
        ssh=None if ssh is None else ssh_ends(ssh),
        author=author_of(request.scope, state.caller, state.request_id),
    )


def ssh_ends(text: str) -> tuple[str, str, int]:
    """Far address, near address and near port. Raises InvalidInput."""
    words = text.split()
    try:
        far, _, near, port = words
        ends = str(parse_address(far.partition("%")[0])), str(parse_address(near.partition("%")[0])), int(port)
    except (ValueError, InvalidPrefix):
        detail = f"{text!r} is not what sshd puts into SSH_CONNECTION: address, port, address, port"
        raise InvalidInput(detail, [Fault("X-SSH-Connection", detail)]) from None
    return ends


PlainOptions = Annotated[WriteOptions, Depends(_plain_options)]
"""Of writes that cannot be taken back."""


async def _write_options(
    plain: PlainOptions,
    confirm_within: Annotated[
        int | None, Query(ge=1, le=MAX_WINDOW, description="Seconds: taken back unless confirmed by then")
    ] = None,
) -> WriteOptions:
    return replace(plain, confirm_within=confirm_within)


Options = Annotated[WriteOptions, Depends(_write_options)]


async def _talker_query(
    within: Within,
    sort: Annotated[
        Literal["bytes", "packets", "bps", "pps", "share", "share_now"],
        Query(description="Ranked by this; share: by the dropped part of the packets, share_now: of the last seconds'"),
    ] = "bytes",
    of: Annotated[Literal["total", "passed", "dropped"], Query(description="…of this traffic")] = "total",
    order: Annotated[Literal["desc", "asc"], Query(description="Greatest first (desc) or smallest first")] = "desc",
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many talkers")] = 10,
    family: Annotated[Literal["4", "6"] | None, Query(description="Only IPv4 or IPv6 talkers")] = None,
) -> TalkerQuery:
    number = {None: None, "4": 4, "6": 6}[family]
    return TalkerQuery(sort, of, order, limit, number, within)  # type: ignore[arg-type]


Talkers = Annotated[TalkerQuery, Depends(_talker_query)]


async def _interval(
    interval: Annotated[
        str,
        Query(description=f"Seconds from one event to the next, {FASTEST:g} to {SLOWEST:g}", examples=["1", "10s"]),
    ] = "1",
) -> float:
    try:
        seconds = float(interval)
    except ValueError:
        seconds = float(_seconds("interval", interval))
    if not FASTEST <= seconds <= SLOWEST:
        raise _fault("interval", f"{interval!r} is not {FASTEST:g} to {SLOWEST:g} seconds")
    return seconds


async def _spans(
    window: Annotated[str, Query(description="How far back, at most 15m", examples=["15m"])] = "15m",
    step: Annotated[str, Query(description="How long each value spans, at least 1s", examples=["1s"])] = "1s",
) -> tuple[int, int]:
    window_seconds, step_seconds = _seconds("window", window), _seconds("step", step)
    if window_seconds > SPAN:
        raise _fault("window", f"{window!r} is more than the {SPAN} seconds that are kept")
    if step_seconds > window_seconds:
        raise _fault("step", f"{step!r} is longer than the window, {window!r}")
    return window_seconds, step_seconds


def _seconds(name: str, text: str) -> int:
    try:
        return duration(text)
    except ValueError as error:
        raise _fault(name, str(error)) from None


def _fault(name: str, detail: str) -> InvalidInput:
    return InvalidInput(f"?{name}: {detail}", [Fault(f"?{name}", detail)])


Interval = Annotated[float, Depends(_interval)]
Spans = Annotated[tuple[int, int], Depends(_spans)]
