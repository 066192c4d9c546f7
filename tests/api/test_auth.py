# SPDX-License-Identifier: Apache-2.0
"""Who may do what: peers of the unix socket, tokens over TCP, Host and Origin."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from api import auth
from api.app import create_app
from api.auth import Role, Tokens, Trust
from api.failures import BURST
from tests.api.conftest import WAN, Api, ok, problem
from tests.conftest import lacks
from tests.hand_clock import HandClock
from xdpfw.model.errors import NotAllowed
from xdpfw.model.prefix import Prefix

LOOPBACK = ipaddress.ip_address("127.0.0.1")
NOBODY = 65534
MEMBER_GID = 54321
ASK = """\
import http.client, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
connection = Unix("localhost")
connection.request("GET", sys.argv[2])
print(connection.getresponse().status)
"""


@pytest.fixture
def api(fake: Api) -> Api:
    """Nothing here depends on the kernel."""
    return fake


@pytest.fixture
def open_to_all(api: Api) -> Iterator[Api]:
    """The file's mode keeps nobody out, so that only credentials can."""
    if os.geteuid() != 0:
        lacks("needs root to become another user")
    api.host.app = create_app(api.firewall, api.tokens, trust=Trust(gid=MEMBER_GID))
    api.host.directory.chmod(0o755)
    api.host.socket.chmod(0o666)
    yield api
    api.host.socket.chmod(0o660)
    api.host.directory.chmod(0o700)


def ask_as(api: Api, uid: int, gid: int, groups: list[int], path: str = "/api/v1/status") -> int:
    command = [sys.executable, "-c", ASK, str(api.host.socket), path]
    done = subprocess.run(command, user=uid, group=gid, extra_groups=groups, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "status"),
    [
        (0, 0, [], 200),
        (NOBODY, NOBODY, [], 403),
        (NOBODY, 0, [], 403),
        (NOBODY, MEMBER_GID, [], 200),
        (NOBODY, NOBODY, [1, MEMBER_GID], 200),
        (NOBODY, NOBODY, [1, 2], 403),
    ],
    ids=["root", "nobody", "root's group", "member", "supplementary member", "other groups"],
)
def test_the_unix_socket_goes_by_the_peers_credentials(
    open_to_all: Api, uid: int, gid: int, groups: list[int], status: int
) -> None:
    assert ask_as(open_to_all, uid, gid, groups) == status


def test_a_stranger_on_the_unix_socket_learns_nothing(open_to_all: Api) -> None:
    for path in ("/healthz", "/metrics", "/api/v1/openapi.json", "/api/v1/nowhere"):
        assert ask_as(open_to_all, NOBODY, NOBODY, [], path) == 403


