# SPDX-License-Identifier: Apache-2.0
"""What a default of drop costs: for what arrives and no row matches, and for what leaves; who is forgotten in a flood.

usage: sudo .venv/bin/python -m benchmarks.deny
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests import packets as p
from tests.flows import known, table
from tests.kernel import plain
from tests.kernel.bench import Bench
from tests.wire import private_namespace
from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.bpffs import DEFAULT, ensure_mounted, remove_tree
from xdpfw.model.feature import Feature, Features
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.reason import Verdict
from xdpfw.policy.reference_known import Flow

REPEAT, ROUNDS = 300_000, 9
LIMITS = Limits(leaves=100_000, hosts4=10_000, hosts6=10_000, memberships=10_000, talkers=4096)
ANSWERS: Features = frozenset({Feature.ESTABLISHED})
HERE, THERE = {4: "127.0.0.1", 6: "::1"}, {4: "127.0.0.1", 6: "::1"}
SYN, ACK = 0x02, 0x10
LOCAL = 40000


@contextmanager
def kernel(features: Features, policy: Policy, limits: Limits = LIMITS) -> Iterator[RealKernel]:
    """In force in a network namespace of its own, attached to nothing."""
    instance, state = f"bench-{os.getpid()}", Path(tempfile.mkdtemp(prefix="xdpfw-bench-"))
    made = RealKernel(instance, state, limits)
    made.program = made.program.made_for(features)
    try:
        plain.start(made, policy)
        yield made
        made.stop(detach=True)
    finally:
        remove_tree(DEFAULT / f"xdpfw-{instance}") if (DEFAULT / f"xdpfw-{instance}").exists() else None
        shutil.rmtree(state)


def frame(version: int, segment: p.Segment) -> bytes:
    if version == 4:
        return p.ethernet(p.ipv4(THERE[4], segment, destination=HERE[4]))
    return p.ethernet(p.ipv6(THERE[6], segment, destination=HERE[6]))


def nanoseconds(program: int, data: bytes) -> float:
    return statistics.median(libbpf.test_run(program, data, REPEAT)[1] for _ in range(ROUNDS))


UNASKED = {
    "UDP": p.udp(53, LOCAL),
    "TCP SYN": p.tcp(443, LOCAL, flags=SYN),
    "TCP ACK": p.tcp(443, LOCAL, flags=ACK),
    "GRE": p.raw(p.GRE, bytes(32)),
}


def arriving() -> None:
    print(f"{'arriving, no row matches; ns':44} {'IPv4':>6} {'IPv6':>6}")
    for name, features, default in (
        ("default pass", frozenset[Feature](), Verdict.PASS),
        ("default drop, no answers let in", frozenset[Feature](), Verdict.DROP),
        ("default drop, answers let in: unasked", ANSWERS, Verdict.DROP),
    ):
        with kernel(features, Policy(default=default)) as made:
            bench = Bench(made)
            for kind, segment in UNASKED.items():
                costs = [nanoseconds(bench.program, frame(version, segment)) for version in (4, 6)]
                print(f"  {f'{name}, {kind}':42} {costs[0]:6.0f} {costs[1]:6.0f}")
            if features:
                answered(made, bench)
            bench.close()


def answered(made: RealKernel, bench: Bench) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for kind, segment in (("UDP", p.udp(53, LOCAL)), ("TCP", p.tcp(443, LOCAL, flags=ACK))):
        costs = []
        for version in (4, 6):
            there, here = ipaddress.ip_address(THERE[version]), ipaddress.ip_address(HERE[version])
            remote = 53 if kind == "UDP" else 443
            with Learning(made) as learning:
                learning.send(out(version, LOCAL, remote, kind))
            assert Flow(version, segment.protocol, here, LOCAL, there, remote) in known(table(made))
            costs.append(nanoseconds(bench.program, frame(version, segment)))
        print(f"  {f'of a known flow, {kind}':42} {costs[0]:6.0f} {costs[1]:6.0f}")
    costs = []
    for family, address in ((socket.AF_INET, HERE[4]), (socket.AF_INET6, HERE[6])):
        with (
            socket.create_server((address, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2]) as client,
        ):
            ports = server.getsockname()[1], client.getsockname()[1]
            costs.append(nanoseconds(bench.program, frame(4 if "." in address else 6, p.tcp(*ports, flags=ACK))))
    print(f"  {'of a connection of this host alone, TCP':42} {costs[0]:6.0f} {costs[1]:6.0f}")


def out(version: int, local: int, remote: int, kind: str, there: str = "") -> bytes:
    segment = p.udp(local, remote) if kind == "UDP" else p.tcp(local, remote, flags=ACK)
    there = there or THERE[version]
    if version == 4:
        return p.ethernet(p.ipv4(HERE[4], segment, destination=there))
    return p.ethernet(p.ipv6(HERE[6], segment, destination=there))


class Learning:
    """The program on the way out."""

    def __init__(self, made: RealKernel) -> None:
        [pin] = (DEFAULT / f"xdpfw-{made.instance}").glob("learner-*")
        self.program = libbpf.get(pin)
        self._runner = libbpf.TestRunner(self.program)

    def __enter__(self) -> Learning:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.program)

    def send(self, data: bytes) -> None:
        self._runner.run(data)


def leaving() -> None:
    print(f"{'leaving; ns':44} {'IPv4':>6} {'IPv6':>6}")
    with kernel(ANSWERS, Policy(default=Verdict.DROP)) as made, Learning(made) as learning:
        idle = nanoseconds(learning.program, p.ethernet(p.arp(), pad_to=60))
        print(f"  {'no IP: the parse ends at once':42} {idle:6.0f}")
        for kind in ("UDP", "TCP"):
            costs = [nanoseconds(learning.program, out(version, LOCAL, 53, kind)) for version in (4, 6)]
            print(f"  {f'of a known flow, {kind}':42} {costs[0]:6.0f} {costs[1]:6.0f}")
        fresh = [out(4, 1000 + n % 60_000, 53, "UDP", f"192.0.2.{n // 60_000}") for n in range(5 * LIMITS.flows)]
        for data in fresh[: 2 * LIMITS.flows]:  # until it is full
            learning.send(data)
        more = surplus(learning, fresh[2 * LIMITS.flows :])
        print(f"  {'of a new flow, table full: so much more':42} {more:6.0f}")


def surplus(learning: Learning, fresh: list[bytes]) -> float:
    """What a new flow costs beyond one that is known, by the processor's time for as many calls."""

    def took(frames: list[bytes]) -> float:
        before = time.thread_time()
        for data in frames:
            learning.send(data)
        return (time.thread_time() - before) / len(frames) * 1e9

    third = len(fresh) // 3
    pairs = [(took(fresh[at : at + third]), took([fresh[at]] * third)) for at in range(0, 3 * third, third)]
    return statistics.median(new - old for new, old in pairs)


def flooded() -> None:
    """Flows in use that fell silent, while others come by the hundred thousand and are never seen again."""
    size = 16_384
    print("of flows that fell silent, known after ten times as many new ones as the table holds")
    for share in (0.05, 0.4, 0.75):
        for packets in (1, 2, 10):
            with kernel(ANSWERS, Policy(default=Verdict.DROP), replace(LIMITS, flows=size)) as made:
                left = outlasting(made, int(share * size), packets, 10 * size) / int(share * size)
            print(f"  {f'{share:.0%} of the table, after {packets} packets':42} {left:6.0%}")


def outlasting(made: RealKernel, used: int, packets: int, others: int) -> int:
    with Learning(made) as learning:
        for _ in range(packets):
            for n in range(used):
                learning.send(out(4, 1000 + n, 443, "TCP"))
        for n in range(others):
            learning.send(out(4, 1000 + n % 60_000, 53, "UDP", f"198.51.100.{n // 60_000}"))
    return len(still_known(made))


def still_known(made: RealKernel) -> list[int]:
    return [flow.local_port for flow in known(table(made)) if flow.protocol == p.TCP]


if __name__ == "__main__":
    ensure_mounted()
    with private_namespace():
        arriving()
        leaving()
        flooded()
