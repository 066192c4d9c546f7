# SPDX-License-Identifier: Apache-2.0
"""HTTP itself: errors are problem documents, HEAD, unknown parameters, bodies, defects, a starting daemon."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from api.app import ROUTERS, create_app
from api.bodies import StrictRoute
from tests.api.conftest import WAN, Api, ok, problem
from xdpfw.kernel.fake import FakeKernel
from xdpfw.model.errors import KernelError, MapFull, StoreError
from xdpfw.policy.ops import InsertPrefixes
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import StoredChange

B = "sets/block/entries"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def api(fake: Api) -> Api:
    """Nothing here depends on the kernel."""
    return fake


def test_every_endpoint_is_strict_and_has_a_name_of_its_own() -> None:
    """And is the application's as it is, not included, which would build it a second time."""
    routes = [route for router in ROUTERS for route in router.routes]
    assert {type(route) for route in routes} == {StrictRoute}
    named = [(route.unique_id, *route.methods) for route in routes if route.include_in_schema]  # type: ignore[attr-defined]
    assert len({name for name, *_ in named}) == len(named) > 50


@pytest.mark.parametrize("path", ["nowhere", "sets/block/", "/api", "/docs", "/api/v2/sets"])
def test_what_there_is_not_is_404(api: Api, path: str) -> None:
    problem(api.client.get(path if path[0] != "/" else f"http://xdpfw{path}"), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "sets"), ("PUT", "status"), ("DELETE", "policy"), ("TRACE", "sets")]
)
def test_other_methods_are_405(api: Api, method: str, path: str) -> None:
    response = api.client.request(method, path)
    problem(response, 405)
    assert response.headers["allow"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("sets/block/entries", "GET, HEAD, PATCH, PUT"),
        ("sets/block/entries/192.0.2.1", "DELETE, GET, HEAD, PUT"),
        (f"interfaces/{WAN}", "DELETE, GET, HEAD, PUT"),
        ("tokens", "GET, HEAD, POST"),
        ("confirmations/x", "DELETE, POST"),
    ],
)
def test_all_methods_that_a_resource_takes_are_told(api: Api, path: str, methods: str) -> None:
    answer = api.client.request("TRACE", path)
    problem(answer, 405)
    assert answer.headers["allow"] == methods


