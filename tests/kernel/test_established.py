# SPDX-License-Identifier: Apache-2.0
"""Under a default of drop: what passes as an answer, frame by frame, and what does not."""

from __future__ import annotations

import dataclasses
import ipaddress
import random
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests import packets as p
from tests import samples
from tests.flows import CLOSING, NEW, REPLIED, forget, know, known, table
from tests.kernel.bench import Bench
from tests.loaded import Loaded
from tests.random_frames import frames, mutated
from xdpfw.model.policy import DEFAULT_RULES
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy import reference
from xdpfw.policy.reference_known import Flow, Known, flow_of
from xdpfw.policy.reference_parse import parse, quoted

pytestmark = pytest.mark.kernel

RANDOM_FRAMES = 3_000
HERE = {4: "198.51.100.99", 6: "2001:db8:ffff::99"}
THERE = {4: "192.0.2.1", 6: "2001:db8::1"}
both = pytest.mark.parametrize("version", [4, 6])
SYN, SYN_ACK, ACK, RST, FIN_ACK = 0x02, 0x12, 0x10, 0x04, 0x11


@pytest.fixture(scope="module")
def loaded(loaded_kernel: Loaded) -> Loaded:
    loaded_kernel.add("allow", samples.ALLOW)
    loaded_kernel.add("block", samples.BLOCK)
    return loaded_kernel


@pytest.fixture
def deny(loaded: Loaded) -> Iterator[Loaded]:
    """Nothing matches a rule but what is in the sets, and the default is drop."""
    loaded.use(default=Verdict.DROP, mode=Mode.ENFORCE, rules=DEFAULT_RULES)
    yield loaded
    forget(loaded.kernel)


def inbound(version: int, segment: p.Segment, *extensions: p.Extension, source: str = "", **fields: int) -> bytes:
    """A frame from THERE to HERE. `fields` of the IP header are those of packets.ipv4 and packets.ipv6."""
    source = source or THERE[version]
    if version == 4:
        return p.ethernet(p.ipv4(source, segment, **fields))  # type: ignore[arg-type]
    return p.ethernet(p.ipv6(source, segment, *extensions, **fields))  # type: ignore[arg-type]


def outbound(version: int, segment: p.Segment, *extensions: p.Extension) -> p.Packet:
    """A packet from HERE to THERE."""
    if version == 4:
        return p.ipv4(HERE[4], segment, destination=THERE[4])
    return p.ipv6(HERE[6], segment, *extensions, destination=THERE[6])


def flow(version: int, protocol: int, local_port: int = 0, remote_port: int = 0) -> Flow:
    here, there = ipaddress.ip_address(HERE[version]), ipaddress.ip_address(THERE[version])
    return Flow(version, protocol, here, local_port, there, remote_port)


def error(version: int, about: p.Packet, type_: int, code: int = 0, source: str = "") -> bytes:
    """An ICMP error from a router on the way that quotes all of a packet."""
    router = source or {4: "203.0.114.1", 6: "2001:db8:5::1"}[version]
    segment = p.icmp(type_, code, about.data) if version == 4 else p.icmpv6(type_, code, bytes(4) + about.data)
    return inbound(version, segment, source=router)


def reason(deny: Loaded, frame: bytes) -> Reason:
    judged = deny.kernel.judge(frame)
    assert (judged.verdict == Verdict.DROP) is (judged.cause == Reason.DEFAULT)
    return Reason(judged.cause)


ANSWERS = [
    ("udp", 17, 40000, 53, lambda version: p.udp(53, 40000)),
    ("syn-ack", 6, 40000, 443, lambda version: p.tcp(443, 40000, flags=SYN_ACK)),
    ("ack", 6, 40000, 443, lambda version: p.tcp(443, 40000, flags=ACK)),
    ("reset", 6, 40000, 443, lambda version: p.tcp(443, 40000, flags=RST)),
    ("sctp", 132, 40000, 5060, lambda version: p.sctp(5060, 40000)),
    ("gre", 47, 0, 0, lambda version: p.raw(p.GRE, bytes(8))),
    ("esp", 50, 0, 0, lambda version: p.raw(p.ESP, bytes(16))),
]