def token(api: Api, role: str) -> str:
    secret = ok(api.client.post("tokens", json={"name": f"a {role}", "role": role})).json()["secret"]
    assert isinstance(secret, str)
    return secret


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Basic cm9vdDpyb290",
        "Bearer xdpfw_00000000_AAAA",
        "xdpfw_00000000_AAAA",
        "Bearer ü",
    ],
)
def test_tcp_without_a_valid_token_is_401(api: Api, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    with api.tcp() as tcp, api.nothing_changes():
        for method, path in (
            ("GET", "status"),
            ("PUT", "sets/x"),
            ("GET", "nowhere"),
            ("GET", "/metrics"),
            ("GET", "/readyz"),
        ):
            response = tcp.request(
                method, path if path[0] != "/" else f"http://127.0.0.1:{api.host.port}{path}", headers=headers
            )
            problem(response, 401)
            assert response.headers["www-authenticate"].startswith("Bearer")


def test_many_failures_are_429_and_a_valid_token_is_let_in_all_the_same(api: Api) -> None:
    """Whoever shares an address with others (a proxy's, the loopback's) must not be able to lock them out."""
    good = token(api, "read")
    with api.tcp("xdpfw_00000000_guess", source="127.0.0.7") as guesser, api.tcp(good, source="127.0.0.7") as friend:
        answers = [guesser.get("status") for _ in range(BURST + 5)]
        assert [answer.status_code for answer in answers] == [401] * BURST + [429] * 5
        assert problem(answers[-1], 429)["type"].endswith("too-many-failures")
        assert int(answers[-1].headers["retry-after"]) > 0
        ok(friend.get("status"))
        problem(guesser.put("sets/office"), 429)
    with api.tcp("xdpfw_00000000_guess", source="127.0.0.8") as other:
        problem(other.get("status"), 401)


def test_being_alive_is_no_secret(api: Api) -> None:
    with api.tcp() as tcp:
        assert ok(tcp.get(f"http://127.0.0.1:{api.host.port}/healthz")).json() == {"status": "ok"}


def test_roles(api: Api) -> None:
    calls = {
        "read": [("GET", "status", None), ("HEAD", "sets", None), ("GET", "openapi.json", None)],
        "write": [
            ("PUT", "sets/office", {}),
            ("PATCH", "sets/office/entries", {"add": ["192.0.2.1"]}),
            ("DELETE", "sets/office", None),
            ("PATCH", "policy", {"mode": "monitor"}),
        ],
        "admin": [
            ("GET", "tokens", None),
            ("POST", "tokens", {"name": "n", "role": "read"}),
            ("PUT", f"interfaces/{WAN}", {}),
            ("DELETE", f"interfaces/{WAN}", None),
        ],
    }
    order = ["read", "write", "admin"]
    for role in order:
        with api.tcp(token(api, role)) as tcp:
            for needed, requests in calls.items():
                for method, path, body in requests:
                    response = tcp.request(method, path, json=body)
                    if order.index(role) >= order.index(needed):
                        assert response.is_success, f"{role}: {method} {path}: {response.text}"
                    else:
                        assert response.status_code == 403, f"{role}: {method} {path}: {response.status_code}"


def test_a_refused_role_changes_nothing(api: Api) -> None:
    with api.tcp(token(api, "read")) as tcp, api.nothing_changes():
        problem(tcp.put("sets/block/entries/192.0.2.1"), 403)
        problem(tcp.put("sets/block/entries", content="192.0.2.1", headers={"Content-Type": "text/plain"}), 403)
        problem(tcp.delete(f"interfaces/{WAN}"), 403)


def test_the_secret_is_shown_once_and_kept_as_a_hash(api: Api) -> None:
    response = api.client.post("tokens", json={"name": "grafana", "role": "read"})
    made = response.json()
    assert response.status_code == 201
    assert (made["name"], made["role"], made["changed"]) == ("grafana", "read", True)
    secret = made["secret"]
    assert len(secret.split("_", 2)[2]) >= 43  # 256 bits in base64
    page = api.get("tokens")
    assert [item["id"] for item in page["items"]] == [made["id"]]
    assert page["items"][0].keys() == {"id", "name", "role", "created_at", "expires_at", "sources"}
    [record] = api.store.tokens()
    assert secret.encode() not in repr(record).encode()
    assert secret.split("_", 2)[2] not in repr(record)
    # a daemon that starts anew knows it
    assert Tokens(api.store).identify(secret, LOOPBACK).role is Role.READ


def test_secrets_are_compared_in_constant_time_also_for_ids_that_are_unknown(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = Mock(side_effect=hmac.compare_digest)
    monkeypatch.setattr(auth, "hmac", SimpleNamespace(compare_digest=compare))
    secret = ok(api.client.post("tokens", json={"name": "n", "role": "read"})).json()["secret"]
    for token, status in ((secret, 200), (secret[:-1] + "~", 401), ("xdpfw_00000000_x", 401), ("x", 401)):
        with api.tcp(token) as client:
            assert client.get("status").status_code == status
    assert [len(each) for call in compare.call_args_list for each in call.args] == [32] * 8


def test_a_revoked_token_is_refused_on_an_open_connection(api: Api) -> None:
    secret = token(api, "read")
    [record] = api.store.tokens()
    with api.tcp(secret) as tcp:
        ok(tcp.get("status"))
        assert api.client.delete(f"tokens/{record.id}").status_code == 204
        problem(tcp.get("status"), 401)
    problem(api.client.delete(f"tokens/{record.id}"), 404)
    assert api.store.tokens() == []


def test_a_token_runs_out(api: Api) -> None:
    clock = HandClock()
    tokens = Tokens(api.store, clock)
    api.host.show(api.firewall, tokens)
    made = ok(api.client.post("tokens", json={"name": "visitor", "role": "read", "ttl": "1h"})).json()
    seconds = (datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])).total_seconds()
    assert seconds == 3600
    with api.tcp(made["secret"]) as tcp:
        clock.advance(3599)
        ok(tcp.get("status"))
        clock.advance(1)
        assert made["id"] in problem(tcp.get("status"), 401)["detail"]
        # the id alone tells nobody that there was such a token
        tcp.headers["Authorization"] = f"Bearer xdpfw_{made['id']}_guess"
        assert made["id"] not in problem(tcp.get("status"), 401)["detail"]


