# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from cli.client import Client, Target
from lab.waiting import eventually
from tests.canned import Canned, Told, problem
from tests.unit.cli.given import WRITTEN, Call

BLOCK = ("PATCH", "/sets/block/entries")


def test_a_socket_that_nobody_listens_on_is_5(call: Call, tmp_path: Path) -> None:
    code, out, err = call("status", "--socket", str(tmp_path / "absent"))
    assert (code, out) == (5, "")
    assert "no daemon answers" in err
    assert "xdpfw serve" in err


def test_the_option_wins_over_the_environment_before_and_after_the_verb(
    call: Call, daemon: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDPFW_SOCKET", "/absent")
    daemon.tells["GET", "/policy"] = Told(document={})
    assert call("--socket", str(daemon.path), "--json", "policy")[:2] == (0, "{}\n")
    assert call("policy", "--json", "--socket", str(daemon.path))[:2] == (0, "{}\n")
    assert call("policy")[0] == 5


def test_tcp_sends_the_token_and_a_base_path(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    got = []

    def serve_once(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            got.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_once, args=(listener,))
        thread.start()
        monkeypatch.setenv("XDPFW_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/fw/")
        monkeypatch.setenv("XDPFW_TOKEN", "s3cret")
        assert call("policy", "--json")[0] == 0
        thread.join()
    assert got[0].startswith(b"GET /fw/api/v1/policy HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in got[0]


@pytest.mark.parametrize(("told", "sent"), [("192.0.2.7 50022 198.51.100.1 22", True), ("", False), ("odd", False)])
def test_the_ssh_session_is_told_with_every_change(
    monkeypatch: pytest.MonkeyPatch, call: Call, daemon: Canned, told: str, sent: bool
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", told)
    call("block", "192.0.2.1")
    call("policy")
    headers = [asked.headers.get("X-SSH-Connection") for asked in daemon.asked]
    assert headers == [told if sent else None, None]


def test_a_connection_that_the_daemon_has_closed_since_is_opened_again(tmp_path: Path) -> None:
    """As it does with one that nobody used for a while, such as the live view's between two keys."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        client = Client(Target(path=str(tmp_path / "s")))
        assert client.write("PATCH", "/policy", body={}).document == {}
        eventually(lambda: is_over(client), "the daemon has closed it")
        assert client.write("PATCH", "/policy", body={}).document == {}
        client.close()
        thread.join()


def is_over(client: Client) -> bool:
    """Whether the end of its connection has come."""
    sock = client._socket
    return sock is not None and sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""


def test_a_daemon_that_does_not_answer_in_time_is_5(call: Call, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        code, _, err = call("status", "--socket", str(tmp_path / "mute"), "--timeout", "0.1")
    assert code == 5
    assert "within 0.1 s" in err


def test_an_answer_that_is_cut_off_is_5(call: Call, daemon: Canned) -> None:
    daemon.tells[BLOCK] = Told(document=WRITTEN, cut=True)
    code, out, err = call("block", "192.0.2.1")
    assert (code, out) == (5, "")
    assert "repeating it is safe" in err


@pytest.mark.parametrize("text", [b"<html>", b"[]", b"", b"\xff\xfe"])
def test_somebody_elses_answer_is_1(call: Call, daemon: Canned, text: bytes) -> None:
    daemon.tells["GET", "/policy"] = Told(text=text)
    code, _, err = call("policy")
    assert code == 1
    assert "is it xdpfw?" in err


@pytest.mark.parametrize(("status", "code"), [(401, 6), (403, 6), (404, 3), (409, 4), (422, 2), (500, 1), (503, 5)])
def test_a_refusal_sets_the_exit_code_and_says_the_detail(call: Call, daemon: Canned, status: int, code: int) -> None:
    daemon.tells["GET", "/policy"] = problem(status, "because of this")
    assert call("policy", "--json")[:2] == (code, "")
    assert "because of this" in call("policy")[2]


def test_busy_says_when_to_try_again(call: Call, daemon: Canned) -> None:
    busy = problem(503, "starting")
    daemon.tells["GET", "/policy"] = Told(503, busy.document, {"Retry-After": "2"})
    assert "try again in 2 s" in call("policy")[2]