@both
@pytest.mark.parametrize(("name", "protocol", "local", "remote", "segment"), ANSWERS, ids=[a[0] for a in ANSWERS])
def test_an_answer_passes_and_what_nobody_asked_for_does_not(deny, version, name, protocol, local, remote, segment):  # type: ignore[no-untyped-def]
    frame = inbound(version, segment(version))
    assert reason(deny, frame) is Reason.DEFAULT
    know(deny.kernel, [flow(version, protocol, local, remote)])
    assert reason(deny, frame) is Reason.ESTABLISHED
    assert reason(deny, inbound(version, segment(version), source={4: "192.0.2.2", 6: "2001:db8::2"}[version])) is (
        Reason.DEFAULT
    )


@both
@pytest.mark.parametrize(
    "near",
    [p.udp(53, 40001), p.udp(54, 40000), p.udp(40000, 53), p.tcp(53, 40000, flags=ACK), p.sctp(53, 40000)],
    ids=["other local port", "other remote port", "ports swapped", "tcp", "sctp"],
)
def test_only_the_very_flow_is_known(deny: Loaded, version: int, near: p.Segment) -> None:
    know(deny.kernel, [flow(version, 17, 40000, 53)])
    assert reason(deny, inbound(version, near)) is Reason.DEFAULT


@both
def test_who_begins_a_connection_does_not_answer(deny: Loaded, version: int) -> None:
    know(deny.kernel, [flow(version, 6, 40000, 443)])
    for flags in (SYN, SYN | 0x40, SYN | 0x01):
        assert reason(deny, inbound(version, p.tcp(443, 40000, flags=flags))) is Reason.DEFAULT


@both
def test_only_replies_to_this_very_echo_pass(deny: Loaded, version: int) -> None:
    know(deny.kernel, [flow(version, 1 if version == 4 else 58, local_port=1)])
    reply = p.icmp(0) if version == 4 else p.icmpv6(129, payload=b"\0\1\0\1")
    other = (
        p.Segment(1, reply.data[:4] + b"\0\2" + reply.data[6:]) if version == 4 else p.icmpv6(129, payload=b"\0\2\0\1")
    )
    assert reason(deny, inbound(version, reply)) is Reason.ESTABLISHED
    assert reason(deny, inbound(version, other)) is Reason.DEFAULT
    assert reason(deny, inbound(version, p.echo(version))) is Reason.DEFAULT  # type: ignore[arg-type]


@both
def test_a_blocked_source_stays_blocked_when_it_answers(deny: Loaded, version: int) -> None:
    blocked = samples.SOURCES["block"][version == 6]
    remote = ipaddress.ip_address(blocked)
    know(deny.kernel, [dataclasses.replace(flow(version, 17, 40000, 53), remote=remote)])
    judged = deny.kernel.judge(inbound(version, p.udp(53, 40000), source=blocked))
    assert (judged.verdict, judged.cause) == (Verdict.DROP, MAX_REASONS + deny.policy.slots.of["block"])


@both
def test_a_flow_runs_out_at_its_deadline(deny: Loaded, version: int) -> None:
    frame, now = inbound(version, p.udp(53, 40000)), deny.kernel.clock.jiffies()  # type: ignore[attr-defined]
    know(deny.kernel, [flow(version, 17, 40000, 53)], deadline=now)
    assert reason(deny, frame) is Reason.DEFAULT
    know(deny.kernel, [flow(version, 17, 40000, 53)], deadline=now + 100_000)
    assert reason(deny, frame) is Reason.ESTABLISHED


ERRORS = {4: [(3, 0), (3, 4), (11, 0), (12, 0)], 6: [(1, 0), (2, 0), (3, 0), (4, 1)]}
NO_ERRORS = {4: [(5, 0), (4, 0), (13, 0), (0, 0)], 6: [(5, 0), (0, 0), (137, 0), (129, 0)]}


