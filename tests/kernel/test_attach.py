# SPDX-License-Identifier: Apache-2.0
"""Programs on interfaces: modes, foreign programs, interfaces that come and go, instances side by side."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from lab.waiting import eventually
from tests.conftest import lacks
from tests.kernel import plain
from tests.kernel.conftest import Host
from tests.kernel.plain import insert
from tests.packets import ethernet, fragment, hop_by_hop, ip, ipv6, options_header, udp
from tests.wire import Sender, make_pair
from xdpfw.kernel import attach as attaching
from xdpfw.kernel import libbpf, netlink, offline
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.clock import KernelClock
from xdpfw.model.errors import Conflict, KernelError, NotFound
from xdpfw.model.interface import AttachMode, ForeignProgram
from xdpfw.model.reason import MAX_REASONS

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("namespace")]

BLOCK_ROW = MAX_REASONS + 1


def frame(source: str) -> bytes:
    return ethernet(ip(source, udp()))


def send(*frames: bytes) -> None:
    with Sender("xf0") as sender:
        _, refused = sender.send(frames)
        assert not refused


def ip_command(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def wire() -> None:
    make_pair("xf0", "xf1", 1500)


@pytest.fixture
def foreign(wire: None) -> Iterator[int]:
    """The id of somebody else's program on xf1."""
    clock = KernelClock()
    fd = clock._program
    link = libbpf.link_create(fd, _index("xf1"), attaching.GENERIC_FLAG)
    yield libbpf.prog_info(fd).id
    os.close(link)
    clock.close()


def _index(name: str) -> int:
    seen = netlink.find(name)
    assert seen is not None
    return seen.link.index


def objects_of(program: int) -> list[int]:
    """Maps of a program, by bpftool."""
    shown = json.loads(
        subprocess.run(["bpftool", "-j", "prog", "show", "id", str(program)], capture_output=True).stdout
    )
    return list(shown.get("map_ids", []))


# modes


def test_native_and_generic_are_what_they_say(kernel: RealKernel, wire: None) -> None:
    for mode in (AttachMode.NATIVE, AttachMode.GENERIC):
        attached = kernel.attach("xf1", mode)
        assert (attached.mode, attached.warning) == (mode, "")
        shown = json.loads(subprocess.run(["ip", "-j", "link", "show", "xf1"], capture_output=True).stdout)
        assert shown[0]["xdp"]["prog"]["id"] == attached.program_id
        assert shown[0]["xdp"]["mode"] == {AttachMode.NATIVE: 1, AttachMode.GENERIC: 2}[mode]
        kernel.detach("xf1")