def test_head_is_get_without_a_body(api: Api) -> None:
    for path in ("sets", "sets/block", B, "interfaces"):
        get, head = ok(api.client.get(path)), ok(api.client.head(path))
        assert head.content == b""
        assert {name: head.headers.get(name) for name in ("content-type", "etag", "content-length")} == {
            name: get.headers.get(name) for name in ("content-type", "etag", "content-length")
        }
    assert api.client.head("sets/nowhere").status_code == 404
    stream = ok(api.client.head(B, headers={"Accept": "text/plain"}))
    assert (stream.content, stream.headers["content-type"]) == (b"", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("PUT", f"{B}/192.0.2.1", "dryrun=true"),
        ("PUT", f"{B}/192.0.2.1", "dry_run=maybe"),
        ("PUT", f"{B}/192.0.2.1", "ttl=60"),
        ("PATCH", B, "confirm_in=60"),
        ("PUT", B, "skip-invalid=true"),
        ("DELETE", "sets/office", "cascade=true"),
        ("GET", "sets", "page=2"),
        ("GET", "sets", "limit=1&limit=2"),
    ],
)
def test_parameters_that_nobody_knows_are_422(api: Api, method: str, path: str, query: str) -> None:
    api.put("sets/office")
    with api.nothing_changes():
        body = {"json": {}} if method == "PATCH" else {}
        document = problem(api.client.request(method, f"{path}?{query}", **body), 422)
        assert document["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


@pytest.mark.parametrize("body", [b"{", b"{'mode': 'drop'}", b"\xff\xfe", b"[" * 50_000, b'{"mode": "drop"} x'])
def test_what_is_not_json_is_400(api: Api, body: bytes) -> None:
    with api.nothing_changes():
        problem(api.client.patch("policy", content=body, headers=JSON), 400)
        problem(api.client.patch(B, content=body, headers=JSON), 400)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
def test_bodies_of_other_types_are_415(api: Api, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    with api.nothing_changes():
        for method, path in (("PATCH", "policy"), ("PATCH", B), ("PUT", "sets/office"), ("PUT", f"{B}/192.0.2.1")):
            document = problem(api.client.request(method, path, content=b'{"mode": "monitor"}', headers=headers), 415)
            assert "application/json" in document["detail"]


def test_large_bodies_of_small_calls_are_413(api: Api) -> None:
    with api.nothing_changes():
        body = b'{"comment": "' + b"x" * 70_000 + b'"}'
        problem(api.client.put("sets/office", content=body, headers=JSON), 413)
        problem(api.client.put("sets/office", content=iter([body]), headers=JSON), 413)


def test_every_answer_has_a_number(api: Api) -> None:
    first, second = api.client.get("sets"), api.client.get("nowhere")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_a_defect_is_500_without_its_inner_life(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(api.firewall, "policy", broken)
    response = api.client.get("policy")
    document = problem(response, 500)
    assert "secret detail" not in response.text
    assert "Traceback" not in response.text
    assert response.headers["x-request-id"] in document["detail"]


def test_a_store_that_cannot_be_written_is_503_and_changes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: StoredChange) -> None:
        raise StoreError("the disk is full; make room there and repeat")

    api.put(f"interfaces/{WAN}")
    with api.nothing_changes(), monkeypatch.context() as patched:
        patched.setattr(api.store, "save", full)
        for response in (
            api.client.put(f"{B}/192.0.2.1"),
            api.client.put("sets/office"),
            api.client.patch("policy", json={"mode": "monitor"}),
            api.client.put(B, content="192.0.2.1\n", headers={"Content-Type": "text/plain"}),
        ):
            assert "disk is full" in problem(response, 503)["detail"]
            assert int(response.headers["retry-after"]) > 0
    assert api.put(f"{B}/192.0.2.1").json()["changed"] is True


@pytest.mark.parametrize(
    ("error", "status"), [(KernelError("no"), 503), (MapFull("trie4 is full (5 entries); raise the limit leaves"), 507)]
)
def test_a_kernel_that_refuses_leaves_everything_as_it_was(api: Api, error: Exception, status: int) -> None:
    with api.nothing_changes():
        operations = api.kernel.map_operations
        api.kernel.fail_next(InsertPrefixes, error)
        problem(api.client.put(f"{B}/192.0.2.1"), status)
        api.kernel.map_operations = operations
    assert api.prefixes("block") == []
    assert api.put(f"{B}/192.0.2.1").status_code == 201


def test_a_starting_daemon_is_503_and_says_so(api: Api) -> None:
    firewall = Firewall(FakeKernel(), MemoryStore())
    api.host.app = create_app(firewall, api.tokens)
    for method, path in (
        ("GET", "status"),
        ("GET", "interfaces"),
        ("GET", "sets"),
        ("GET", B),
        ("GET", "policy"),
        ("GET", "addresses/192.0.2.1"),
        ("GET", "talkers"),
        ("PUT", f"{B}/192.0.2.1"),
        ("PUT", f"interfaces/{WAN}"),
        ("GET", "http://xdpfw/readyz"),
        ("GET", "http://xdpfw/metrics"),
    ):
        response = api.client.request(method, path)
        assert "start" in problem(response, 503)["detail"]
        assert int(response.headers["retry-after"]) > 0
    ok(api.client.get("http://xdpfw/healthz"))


def test_a_request_that_is_no_http_is_400(api: Api) -> None:
    for request in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(api.host.socket))
            raw.sendall(request)
            raw.settimeout(5)
            head, _, body = raw.recv(4096).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert b"content-type: application/problem+json\r\n" in head
            assert json.loads(body)["status"] == 400


def test_headers_without_end_are_refused(api: Api) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(api.host.socket))
        raw.settimeout(5)
        raw.sendall(b"GET / HTTP/1.1\r\n")
        line = b"X-Filler: " + b"x" * 8000 + b"\r\n"
        answer = b""
        try:
            for _ in range(1000):
                raw.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = raw.recv(4096)
        except ConnectionResetError:
            return
        assert b" 400 " in answer
