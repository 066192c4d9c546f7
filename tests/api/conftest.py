# SPDX-License-Identifier: Apache-2.0
"""The API as its clients meet it: over a real socket, on the fake kernel with a store in memory, and on the real kernel
with a store on disk.

Every test of this directory that asks for `api` runs twice. One server per module and kernel listens; each test has a
firewall of its own behind it.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from api.app import create_app
from api.auth import Tokens
from api.failures import Failures
from api.server import Server, server
from api.transport import tcp_socket, unix_socket
from tests.wire import make_pair, private_namespace
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.kernel.port import Kernel
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Entry
from xdpfw.policy.sets import Sets
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import Saved, Store
from xdpfw.store.sqlite import SqliteStore

T = TypeVar("T")
WAN, LAN = "wan0", "lan0"
LIMITS = Limits(leaves=20_000, hosts4=10_000, hosts6=10_000, memberships=4096, talkers=1024, bans=1000)


class Host:
    """A loop in a thread with one listening server, whose application changes from test to test."""

    def __init__(self, make_kernel: Callable[[], Kernel], **serving: Any) -> None:
        """`serving`: as of api.server.server."""
        self.make_kernel = make_kernel
        self.directory = Path(tempfile.mkdtemp(prefix="xdpfw-api-"))
        self.socket = self.directory / "s"
        self.app: Any = None
        # one for all tests, because routes are compiled at an application's first requests
        self.made = create_app(Firewall(_fake(), MemoryStore()), Tokens(MemoryStore()))
        listeners = [unix_socket(self.socket), tcp_socket("127.0.0.1:0")]
        self.port: int = listeners[1].getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self._server: Server = server(self._dispatch, **serving)
        self._thread = threading.Thread(target=self._run, args=(listeners,), name="api-server")
        self._thread.start()

    async def _dispatch(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def _run(self, listeners: list[Any]) -> None:
        self.loop.run_until_complete(self._server.serve(sockets=listeners))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._server.server_state.connections)

    def show(self, firewall: Firewall, tokens: Tokens) -> None:
        """What requests reach from now on."""
        self.made.app.state.firewall = firewall
        self.made.app.state.tokens = tokens
        self.app = replace(self.made, tokens=tokens, failures=Failures())

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        shutil.rmtree(self.directory)


@dataclass
class Api:
    """A client of the unix socket, and what is behind it. `real`: on the real kernel."""

    host: Host
    firewall: Firewall
    kernel: Any
    store: Any
    tokens: Tokens
    real: bool
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.unix()

    def unix(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.host.socket))
        return httpx.Client(transport=transport, base_url="http://xdpfw/api/v1/", timeout=30)

    def tcp(self, token: str | None = None, source: str = "127.0.0.1", **headers: str) -> httpx.Client:
        """`source`: the address it calls from; all of 127.0.0.0/8 are this host's."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url, transport = f"http://127.0.0.1:{self.host.port}/api/v1/", httpx.HTTPTransport(local_address=source)
        return httpx.Client(base_url=url, headers=headers, transport=transport, timeout=30)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.host.call(coroutine)

    # Requests that must succeed

    def get(self, path: str, **params: Any) -> Any:
        return ok(self.client.get(path, params=params)).json()

    def put(self, path: str, body: Any = None, **params: Any) -> httpx.Response:
        return ok(self.client.put(path, json=body, params=params))

    def patch(self, path: str, body: Any, **params: Any) -> Any:
        return ok(self.client.patch(path, json=body, params=params)).json()

    def bulk(self, name: str, body: str | bytes, kind: str = "text/plain", **params: Any) -> Any:
        headers = {"Content-Type": kind}
        return ok(self.client.put(f"sets/{name}/entries", content=body, headers=headers, params=params)).json()

    def prefixes(self, name: str) -> list[str]:
        return ok(self.client.get(f"sets/{name}/entries", headers={"Accept": "text/plain"})).text.split()

    @property
    def revision(self) -> int:
        return int(self.get("status")["revision"])

    def saved(self) -> Saved:
        """What a daemon that starts now would find."""
        if isinstance(self.store, MemoryStore):
            return self.store.load()
        with closing(SqliteStore(self.store.path)) as reader:
            return reader.load()

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        """Neither the revision, nor what is stored, nor the tables of the packet path, nor any entity tag."""
        before = self._everything()
        yield
        assert self._everything() == before

    def _everything(self) -> Any:
        names = ("interfaces", "sets", "policy", *(f"sets/{view['name']}" for view in self.get("sets")["items"]))
        tags = {name: ok(self.client.get(name)).headers["etag"] for name in names}
        entries = {view["name"]: self.prefixes(view["name"]) for view in self.get("sets")["items"]}
        saved = self.saved()
        stored = (
            saved.revision,
            saved.policy,
            saved.interfaces,
            saved.bans.keys(),
            [_content(saved.sets, name) for name in saved.sets.names()],
        )
        done = () if self.real else (self.kernel.map_operations,)
        attached = sorted((a.name, a.program_id) for a in self.kernel.attachments())
        return self.revision, tags, entries, stored, done, attached


