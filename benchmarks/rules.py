# SPDX-License-Identifier: Apache-2.0
"""What ordered rules cost a packet, as ratios between programs that run in turns (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.tested import programs, xdp_filter
from xdpfw.frames.build import Description, build
from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.compile import compile_source
from xdpfw.kernel.instance import InterfaceMaps
from xdpfw.kernel.maps import PROGRAM_MAPS, interface_specs, possible_cpus
from xdpfw.kernel.program import NAME, PROGRAMS
from xdpfw.model.limits import Limits
from xdpfw.model.policy import DEFAULT_RULES, Policy
from xdpfw.model.prefix import parse_address
from xdpfw.model.rule import UDP, Rule
from xdpfw.model.rule_form import parse_rules
from xdpfw.policy.compiler import Compiler
from xdpfw.policy.rows import features_of
from xdpfw.policy.sets import Sets

RUNS = 200_000
ROUNDS = 9
LIMITS = Limits(leaves=10_000, hosts4=1_000, hosts6=1_000, memberships=1_000, talkers=4096)
SOURCE = "198.51.100.7"


def five(count: int) -> tuple[Rule, ...]:
    """Rules that look at source, protocol, both ports and fragments, each for one port."""
    match = {"source": "!allow", "protocol": "udp", "source_ports": "1024-65535", "fragment": "none"}
    found = [
        {"id": f"r{n}", "action": "drop", "match": match | {"destination_ports": [1000 + n]}} for n in range(count - 2)
    ]
    return (*DEFAULT_RULES, *parse_rules(found))


def adverse(count: int) -> tuple[Rule, ...]:
    """In every word each dimension has rows that match, and there is no row that all of them match."""
    common = {"source": "!allow", "source_ports": "1024-65535", "fragment": "none"}
    halves = ({"protocol": "udp", "destination_ports": 7}, {"protocol": "tcp", "destination_ports": 9})
    found = [{"id": f"r{n}", "action": "drop", "match": common | halves[n % 2]} for n in range(count - 2)]
    return (*DEFAULT_RULES, *parse_rules(found))


def ports(count: int) -> tuple[Rule, ...]:
    found = [{"id": f"r{n}", "action": "drop", "match": {"destination_ports": [1000 + n]}} for n in range(count - 2)]
    return (*DEFAULT_RULES, *parse_rules(found))


def frame(port: int) -> bytes:
    source, destination = parse_address(SOURCE), parse_address("192.0.2.1")
    return build(Description(source, destination, UDP, source_port=4000, destination_port=port, length=64))


@contextmanager
def program(rules: tuple[Rule, ...], change: Callable[[str], str] | None = None) -> Iterator[int]:
    """The packet program with these rules in its tables, attached to nothing. `change`: its text, another way."""
    with prepared(rules, change) as (fd, _):
        yield fd


@contextmanager
def prepared(rules: tuple[Rule, ...], change: Callable[[str], str] | None = None) -> Iterator[tuple[int, RealKernel]]:
    """The same, and the kernel that has its tables."""
    with ExitStack() as opened:
        state = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="xdpfw-bench-")))
        (state / PROGRAMS).symlink_to(programs())
        kernel = RealKernel(f"bench-{os.getpid()}-{state.name[-8:]}", state, LIMITS)
        compiler = Compiler(LIMITS, kernel.start())
        opened.callback(kernel.stop, True)
        policy = replace(Policy(), rules=rules).following(Policy())
        kernel.compile(features_of(policy))
        kernel.use(features_of(policy))
        for plan in compiler.compile_all(Sets.initial(), policy):
            kernel.execute(plan.ops, 1)
            compiler.commit(plan, kernel.read_leaves)
        kernel.activate()
        own = InterfaceMaps.create(interface_specs(LIMITS, possible_cpus()), possible_cpus())
        opened.callback(own.close)
        descriptors = {**kernel.descriptors(), **own.descriptors()}
        made = kernel.program
        compiled = (
            made.compiled if change is None else compile_source(change(made.source), NAME, PROGRAM_MAPS, made.flags)
        )
        fd, _ = libbpf.prog_load("bench", compiled.link(descriptors), frags=made.frags)
        opened.callback(os.close, fd)
        yield fd, kernel


def measure() -> dict[str, tuple[float, ...]]:
    """Ratios to 10 rules that look at the same five fields, one for each round; all take their turn in a round."""
    with ExitStack() as opened:
        few, some, many, worst, few_ports = (
            opened.enter_context(program(rules))
            for rules in (five(10), five(1024), five(4096), adverse(4096), ports(10))
        )
        peer = opened.enter_context(xdp_filter("alw_all"))
        runs: dict[str, tuple[int, bytes]] = {
            "10 rules": (few, frame(1007)),
            "1,024 rules, the first matches": (some, frame(1000)),
            "1,024 rules, the last matches": (some, frame(2021)),
            "4,096 rules, the first matches": (many, frame(1000)),
            "4,096 rules, one in the middle": (many, frame(3000)),
            "4,096 rules, the last matches": (many, frame(5093)),
            "4,096 rules, none matches though every word has to be tried": (worst, frame(9)),
            "10 rules with ports": (few_ports, frame(1007)),
        }
        if peer is not None:
            runs["xdp-filter"] = (peer, frame(1007))
        rounds = [
            {name: libbpf.test_run(fd, data, RUNS)[1] for name, (fd, data) in runs.items()} for _ in range(ROUNDS)
        ]
    ratios = {name: tuple(each[name] / each["10 rules"] for each in rounds) for name in list(runs)[1:7]}
    if peer is not None:
        ratios["10 rules with ports against xdp-filter with all features"] = tuple(
            each["10 rules with ports"] / each["xdp-filter"] for each in rounds
        )
    return ratios


GOALS: dict[str, float] = {"1,024": 1.15, "4,096": 1.4, "none matches": 2.5, "xdp-filter": 0.5}


def goal_of(name: str) -> float:
    return next(goal for word, goal in reversed(GOALS.items()) if word in name)


NEW_DIMENSIONS: tuple[dict[str, object], ...] = (
    {"vlan": ["none"]},
    {"length": ["60-1514"]},
    {"fragment": ["none"]},
    {"interfaces": ["lan1"]},
    {"tcp_flags": ["syn"]},
    {"source": ["10.0.0.0/8"]},
    {"destination": ["10.0.0.0/8"]},
)
"""Each is asked for the first time, so that a program is compiled."""


def replacement(count: int, turn: int, more: dict[str, object]) -> list[dict[str, object]]:
    """As many rules as documents, other ones each turn; `more` is asked by all of them."""
    actions = {"allow": "pass", "block": "drop"}
    first: list[dict[str, object]] = [
        {"id": name, "action": action, "match": {"source": name}} for name, action in actions.items()
    ]
    rules: list[dict[str, object]] = [
        {"id": f"r{n}", "action": "drop", "match": {"protocol": "tcp", "destination_ports": [1000 + turn + n], **more}}
        for n in range(count)
    ]
    return [*first, *rules]