def test_an_address_is_in_the_same_bucket_on_every_interface(kernel: RealKernel, wire: None) -> None:
    """So that talkers of several interfaces are summed bucket by bucket."""
    for name in ("xf0", "xf1"):
        kernel.attach(name, AttachMode.NATIVE)
    sources = [f"198.51.100.{number}" for number in range(64)]
    for name in ("xf0", "xf1"):
        with Sender(name) as sender:
            sender.send(map(frame, sources))
    places = []
    for name in ("xf0", "xf1"):
        table = eventually(lambda name=name: (t := kernel.read_talkers(name)).tenure.sum() >= 64 and t, "all are seen")
        _, buckets, ways = table.shape
        found = np.flatnonzero(table.tenure)
        places.append(dict(zip(table.address[1, found].tolist(), (found // ways % buckets).tolist(), strict=True)))
    assert len(places[0]) == 64
    assert places[0] == places[1]


def test_auto_is_native_where_that_works(kernel: RealKernel, wire: None) -> None:
    assert kernel.attach("xf1", AttachMode.AUTO).mode is AttachMode.NATIVE
    assert kernel.attach("xf1", AttachMode.AUTO) == kernel.attachments()[0]


def test_auto_falls_back_and_says_why(host: Host, kernel: RealKernel) -> None:
    try:
        ip_command("link", "add", "xf9", "type", "ifb")
    except subprocess.CalledProcessError:
        lacks("no IFB devices")
    attached = kernel.attach("xf9", AttachMode.AUTO)
    assert attached.mode is AttachMode.GENERIC
    assert "native mode was refused" in attached.warning
    assert "the driver ifb has no XDP" in attached.warning
    kernel.stop(detach=False)
    again = host.kernel()
    again.start()
    assert again.activate() == [attached]  # the warning is not forgotten


def test_native_is_never_silently_something_else(kernel: RealKernel, host: Host) -> None:
    try:
        ip_command("link", "add", "xf9", "type", "ifb")
    except subprocess.CalledProcessError:
        lacks("no IFB devices")
    with pytest.raises(KernelError, match=r"native mode was refused.*the driver ifb has no XDP"):
        kernel.attach("xf9", AttachMode.NATIVE)
    assert kernel.attachments() == []
    assert not list(host.pins.glob("tables-1/on-*"))


def test_the_mode_of_an_attached_interface_can_be_changed(kernel: RealKernel, wire: None) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    kernel.attach("xf1", AttachMode.NATIVE)
    send(frame("203.0.113.1"))
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 1, "a frame is dropped")
    assert kernel.attach("xf1", AttachMode.GENERIC).mode is AttachMode.GENERIC
    send(frame("203.0.113.1"))
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 2, "counters go on")


def test_a_mode_that_is_refused_leaves_the_old_one_in_force(kernel: RealKernel, host: Host) -> None:
    try:
        ip_command("link", "add", "xf9", "type", "ifb")
    except subprocess.CalledProcessError:
        lacks("no IFB devices")
    kernel.attach("xf9", AttachMode.GENERIC)
    with pytest.raises(KernelError, match="native mode was refused"):
        kernel.attach("xf9", AttachMode.NATIVE)
    assert [(now.name, now.mode) for now in kernel.attachments()] == [("xf9", AttachMode.GENERIC)]


def test_an_absent_interface_is_not_found(kernel: RealKernel) -> None:
    with pytest.raises(NotFound, match="xf7"):
        kernel.attach("xf7", AttachMode.AUTO)
    with pytest.raises(NotFound):
        kernel.detach("xf7")
    with pytest.raises(NotFound):
        kernel.read_tally("xf7")


# jumbo frames


def test_native_at_mtu_9000_with_headers_beyond_the_first_buffer(kernel: RealKernel) -> None:
    """veth hands on what exceeds a page in further buffers; the kernel counts each frame whole, once."""
    make_pair("xf0", "xf1", 9000)
    assert kernel.attach("xf1", AttachMode.NATIVE).mode is AttachMode.NATIVE
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    far = [options_header(60, 2048)] * 3
    frames = [
        ethernet(ip("203.0.113.1", udp(payload=bytes(8900)))),
        ethernet(ip("198.51.100.1", udp(payload=bytes(8900)))),
        # The UDP header starts 6 kB into the frame: its faults can be told only from a later buffer.
        ethernet(ipv6("2001:db8::1", udp(payload=bytes(2000)), hop_by_hop(), *far)),
        ethernet(ipv6("2001:db8::2", udp(payload=bytes(2000)), hop_by_hop(), *far, fragment(0, more=True))),
    ]
    send(*frames)
    default = sum(map(len, frames[1:]))
    eventually(lambda: kernel.read_tally("xf1")[0].tolist()[:4] == [3, default, 0, 0], "sound jumbo frames pass")
    assert kernel.read_tally("xf1")[BLOCK_ROW].tolist()[:4] == [0, 0, 1, len(frames[0])]
    assert len(kernel.read_talkers("xf1").rows()) >= 4


@pytest.fixture
def without_frags(kernel: RealKernel) -> RealKernel:
    """As on kernels before 5.18, and with drivers that take no frames of several buffers."""
    kernel.program.frags = False
    return kernel


def test_an_mtu_that_the_driver_cannot_have_with_xdp_is_refused_and_changes_nothing(
    without_frags: RealKernel, wire: None
) -> None:
    attached = without_frags.attach("xf1", AttachMode.NATIVE)
    with pytest.raises(subprocess.CalledProcessError):
        ip_command("link", "set", "xf0", "mtu", "9000")  # what arrives at xf1 would be too large
    assert without_frags.attachments() == [attached]


def test_xdp_that_the_driver_cannot_have_at_an_mtu_names_the_mtu(without_frags: RealKernel) -> None:
    make_pair("xf0", "xf1", 9000)
    with pytest.raises(KernelError, match=r"native mode was refused.*a smaller MTU than 9000"):
        without_frags.attach("xf1", AttachMode.NATIVE)
    attached = without_frags.attach("xf1", AttachMode.AUTO)
    assert attached.mode is AttachMode.GENERIC
    assert "a smaller MTU than 9000" in attached.warning
    for name in ("xf0", "xf1"):
        ip_command("link", "set", name, "mtu", "1500")
    assert without_frags.attach("xf1", AttachMode.NATIVE).mode is AttachMode.NATIVE


# foreign programs


def test_a_foreign_program_is_left_alone(kernel: RealKernel, foreign: int, host: Host) -> None:
    assert kernel.foreign_program("xf1") == ForeignProgram(foreign, "clock")
    for mode in AttachMode:
        with pytest.raises(Conflict, match=f"id {foreign}, name 'clock'"):
            kernel.attach("xf1", mode)
    with pytest.raises(NotFound):
        kernel.detach("xf1")
    seen = netlink.find("xf1")
    assert seen is not None and seen.link.xdp_program == foreign
    assert not list(host.pins.glob("tables-1/on-*"))


@pytest.mark.parametrize("mode", AttachMode)
def test_a_foreign_program_that_comes_first_in_a_race_is_left_alone(
    kernel: RealKernel, foreign: int, monkeypatch: pytest.MonkeyPatch, mode: AttachMode
) -> None:
    """It was not there when we looked."""
    looks = iter([None])
    real = attaching.foreign_program
    monkeypatch.setattr(attaching, "foreign_program", lambda *args: next(looks, None) or real(*args))
    monkeypatch.setattr(kernel, "_own_programs", lambda: {foreign})
    with pytest.raises(Conflict, match=f"id {foreign}, name 'clock'"):
        kernel.attach("xf1", mode)
    seen = netlink.find("xf1")
    assert seen is not None and seen.link.xdp_program == foreign


# interfaces that come and go


def test_an_interface_that_comes_back_is_attached_again_with_its_counters(kernel: RealKernel, wire: None) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    kernel.attach("xf1", AttachMode.NATIVE)
    send(frame("203.0.113.1"))
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 1, "a frame is dropped")
    ip_command("link", "del", "xf1")
    eventually(lambda: kernel.attachments() == [], "it is gone")
    assert kernel.read_tally("xf1")[BLOCK_ROW, 2] == 1
    make_pair("xf0", "xf1", 1500)
    assert kernel.attachments() == []
    kernel.attach("xf1", AttachMode.NATIVE)
    send(frame("203.0.113.1"))
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 2, "counters go on")


