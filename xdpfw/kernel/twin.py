# SPDX-License-Identifier: Apache-2.0
"""The twin answers what the packet path would do with a frame: the same program on the same policy tables, with
counters of its own that nobody reads, and a map in which it leaves its decision (bpf/twin.h)."""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.instance import InterfaceMaps
from xdpfw.kernel.maps import TRACE_SPEC, Map, interface_specs, shared_specs
from xdpfw.kernel.port import Brief, Judgement
from xdpfw.kernel.program import PacketProgram
from xdpfw.model.errors import InvalidInput
from xdpfw.model.limits import Limits
from xdpfw.model.reason import Reason, Verdict

ETHERNET_BYTES = 14
FRAGMENTS = ("none", "first", "later")
_PACKET = layouts.TRACE.fields["packet"][1]  # type: ignore[index]
SOURCE = slice(_PACKET, _PACKET + 16)
VERSION = _PACKET + layouts.PACKET.fields["version"][1]  # type: ignore[index]
HIDDEN = ("source", "destination", "fragment", "cursor", "reserved")
COUNTERS = ("leaf_counters", "pending", "rule_counters")
_SMALL = Limits(leaves=1, talkers=4)


class Twin:
    def __init__(self, program: PacketProgram, shared: Mapping[str, int], cpus: int) -> None:
        self._own = InterfaceMaps.create(interface_specs(_SMALL, cpus), cpus)
        self._trace = Map.create(TRACE_SPEC)
        self._octets = memoryview(self._trace.view.view("u1").reshape(-1).data)
        self._words = self._octets.cast("I")
        private = {spec.name: spec for spec in shared_specs(_SMALL, cpus)}
        self._counters = {name: Map.create(private[name]) for name in COUNTERS}
        descriptors = {
            **shared,
            **self._own.descriptors(),
            "trace": self._trace.fd,
            **{name: made.fd for name, made in self._counters.items()},
        }
        self._program, _ = libbpf.prog_load("xdp_twin", program.twin.link(descriptors), frags=program.frags)

    def judge_all(self, frames: Iterable[bytes], interface_vector: int) -> Iterator[Brief]:
        """One at a time, as on an interface with this vector."""
        self._stand_on(interface_vector)
        runner = libbpf.TestRunner(self._program)
        decision, octets = self._words, self._octets
        for frame in frames:
            if len(frame) < ETHERNET_BYTES:
                yield Brief(True, Reason.SHORT_ETHERNET, False, b"")
                continue
            try:
                runner.run(frame)
            except libbpf.Refused:
                yield Brief(False, -1, False, b"")
                continue
            source = bytes(octets[SOURCE]) if octets[VERSION] else b""
            yield Brief(bool(decision[0]), decision[2], bool(decision[1]), source)

    def _stand_on(self, interface_vector: int) -> None:
        for generation in (0, 1):
            self._own.write_vector(generation, interface_vector)

    def judge(self, frame: bytes, interface_vector: int) -> Judgement:
        """As on an interface with this vector. One at a time. Raises InvalidInput for a frame that is longer than the
        kernel can run."""
        if len(frame) < ETHERNET_BYTES:
            # Drivers never hand on such a frame, and the kernel refuses to run one.
            return Judgement(Verdict.DROP, Reason.SHORT_ETHERNET, False, 0)
        self._stand_on(interface_vector)
        try:
            libbpf.test_run(self._program, frame)
        except libbpf.Refused as error:
            raise InvalidInput(f"a frame of {len(frame)} bytes cannot be run: {error.detail}") from error
        trace = self._trace.view[0].copy()
        decision = trace["decision"]
        return Judgement(
            verdict=Verdict.DROP if decision["drop"] else Verdict.PASS,
            cause=int(decision["cause"]),
            monitored=bool(decision["monitored"]),
            leaf=int(decision["leaf"]),
            banned_by=int(decision["banned_by"]),
            monitored_cause=int(decision["monitored_cause"]),
            fields=_fields(trace["packet"]),
        )

    def close(self) -> None:
        os.close(self._program)
        self._own.close()
        for made in (self._trace, *self._counters.values()):
            made.close()


class Twins:
    """The twin of the program and the tables in force: made when somebody asks, and forgotten when they change."""

    def __init__(self, make: Callable[[], Twin]) -> None:
        self._make, self._lock = make, threading.Lock()
        self.twin: Twin | None = None

    def judge(self, frame: bytes, interface_vector: int) -> Judgement:
        with self._lock:
            return self._there().judge(frame, interface_vector)

    def judge_all(self, frames: Sequence[bytes], interface_vector: int) -> list[Brief]:
        with self._lock:
            return list(self._there().judge_all(frames, interface_vector))

    def _there(self) -> Twin:
        if self.twin is None:
            self.twin = self._make()
        return self.twin

    def close(self) -> None:
        with self._lock:
            if self.twin:
                self.twin.close()
            self.twin = None


def _fields(packet: Any) -> dict[str, Any]:
    """What the parse found. Offsets count from the start of the frame; fields that are not there are 0."""
    names = [name for name in packet.dtype.names if name not in HIDDEN]
    fields: dict[str, Any] = {name: int(packet[name]) for name in names}
    fields["fragment"] = FRAGMENTS[packet["fragment"]]
    for name in ("source", "destination"):
        fields[name] = _address(packet[name].tobytes()) if fields["version"] else None
    return fields


def _address(packed: bytes) -> str:
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)