@both
@pytest.mark.parametrize("protocol", ["udp", "tcp", "echo", "gre"])
def test_errors_about_known_flows_pass(deny: Loaded, version: int, protocol: str) -> None:
    segment, wanted = {
        "udp": (p.udp(40000, 53), flow(version, 17, 40000, 53)),
        "tcp": (p.tcp(40000, 443), flow(version, 6, 40000, 443)),
        "echo": (p.echo(version), flow(version, 1 if version == 4 else 58, 1)),  # type: ignore[arg-type]
        "gre": (p.raw(p.GRE, bytes(8)), flow(version, p.GRE)),
    }[protocol]
    about = outbound(version, segment)
    for type_, code in ERRORS[version]:
        assert reason(deny, error(version, about, type_, code)) is Reason.DEFAULT
    know(deny.kernel, [wanted])
    for type_, code in ERRORS[version]:
        assert reason(deny, error(version, about, type_, code)) is Reason.RELATED
        cut = p.Packet(about.ethertype, about.data[: (20 if version == 4 else 40) + 8])
        assert reason(deny, error(version, cut, type_, code)) is Reason.RELATED
    for type_, code in NO_ERRORS[version]:
        assert reason(deny, error(version, about, type_, code)) is Reason.DEFAULT


@both
def test_an_error_goes_to_who_sent_what_it_is_about(deny: Loaded, version: int) -> None:
    other = {4: "198.51.100.98", 6: "2001:db8:ffff::98"}[version]
    local = ipaddress.ip_address(other)
    know(deny.kernel, [dataclasses.replace(flow(version, 17, 40000, 53), local=local)])
    if version == 4:
        about = p.ipv4(other, p.udp(40000, 53), destination=THERE[4])
    else:
        about = p.ipv6(other, p.udp(40000, 53), destination=THERE[6])
    assert reason(deny, error(version, about, ERRORS[version][0][0])) is Reason.DEFAULT


def test_an_error_about_a_first_fragment_is_understood(deny: Loaded) -> None:
    know(deny.kernel, [flow(6, 17, 40000, 53)])
    about = outbound(6, p.udp(40000, 53, bytes(64)), p.fragment(0, more=True))
    assert reason(deny, error(6, about, 2)) is Reason.RELATED
    later = outbound(6, p.udp(40000, 53, bytes(64)), p.fragment(1232))
    assert reason(deny, error(6, later, 2)) is Reason.DEFAULT


@both
def test_dhcp_is_answered_by_anybody_while_asked(deny: Loaded, version: int) -> None:
    client, server = (68, 67) if version == 4 else (546, 547)
    frame = inbound(version, p.udp(server, client), source={4: "192.0.2.254", 6: "fe80::1"}[version])
    assert reason(deny, frame) is Reason.DEFAULT
    know(deny.kernel, [Flow(version, 17, None, client, None, server)])
    assert reason(deny, frame) is Reason.ESTABLISHED
    assert reason(deny, inbound(version, p.udp(client, server))) is Reason.DEFAULT


def test_group_management_passes_on_its_own_link_only(deny: Loaded) -> None:
    query4 = p.raw(2, b"\x11\x64\xee\x9b" + bytes(4))
    for hops, destination, passes in ((1, "224.0.0.1", True), (2, "224.0.0.1", False), (1, "198.51.100.99", False)):
        frame = p.ethernet(p.ipv4("192.0.2.254", query4, destination=destination, ttl=hops))
        assert (reason(deny, frame) is Reason.GROUP_MANAGEMENT) is passes
    for type_ in (130, 131, 132, 143):
        segment = p.icmpv6(type_, payload=bytes(20))
        for hops, source, passes in ((1, "fe80::1", True), (64, "fe80::1", False), (1, "2001:db8::1", False)):
            packet = p.ipv6(source, segment, p.hop_by_hop(), destination="ff02::1", hop_limit=hops)
            assert (reason(deny, p.ethernet(packet)) is Reason.GROUP_MANAGEMENT) is passes


def test_neighbour_discovery_and_router_advertisements_pass(deny: Loaded) -> None:
    for type_ in range(133, 138):
        frame = p.ethernet(p.ipv6("fe80::1", p.ndp(type_), hop_limit=255))
        assert reason(deny, frame) is Reason.NDP


# what the live program writes, and the twin does not


