# SPDX-License-Identifier: Apache-2.0
"""doctor: what is missing is named, with what it means and how to mend it; what is there is not complained about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.wire import make_pair
from xdpfw.kernel import bpffs, capabilities, doctor, source
from xdpfw.kernel import compile as compiling
from xdpfw.kernel.port import Check
from xdpfw.model.errors import KernelError

pytestmark = pytest.mark.kernel

NECESSARY = {
    "kernel",
    "capabilities",
    "bpf system call",
    "jit",
    "bpffs",
    "libbpf",
    "bcc",
    "user headers",
    "program text",
}


def found() -> dict[str, Check]:
    return {check.name: check for check in doctor.checks()}


def test_a_fit_machine_is_fit() -> None:
    checks = found()
    assert checks.keys() >= NECESSARY
    assert [check for check in checks.values() if not check.ok] == []


def test_every_complaint_says_what_it_means_and_what_mends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("refused")

    monkeypatch.setattr(doctor, "kernel_version", lambda: (5, 4))
    monkeypatch.setattr(capabilities, "_held", lambda: 0)
    monkeypatch.setattr(doctor, "KernelClock", refuse)
    monkeypatch.setattr(bpffs, "ensure_mounted", refuse)
    monkeypatch.setattr(doctor.libbpf, "version", lambda: "v0.5")
    monkeypatch.setattr(doctor, "find_interpreter", refuse)
    monkeypatch.setattr(source, "HEADERS", tmp_path)
    monkeypatch.setattr(source, "find_sources", refuse)
    bad = {check.name: check for check in doctor.checks() if not check.ok}
    assert bad.keys() == NECESSARY - {"jit"}
    for check in bad.values():
        assert check.detail and check.meaning and check.mend
    assert "linux-libc-dev" in bad["user headers"].mend
    assert "0.5" in bad["libbpf"].detail


def test_an_interpreted_program_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.KernelClock, "is_compiled", False)
    assert "bpf_jit_enable=1" in found()["jit"].mend


@pytest.mark.parametrize("version", [(5, 15), (5, 17)])
def test_kernels_without_multi_buffer_are_told_their_mtu(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "kernel_version", lambda: version)
    assert "MTU of at most 3498" in found()["kernel"].detail


@pytest.mark.usefixtures("namespace")
def test_interfaces_tell_their_driver_and_stripped_tags() -> None:
    make_pair("xf0", "xf1", 1500)
    subprocess.run(["ethtool", "-K", "xf1", "rxvlan", "on"], check=True, capture_output=True)
    checks = found()
    assert "interface lo" not in checks
    assert "driver veth, MTU 1500, up; native XDP" in checks["interface xf0"].detail
    assert "rxvlan" not in checks["interface xf0"].detail
    assert "ethtool -K xf1 rxvlan off" in checks["interface xf1"].detail


def test_the_interpreter_is_the_one_that_can_import_bcc() -> None:
    done = subprocess.run([compiling.find_interpreter(), "-I", "-c", "import bcc"], capture_output=True, check=False)
    assert done.returncode == 0
    assert compiling.find_interpreter() in (sys.executable, "/usr/bin/python3")
