# SPDX-License-Identifier: Apache-2.0
"""Metrics as text (Prometheus exposition format 0.0.4). One series per interface, reason, set and map: the number of
addresses that talk never shows in the number of series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from xdpfw.model.errors import NotFound
from xdpfw.model.views import CountersView, StatusView
from xdpfw.service import Firewall

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[Sample]

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            inner = ",".join(f'{name}="{_escape(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{inner}}} {value}" if inner else f"{self.name} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


async def collect(firewall: Firewall) -> str:
    status = await firewall.status()
    counters = []
    for interface in status.interfaces:
        if interface.state == "attached":
            try:
                counters.append(await firewall.counters(interface.name))
            except NotFound:  # it went away since the status was taken
                continue
    metrics = [*_of_status(status), *_of_sets(status), *_of_interfaces(status, counters)]
    return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _of_status(status: StatusView) -> Iterable[Metric]:
    yield Metric("xdpfw_info", "gauge", "Version of the daemon", [({"version": status.version}, 1)])
    yield Metric("xdpfw_ready", "gauge", "1 when all that is wanted is enforced", [({}, int(status.ready))])
    yield Metric("xdpfw_revision", "gauge", "Accepted changes of the policy", [({}, status.revision)])
    yield Metric("xdpfw_uptime_seconds", "gauge", "Age of the daemon", [({}, status.uptime)])
    yield Metric(
        "xdpfw_monitor_mode",
        "gauge",
        "1 when nothing is dropped, only counted",
        [({}, int(status.policy.mode == "monitor"))],
    )
    yield Metric("xdpfw_panic", "gauge", "1 when everything is dropped but what is kept", [({}, int(status.panic.on))])
    bans = status.bans
    yield Metric("xdpfw_bans", "gauge", "Bans in force", [({}, bans.used)])
    yield Metric("xdpfw_bans_size", "gauge", "Bans that may be in force at once", [({}, bans.size)])
    yield Metric("xdpfw_bans_made_total", "counter", "Bans that rules made", [({}, bans.made)])
    yield Metric("xdpfw_bans_refused_total", "counter", "Packets that would have made a ban", [({}, bans.refused)])
    used = [({"map": name}, float(fill.used)) for name, fill in status.maps.items() if fill.used is not None]
    size = [({"map": name}, float(fill.size)) for name, fill in status.maps.items()]
    yield Metric("xdpfw_map_used", "gauge", "Elements in a table of the packet path", list(used))
    yield Metric("xdpfw_map_size", "gauge", "Elements that a table of the packet path holds at most", list(size))


def _of_sets(status: StatusView) -> Iterable[Metric]:
    entries: list[Sample] = []
    for view in status.sets:
        entries.append(({"set": view.name, "family": "4"}, view.entries4))
        entries.append(({"set": view.name, "family": "6"}, view.entries6))
    yield Metric("xdpfw_set_entries", "gauge", "Prefixes in a set", entries)
    packets: list[Sample] = [({"set": view.name}, view.packets) for view in status.sets]
    sizes: list[Sample] = [({"set": view.name}, view.bytes) for view in status.sets]
    # gauges: the hits of an entry leave the sum when the entry leaves the set
    yield Metric("xdpfw_set_hit_packets", "gauge", "Packets that matched the present entries of a set", packets)
    yield Metric("xdpfw_set_hit_bytes", "gauge", "Bytes that matched the present entries of a set", sizes)


def _of_interfaces(status: StatusView, counters: list[CountersView]) -> Iterable[Metric]:
    attached: list[Sample] = [
        ({"interface": view.name, "mode": view.mode or ""}, int(view.state == "attached"))
        for view in status.interfaces
        if view.state == "attached" or view.desired
    ]
    yield Metric("xdpfw_interface_attached", "gauge", "1 when packets of the interface are filtered", attached)
    packets: list[Sample] = []
    sizes: list[Sample] = []
    monitored: list[Sample] = []
    for view in counters:
        for reason, counts in view.reasons.items():
            for verdict, count in (("pass", counts.passed), ("drop", counts.dropped)):
                labels = {"interface": view.name, "reason": reason, "verdict": verdict}
                packets.append((labels, count.packets))
                sizes.append((labels, count.bytes))
            monitored.append(({"interface": view.name, "reason": reason}, counts.monitored.packets))
    yield Metric("xdpfw_packets_total", "counter", "Frames by reason and verdict", packets)
    yield Metric("xdpfw_bytes_total", "counter", "Bytes of frames by reason and verdict", sizes)
    yield Metric("xdpfw_monitored_packets_total", "counter", "Frames passed that would have been dropped", monitored)