@pytest.fixture
def live(deny: Loaded) -> Iterator[Bench]:
    bench = Bench(deny.kernel)  # type: ignore[arg-type]
    yield bench
    bench.close()


def value(deny: Loaded, which: Flow) -> tuple[int, int]:
    """Seconds left and state."""
    deadline, state = known(table(deny.kernel))[which]  # type: ignore[arg-type]
    clock = deny.kernel.clock  # type: ignore[attr-defined]
    return round((deadline - clock.jiffies()) / clock.hz), state


@both
@pytest.mark.parametrize(("protocol", "seconds"), [(17, 120), (6, 7500), (47, 600)])
def test_an_answer_keeps_a_flow_alive(deny: Loaded, live: Bench, version: int, protocol: int, seconds: int) -> None:
    ports = (0, 0) if protocol == 47 else (40000, 53)
    segment = {17: p.udp(53, 40000), 6: p.tcp(53, 40000, flags=ACK), 47: p.raw(47, bytes(8))}[protocol]
    which, frame = flow(version, protocol, *ports), inbound(version, segment)
    clock = deny.kernel.clock  # type: ignore[attr-defined]
    know(deny.kernel, [which], deadline=clock.jiffies() + 5 * clock.hz)
    assert deny.kernel.judge(frame).cause == Reason.ESTABLISHED
    assert value(deny, which) == (pytest.approx(5, abs=1), NEW)
    assert live.run(frame)
    assert value(deny, which) == (pytest.approx(seconds, abs=1), REPLIED)


@both
def test_no_answer_keeps_a_closed_connection_alive(deny: Loaded, live: Bench, version: int) -> None:
    which, frame = flow(version, 6, 40000, 443), inbound(version, p.tcp(443, 40000, flags=ACK))
    clock = deny.kernel.clock  # type: ignore[attr-defined]
    know(deny.kernel, [which], deadline=clock.jiffies() + 50 * clock.hz, state=CLOSING)
    assert live.run(frame)
    assert value(deny, which) == (pytest.approx(50, abs=1), CLOSING)


@both
def test_later_fragments_pass_once_a_first_one_did(deny: Loaded, live: Bench, version: int) -> None:
    first = p.ip_fragment(THERE[version], p.udp(53, 40000, bytes(64)), 0, more=True)
    later = p.ip_fragment(THERE[version], p.raw(17, bytes(64)), 72, more=False)
    know(deny.kernel, [flow(version, 17, 40000, 53)])
    assert not live.run(p.ethernet(later))
    assert deny.kernel.judge(p.ethernet(first)).cause == Reason.ESTABLISHED
    assert not live.run(p.ethernet(later))
    assert live.run(p.ethernet(first))
    assert live.run(p.ethernet(later))
    assert deny.kernel.judge(p.ethernet(later)).cause == Reason.ESTABLISHED
    stranger = p.ip_fragment({4: "192.0.2.2", 6: "2001:db8::2"}[version], p.raw(17, bytes(64)), 72, more=False)
    assert not live.run(p.ethernet(stranger))


# sockets


@pytest.fixture
def loopback(namespace: None) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def between(version: int, segment: p.Segment) -> bytes:
    """Both ends are on this host, as its sockets see it."""
    if version == 4:
        return p.ethernet(p.ipv4("127.0.0.1", segment, destination="127.0.0.1"))
    return p.ethernet(p.ipv6("::1", segment, destination="::1"))


@both
def test_a_connected_udp_socket_is_asked_by_its_peer_alone(deny: Loaded, loopback: None, version: int) -> None:
    with socket.socket(FAMILY[version], socket.SOCK_DGRAM) as ours:
        ours.bind((LOOPBACK[version], 0))
        port = ours.getsockname()[1]
        assert reason(deny, between(version, p.udp(5353, port))) is Reason.DEFAULT
        ours.connect((LOOPBACK[version], 5353))
        assert reason(deny, between(version, p.udp(5353, port))) is Reason.ESTABLISHED
        assert reason(deny, between(version, p.udp(5354, port))) is Reason.DEFAULT
        sent = p.ipv4("127.0.0.1", p.udp(port, 5353), destination="127.0.0.1")
        if version == 4:
            unreachable = p.ipv4("192.0.2.9", p.icmp(3, 3, sent.data), destination="127.0.0.1")
            assert reason(deny, p.ethernet(unreachable)) is Reason.RELATED