@pytest.mark.parametrize(
    ("sources", "caller", "status"),
    [
        (["127.0.0.0/30"], "127.0.0.2", 200),
        (["127.0.0.0/30"], "127.0.0.4", 403),
        (["192.0.2.1", "127.0.0.4"], "127.0.0.4", 200),
        (["::ffff:127.0.0.2"], "127.0.0.2", 200),
        (["::/0"], "127.0.0.2", 403),
        ([], "127.0.0.2", 200),
    ],
)
def test_a_token_is_good_from_its_sources_alone(api: Api, sources: list[str], caller: str, status: int) -> None:
    secret = ok(api.client.post("tokens", json={"name": "n", "role": "read", "sources": sources})).json()["secret"]
    with api.tcp(secret, source=caller) as tcp:
        assert tcp.get("status").status_code == status


def test_an_address_of_ipv4_in_ipv6_is_the_ipv4_address(api: Api) -> None:
    """A listener on [::] is told so who calls over IPv4."""
    record, secret = api.tokens.draft("n", Role.READ, sources=[Prefix.parse("192.0.2.0/24")])
    api.tokens.add(record)
    assert api.tokens.identify(secret, ipaddress.ip_address("::ffff:192.0.2.9")).role is Role.READ
    with pytest.raises(NotAllowed, match=re.escape("192.0.3.9")):
        api.tokens.identify(secret, ipaddress.ip_address("::ffff:192.0.3.9"))


def test_a_dry_run_makes_no_token_and_revokes_none(api: Api) -> None:
    made = ok(api.client.post("tokens", json={"name": "n", "role": "read"}, params={"dry_run": True}))
    assert (made.status_code, made.json()["secret"], api.store.tokens()) == (200, None, [])
    token(api, "read")
    [record] = api.store.tokens()
    assert ok(api.client.delete(f"tokens/{record.id}", params={"dry_run": True})).json()["changed"] is True
    assert api.store.tokens() == [record]


