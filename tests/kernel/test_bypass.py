# SPDX-License-Identifier: Apache-2.0
"""What slips through other firewalls: everything a blocked source sends is dropped, however it is wrapped."""

from __future__ import annotations

import pytest

from tests import packets as p
from tests.loaded import Loaded
from tests.packets import ethernet, ip, ip_fragment, ipv4, ipv6, tag
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict

pytestmark = pytest.mark.kernel

BLOCKED, CLEAN = ("203.0.113.66", "2001:db8:bad::66"), ("192.0.2.1", "2001:db8::1")
BLOCK_ROW = MAX_REASONS + 1

both_families = pytest.mark.parametrize(("blocked", "clean"), list(zip(BLOCKED, CLEAN, strict=True)), ids=["v4", "v6"])


@pytest.fixture(scope="module")
def loaded(loaded_kernel: Loaded) -> Loaded:
    loaded_kernel.add("block", BLOCKED)
    return loaded_kernel


def judged(loaded: Loaded, frame: bytes) -> tuple[str, int]:
    judgement = loaded.kernel.judge(frame)
    return judgement.verdict, judgement.cause


def assert_dropped_by_block(loaded: Loaded, frame: bytes) -> None:
    assert judged(loaded, frame) == (Verdict.DROP, BLOCK_ROW)


def assert_passed(loaded: Loaded, frame: bytes) -> None:
    assert judged(loaded, frame) == (Verdict.PASS, Reason.DEFAULT)


@both_families
def test_every_protocol_number_is_dropped(loaded: Loaded, blocked: str, clean: str) -> None:
    for protocol in range(256):
        for data in (b"", bytes(64)):
            assert_dropped_by_block(loaded, ethernet(ip(blocked, p.raw(protocol, data))))
    for protocol in (p.GRE, p.ESP, p.OSPF):
        assert_passed(loaded, ethernet(ip(clean, p.raw(protocol, bytes(64)))))


def test_options_do_not_hide_a_source(loaded: Loaded) -> None:
    for words in range(11):
        frame = ethernet(ipv4(BLOCKED[0], p.tcp(), options=b"\x01" * 4 * words))
        assert_dropped_by_block(loaded, frame)


def test_extension_headers_do_not_hide_a_source(loaded: Loaded) -> None:
    for specimen in p.EXTENSIONS.values():
        # Beyond the bound of 8 as well: the row comes first, and says why.
        for count in (1, 8, 9, 20):
            assert_dropped_by_block(loaded, ethernet(ipv6(BLOCKED[1], p.tcp(), *[specimen] * count)))


@both_families
def test_tags_do_not_hide_a_source(loaded: Loaded, blocked: str, clean: str) -> None:
    for tpid in p.TPIDS:
        for depth in range(5):
            tags = [tag(100 + number, tpid) for number in range(depth)]
            assert_dropped_by_block(loaded, ethernet(ip(blocked, p.udp()), *tags))
            assert_passed(loaded, ethernet(ip(clean, p.udp()), *tags))


@both_families
def test_fragments_are_judged_by_their_source_alone(loaded: Loaded, blocked: str, clean: str) -> None:
    for segment in (p.tcp(payload=bytes(8)), p.udp(payload=bytes(8)), p.raw(p.TCP, b"\xff"), p.raw(p.ESP, b"\xff")):
        for offset, more in ((8, True), (8, False), (65528, False)):
            assert_dropped_by_block(loaded, ethernet(ip_fragment(blocked, segment, offset, more=more)))
            assert_passed(loaded, ethernet(ip_fragment(clean, segment, offset, more=more)))
    assert_dropped_by_block(loaded, ethernet(ip_fragment(blocked, p.raw(p.TCP, b"\xff"), 0, more=True)))


@both_families
def test_payloads_of_later_fragments_are_not_read_as_ports(loaded: Loaded, blocked: str, clean: str) -> None:
    for source in (blocked, clean):
        later = loaded.kernel.judge(ethernet(ip_fragment(source, p.tcp(4660, 22136), 8, more=False)))
        assert (later.fields["source_port"], later.fields["destination_port"]) == (0, 0)
        first = loaded.kernel.judge(ethernet(ip_fragment(source, p.tcp(4660, 22136), 0, more=True)))
        assert (first.fields["source_port"], first.fields["destination_port"]) == (4660, 22136)


@pytest.mark.parametrize("spelling", ["203.0.113.99", "::ffff:203.0.113.99", "0:0:0:0:0:ffff:cb00:7163"])
def test_an_ipv4_mapped_source_is_its_ipv4_address(loaded: Loaded, spelling: str) -> None:
    segments = p.tcp(), p.udp()
    for segment in segments:
        assert_passed(loaded, ethernet(ipv6("::ffff:203.0.113.98", segment)))
    loaded.add("block", [spelling])
    for segment in segments:
        assert_dropped_by_block(loaded, ethernet(ipv4("203.0.113.99", segment)))
        assert_dropped_by_block(loaded, ethernet(ipv6("::ffff:203.0.113.99", segment)))
    # Neither the IPv4-compatible (RFC 4291 2.5.5.1) nor the NAT64 form (RFC 6052) is that address.
    for other in ("::203.0.113.99", "64:ff9b::203.0.113.99"):
        assert_passed(loaded, ethernet(ipv6(other, p.tcp())))


def test_default_drop_remembers_arp_and_neighbour_discovery(loaded: Loaded) -> None:
    loaded.use(default=Verdict.DROP)
    try:
        assert judged(loaded, ethernet(p.arp(), pad_to=60)) == (Verdict.PASS, Reason.ARP)
        for type_ in range(133, 138):
            for source in (CLEAN[1], BLOCKED[1], "::"):
                frame = ethernet(ipv6(source, p.ndp(type_), hop_limit=255))
                assert judged(loaded, frame) == (Verdict.PASS, Reason.NDP)
        for source in CLEAN:
            assert judged(loaded, ethernet(ip(source, p.tcp()))) == (Verdict.DROP, Reason.DEFAULT)
    finally:
        loaded.use(default=Verdict.PASS)