@both
def test_a_tcp_socket_that_listens_has_not_asked(deny: Loaded, loopback: None, version: int) -> None:
    with socket.create_server((LOOPBACK[version], 0), family=FAMILY[version]) as listener:
        port = listener.getsockname()[1]
        for flags in (SYN, SYN_ACK, ACK, RST, FIN_ACK):
            assert reason(deny, between(version, p.tcp(5353, port, flags=flags))) is Reason.DEFAULT
        with socket.create_connection(listener.getsockname()[:2]) as client:
            peer = client.getsockname()[1]
            for ports in ((port, peer), (peer, port)):
                assert reason(deny, between(version, p.tcp(*ports, flags=ACK))) is Reason.ESTABLISHED
                assert reason(deny, between(version, p.tcp(*ports, flags=SYN))) is Reason.DEFAULT
            assert reason(deny, between(version, p.tcp(peer + 1, port, flags=ACK))) is Reason.DEFAULT


def test_a_dual_stack_socket_is_found_for_ipv4(deny: Loaded, loopback: None) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ours:
        ours.connect(("::ffff:127.0.0.1", 5353))
        port = ours.getsockname()[1]
        assert reason(deny, between(4, p.udp(5353, port))) is Reason.ESTABLISHED
        assert reason(deny, between(4, p.udp(5354, port))) is Reason.DEFAULT
        mapped = p.ipv6("::ffff:127.0.0.1", p.udp(5353, port), destination="::ffff:127.0.0.1")
        assert reason(deny, p.ethernet(mapped)) is Reason.DEFAULT


# everything at once, against the reference


def with_errors(seed: int, count: int) -> Iterator[bytes]:
    """Random frames, a third of them quoted by an ICMP error, some damaged after that."""
    r = random.Random(seed)
    for frame in frames(seed, count, *samples.all_sources()):
        parsed = parse(frame)
        if r.random() < 0.66 or parsed.source is None or parsed.vlans:
            yield frame
            continue
        version = 4 if parsed.ethertype == p.ETH_IPV4 else 6
        quote = frame[14:][: r.choice((20, 28, 48, 56, 200, 1280))]
        segment = (
            p.icmp(r.choice((3, 11, 12, 5)), r.randrange(6), quote)
            if version == 4
            else p.icmpv6(r.choice((1, 2, 3, 4, 127)), r.randrange(6), bytes(4) + quote)
        )
        # What it quotes came from where the frame goes to.
        made = (
            p.ipv4("203.0.114.1", segment, destination=str(parsed.source))
            if version == 4
            else p.ipv6("2001:db8:5::1", segment, destination=str(ipaddress.IPv6Address(frame[22:38])))
        )
        yield mutated(r, p.ethernet(made)) if r.random() < 0.3 else p.ethernet(made)


@pytest.mark.parametrize("seed", samples.seeds())
def test_random_answers(deny: Loaded, seed: int) -> None:
    r = random.Random(seed)
    made = [frame for frame in with_errors(seed, RANDOM_FRAMES) if len(frame) >= 14]
    could_be = {parsed: (flow_of(parsed, outbound=False), quoted(parsed.transport[8:])) for parsed in map(parse, made)}
    named = {a for a, _ in could_be.values()} | {flow_of(q) for _, q in could_be.values() if q}
    asked = Known(flows={each for each in named if each and r.random() < 0.5})
    know(deny.kernel, asked.flows)
    wrong, seen = {}, set()
    for frame in made:
        judgement = deny.kernel.judge(frame)
        want = reference.judge(frame, deny.sets, deny.policy, 0, known=asked)
        seen.add(judgement.cause)
        if (judgement.verdict, judgement.cause) != (want.verdict, int(want.cause)):
            wrong[frame.hex()] = (judgement, want)
    assert wrong == {}
    assert {Reason.ESTABLISHED, Reason.RELATED, Reason.DEFAULT} <= seen
