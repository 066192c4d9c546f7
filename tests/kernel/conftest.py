# SPDX-License-Identifier: Apache-2.0
"""Real kernels for tests: instances of their own, which leave nothing behind.

Names carry the process id, so that what a killed run left in bpffs is found and removed by the next one. Interfaces
live in anonymous network namespaces, which end with the process.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import lacks
from tests.kernel import plain
from tests.kernel.bench import Bench
from tests.wire import private_namespace
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.bpffs import DEFAULT, ensure_mounted, remove_tree
from xdpfw.kernel.cache import FEATURES
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.compile import find_interpreter
from xdpfw.kernel.program import PROGRAMS
from xdpfw.model.errors import KernelError
from xdpfw.model.limits import Limits

if TYPE_CHECKING:
    from tests.loaded import Loaded

SMALL = Limits(leaves=100_000, hosts4=10_000, hosts6=10_000, memberships=10_000, talkers=4096, flows=16_384)
PREFIX = "test-"

_numbers = itertools.count()


def unique_name() -> str:
    return f"{PREFIX}{os.getpid()}-{next(_numbers)}"


@pytest.fixture(scope="session", autouse=True)
def _able_kernel() -> None:
    """Skip with a reason, or fail in CI, where this machine cannot load BPF programs."""
    if os.geteuid() != 0:
        lacks("needs root")
    for tool in ("ip", "ethtool", "bpftool"):
        if shutil.which(tool) is None:
            lacks(f"no {tool}")
    try:
        ensure_mounted()
        find_interpreter()
        KernelClock().close()
    except KernelError as error:
        lacks(error.detail)
    for pins in DEFAULT.glob(f"xdpfw-{PREFIX}*"):
        owner = pins.name.removeprefix(f"xdpfw-{PREFIX}").split("-")[0]
        if not Path("/proc", owner).exists():
            remove_tree(pins)


class Host:
    """A place for kernels: each `kernel()` is the next daemon on the same instance and state directory."""

    def __init__(self, state_dir: Path, programs: Path) -> None:
        """`programs`: compiled programs, which all hosts of a run share."""
        self.instance = unique_name()
        self.state_dir = state_dir
        self.state_dir.mkdir(parents=True, exist_ok=True)
        (state_dir / PROGRAMS).symlink_to(programs)
        (programs / FEATURES).unlink(missing_ok=True)  # which of them another host used last
        self._running: list[RealKernel] = []

    @property
    def pins(self) -> Path:
        return DEFAULT / f"xdpfw-{self.instance}"

    def kernel(self, limits: Limits = SMALL) -> RealKernel:
        """Not started yet."""
        made = RealKernel(self.instance, self.state_dir, limits)
        self._running.append(made)
        return made

    def close(self) -> None:
        for kernel in self._running:
            kernel.stop(detach=False)
        remove_tree(self.pins)


@pytest.fixture
def make_host(tmp_path: Path, programs: Path) -> Iterator[Callable[[], Host]]:
    hosts: list[Host] = []

    def make() -> Host:
        hosts.append(Host(tmp_path / str(len(hosts)), programs))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def host(make_host: Callable[[], Host]) -> Host:
    return make_host()


@pytest.fixture
def kernel(host: Host) -> RealKernel:
    """In force, with nothing in any set; see tests/kernel/plain.py for its classes and memberships."""
    made = host.kernel()
    plain.start(made)
    return made


@pytest.fixture
def bench(kernel: RealKernel) -> Iterator[Bench]:
    made = Bench(kernel)
    yield made
    made.close()


@pytest.fixture(scope="module")
def loaded_kernel(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Loaded]:
    """One for all tests of a module, of full size."""
    from tests.loaded import Loaded

    host = Host(tmp_path_factory.mktemp("state"), programs)
    try:
        yield Loaded(host.kernel(Limits()), Limits())
    finally:
        host.close()


@pytest.fixture
def namespace() -> Iterator[None]:
    """The test runs in a network namespace of its own."""
    with private_namespace():
        yield
