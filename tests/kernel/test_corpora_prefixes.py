# SPDX-License-Identifier: Apache-2.0
"""Real block lists, each loaded whole over the one before: what they cover is dropped, and nothing else."""

from __future__ import annotations

import ipaddress
import random
from pathlib import Path

import pytest

from tests import packets as p
from tests.corpora import as_plain_text, list_sizes, prefix_lists, probes, vectors
from tests.loaded import Loaded
from xdpfw.model.prefix import InvalidPrefix, Prefix, parse_address
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.policy.bulk import parse_text

pytestmark = [pytest.mark.kernel, pytest.mark.corpora]

DROPPED, PASSED = (Verdict.DROP, MAX_REASONS + 1), (Verdict.PASS, Reason.DEFAULT)


@pytest.fixture(scope="module")
def loaded(loaded_kernel: Loaded) -> Loaded:
    return loaded_kernel


def judged(loaded: Loaded, source: str) -> tuple[str, int]:
    judgement = loaded.kernel.judge(p.ethernet(p.ip(source, p.udp())))
    return judgement.verdict, judgement.cause


def longest_match(loaded: Loaded, source: str) -> str | None:
    matches = loaded.sets.matches(parse_address(source))
    return str(matches[0][1].prefix) if matches else None


def test_every_list_loads_and_answers_its_probes(loaded: Loaded, corpora: Path) -> None:
    sizes = list_sizes(corpora)
    probed = 0
    for path in prefix_lists(corpora):
        text = as_plain_text(path)
        bulk = parse_text(text)
        assert (bulk.faults, bulk.skipped, bulk.invalid) == ((), (), 0), path.name
        loaded.replace("block", bulk)
        if path.name in sizes:
            assert sum(loaded.sets.count("block").values()) == sizes[path.name], path.name
        oracle = [(probe.address, probe.longest) for probe in probes(corpora, path)] or edges(text)
        probed += len(oracle)
        wrong = {
            address: (longest, longest_match(loaded, address), judged(loaded, address))
            for address, longest in oracle
            if longest_match(loaded, address) != longest or judged(loaded, address) != (DROPPED if longest else PASSED)
        }
        assert wrong == {}, path.name
    assert probed > 20_000


def edges(text: bytes) -> list[tuple[str, str | None]]:
    """A list without an oracle: the edges of some of its prefixes, and the longest match found by asking all."""
    lines = (line.split("#")[0].strip() for line in text.decode().splitlines())
    networks = [ipaddress.ip_network(line) for line in lines if line]
    chosen = random.Random(1).sample(networks, min(12, len(networks)))
    addresses = [
        network[position] + step for network in chosen for position, step in ((0, 0), (-1, 0), (0, -1), (-1, 1))
    ]
    return [(str(address), longest_of(address, networks)) for address in addresses]


def longest_of(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> str | None:
    number = int(address)
    found = [
        network
        for network in networks
        if network.version == address.version
        and int(network.network_address) <= number <= int(network.broadcast_address)
    ]
    return str(max(found, key=lambda network: network.prefixlen)) if found else None


def test_verdict_vectors_of_other_projects(loaded: Loaded, corpora: Path) -> None:
    rows = vectors(corpora, "lpm_verdicts.tsv")
    for row in rows:
        loaded.replace("block", parse_text(row["blocked_prefixes"].replace(",", "\n").encode()))
        source = "198.18.0.1" if row["packet_src"] == "any" else row["packet_src"]
        assert judged(loaded, source) == (DROPPED if row["verdict"] == "drop" else PASSED), row
        assert (longest_match(loaded, source) or "-") == row["matching_prefix"], row
    assert len(rows) == 12


def test_prefix_vectors_of_other_projects(corpora: Path) -> None:
    """As there, but host bits are refused (they are typing errors more often than wishes)."""
    rows = vectors(corpora, "prefix_parse_v4_bpfilter.tsv")
    for row in rows:
        text = row["input"]
        wanted = row["peer_verdict"] == "accept" and not has_host_bits(text)
        assert accepts(text) == wanted, text
    assert len(rows) == 16


def accepts(text: str) -> bool:
    try:
        Prefix.parse(text)
    except InvalidPrefix:
        return False
    return True


def has_host_bits(text: str) -> bool:
    interface = ipaddress.ip_interface(text)
    return interface.ip != interface.network.network_address
