# SPDX-License-Identifier: Apache-2.0
"""What leaves makes flows: the program on the way out, frame by frame, and the filter that runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests import packets as p
from tests import samples
from tests.flows import CLOSING, NEW, REPLIED, forget, know, known, table
from tests.kernel import plain
from tests.kernel.conftest import SMALL, Host
from tests.kernel.test_established import HERE, both, flow, outbound
from tests.random_frames import frames
from tests.wire import make_pair
from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.learner import Learner
from xdpfw.kernel.offline import detach as detach_offline
from xdpfw.model.errors import Conflict, KernelError
from xdpfw.model.feature import Feature
from xdpfw.model.interface import AttachMode
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.reason import Verdict
from xdpfw.policy.reference_known import Flow, flow_of
from xdpfw.policy.reference_parse import TCP, Parsed, parse

pytestmark = pytest.mark.kernel

RANDOM_FRAMES = 3_000
DENY = Policy(default=Verdict.DROP)
FEATURES = frozenset({Feature.ESTABLISHED})
SHORTEST, LONGEST = 54, 3_500
"""Test runs of programs on the way out take no frame that is too short for the IP header that it names, nor one that
does not fit into a page."""
UNSPEC = 0xFFFFFFFF  # TC_ACT_UNSPEC: the filters behind it decide
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


def denying(host: Host, limits: Limits = SMALL) -> RealKernel:
    kernel = host.kernel(limits)
    kernel.program = kernel.program.made_for(FEATURES)
    plain.start(kernel, DENY)
    return kernel


def passing(host: Host) -> RealKernel:
    """Its default is pass; whatever an earlier test had compiled, it begins without."""
    kernel = host.kernel()
    kernel.program = kernel.program.made_for(frozenset())
    plain.start(kernel)
    return kernel


class Learning:
    """The program on the way out of a kernel, fed by hand."""

    def __init__(self, host: Host) -> None:
        self.kernel = denying(host)
        [pin] = host.pins.glob("learner-*")
        self._program = libbpf.get(pin)

    def send(self, frame: bytes) -> None:
        assert libbpf.test_run(self._program, frame)[0] == UNSPEC

    def flows(self) -> dict[Flow, tuple[int, int]]:
        """Seconds left and state, by flow."""
        clock = self.kernel.clock
        now = clock.jiffies()
        return {
            each: (round((end - now) / clock.hz), state) for each, (end, state) in known(table(self.kernel)).items()
        }

    def close(self) -> None:
        os.close(self._program)


@pytest.fixture
def learning(host: Host) -> Iterator[Learning]:
    made = Learning(host)
    yield made
    made.close()


ASKING = [
    ("udp", p.udp(40000, 53), (17, 40000, 53), 30),
    ("syn", p.tcp(40000, 443, flags=SYN), (6, 40000, 443), 120),
    ("ack", p.tcp(40000, 443, flags=ACK), (6, 40000, 443), 120),
    ("sctp", p.sctp(40000, 5060), (132, 40000, 5060), 600),
    ("gre", p.raw(p.GRE, bytes(8)), (47, 0, 0), 600),
]


@both
@pytest.mark.parametrize(("name", "segment", "wanted", "seconds"), ASKING, ids=[a[0] for a in ASKING])
def test_what_leaves_makes_a_flow(
    learning: Learning, version: int, name: str, segment: p.Segment, wanted: tuple[int, int, int], seconds: int
) -> None:
    packet = outbound(version, segment)
    learning.send(p.ethernet(packet, p.tag(7)))
    assert learning.flows() == {flow(version, *wanted): (pytest.approx(seconds, abs=1), NEW)}
    learning.send(p.ethernet(packet))
    assert len(learning.flows()) == 1


def silent(version: int) -> dict[str, bytes]:
    """What nobody answers, or what answers somebody else."""
    group = {4: "239.1.2.3", 6: "ff02::fb"}[version]
    to = {
        "group": p.ipv4(HERE[4], p.udp(5353, 5353), destination=group)
        if version == 4
        else p.ipv6(HERE[6], p.udp(5353, 5353), destination=group),
        "syn-ack": outbound(version, p.tcp(443, 40000, flags=SYN | ACK)),
        "reset": outbound(version, p.tcp(443, 40000, flags=RST | ACK)),
        "echo reply": outbound(version, p.icmp(0) if version == 4 else p.icmpv6(129)),
        "error": outbound(version, p.icmp(3, 3, bytes(28)) if version == 4 else p.icmpv6(1, 4, bytes(52))),
        "solicitation": p.ipv6("fe80::2", p.ndp(135), destination="ff02::1:ff00:1", hop_limit=255),
    }
    return {name: p.ethernet(packet) for name, packet in to.items()}


@both
def test_what_is_no_question_makes_none(learning: Learning, version: int) -> None:
    for frame in silent(version).values():
        learning.send(frame)
    learning.send(p.ethernet(p.ip_fragment(HERE[version], p.raw(17, bytes(64)), 72, more=False)))
    learning.send(p.ethernet(p.arp(), pad_to=60))
    assert learning.flows() == {}


@both
def test_an_echo_is_known_by_its_identifier(learning: Learning, version: int) -> None:
    learning.send(p.ethernet(outbound(version, p.echo(version))))  # type: ignore[arg-type]
    assert set(learning.flows()) == {flow(version, 1 if version == 4 else 58, 1)}


def test_dhcp_is_known_without_addresses(learning: Learning) -> None:
    learning.send(p.ethernet(p.ipv4("0.0.0.0", p.udp(68, 67), destination="255.255.255.255")))
    learning.send(p.ethernet(p.ipv6("fe80::2", p.udp(546, 547), destination="ff02::1:2")))
    assert set(learning.flows()) == {Flow(4, 17, None, 68, None, 67), Flow(6, 17, None, 546, None, 547)}


@both
def test_the_life_of_a_connection(learning: Learning, version: int) -> None:
    which = flow(version, 6, 40000, 443)

    def after(flags: int) -> tuple[int, int]:
        learning.send(p.ethernet(outbound(version, p.tcp(40000, 443, flags=flags))))
        return learning.flows()[which]

    near = pytest.approx
    assert after(SYN) == (near(120, abs=1), NEW)
    clock = learning.kernel.clock
    know(learning.kernel, [which], deadline=clock.jiffies() + 100 * clock.hz, state=REPLIED)
    assert after(ACK) == (near(7500, abs=1), REPLIED)
    assert after(FIN | ACK) == (near(120, abs=1), CLOSING)
    assert after(ACK) == (near(120, abs=1), CLOSING)
    assert after(RST) == (near(10, abs=1), CLOSING)
    assert after(SYN) == (near(120, abs=1), NEW)


@pytest.mark.parametrize("seed", samples.seeds())
def test_random_frames_make_the_flows_that_they_should(learning: Learning, seed: int) -> None:
    wanted = set()
    for frame in frames(seed, RANDOM_FRAMES, *samples.all_sources()):
        if not SHORTEST <= len(frame) <= LONGEST:
            continue
        learning.send(frame)
        parsed = parse(frame)
        if parsed.settled is None and parsed.tail is None and _asks(parsed) and (made := flow_of(parsed)):
            wanted.add(made)
    assert set(learning.flows()) == wanted
    assert len(wanted) > RANDOM_FRAMES / 10


def _asks(parsed: Parsed) -> bool:
    assert parsed.destination is not None
    flags = parsed.tcp_flags or 0
    answers = parsed.protocol == TCP and (flags & RST or flags & (SYN | ACK) == SYN | ACK)
    many = parsed.destination.is_multicast or str(parsed.destination) == "255.255.255.255"
    return not (answers or parsed.later_fragment or many)


# the filter


def filters(interface: str, side: str = "egress") -> list[dict[str, object]]:
    shown = subprocess.run(
        ["tc", "-j", "filter", "show", "dev", interface, side], check=True, capture_output=True, text=True
    )
    found = [each for each in json.loads(shown.stdout or "[]") if "options" in each]
    return [each for each in found if {"handle", "match"} & each["options"].keys()]


def qdiscs(interface: str) -> set[str]:
    shown = subprocess.run(["tc", "-j", "qdisc", "show", "dev", interface], check=True, capture_output=True, text=True)
    return {each["kind"] for each in json.loads(shown.stdout)} & {"clsact", "ingress"}


def tc(*words: str) -> None:
    subprocess.run(["tc", *words], check=True, capture_output=True)


@pytest.fixture
def wire(namespace: None) -> str:
    make_pair("peer", "in", 1500)
    return "in"


modes = pytest.mark.parametrize("mode", [AttachMode.NATIVE, AttachMode.GENERIC])


@modes
def test_it_comes_and_goes_with_the_program(host: Host, wire: str, mode: AttachMode) -> None:
    kernel = denying(host)
    assert filters(wire) == []
    kernel.attach(wire, mode)
    assert [each["kind"] for each in filters(wire)] == ["bpf"]
    kernel.detach(wire)
    assert filters(wire) == []
    assert qdiscs(wire) == set()


def test_it_comes_and_goes_with_the_policy(host: Host, wire: str) -> None:
    kernel = passing(host)
    kernel.attach(wire, AttachMode.NATIVE)
    assert qdiscs(wire) == set()
    kernel.prepare(FEATURES)
    assert len(filters(wire)) == 1
    kernel.use(FEATURES)
    assert len(filters(wire)) == 1
    kernel.use(frozenset())
    assert qdiscs(wire) == set()
    assert {path.name for path in host.pins.iterdir()} == {"links", "tables-1"}


@pytest.mark.parametrize("how", ["detach", "stop", "offline", "policy"])
def test_what_others_have_there_stays(host: Host, wire: str, how: str) -> None:
    tc("qdisc", "add", "dev", wire, "clsact")
    tc("filter", "add", "dev", wire, "egress", "prio", "1", "protocol", "all", "bpf", "da", "bytecode", "1,6 0 0 0")
    tc("filter", "add", "dev", wire, "ingress", "prio", "7", "protocol", "ip", "u32", "match", "u32", "0", "0")
    before = filters(wire), filters(wire, "ingress")
    assert [len(side) for side in before] == [1, 1]
    kernel = denying(host)
    kernel.attach(wire, AttachMode.NATIVE)
    assert len(filters(wire)) == 2
    end_by(how, kernel, host, wire)
    assert (filters(wire), filters(wire, "ingress")) == before


@pytest.mark.parametrize("how", ["detach", "stop", "offline", "policy"])
def test_the_qdisc_goes_when_nobody_else_came_to_use_it(host: Host, wire: str, how: str) -> None:
    kernel = denying(host)
    kernel.attach(wire, AttachMode.NATIVE)
    end_by(how, kernel, host, wire)
    assert qdiscs(wire) == set()


@pytest.mark.parametrize("how", ["detach", "stop", "offline", "policy"])
def test_somebody_elses_qdisc_stays(host: Host, wire: str, how: str) -> None:
    tc("qdisc", "add", "dev", wire, "clsact")
    kernel = denying(host)
    kernel.attach(wire, AttachMode.NATIVE)
    end_by(how, kernel, host, wire)
    assert filters(wire) == []
    assert qdiscs(wire) == {"clsact"}


def end_by(how: str, kernel: RealKernel, host: Host, wire: str) -> None:
    if how == "detach":
        kernel.detach(wire)
    elif how == "stop":
        kernel.stop(detach=True)
    elif how == "offline":
        kernel.stop(detach=False)
        detach_offline(host.instance)
    else:
        kernel.use(frozenset())


def test_an_ingress_qdisc_is_left_alone_and_told_of(host: Host, wire: str) -> None:
    tc("qdisc", "add", "dev", wire, "ingress")
    kernel = denying(host)
    kernel.attach(wire, AttachMode.NATIVE)
    assert qdiscs(wire) == {"ingress"}
    assert filters(wire, "ingress") == []
    assert "ingress qdisc" in kernel.mend()[wire]
    tc("qdisc", "del", "dev", wire, "ingress")
    assert kernel.mend() == {}
    assert len(filters(wire)) == 1


def test_a_program_that_cannot_be_loaded_is_no_reason_not_to_filter(
    host: Host, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise KernelError("the verifier is in no mood")

    kernel = passing(host)
    kernel.attach(wire, AttachMode.NATIVE)
    monkeypatch.setattr(Learner, "_make", refuse)
    with pytest.raises(KernelError, match="no mood"):
        kernel.prepare(FEATURES)
    kernel.use(FEATURES)
    assert kernel.mend() == {wire: "the verifier is in no mood"}
    assert [each.name for each in kernel.attachments()] == [wire]
    monkeypatch.undo()
    assert kernel.mend() == {}
    assert len(filters(wire)) == 1


def test_what_was_taken_away_is_put_back(host: Host, wire: str) -> None:
    kernel = denying(host)
    kernel.attach(wire, AttachMode.NATIVE)
    tc("qdisc", "del", "dev", wire, "clsact")
    assert kernel.mend() == {}
    assert len(filters(wire)) == 1


def test_the_next_daemon_goes_on_with_it(host: Host, wire: str) -> None:
    kernel = denying(host)
    kernel.attach(wire, AttachMode.NATIVE)
    know(kernel, [flow(4, 17, 40000, 53)])
    before = filters(wire)
    kernel.stop(detach=False)
    kernel = denying(host)
    assert filters(wire) == before
    assert set(known(table(kernel))) == {flow(4, 17, 40000, 53)}


def test_a_larger_table_knows_what_the_smaller_one_knew(host: Host, wire: str) -> None:
    kernel = denying(host)
    kernel.attach(wire, AttachMode.NATIVE)
    know(kernel, [flow(4, 17, 40000, 53), flow(6, 6, 40000, 443)])
    before = filters(wire)
    kernel.stop(detach=False)
    kernel = denying(host, replace(SMALL, flows=2 * SMALL.flows))
    assert filters(wire) != before
    assert set(known(table(kernel))) == {flow(4, 17, 40000, 53), flow(6, 6, 40000, 443)}
    assert len(list(host.pins.glob("flows-*"))) == 1


def test_a_change_that_was_refused_leaves_nothing(host: Host, wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = passing(host)
    kernel.attach(wire, AttachMode.NATIVE)
    kernel.prepare(FEATURES)
    assert kernel.mend() == {}
    assert len(filters(wire)) == 1
    monkeypatch.setattr("xdpfw.kernel.learner.EXPECTED", -1.0)
    kernel.prepare(FEATURES)
    assert kernel.mend() == {}
    assert qdiscs(wire) == set()


def test_where_the_program_cannot_attach_nothing_is_left(host: Host, make_host: Callable[[], Host], wire: str) -> None:
    first, second = denying(host), denying(make_host())
    first.attach(wire, AttachMode.NATIVE)
    before = filters(wire)
    with pytest.raises(Conflict):
        second.attach(wire, AttachMode.NATIVE)
    assert filters(wire) == before


def test_status_tells_how_full_the_table_is(host: Host) -> None:
    kernel = denying(host)
    now = kernel.clock.jiffies()
    know(kernel, [flow(4, 17, port, 53) for port in range(1000, 1500)], deadline=now + 10_000)
    know(kernel, [flow(4, 17, port, 53) for port in range(2000, 2300)], deadline=now)
    [fill] = [fill for fill in kernel.fill() if fill.name == "flows"]
    assert (fill.used, fill.size) == (500, SMALL.flows)
    forget(kernel)
