# SPDX-License-Identifier: Apache-2.0
"""Numbered datagrams from spoofed sources, and their count on the other side: whether any leaked or got lost.

`Flow` is what callers use; sender and receiver are processes of their own, so that neither waits for the other:
    python -m lab.flow send INTERFACE PLAN.json RATE        until stdin ends; prints {kind: number sent}
    python -m lab.flow receive                              until stdin ends; prints {kind: [number, first missing…]}
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.network import ROOT, Client, Network
from lab.waiting import eventually

PORT = 9009
SO_RCVBUFFORCE = 33
"""Not in Python's socket module (asm-generic/socket.h)."""
RECEIVE_BUFFER = 64 << 20
TICK = 0.005
# Kind, number, number inverted: whatever the number, the two add nothing to the checksum (RFC 1071).
PAYLOAD = struct.Struct("!HQQ")
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD


def _sum(data: bytes) -> int:
    total = int(sum(struct.unpack(f"!{len(data) // 2}H", data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(mac: bytes, source: str, target: str, kind: int) -> bytearray:
    """Ethernet, IP, UDP and an empty payload; the checksums hold for any number."""
    origin, goal = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    payload = PAYLOAD.pack(kind, 0, 2**64 - 1)
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", PORT, PORT, length, 0)
    pseudo = origin + goal + struct.pack("!II", length, socket.IPPROTO_UDP)
    udp = struct.pack("!HHHH", PORT, PORT, length, _sum(pseudo + udp + payload) or 0xFFFF)
    if len(origin) == 16:
        head = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + origin + goal
        return bytearray(mac + bytes(6) + struct.pack("!H", ETH_P_IPV6) + head + udp + payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0) + origin + goal
    head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
    return bytearray(mac + bytes(6) + struct.pack("!H", ETH_P_IP) + head + udp + payload)


def send(interface: str, plan: Mapping[str, Any], rate: int) -> dict[str, int]:
    """Kinds take turns, and within each its sources. Paced by the clock, in bursts of one tick."""
    mac = bytes.fromhex(plan["mac"])
    kinds = list(plan["sources"])
    frames = [
        [frame(mac, source, plan["target6" if ":" in source else "target4"], kind) for source in plan["sources"][name]]
        for kind, name in enumerate(kinds)
    ]
    numbers = [0] * len(kinds)
    ended = at_end_of_input()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        began = time.monotonic()
        while not ended.is_set():
            due = int((time.monotonic() - began) * rate) - sum(numbers)
            for _ in range(min(due, rate) // len(kinds)):
                for kind, sources in enumerate(frames):
                    number = numbers[kind]
                    data = sources[number % len(sources)]
                    PAYLOAD.pack_into(data, len(data) - PAYLOAD.size, kind, number, 2**64 - 1 - number)
                    out.send(data)
                    numbers[kind] = number + 1
            ended.wait(TICK)
    return dict(zip(kinds, numbers, strict=True))


def receive() -> dict[int, list[int]]:
    """Per kind: how many different numbers came, then the first ten missing below the highest."""
    seen: dict[int, bytearray] = {}  # a flag for each number, so that an hour of them fits in memory
    ended = at_end_of_input()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        receiver.bind(("::", PORT))
        receiver.settimeout(0.2)
        print("listening", flush=True)
        while True:
            try:
                kind, number, _ = PAYLOAD.unpack(receiver.recv(2048))
                flags = seen.setdefault(kind, bytearray())
                if number >= len(flags):
                    flags.extend(bytes(number + 1 - len(flags)))
                flags[number] = 1
            except TimeoutError:
                if ended.is_set():
                    break
    return {kind: [sum(flags), *_missing(flags)] for kind, flags in seen.items()}


def _missing(flags: bytearray) -> list[int]:
    found: list[int] = []
    while len(found) < 10 and (gap := flags.find(0, found[-1] + 1 if found else 0)) >= 0:
        found.append(gap)
    return found


def at_end_of_input() -> threading.Event:
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


class Flow:
    """Datagrams from `sources` (per kind) of a client to the firewall, `rate` a second over all kinds.

    After `stop`, `sent` and `received` tell how many of each kind, `missing` which numbers did not come.
    """

    def __init__(self, network: Network, client: Client, sources: Mapping[str, Sequence[str]], rate: int) -> None:
        listing = network.firewall.run("ip", "-j", "link", "show", client.interface)
        plan = {
            "mac": json.loads(listing)[0]["address"].replace(":", ""),
            "target4": client.gateway4,
            "target6": client.gateway6,
            "sources": {kind: list(addresses) for kind, addresses in sources.items()},
        }
        path = network.home / "flow.json"
        path.write_text(json.dumps(plan))
        self.kinds = list(sources)
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.missing: dict[str, list[int]] = {}
        self._client, self._network = client, network
        self._receiver = self._spawn(network.firewall.command(sys.executable, "-m", "lab.flow", "receive"))
        assert self._receiver.stdout is not None
        self._receiver.stdout.readline()
        words = ("send", "eth0", str(path), str(rate))
        self._sender = self._spawn(client.space.command(sys.executable, "-m", "lab.flow", *words))
        eventually(lambda: self.arriving() > 0, "the first datagrams are on their way")

    def _spawn(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def arriving(self) -> int:
        """Datagrams sent so far, about: packets that left the client's link."""
        listing = self._client.space.run("ip", "-j", "-s", "link", "show", "eth0")
        return int(json.loads(listing)[0]["stats64"]["tx"]["packets"])

    def wait(self, packets: int, within: float = 30) -> None:
        """Until so many more packets are sent."""
        goal = self.arriving() + packets
        eventually(lambda: self.arriving() >= goal, f"{packets} more packets sent", within)

    def stop(self) -> None:
        self.sent = json.loads(self._sender.communicate(timeout=60)[0])
        got = json.loads(self._receiver.communicate(timeout=120)[0])
        for number, kind in enumerate(self.kinds):
            count, *missing = got.get(str(number), [0])
            self.received[kind], self.missing[kind] = count, missing


if __name__ == "__main__":
    if sys.argv[1] == "send":
        print(json.dumps(send(sys.argv[2], json.loads(Path(sys.argv[3]).read_text()), int(sys.argv[4]))))
    else:
        print(json.dumps(receive()))