def test_names_with_dots(kernel: RealKernel, wire: None) -> None:
    ip_command("link", "set", "xf1", "down")
    ip_command("link", "set", "xf1", "name", "xf1.42")
    ip_command("link", "set", "xf1.42", "up")
    assert kernel.attach("xf1.42", AttachMode.NATIVE).name == "xf1.42"
    assert [attached.name for attached in kernel.attachments()] == ["xf1.42"]
    kernel.detach("xf1.42")


def test_a_renamed_interface_keeps_its_program_and_its_counters(kernel: RealKernel, host: Host, wire: None) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    ip_command("link", "add", "xf2", "type", "veth", "peer", "name", "xf3")
    kernel.attach("xf2", AttachMode.NATIVE)
    ip_command("link", "del", "xf2")  # what is pinned under this name is to be replaced
    before = kernel.attach("xf1", AttachMode.NATIVE)
    send(frame("203.0.113.1"))
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 1, "a frame is dropped")
    ip_command("link", "set", "xf1", "down")
    ip_command("link", "set", "xf1", "name", "xf2")
    ip_command("link", "set", "xf2", "up")
    assert kernel.attachments() == []  # by name: xf1 is gone, xf2 was not asked for
    assert kernel.foreign_program("xf2") is None
    after = kernel.attach("xf2", AttachMode.NATIVE)
    assert (after.name, after.program_id) == ("xf2", before.program_id)
    assert kernel.attachments() == [after]
    send(frame("203.0.113.1"))
    eventually(lambda: kernel.read_tally("xf2")[BLOCK_ROW, 2] == 2, "counters go on")
    with pytest.raises(NotFound):
        kernel.read_tally("xf1")
    kernel.stop(detach=False)
    again = host.kernel()
    again.start()
    assert again.activate() == [after]


