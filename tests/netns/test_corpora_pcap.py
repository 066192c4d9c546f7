# SPDX-License-Identifier: Apache-2.0
"""Real captures over a real wire: the talkers are exactly the sources that sent, the totals exactly what was sent.

Where the header is broken it is a matter of choice whether a frame has a source. The choice here, and the oracle's: it
has one if its fixed IP header is whole and says the right version, also when the packet is then dropped as broken.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.corpora import Capture, Source, captures, ethernet_captures, source_counts
from tests.loaded import Loaded
from tests.second_parser import read
from tests.wire import Sender, make_pair, private_namespace
from xdpfw.kernel.port import TALLY_COLUMNS, Kernel
from xdpfw.model.interface import AttachMode
from xdpfw.model.limits import Limits

pytestmark = [pytest.mark.netns, pytest.mark.corpora]

SENDING, RECEIVING = "pcap-tx", "pcap-rx"
MTU = 9000
LIMITS = Limits(leaves=65_536, hosts4=16_384, hosts6=16_384, memberships=1024, talkers=1 << 20)
"""So many talker slots that no five of a capture's 9,697 sources ever share a bucket of four."""

EXPECTED_FRAMES, ALL_FRAMES = 74_879, 75_281
TIMEOUT = 10.0

ALLOW = ["10.0.0.0/16", "192.168.1.0/24", "2001:db8:1::2"]
BLOCK = ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "2001:db8::/32", "fe80::/10"]


class Receiver:
    """The interface under the firewall: what it has counted since the last reset."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.reset()

    def reset(self) -> None:
        self._kernel.reset_talkers(RECEIVING)
        self._before = self._kernel.read_tally(RECEIVING)

    def tally(self, packets: int) -> npt.NDArray[np.uint64]:
        """By cause, once so many packets are counted, or as it is when that takes too long."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            since = self._kernel.read_tally(RECEIVING) - self._before
            if since[:, [0, 2]].sum() >= packets or time.monotonic() > deadline:
                return since

    def talkers(self) -> dict[str, Source]:
        """Summed over CPUs, in the spelling of their family."""
        summed: dict[str, Source] = {}
        for row in self._kernel.read_talkers(RECEIVING):
            address = ipaddress.IPv6Address(row["address"].tobytes())
            name = str(address.ipv4_mapped or address)
            passed_packets, passed_bytes, dropped_packets, dropped_bytes = (int(count) for count in row["counts"])
            before = summed.get(name, Source(0, 0))
            summed[name] = Source(
                before.packets + passed_packets + dropped_packets, before.bytes + passed_bytes + dropped_bytes
            )
        return summed


def without(counts: dict[str, Source], frames: list[bytes]) -> dict[str, Source]:
    """The oracle's counts less the frames that the wire refused, by the second parser."""
    left = dict(counts)
    for frame in frames:
        source = read(frame).source
        if source is None:
            continue
        name = str(ipaddress.ip_address(source))
        left[name] = Source(left[name].packets - 1, left[name].bytes - len(frame))
    return {name: count for name, count in left.items() if count.packets}


def expected_tally(frames: list[bytes], loaded: Loaded) -> npt.NDArray[np.uint64]:
    """By cause and column, by the reference verdict."""
    tally = np.zeros((MAX_REASONS + MAX_ROWS, len(TALLY_COLUMNS)), np.uint64)
    for frame in frames:
        judged = reference.judge(frame, loaded.sets, loaded.policy, 0)
        column = 0 if judged.verdict is Verdict.PASS else 2
        tally[judged.cause, column : column + 2] += np.array((1, len(frame)), np.uint64)
    return tally


def faults_of(capture: Capture, sender: Sender, receiver: Receiver, loaded: Loaded, oracle: Path) -> tuple[int, str]:
    """Send it: how many frames went out, and what is wrong with the counts after that."""
    receiver.reset()
    sent, refused = sender.send(capture.frames)
    tally = receiver.tally(sent)
    counted = [frame for frame in capture.frames if frame not in set(refused)]
    assert len(counted) == sent
    want = without(source_counts(oracle, capture.name), refused)
    got = receiver.talkers()
    if got != want:
        differing = {name: (got.get(name), want.get(name)) for name in got.keys() | want.keys()}
        return sent, f"talkers: {[each for each in differing.items() if each[1][0] != each[1][1]][:5]}"
    if tally[:, [0, 2]].sum() != sent or tally[:, [1, 3]].sum() != sum(map(len, counted)):
        return sent, f"totals: {tally.sum(axis=0)}"
    reference_tally = expected_tally(counted, loaded)
    if (tally != reference_tally).any():
        causes = np.flatnonzero((tally != reference_tally).any(axis=1))
        return sent, f"reasons: {[(cause, tally[cause], reference_tally[cause]) for cause in causes]}"
    return sent, ""


def test_every_capture_is_counted_exactly(corpora: Path, make_kernel: MakeKernel) -> None:
    total, faults = 0, {}
    with private_namespace():
        make_pair(SENDING, RECEIVING, MTU)
        kernel = make_kernel(LIMITS)
        loaded = Loaded(kernel, LIMITS)
        loaded.add("allow", ALLOW)
        loaded.add("block", BLOCK)
        assert kernel.attach(RECEIVING, AttachMode.NATIVE).mode is AttachMode.NATIVE
        receiver = Receiver(kernel)
        with Sender(SENDING) as sender:
            for capture in ethernet_captures(corpora):
                sent, fault = faults_of(capture, sender, receiver, loaded, corpora)
                total += sent
                if fault:
                    faults[capture.name] = fault
    assert faults == {}
    assert total == EXPECTED_FRAMES
