# SPDX-License-Identifier: Apache-2.0
"""Detaching without a daemon. A directory stands for bpffs: unpinning is a matter of names there too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.unit.cli.given import Call
from xdpfw.hold import Hold
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.life import attach_wanted
from xdpfw.model.interface import AttachMode
from xdpfw.model.requests import WriteOptions
from xdpfw.service import Firewall
from xdpfw.settings import instance_of
from xdpfw.store.memory import MemoryStore


class Machine:
    def __init__(self, root: Path) -> None:
        self.bpffs = root / "bpf"
        self.state = root / "state"
        self.arguments = ("--offline", "--bpffs", str(self.bpffs), "--state-dir", str(self.state))

    def pin(self, instance: str, *interfaces: str) -> Path:
        base = self.bpffs / f"xdpfw-{instance}"
        (base / "links").mkdir(parents=True)
        (base / "tables-1" / "on-eth0").mkdir(parents=True)
        (base / "tables-1" / "leaf").touch()
        for name in interfaces:
            (base / "links" / name).touch()
        return base

    def links(self, base: Path) -> list[str]:
        return sorted(path.name for path in (base / "links").iterdir())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    # Whatever a daemon answers must not matter, and the machine's own configuration neither.
    monkeypatch.setenv("XDPFW_SOCKET", str(tmp_path / "absent"))
    monkeypatch.setattr("xdpfw.settings.DEFAULT_CONFIG", tmp_path / "absent.toml")
    return Machine(tmp_path)


def test_all_is_released_and_named_and_a_mark_is_left(call: Call, machine: Machine) -> None:
    base = machine.pin(instance_of(machine.state), "eth0", "eth1")
    code, out, err = call("detach", "--all", *machine.arguments)
    assert (code, out, err) == (0, "eth0: detached\neth1: detached\n", "")
    assert not base.exists()
    # The state directory was gone; the mark is there all the same.
    assert Hold(machine.state).on


def test_one_is_released_and_the_others_stay(call: Call, machine: Machine) -> None:
    base = machine.pin(instance_of(machine.state), "eth0", "eth1")
    code, out, _ = call("detach", "eth0", *machine.arguments, "--json")
    assert (code, json.loads(out)) == (0, {"detached": ["eth0"], "changed": True})
    assert machine.links(base) == ["eth1"]
    assert Hold(machine.state).on


def test_an_interface_that_has_no_link_is_3_and_leaves_no_mark(call: Call, machine: Machine) -> None:
    base = machine.pin(instance_of(machine.state), "eth0")
    machine.pin("other", "eth1")
    code, out, err = call("detach", "eth1", *machine.arguments)
    assert (code, out) == (3, "")
    assert "other instances here: other" in err
    assert machine.links(base) == ["eth0"]
    assert not Hold(machine.state).on


def test_another_instance_is_left_alone_unless_it_is_named(call: Call, machine: Machine) -> None:
    base = machine.pin("other", "eth1")
    code, out, err = call("detach", "--all", *machine.arguments)
    assert (code, out) == (0, "nothing is attached\n")
    assert "--instance NAME" in err
    assert machine.links(base) == ["eth1"]
    assert call("detach", "--all", *machine.arguments, "--instance", "other")[:2] == (0, "eth1: detached\n")
    assert not base.exists()


def test_a_dry_run_releases_nothing(call: Call, machine: Machine) -> None:
    base = machine.pin(instance_of(machine.state), "eth0")
    assert call("detach", "--all", *machine.arguments, "--dry-run")[:2] == (10, "eth0: would be detached\n")
    assert machine.links(base) == ["eth0"]
    assert not Hold(machine.state).on


def test_a_mark_that_cannot_be_left_is_no_obstacle(call: Call, machine: Machine) -> None:
    machine.pin(instance_of(machine.state), "eth0")
    machine.state.write_text("a file stands where the directory should be")
    code, out, err = call("detach", "--all", *machine.arguments)
    assert (code, out) == (0, "eth0: detached\n")
    assert "attaches again" in err


def test_a_broken_configuration_is_no_obstacle(call: Call, machine: Machine) -> None:
    machine.pin(instance_of(machine.state), "eth0")
    (machine.bpffs.parent / "absent.toml").write_text("lisen = 1")
    code, out, err = call("detach", "--all", *machine.arguments)
    assert (code, out) == (0, "eth0: detached\n")
    assert "unknown setting 'lisen'" in err


@pytest.mark.parametrize("marked", [False, True])
def test_a_daemon_that_starts_under_the_mark_attaches_nothing_until_it_is_asked(tmp_path: Path, marked: bool) -> None:
    hold = Hold(tmp_path)
    if marked:
        hold.set()
    kernel = FakeKernel([fake_link("eth0", 1)])

    async def life() -> tuple[list[str], list[str]]:
        firewall = Firewall(kernel, MemoryStore(), hold=hold)
        firewall.to_attach["eth0"] = "about to be attached"
        await firewall.load()
        assert await firewall.problems() == ["eth0: about to be attached"]
        await attach_wanted(firewall, (("eth0", AttachMode.AUTO),))
        assert await firewall.problems() == []
        at_start = [attachment.name for attachment in kernel.attachments()]
        await firewall.attach("eth0", AttachMode.AUTO, WriteOptions())
        return at_start, [attachment.name for attachment in kernel.attachments()]

    assert asyncio.run(life()) == ([] if marked else ["eth0"], ["eth0"])
    assert not hold.on


def test_the_mark_comes_and_goes(tmp_path: Path) -> None:
    hold = Hold(tmp_path / "state")
    hold.clear()
    assert not hold.on
    hold.set()
    hold.set()
    assert hold.on
    hold.clear()
    assert not hold.on
