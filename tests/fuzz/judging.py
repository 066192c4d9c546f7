# SPDX-License-Identifier: Apache-2.0
"""The live program, attached to nothing, against the reference: verdict, cause and every field, frame by frame.

The program leaves what it parsed and decided in its CPU's scratch place (bpf/decide.h), which is read after each run.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from tests.first_buffer import SplitRunner, splits
from tests.kernel.bench import DROP, PASS, Bench
from tests.loaded import Loaded
from xdpfw.kernel import layouts, libbpf
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import UNTAGGED
from xdpfw.policy import reference
from xdpfw.policy.reference_parse import TRANSPORT_BYTES, Parsed

DECIDED = ("drop", "monitored", "cause", "leaf", "monitored_cause")
PLACE = struct.Struct("=16s16s4I3H10BH2B4x5I")
"""struct packet and the beginning of struct decision, as they follow each other in struct scratch."""
NAMES = [name for name in layouts.PACKET.names or () if name not in ("cursor", "reserved")] + list(DECIDED)
ENDED = {Reason.SHORT_ETHERNET, Reason.VLAN_DEPTH, Reason.BAD_IPV4, Reason.BAD_IPV6}
"""With these the parse breaks off: no more is known than the addresses."""
NONE, FIRST, LATER = range(3)
REMEMBERED = 1 << 16


@dataclass(frozen=True, slots=True)
class Difference:
    """Fields: name → (the program's, the wanted one)."""

    frame: bytes
    fields: dict[str, tuple[Any, Any]]

    def __str__(self) -> str:
        return f"{self.fields} (program's, wanted) for {self.frame.hex()}"


@contextmanager
def judge(
    loaded: Loaded, split: random.Random | None = None
) -> Iterator[Callable[[Iterable[bytes]], list[Difference]]]:
    """What answers where program and reference differ, under the policy that is loaded now. Meanwhile the process stays
    on one CPU, and the reference asks the sets once per address. `split`: frames lie in two buffers, where it says."""
    sets, policy, kernel = loaded.sets, loaded.policy, loaded.kernel
    ask, bench, cpus = reference.names_of, Bench(kernel), os.sched_getaffinity(0)  # type: ignore[arg-type]
    for generation in (0, 1):
        bench.own.write_vector(generation, kernel._vector_of(None))  # type: ignore[attr-defined]
    scratch = memoryview(bench.own.maps["scratch"].view.view("u1").reshape(-1).data)
    sets_of = lru_cache(REMEMBERED)(lambda address: ask(address, sets, 0))
    place, fd = min(cpus) * layouts.SCRATCH.itemsize, bench.program
    runner = SplitRunner(fd, split) if split and splits(fd) else libbpf.TestRunner(fd)

    def differences(frames: Iterable[bytes]) -> list[Difference]:
        found = []
        for frame in frames:
            verdict = runner.run(frame)
            seen = dict(zip(NAMES, PLACE.unpack_from(scratch, place), strict=True))
            wanted = _wanted(frame, reference.judge(frame, sets, policy, 0), policy)
            if isinstance(runner, SplitRunner) and seen["frame_length"] == runner.first_buffer >= seen["end"]:
                del wanted[
                    "frame_length"
                ]  # parse.h: padding behind a packet that the first buffer holds is not counted
            if fields := _differing(frame, verdict, seen, wanted):
                found.append(Difference(frame, fields))
        return found

    os.sched_setaffinity(0, {min(cpus)})
    try:
        with patch.object(reference, "names_of", lambda address, *_: sets_of(address)):
            yield differences
    finally:
        os.sched_setaffinity(0, cpus)
        scratch.release()
        bench.close()


def _wanted(frame: bytes, judged: reference.Judged, policy: Policy) -> dict[str, Any]:
    outcome = {
        "drop": judged.verdict is Verdict.DROP,
        "monitored": judged.monitored,
        "cause": judged.cause,
        "monitored_cause": MAX_REASONS + policy.slots.of[judged.watching.id] if judged.watching else 0,
        "frame_length": len(frame),
    }
    return outcome | wanted_fields(judged.parsed)


def wanted_fields(parsed: Parsed) -> dict[str, Any]:
    """Of struct packet, as the reference parses the frame. What is not there is 0."""
    there = parsed.source is not None
    fields: dict[str, Any] = {
        "vlan_depth": len(parsed.vlans),
        "version": (4 if parsed.ethertype == 0x0800 else 6) if there else 0,
        "source": _octets(parsed.source),
        "destination": _octets(parsed.destination),
    }
    if parsed.settled in ENDED:
        return fields
    return fields | {
        "vlan": parsed.vlans[0] if parsed.vlans else UNTAGGED,
        "ethertype": parsed.ethertype,
        "protocol": parsed.protocol or 0,
        "hop_limit": parsed.hop_limit or 0,
        "fragment": LATER if parsed.later_fragment else FIRST if parsed.more_fragments else NONE,
        "has_ports": parsed.source_port is not None,
        "source_port": parsed.source_port or 0,
        "destination_port": parsed.destination_port or 0,
        "tcp_flags": parsed.tcp_flags or 0,
        "has_type": parsed.icmp_type is not None,
        "icmp_type": parsed.icmp_type or 0,
        "tail_fault": parsed.tail or 0,
    }


def _octets(address: Address | None) -> bytes:
    if address is None:
        return bytes(16)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _differing(frame: bytes, verdict: int, seen: dict[str, Any], wanted: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    fields = {name: (seen[name], value) for name, value in wanted.items() if seen[name] != value}
    answer = DROP if seen["drop"] else PASS
    if verdict != answer:
        fields["verdict"] = verdict, answer
    if seen["has_ports"] and not ports_are_there(frame, seen):
        fields["ports"] = (seen["source_port"], seen["destination_port"]), "none are there"
    return fields


def ports_are_there(frame: bytes, seen: dict[str, Any]) -> bool:
    """Whether the ports are those of a whole transport header that lies within its packet, within the frame."""
    at, end = seen["transport"], seen["end"]
    ports = struct.pack("!HH", seen["source_port"], seen["destination_port"])
    whole = at + TRANSPORT_BYTES[seen["protocol"]] <= end <= len(frame)
    return whole and seen["fragment"] != LATER and frame[at : at + 4] == ports
