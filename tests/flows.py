# SPDX-License-Identifier: Apache-2.0
"""The table of flows, read and written as the reference verdict speaks of flows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import numpy as np

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.model.prefix import Address
from xdpfw.policy.reference_known import Flow

NEW, REPLIED, CLOSING = range(3)
EXACT, FRAGMENTS = range(2)
FOR_EVER = 1 << 62


def table(kernel: RealKernel) -> int:
    """A descriptor that the kernel object owns."""
    return kernel.descriptors()["flows"]


def know(kernel: RealKernel, flows: Iterable[Flow], *, deadline: int = FOR_EVER, state: int = NEW) -> None:
    """Put flows into the table."""
    keys = np.array([_key(flow) for flow in flows], layouts.FLOW_KEY)
    values = np.zeros(len(keys), layouts.FLOW)
    values["deadline"], values["state"] = deadline, state
    count, error = libbpf.map_update_batch(table(kernel), keys, values)
    assert (count, error) == (len(keys), None)


def known(fd: int) -> dict[Flow, tuple[int, int]]:
    """What is in a table: deadline and state by flow; not what is there for fragments."""
    found = {}
    for keys, values in libbpf.map_records(fd, layouts.FLOW_KEY, layouts.FLOW):
        for key, value in zip(keys[keys["kind"] == EXACT], values[keys["kind"] == EXACT], strict=True):
            found[_flow(key)] = (int(value["deadline"]), int(value["state"]))
    return found


def forget(kernel: RealKernel) -> None:
    for key in libbpf.map_keys(table(kernel), layouts.FLOW_KEY):
        libbpf.map_delete(table(kernel), key.reshape(1))


def _key(flow: Flow) -> tuple[object, ...]:
    return (
        _octets(flow.local), _octets(flow.remote), flow.local_port, flow.remote_port, flow.protocol, flow.version, 0, 0
    )  # fmt: skip


def _octets(address: Address | None) -> np.ndarray:
    packed = address.packed if address else bytes(16)
    return np.frombuffer(packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed, np.uint8)


def _flow(key: np.void) -> Flow:
    ports = int(key["local_port"]), int(key["remote_port"])
    sides = [_address(key[name].tobytes()) for name in ("local", "remote")]
    return Flow(int(key["version"]), int(key["protocol"]), sides[0], ports[0], sides[1], ports[1])


def _address(octets: bytes) -> Address | None:
    address = ipaddress.IPv6Address(octets)
    return address.ipv4_mapped or (address if int(address) else None)
