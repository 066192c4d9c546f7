# SPDX-License-Identifier: Apache-2.0
"""Real slow clients beside a quick one: heads, bodies and answers a byte at a time, idle crowds. What is slow ends, and
who is quick is served meanwhile."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from api.connection import Patience
from api.lobby import Room
from lab.waiting import eventually
from tests.api.conftest import Api, Host, behind, fake_server, ok

PATIENCE = Patience(head=2.0, body=2.0, body_rate=100_000, taking=1.5, idle=2, leaving=1.0)
ROOM = Room(total=12, per_peer=6)
QUICK = 10.0
"""Seconds within which even a busy machine answers a small request."""
HEAD = b"PUT /api/v1/sets/block/entries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"


@pytest.fixture(scope="module")
def slow_host() -> Iterator[Host]:
    with fake_server(patience=PATIENCE) as host:
        yield host


@pytest.fixture
def api(slow_host: Host) -> Iterator[Api]:
    """A server without patience."""
    with behind(slow_host) as api:
        yield api
    eventually(lambda: slow_host.connections == 0, "all connections of this test are gone")


@pytest.fixture(scope="module")
def small_host() -> Iterator[Host]:
    with fake_server(room=ROOM) as host:
        yield host


@pytest.fixture
def small(small_host: Host) -> Iterator[Api]:
    """A patient server with little room: nobody in it is ended for being slow."""
    with behind(small_host) as api:
        yield api
    eventually(lambda: small_host.connections == 0, "all connections of this test are gone")


def connect(api: Api, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", api.host.port), timeout=QUICK, source_address=(source, 0))


def token(api: Api) -> str:
    return str(ok(api.client.post("tokens", json={"name": "n", "role": "admin"})).json()["secret"])


def ended(sock: socket.socket) -> bytes:
    """What the server said until it ended the connection."""
    said = b""
    try:
        while piece := sock.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def answers(sock: socket.socket, within: float) -> bool:
    """Whether the other end says something or is gone."""
    return bool(select.select([sock], [], [], within)[0])


def gone(sock: socket.socket) -> bool:
    """Whether the other end is gone, without waiting."""
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK)


def drip(sock: socket.socket, data: bytes, within: float) -> float:
    """Send a byte every twentieth of a second until the server has had enough; answers how long that took."""
    began = time.monotonic()
    while not answers(sock, 0.05):
        assert time.monotonic() - began < within, "the server lets it go on for ever"
        try:
            sock.send(data[:1])
        except OSError:
            break
        data = data[1:] + data[:1]
    return time.monotonic() - began


def test_a_head_that_takes_too_long_is_408(api: Api) -> None:
    with connect(api) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        took = drip(slow, b"X-Filler: aaaaaaaaaaaaaaaaaaaaaa\r\n", QUICK)
        assert took > PATIENCE.head / 2
        assert ended(slow).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("said", [b"", b"\r\n"], ids=["nothing", "a line break"])
def test_who_says_nothing_is_shown_out(api: Api, said: bytes) -> None:
    with connect(api) as silent:
        silent.sendall(said)
        assert ended(silent) == b""


def test_line_breaks_between_requests_buy_no_time(api: Api) -> None:
    with connect(api) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
        drip(slow, b"\r\n", QUICK)


def test_a_body_that_takes_too_long_is_408_and_changes_nothing(api: Api) -> None:
    secret = token(api)
    with api.nothing_changes(), connect(api) as slow:
        slow.sendall(HEAD + f"Authorization: Bearer {secret}\r\nContent-Length: 100000\r\n\r\n".encode())
        drip(slow, b"192.0.2.1\n", QUICK)
        assert ended(slow).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_keeps_up_may_take_longer(api: Api) -> None:
    """The time to send grows with what has arrived: large lists come over slow lines."""
    lines = [b"192.0.2.%d\n" % (number % 256) * 2000 for number in range(40)]
    secret = token(api)
    with connect(api) as sock:
        length = sum(map(len, lines))
        sock.sendall(HEAD + f"Authorization: Bearer {secret}\r\nContent-Length: {length}\r\n\r\n".encode())
        began = time.monotonic()
        for line in lines:
            assert not answers(sock, 0.1)
            sock.sendall(line)
        assert time.monotonic() - began > PATIENCE.body * 1.5
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_nobody_wants_is_not_taken_for_ever(api: Api) -> None:
    with connect(api) as slow:
        slow.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        assert slow.recv(4096).startswith(b"HTTP/1.1 401 ")
        drip(slow, b"1\r\nx\r\n", QUICK)


def test_an_answer_that_nobody_takes_ends(api: Api) -> None:
    secret = token(api)
    api.bulk("block", "\n".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(18_000)))
    ask = (
        f"GET /api/v1/sets/block/entries?limit=10000 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\n"
    )
    api.client.close()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", api.host.port))
        eventually(lambda: api.host.connections == 1, "no other connection is open")
        # more answers than all buffers between us hold
        deaf.sendall(f"{ask}\r\n".encode() * 20)
        eventually(lambda: api.host.connections == 0, "the server gave up", QUICK)


def test_slow_clients_do_not_starve_a_quick_one_of_the_same_address(small: Api) -> None:
    """A crowd that fills every place, and comes back for each that is shown out."""
    secret = token(small)
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(small)) for _ in range(ROOM.per_peer * 3)]
        for number in range(20):
            slow = stack.enter_context(connect(small))
            slow.send(b"GET /healthz HTTP/1.1\r\nX: ")
            crowd.append(slow)
            began = time.monotonic()
            with small.tcp(secret) as quick:
                assert ok(quick.put(f"sets/block/entries/192.0.2.{number}")).status_code == 201
            assert time.monotonic() - began < QUICK
            assert small.host.connections <= ROOM.per_peer + 1  # and the trusted socket's
        assert sum(map(gone, crowd)) >= len(crowd) - ROOM.per_peer


def test_slow_clients_of_many_addresses_do_not_starve_a_quick_one(small: Api) -> None:
    secret = token(small)
    with ExitStack() as stack:
        for number in range(ROOM.total * 3):
            stack.enter_context(connect(small, f"127.0.1.{number + 1}")).send(b"GET /healthz HTTP/1.1\r\nX: ")
        with small.tcp(secret) as quick:
            ok(quick.get("status"))
        assert small.host.connections <= ROOM.total + 1


def test_a_full_house_turns_newcomers_away_while_all_are_being_answered(small: Api) -> None:
    """Requests that are under way are not ended for newcomers; the trusted socket has places of its own."""
    secret = token(small)
    head = HEAD + f"Authorization: Bearer {secret}\r\nContent-Length: 10\r\n\r\n".encode()
    with ExitStack() as stack:
        busy = [stack.enter_context(connect(small)) for _ in range(ROOM.per_peer)]
        for sock in busy:
            sock.sendall(head)
        eventually(lambda: small.host.connections >= ROOM.per_peer, "all are connected")
        eventually(lambda: refused(small), "a newcomer is turned away")
        ok(small.client.get("status"))
        with small.tcp(secret, source="127.0.0.9") as elsewhere:
            ok(elsewhere.get("status"))
        for sock in busy:
            sock.sendall(b"192.0.2.1\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")


def refused(api: Api) -> bool:
    with connect(api) as newcomer:
        newcomer.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return ended(newcomer) == b""
