# SPDX-License-Identifier: Apache-2.0
"""The packet path against the table of frames, the reference verdict and the second parser, frame by frame.

Every frame goes through BPF_PROG_TEST_RUN of the real program with the real maps.
"""

from __future__ import annotations

import functools
import ipaddress
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.corpora import ethernet_captures
from tests.first_buffer import run_split
from tests.frame_table import Outcome, expected, table
from tests.loaded import Loaded
from tests.random_frames import frames
from tests.second_parser import Reading, read
from xdpfw.kernel import libbpf
from xdpfw.kernel.port import Judgement
from xdpfw.model.policy import Policy
from xdpfw.model.reason import Reason, Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy import reference

pytestmark = pytest.mark.kernel

SHORTEST, LONGEST = 14, 9014
"""BPF_PROG_TEST_RUN takes no less than an Ethernet header; more than an MTU of 9,000 is not promised."""

RANDOM_FRAMES = 2_000
FIRST_BUFFERS = (14, 15, 16, 18, 20, 33, 34, 35, 53, 54, 55, 62, 90)
"""Ends of the first buffer that cut through headers: within tags, IP headers, extension headers, transports."""

HEADER_FAULTS = {"short_ethernet", "vlan_depth", "bad_ipv4", "bad_ipv6"}


@pytest.fixture(scope="module")
def loaded(loaded_kernel: Loaded) -> Loaded:
    loaded_kernel.add("allow", samples.ALLOW)
    loaded_kernel.add("block", samples.BLOCK)
    return loaded_kernel


@pytest.fixture
def ruled(loaded: Loaded, request: pytest.FixtureRequest) -> Iterator[Loaded]:
    """With the policy that the test is parametrised by."""
    policy: Policy = request.param
    loaded.use(default=policy.default, mode=policy.mode, ethertypes=policy.ethertypes)
    yield loaded
    loaded.use(default=Verdict.PASS, mode=Mode.ENFORCE)


every_policy = pytest.mark.parametrize("ruled", samples.POLICIES, indirect=True, ids=samples.policy_id)


def outcome(judgement: Judgement) -> Outcome:
    return Outcome(Verdict(judgement.verdict), judgement.cause, judgement.monitored)


def reference_outcome(frame: bytes, loaded: Loaded) -> Outcome:
    judged = reference.judge(frame, loaded.sets, loaded.policy, 0)
    return Outcome(judged.verdict, int(judged.cause), judged.monitored)


def differing_fields(judgement: Judgement, reading: Reading) -> dict[str, tuple[object, object]]:
    """Field → (packet path's, second parser's), where they differ. Unknown fields are 0 in the packet path."""
    kernel = judgement.fields
    source = ipaddress.ip_address(reading.source) if reading.source else None
    if isinstance(source, ipaddress.IPv6Address):
        source = source.ipv4_mapped or source
    pairs = {
        "vlan_depth": (kernel["vlan_depth"], reading.tags),
        "version": (kernel["version"], reading.family if source else 0),
        "source": (kernel["source"], str(source) if source else None),
    }
    if reading.fault not in HEADER_FAULTS:
        ports = kernel["source_port"], kernel["destination_port"]
        pairs |= {
            "ethertype": (kernel["ethertype"], reading.ethertype),
            "protocol": (kernel["protocol"], reading.protocol or 0),
            "fragment": (kernel["fragment"], "none" if reading.fragment == "atomic" else reading.fragment),
            "ports": (ports, reading.ports or (0, 0)),
            "fault": (Reason(kernel["tail_fault"]).label if kernel["tail_fault"] else "", reading.fault),
        }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def compare(loaded: Loaded, stream: Iterable[bytes]) -> None:
    """Packet path and reference give the same outcome, packet path and second parser the same fields."""
    wrong = {}
    for frame in stream:
        judgement = loaded.kernel.judge(frame)
        got, want = outcome(judgement), reference_outcome(frame, loaded)
        fields = differing_fields(judgement, read(frame))
        if got != want or fields:
            wrong[frame.hex()] = (got, want, fields)
            assert len(wrong) < 10, wrong
    assert wrong == {}


@every_policy
@pytest.mark.parametrize("membership", samples.SOURCES, ids=str)
@pytest.mark.parametrize("mapped", [False, True], ids=["own", "mapped"])
def test_the_table_of_frames(ruled: Loaded, membership: str | None, mapped: bool) -> None:
    wrong = {}
    for case in table(*samples.sources(membership, mapped=mapped)):
        if len(case.frame) < SHORTEST:
            continue
        reading, judgement = read(case.frame), ruled.kernel.judge(case.frame)
        want = expected(case.reason, reading.ethertype, membership, ruled.policy)
        if outcome(judgement) != want or differing_fields(judgement, reading):
            wrong[str(case)] = (want, judgement, differing_fields(judgement, reading))
    assert wrong == {}


@every_policy
@pytest.mark.parametrize("seed", samples.seeds())
def test_random_frames(ruled: Loaded, seed: int) -> None:
    compare(ruled, frames(seed, RANDOM_FRAMES, *samples.all_sources()))


@pytest.mark.parametrize("size", FIRST_BUFFERS)
def test_headers_beyond_the_first_buffer(loaded: Loaded, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As drivers that split headers from data hand frames on, wherever they split."""
    monkeypatch.setattr(libbpf, "test_run", functools.partial(run_split, first_buffer=size))
    built = [case.frame for case in table(*samples.sources(None, mapped=False))]
    mutated = frames(size, RANDOM_FRAMES // 4, *samples.all_sources())
    compare(loaded, [frame for frame in (*built, *mutated) if size <= len(frame) <= LONGEST])


@pytest.mark.corpora
def test_every_frame_of_every_ethernet_capture(loaded: Loaded, corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the sources allowed, a third blocked, by chance; the rest in no set."""
    captured = (frame for capture in ethernet_captures(corpora) for frame in capture.frames)
    stream = [frame for frame in captured if SHORTEST <= len(frame) <= LONGEST]
    sources = {str(ipaddress.ip_address(source)) for frame in stream if (source := read(frame).source)}
    chance = random.Random(1)
    for name, share in (("allow", 3), ("block", 2)):
        chosen = {source for source in sorted(sources) if chance.randrange(share) == 0}
        loaded.add(name, sorted(chosen))
        sources -= chosen
    samples.remember_rows(monkeypatch)
    assert len(stream) > 74_000
    compare(loaded, dict.fromkeys(stream))