def test_auto_after_generic_by_choice_tries_native(kernel: RealKernel, wire: None) -> None:
    kernel.attach("xf1", AttachMode.GENERIC)
    assert kernel.attach("xf1", AttachMode.AUTO).mode is AttachMode.NATIVE


def test_interfaces_are_listed_as_they_are(kernel: RealKernel, wire: None) -> None:
    links = {link.name: link for link in kernel.interfaces()}
    assert set(links) == {"lo", "xf0", "xf1"}
    assert (links["xf1"].driver, links["xf1"].mtu, links["xf1"].up, links["xf1"].xdp_program) == (
        "veth",
        1500,
        True,
        None,
    )
    assert links["xf1"].mac.count(":") == 5


# instances


def test_instances_do_not_see_each_other(make_host: Callable[[], Host], wire: None) -> None:
    first, second = make_host().kernel(), make_host().kernel()
    for kernel in (first, second):
        plain.start(kernel)
    mine = first.attach("xf1", AttachMode.NATIVE)
    assert second.attachments() == []
    assert second.foreign_program("xf1") == ForeignProgram(mine.program_id, "xdp_filter")
    with pytest.raises(Conflict):
        second.attach("xf1", AttachMode.AUTO)
    second.attach("xf0", AttachMode.NATIVE)
    first.execute(insert("203.0.113.0/24", 1), 2)
    assert first.judge(frame("203.0.113.1")).cause == BLOCK_ROW
    assert second.judge(frame("203.0.113.1")).cause == 0
    second.stop(detach=True)
    assert [attached.name for attached in first.attachments()] == ["xf1"]


def test_interfaces_of_one_instance_share_the_policy_and_count_apart(kernel: RealKernel, wire: None) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    for name in ("xf0", "xf1"):
        kernel.attach(name, AttachMode.NATIVE)
    send(frame("203.0.113.1"), frame("203.0.113.2"))
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 2, "both are dropped on xf1")
    assert kernel.read_tally("xf0").sum() == 0
    assert kernel.read_leaves(plain.ids(1))[0, 0] == 2


# leaving


def test_detaching_leaves_nothing(kernel: RealKernel, host: Host, wire: None) -> None:
    attached = kernel.attach("xf1", AttachMode.NATIVE)
    shared = {libbpf.map_id(fd) for fd in kernel.descriptors().values()}
    own = set(objects_of(attached.program_id)) - shared
    assert own
    kernel.detach("xf1")
    eventually(lambda: attached.program_id not in set(libbpf.program_ids()), "the program is unloaded")
    eventually(lambda: not own & set(libbpf.map_ids()), "its maps are freed")
    kernel.stop(detach=True)
    eventually(lambda: not shared & set(libbpf.map_ids()), "the shared maps are freed")
    assert not host.pins.exists()


def test_stopping_with_detach_leaves_nothing(kernel: RealKernel, host: Host, wire: None) -> None:
    kernel.attach("xf1", AttachMode.NATIVE)
    kernel.stop(detach=True)
    assert not host.pins.exists()
    eventually(lambda: getattr(getattr(netlink.find("xf1"), "link", None), "xdp_program", 0) is None, "it is detached")


def test_offline_detach_needs_no_daemon_and_wins_over_one(kernel: RealKernel, host: Host, wire: None) -> None:
    kernel.attach("xf1", AttachMode.NATIVE)
    assert offline.detach(host.instance) == ["xf1"]
    eventually(lambda: getattr(getattr(netlink.find("xf1"), "link", None), "xdp_program", 0) is None, "it is detached")
