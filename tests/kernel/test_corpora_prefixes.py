# SPDX-License-Identifier: Apache-2.0
"""Real block lists, each loaded whole over the one before: what they cover is dropped, and nothing else."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import create_app
from api.auth import Tokens
from tests import packets as p
from tests.api import conftest as api_host
from tests.api.conftest import LAN, WAN, Api
from tests.corpora import as_plain_text, list_sizes, prefix_lists, probes, vectors
from tests.kernel.conftest import unique_name
from tests.loaded import Loaded
from tests.wire import make_pair
from xdpfw.kernel.adapter import RealKernel
from xdpfw.model.limits import Limits
from xdpfw.model.prefix import InvalidPrefix, Prefix, parse_address
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.policy.bulk import parse_text
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore

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
        wrong = {}
        for address, longest in oracle:
            want = longest, DROPPED if longest else PASSED
            got = longest_match(loaded, address), judged(loaded, address)
            if got != want:
                wrong[address] = got, want
        assert wrong == {}, path.name
    assert probed > 20_000


@pytest.fixture
def api(tmp_path: Path, namespace: None) -> Iterator[Api]:
    """A service of full size over a real socket, on the real kernel, attached to one interface."""
    make_pair(WAN, LAN, 1500)
    host = api_host.Host(lambda: RealKernel(unique_name(), tmp_path, Limits()))
    kernel, store = host.make_kernel(), MemoryStore()
    firewall, tokens = Firewall(kernel, store, limits=Limits()), Tokens(store)
    host.app = create_app(firewall, tokens)
    made = Api(host, firewall, kernel, store, tokens, real=True)
    try:
        host.call(firewall.load())
        made.put(f"interfaces/{WAN}", {"mode": "native"})
        yield made
    finally:
        made.client.close()
        host.call(firewall.close(detach=True))
        host.close()


def test_every_list_over_rest_and_addresses_answer_its_probes(api: Api, corpora: Path) -> None:
    """The service and the packet path say the same as the oracle, to one in twenty of its probes."""
    sizes = list_sizes(corpora)
    for path in prefix_lists(corpora):
        answer = api.bulk("block", as_plain_text(path), force="true")
        assert answer["total"] == sizes.get(path.name, answer["total"]), path.name
        wrong = {}
        for probe in probes(corpora, path)[::20]:
            shown = api.get(f"addresses/{probe.address}")
            longest = shown["matches"][0]["prefix"] if shown["matches"] else None
            by_kernel = api.kernel.judge(p.ethernet(p.ip(probe.address, p.udp()))).verdict
            want = "drop" if probe.covered else "pass"
            if (shown["verdict"], longest, by_kernel) != (want, probe.longest, want):
                wrong[probe.address] = (probe, shown, by_kernel)
        assert wrong == {}, path.name


def edges(text: bytes) -> list[tuple[str, str | None]]:
    """For a list without an oracle: addresses at the edges of some of its prefixes, and the longest that holds each."""
    lines = {line for row in text.decode().splitlines() if (line := row.split("#")[0].strip())}
    chosen = map(ipaddress.ip_network, random.Random(1).sample(sorted(lines), min(12, len(lines))))
    addresses = [each for network in chosen for each in (network[0], network[-1], network[0] - 1, network[-1] + 1)]
    return [(str(address), longest_in(lines, address)) for address in addresses]


def longest_in(lines: set[str], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    if str(address) in lines:
        return f"{address}/{address.max_prefixlen}"
    lengths = range(address.max_prefixlen, -1, -1)
    supernets = (str(ipaddress.ip_network((address, length), strict=False)) for length in lengths)
    return next((prefix for prefix in supernets if prefix in lines), None)


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
