# SPDX-License-Identifier: Apache-2.0
"""Reading the corpora: real captures and real prefix lists, each with its oracle.

The corpora's README tells where each file comes from. Lists come in the formats that publishers use; a plain list
(one prefix a line, comments) goes to the product as it is, all others are converted here.
"""

from __future__ import annotations

import csv
import ipaddress
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dpkt

ETHERNET = 1
"""LINKTYPE_ETHERNET."""

MTU = 9000
LONGEST, SHORTEST = MTU + 14 + 4, 14
"""Frames that a veth of this MTU takes: an Ethernet header, and one VLAN tag more than the MTU (packet(7))."""


@dataclass(frozen=True, slots=True)
class Capture:
    name: str
    linktype: int
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What one outermost IP source sent."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a list covers an address, and by which prefix."""

    address: str
    covered: bool
    longest: str | None


def captures(corpora: Path) -> Iterator[Capture]:
    for path in sorted((corpora / "pcap").iterdir()):
        with path.open("rb") as file:
            reader = dpkt.pcap.UniversalReader(file)
            yield Capture(path.name, reader.datalink(), tuple(bytes(frame) for _, frame in reader))


def ethernet_captures(corpora: Path) -> Iterator[Capture]:
    return (capture for capture in captures(corpora) if capture.linktype == ETHERNET)


def source_counts(corpora: Path, capture: str) -> dict[str, Source]:
    """The oracle of a capture: canonical source address → what it sent."""
    with (corpora / "src_counts" / f"{capture}.tsv").open() as file:
        return {
            str(ipaddress.ip_address(row["src"])): Source(int(row["packets"]), int(row["frame_bytes"]))
            for row in csv.DictReader(file, delimiter="\t")
        }


def prefix_lists(corpora: Path) -> list[Path]:
    return sorted((corpora / "prefixes").iterdir())


def list_sizes(corpora: Path) -> dict[str, int]:
    """List → distinct prefixes, for those lists that hold prefixes."""
    with (corpora / "prefix_table.tsv").open() as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["file"]: int(row["distinct_prefixes"]) for row in rows if row["distinct_prefixes"] != "-"}


def probes(corpora: Path, list_: Path) -> list[Probe]:
    """The oracle of a list; empty where the corpora have none. It is named without a compressed list's ending."""
    path = corpora / "probes" / f"{list_.name.removesuffix('.xz')}.probes.tsv"
    if not path.exists():
        return []
    with path.open() as file:
        return [
            Probe(row["ip"], row["covered"] == "1", None if row["longest_match"] == "-" else row["longest_match"])
            for row in csv.DictReader(file, delimiter="\t")
        ]


def vectors(corpora: Path, name: str) -> list[dict[str, str]]:
    with (corpora / "vectors" / name).open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def as_plain_text(path: Path) -> bytes:
    """The list as the product takes it: plain lists untouched, other formats converted."""
    body = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    if ".json" in path.suffixes:
        return misp(body)
    if ".csv" in path.suffixes:
        return geoip_ranges(body)
    if "_tab_" in path.name:
        return first_column(body)
    if b'{"cidr"' in body:
        return spamhaus_json(body)
    return body


def misp(body: bytes) -> bytes:
    """A MISP warning list: a JSON object with the prefixes under `list`."""
    return "\n".join(json.loads(body)["list"]).encode()


def first_column(body: bytes) -> bytes:
    """Address, tab, count; comments stay."""
    return b"\n".join(line.split(b"\t")[0] for line in body.splitlines())


def spamhaus_json(body: bytes) -> bytes:
    """JSON lines with the prefix under `cidr`; the last one is metadata without it."""
    rows = (json.loads(line) for line in body.splitlines() if line.strip())
    return "\n".join(row["cidr"] for row in rows if "cidr" in row).encode()


def geoip_ranges(body: bytes) -> bytes:
    """`first,last,country` with addresses as integers: each range is the fewest prefixes that make it up."""
    rows = (line.split(",") for line in body.decode().splitlines() if line and not line.startswith("#"))
    return "\n".join(prefix for first, last, _ in rows for prefix in range_prefixes(int(first), int(last))).encode()


def range_prefixes(first: int, last: int) -> Iterator[str]:
    """The prefixes of an IPv4 range, from below: each the largest that starts there and does not reach beyond."""
    while first <= last:
        aligned = first & -first or 1 << 32
        size = min(aligned, 1 << (last - first + 1).bit_length() - 1)
        yield f"{ipaddress.IPv4Address(first)}/{33 - size.bit_length()}"
        first += size