def _content(sets: Sets, name: str) -> list[Entry]:
    return sets.entries(name, after=None, limit=100_000)


def ok(response: httpx.Response) -> httpx.Response:
    assert response.is_success, f"{response.status_code} {response.text}"
    return response


def problem(response: httpx.Response, status: int) -> Any:
    """The problem document of an answer that must be one (RFC 9457)."""
    assert response.status_code == status, f"{response.status_code} {response.text}"
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert {"type", "title", "status", "detail"} <= document.keys() <= {"type", "title", "status", "detail", "errors"}
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def _fake() -> FakeKernel:
    return FakeKernel([fake_link("lo", 1), fake_link(WAN, 2), fake_link(LAN, 3)], LIMITS)


@contextmanager
def fake_server(**serving: Any) -> Iterator[Host]:
    """A server on the fake kernel; `serving` as of api.server.server."""
    host = Host(_fake, **serving)
    try:
        yield host
    finally:
        host.close()


@contextmanager
def _real_host(programs: Path) -> Iterator[Host]:
    from xdpfw.kernel.adapter import RealKernel
    from xdpfw.kernel.program import PROGRAMS

    with private_namespace(), tempfile.TemporaryDirectory(prefix="xdpfw-api-") as directory, ExitStack() as stack:
        subprocess.run(["ip", "link", "set", "dev", "lo", "up"], check=True)
        make_pair(WAN, LAN, 1500)
        (Path(directory) / PROGRAMS).symlink_to(programs)
        made = 0

        def kernel() -> RealKernel:
            nonlocal made
            made += 1
            name = f"{Path(directory).name[-8:].strip('_-')}-{made}"
            return RealKernel(name, Path(directory), LIMITS, Path("/sys/fs/bpf"))

        host = Host(kernel)
        stack.callback(host.close)
        yield host


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.kernel)])
def host(request: pytest.FixtureRequest, programs: Path) -> Iterator[Host]:
    with fake_server() if request.param == "fake" else _real_host(programs) as host:
        yield host


@pytest.fixture
def api(host: Host) -> Iterator[Api]:
    with behind(host) as api:
        yield api


@pytest.fixture(scope="module")
def fake_host() -> Iterator[Host]:
    with fake_server() as host:
        yield host


@pytest.fixture
def fake(fake_host: Host) -> Iterator[Api]:
    """Only on the fake kernel: for what counts, fails or comes and goes as the test says."""
    with behind(fake_host) as api:
        yield api


@contextmanager
def behind(host: Host, store: Store | None = None) -> Iterator[Api]:
    """A firewall of its own behind a server. `store`: another firewall's, as after a reboot."""
    kernel = host.make_kernel()
    if store is None:
        fake = isinstance(kernel, FakeKernel)
        store = MemoryStore() if fake else SqliteStore(host.directory / kernel.instance / "db")
    firewall = Firewall(kernel, store, limits=LIMITS)
    tokens = Tokens(store)
    host.show(firewall, tokens)
    api = Api(host, firewall, kernel, store, tokens, not isinstance(kernel, FakeKernel))
    try:
        host.call(firewall.load())
        yield api
    finally:
        api.client.close()
        host.call(firewall.close(detach=True))
