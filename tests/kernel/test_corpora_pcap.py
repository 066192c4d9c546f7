# SPDX-License-Identifier: Apache-2.0
"""Real captures over a real wire: the talkers are exactly the sources that sent, the totals exactly what was sent.

Where the header is broken it is a matter of choice whether a frame has a source. The choice here, and the oracle's: it
has one if its fixed IP header is whole and says the right version, also when the packet is then dropped as broken.
"""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests import samples
from tests.corpora import Capture, Source, ethernet_captures, source_counts
from tests.kernel.conftest import Host
from tests.loaded import Loaded
from tests.second_parser import read
from tests.wire import Sender, make_pair
from xdpfw.kernel.port import TALLY_COLUMNS, Kernel
from xdpfw.model.interface import AttachMode
from xdpfw.model.limits import Limits
from xdpfw.model.policy import MAX_SLOTS
from xdpfw.model.reason import MAX_REASONS, Verdict
from xdpfw.policy import reference

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.corpora]

SENDING, RECEIVING = "pcap-tx", "pcap-rx"
MTU = 9000
LIMITS = Limits(leaves=1024, hosts4=64, hosts6=64, memberships=64, talkers=1 << 20)
"""So many talker slots that hardly ever five of a capture's 9,697 sources share a bucket of four (1 in 10,000)."""

PACKETS, BYTES = [0, 2], [1, 3]
"""Of TALLY_COLUMNS: passed and dropped."""

FRAMES = 74_879
"""Of 75,281: the others are not Ethernet (360), over the MTU (40) or shorter than an Ethernet header (2)."""

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
            if since[:, PACKETS].sum() >= packets or time.monotonic() > deadline:
                return since

    def talkers(self) -> dict[str, Source]:
        """Summed over CPUs, in the spelling of their family."""
        summed: dict[str, Source] = {}
        for row in self._kernel.read_talkers(RECEIVING).rows():
            address = ipaddress.IPv6Address(row["address"].tobytes())
            name = str(address.ipv4_mapped or address)
            packets, octets = int(row["counts"][PACKETS].sum()), int(row["counts"][BYTES].sum())
            before = summed.get(name, Source(0, 0))
            summed[name] = Source(before.packets + packets, before.bytes + octets)
        return summed


def without(counts: dict[str, Source], frames: list[bytes]) -> dict[str, Source]:
    """The oracle's counts less the frames that the wire refused, by the second parser."""
    left = dict(counts)
    for frame in frames:
        if source := read(frame).source:
            name = str(ipaddress.ip_address(source))
            left[name] = Source(left[name].packets - 1, left[name].bytes - len(frame))
    return {name: count for name, count in left.items() if count.packets}


def expected_tally(frames: list[bytes], loaded: Loaded) -> npt.NDArray[np.uint64]:
    """By cause and column, by the reference verdict."""
    tally = np.zeros((MAX_REASONS + MAX_SLOTS, len(TALLY_COLUMNS)), np.uint64)
    for frame in frames:
        judged = reference.judge(frame, loaded.sets, loaded.policy, 0)
        column = 0 if judged.verdict is Verdict.PASS else 2
        tally[judged.cause, column] += np.uint64(1)
        tally[judged.cause, column + 1] += np.uint64(len(frame))
    return tally


def fault_of(capture: Capture, tally: npt.NDArray[np.uint64], sent: list[bytes], got: dict[str, Source],
             want: dict[str, Source], loaded: Loaded) -> str:  # fmt: skip
    """What is wrong with the counts after a capture, or ""."""
    if got != want:
        differing = sorted(name for name in got.keys() | want.keys() if got.get(name) != want.get(name))
        return f"{capture.name}: talkers {[(name, got.get(name), want.get(name)) for name in differing[:5]]}"
    totals = int(tally[:, PACKETS].sum()), int(tally[:, BYTES].sum())
    if totals != (len(sent), sum(map(len, sent))):
        return f"{capture.name}: totals {totals}, sent {len(sent)} frames"
    by_reference = expected_tally(sent, loaded)
    causes = np.flatnonzero((tally != by_reference).any(axis=1))
    if len(causes):
        return f"{capture.name}: causes {[(int(cause), tally[cause], by_reference[cause]) for cause in causes]}"
    return ""


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("mode", [AttachMode.NATIVE, AttachMode.GENERIC])
def test_every_capture_is_counted_exactly(
    mode: AttachMode, corpora: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples.remember_rows(monkeypatch)
    make_pair(SENDING, RECEIVING, MTU)
    loaded = Loaded(host.kernel(LIMITS), LIMITS)
    loaded.add("allow", ALLOW)
    loaded.add("block", BLOCK)
    assert loaded.kernel.attach(RECEIVING, mode).mode is mode
    receiver = Receiver(loaded.kernel)
    total, faults = 0, []
    with Sender(SENDING) as sender:
        for capture in ethernet_captures(corpora):
            receiver.reset()
            sent, refused = sender.send(capture.frames)
            total += len(sent)
            tally = receiver.tally(len(sent))
            want = without(source_counts(corpora, capture.name), refused)
            faults.append(fault_of(capture, tally, sent, receiver.talkers(), want, loaded))
    assert [fault for fault in faults if fault] == []
    assert total == FRAMES