def test_if_match_guards_tokens(api: Api) -> None:
    etag = ok(api.client.get("tokens")).headers["etag"]
    body = {"name": "n", "role": "read"}
    assert api.client.post("tokens", json=body, headers={"If-Match": etag}).status_code == 201
    problem(api.client.post("tokens", json=body, headers={"If-Match": etag}), 412)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "n"},
        {"name": "n", "role": "root"},
        {"name": "", "role": "read"},
        {"name": "a\nb", "role": "read"},
        {"name": "n", "role": "read", "ttl": 0},
        {"name": "n", "role": "read", "ttl": 60, "expires_at": "2030-01-01T00:00:00Z"},
        {"name": "n", "role": "read", "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "n", "role": "read", "sources": ["10.0.0.1/8"]},
        {"name": "n", "role": "read", "sources": "10.0.0.1"},
        {"name": "n", "role": "read", "sources": ["192.0.2.1"] * 101},
    ],
)
def test_other_tokens_are_422(api: Api, body: dict[str, object]) -> None:
    problem(api.client.post("tokens", json=body), 422)
    assert api.store.tokens() == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8484", "127.0.0.1.evil.example", "192.0.2.1", "", "[::1", "x@y"]
)
def test_another_host_name_is_refused(api: Api, host: str) -> None:
    """DNS rebinding: a page's own name leads to the loopback."""
    with api.tcp(token(api, "admin"), Host=host) as tcp:
        problem(tcp.get("status"), 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8484", "localhost", "LOCALHOST:1", "[::1]:8484", "127.9.9.9"])
def test_names_of_the_loopback_are_taken(api: Api, host: str) -> None:
    with api.tcp(token(api, "read"), Host=host) as tcp:
        ok(tcp.get("status"))


def test_configured_names_are_taken(api: Api) -> None:
    api.host.app = create_app(api.firewall, api.tokens, names=["fw.example"])
    with api.tcp(token(api, "read"), Host="fw.example:8484") as tcp:
        ok(tcp.get("status"))


def test_the_address_that_was_called_is_a_name_of_the_server(api: Api) -> None:
    """On a listener that other machines reach: an address cannot be rebound, a name can."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/healthz",
        "server": ("192.0.2.1", 8484),
        "client": ("198.51.100.1", 999),
    }

    def status(host: str, called: str = "192.0.2.1") -> int:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        asked = scope | {"headers": [(b"host", host.encode())], "server": (called, 8484), "query_string": b""}
        api.run(api.host.app(asked, None, send))
        return int(said[0]["status"])

    assert status("192.0.2.1:8484") == 200
    assert status("192.0.2.2:8484") == 403
    assert status("[2001:db8::1]:8484", "2001:db8::1") == 200
    assert status("192.0.2.1:8484", "::ffff:192.0.2.1") == 200
    assert status("fw.example") == 403


def test_two_host_headers_are_refused(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.host.port), timeout=5) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "x"])
def test_pages_of_other_origins_are_refused(api: Api, origin: str) -> None:
    with api.tcp(token(api, "admin"), Origin=origin) as tcp, api.nothing_changes():
        problem(tcp.get("status"), 403)
        problem(tcp.put("sets/office"), 403)


def test_the_servers_own_origin_is_taken(api: Api) -> None:
    with api.tcp(token(api, "read"), Origin=f"http://127.0.0.1:{api.host.port}") as tcp:
        ok(tcp.get("status"))


def test_no_answer_lets_other_pages_read_it(api: Api) -> None:
    with api.tcp(token(api, "read")) as tcp:
        assert not [name for name in ok(tcp.get("status")).headers if name.startswith("access-control")]


def test_a_proxy_header_does_not_change_who_asks(api: Api) -> None:
    """The lock-out guard goes by the real peer, which is the loopback here and never protected."""
    api.put(f"interfaces/{WAN}")
    headers = {"X-Forwarded-For": "198.51.100.7", "Forwarded": "for=198.51.100.7"}
    with api.tcp(token(api, "write"), **headers) as tcp:
        assert tcp.put("sets/block/entries/198.51.100.7").status_code == 201


def test_logs_hold_no_secret(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    secret = token(api, "write")
    with caplog.at_level(logging.DEBUG), api.tcp(secret) as tcp:
        ok(tcp.put("sets/office", params={"dry_run": "true"}))
        ok(tcp.get("sets"))
        problem(tcp.get("sets/a%0Ab"), 422)
        problem(tcp.get("status", headers={"Authorization": "Bearer wrong-one"}), 401)
    lines = [record.getMessage() for record in caplog.records if record.name == "xdpfw.api"]
    assert any("PUT '/api/v1/sets/office' 200" in line for line in lines)
    assert not [line for line in lines if "\n" in line]
    everything = "\n".join(record.getMessage() for record in caplog.records)
    assert secret.split("_", 2)[2] not in everything
    assert "wrong-one" not in everything
