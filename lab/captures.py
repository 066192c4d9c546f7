# SPDX-License-Identifier: Apache-2.0
"""Real captures to replay: the Ethernet ones of a corpus."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

from lab.namespace import Namespace

ETHERNET = 1
_PCAP = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">"}
_PCAPNG = b"\x0a\x0d\x0d\x0a"


def corpora() -> Path:
    """Where captures and prefix lists are looked for: XDPFW_CORPORA, else beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    return Path(os.environ.get("XDPFW_CORPORA", beside))


def link_type(path: Path) -> int | None:
    """LINKTYPE of a pcap file, or of the first interface of a pcapng file; None for anything else."""
    with path.open("rb") as file:
        head = file.read(4096)
    if order := _PCAP.get(head[:4]):
        return int(struct.unpack_from(order + "I", head, 20)[0]) & 0xFFFF if len(head) >= 24 else None
    if head[:4] != _PCAPNG or len(head) < 24:
        return None
    order = "<" if head[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
    after = struct.unpack_from(order + "I", head, 4)[0]  # the section header's length: an interface block follows
    kind, _, link = struct.unpack_from(order + "IIH", head, after) if after + 10 <= len(head) else (0, 0, 0)
    return int(link) if kind == 1 else None


def ethernet_captures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.pcap*") if link_type(path) == ETHERNET)


def replay(space: Namespace, interface: str, captures: list[Path], mbps: float) -> subprocess.Popen[bytes]:
    """Send the captures over and over, at a bounded rate. Frames over the link's MTU are passed over."""
    return space.popen(
        "tcpreplay", "--quiet", "--mbps", str(mbps), "--loop", "0", "--intf1", interface, *map(str, captures)
    )
