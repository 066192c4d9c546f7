# SPDX-License-Identifier: Apache-2.0
"""What ethtool knows of an interface: its driver, and whether it takes VLAN tags off frames. By ioctl, because /sys
shows the devices of the namespace in which it was mounted."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_REQUEST_BYTES = 40

_GDRVINFO = 0x03
_DRVINFO_BYTES = 196
_DRIVER = slice(4, 36)

_GFLAGS = 0x25
_FLAG_RXVLAN = 1 << 8


def control_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def driver(name: str, control: socket.socket) -> str:
    """As `ethtool -i` names it; "" where there is none."""
    answer = _ask(name, control, _GDRVINFO, _DRVINFO_BYTES)
    return answer[_DRIVER].split(b"\0")[0].decode(errors="replace") if answer else ""


def strips_vlan_tags(name: str, control: socket.socket) -> bool:
    """Whether rxvlan is on: then tags travel beside the frame, where an XDP program does not see them."""
    answer = _ask(name, control, _GFLAGS, 8)
    return bool(answer and struct.unpack("II", answer)[1] & _FLAG_RXVLAN)


def _ask(name: str, control: socket.socket, command: int, size: int) -> bytes:
    answer = array.array("B", struct.pack("I", command).ljust(size, b"\0"))
    request = struct.pack("16sP", name.encode(), answer.buffer_info()[0]).ljust(_REQUEST_BYTES, b"\0")
    try:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
    except OSError:
        return b""
    return answer.tobytes()
