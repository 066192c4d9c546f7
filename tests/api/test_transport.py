# SPDX-License-Identifier: Apache-2.0
"""The sockets that the daemon listens on."""

from __future__ import annotations

import grp
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api import transport
from api.transport import credentials, tcp_socket, unix_socket
from xdpfw.model.errors import Conflict, InvalidInput, Unavailable


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xdpfw-") as name:
        yield Path(name)


def test_the_unix_socket_is_for_its_owner_and_group_alone(directory: Path) -> None:
    old = os.umask(0o077)
    try:
        with closing(unix_socket(directory / "run" / "s")):
            found = (directory / "run" / "s").stat()
    finally:
        os.umask(old)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o660


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_the_unix_socket_belongs_to_the_group(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = next(entry for entry in grp.getgrall() if entry.gr_gid)
    monkeypatch.setattr(transport, "GROUP", group.gr_name)
    with closing(unix_socket(directory / "s")):
        assert (directory / "s").stat().st_gid == group.gr_gid


def test_what_a_killed_daemon_left_is_replaced(directory: Path) -> None:
    path = directory / "s"
    unix_socket(path).close()
    assert path.exists()
    with closing(unix_socket(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_daemon_that_lives_is_not_replaced(directory: Path) -> None:
    path = directory / "s"
    with closing(unix_socket(path)) as first:
        with pytest.raises(Conflict, match="another daemon"):
            unix_socket(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            first.accept()[0].close()


def test_a_file_that_is_no_socket_is_not_removed(directory: Path) -> None:
    path = directory / "s"
    path.write_text("precious")
    with pytest.raises(Conflict, match="not a socket"):
        unix_socket(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_says_so(directory: Path) -> None:
    with pytest.raises(InvalidInput, match="107"):
        unix_socket(directory / ("x" * 108))


def test_a_directory_that_cannot_be_made_says_so(directory: Path) -> None:
    (directory / "file").write_text("")
    with pytest.raises(Unavailable, match="--socket"):
        unix_socket(directory / "file" / "s")


def test_credentials_are_the_kernels_word() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = credentials(ours)
    assert (peer.uid, peer.gid) == (os.geteuid(), os.getegid())
    assert peer.groups == frozenset(os.getgroups())


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_tcp_on_the_loopback(listen: str) -> None:
    with closing(tcp_socket(listen)) as sock:
        assert sock.getsockname()[0] in ("127.0.0.1", "::1")
        assert sock.getsockname()[1] > 0


def test_an_address_need_not_be_there_yet() -> None:
    """The daemon starts before the network."""
    for listen in ("192.0.2.99:0", "[2001:db8::99]:0"):
        with closing(tcp_socket(listen)) as sock:
            assert sock.getsockname()[0] in ("192.0.2.99", "2001:db8::99")


@pytest.mark.parametrize("listen", [":8484", "8484", "127.0.0.1:x", "example:80"])
def test_nothing_but_an_address_and_port(listen: str) -> None:
    with pytest.raises(InvalidInput):
        tcp_socket(listen)


def test_a_taken_port_says_so() -> None:
    with closing(tcp_socket("127.0.0.1:0")) as first, pytest.raises(Conflict, match="--listen"):
        tcp_socket(f"127.0.0.1:{first.getsockname()[1]}")
