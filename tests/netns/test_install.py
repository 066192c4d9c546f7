# SPDX-License-Identifier: Apache-2.0
"""script/install on a machine of its own, with systemd, without a network and without BCC at first; the tests follow
its life in order: installed, filtering, upgraded, removed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.network import ROOT
from lab.waiting import eventually
from tests.conftest import lacks
from tests.machine.machine import Machine, hierarchy

pytestmark = pytest.mark.netns

INSTALL = "/media/xdpfw/script/install"
PING = ("ip", "netns", "exec", "client", "ping", "-c", "1", "-W", "1", "10.77.1.1")
# What was written where an installation could leave something; the rest of /var is Debian's and systemd's.
PLACES = "etc opt root usr/local var/lib/xdpfw"
LISTING = f"cd /run/written; find {PLACES} /run/xdpfw /sys/fs/bpf 2>/dev/null; getent passwd; getent group"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What script/install --pack makes; the one part that needs a network."""
    path = tmp_path_factory.mktemp("pack")
    done = subprocess.run(
        [ROOT / "script" / "install", "--pack", path], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        lacks(f"script/install --pack did not work; is the network up? {done.stderr[-500:]}")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def machine(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Before the installation."""
    if not Path("/lib/systemd/systemd").exists():
        lacks("no systemd; script/bootstrap --test installs it")
    if hierarchy() is None:
        lacks("no control groups of version 2")
    place = tmp_path_factory.mktemp("machine") / "root"
    place.mkdir()
    with Machine(place, folder) as made:
        made.must("dpkg", "--purge", "--force-depends", "python3-bpfcc", "libbpfcc")
        yield made


@pytest.fixture(scope="module")
def before(machine: Machine) -> str:
    """What there is on the machine before anything is installed."""
    return machine.must("sh", "-c", LISTING)


@pytest.fixture(scope="module")
def installed(machine: Machine, before: str) -> Machine:
    assert machine.call("python3", "-c", "import bcc").returncode
    machine.must(INSTALL, "--from", "/media")
    machine.shell(
        """
        ip netns add client
        ip link add lan1 type veth peer name eth0 netns client
        ip address add 10.77.1.1/24 dev lan1
        ip link set lan1 up
        ip -n client address add 10.77.1.2/24 dev eth0
        ip -n client link set eth0 up
        """
    )
    eventually(lambda: machine.call(*PING).returncode == 0, "the client is heard")
    machine.must("xdpfw", "attach", "lan1")
    machine.must("xdpfw", "block", "10.77.1.2", "--force")
    return machine


def dropped(machine: Machine) -> bool:
    return machine.call(*PING).returncode != 0


def program(machine: Machine) -> object:
    return next(
        item["program_id"]
        for item in machine.json("xdpfw", "status", "--json")["interfaces"]  # type: ignore[attr-defined]
        if item["name"] == "lan1"
    )


def test_it_runs_and_filters(installed: Machine) -> None:
    shown = installed.unit("ActiveState", "SubState", "Type", "User", "UnitFileState", "MainPID")
    assert (shown["ActiveState"], shown["UnitFileState"], shown["User"]) == ("active", "enabled", "xdpfw")
    assert dropped(installed)


def test_the_journal_holds_lines_of_json_with_their_priority(installed: Machine) -> None:
    told = installed.must("journalctl", "--unit=xdpfw", "--output=json", "--no-pager")
    entries = [json.loads(line) for line in told.splitlines()]
    events = {json.loads(each["MESSAGE"])["event"]: each for each in entries if '"event":' in each["MESSAGE"]}
    assert {"ready", "attach", "block"} <= events.keys()
    assert events["block"]["PRIORITY"] == "6"
    assert "10.77.1.2" in events["block"]["MESSAGE"]


def test_everything_is_in_its_place(installed: Machine) -> None:
    assert re.search("^xdpfw:.*:/usr/sbin/nologin$", installed.must("getent", "passwd", "xdpfw"))
    assert installed.must("readlink", "-f", "/usr/local/bin/xdpfw").startswith("/opt/xdpfw/20")
    assert "xdpfw attach" in installed.must("xdpfw", "--help")
    words = "source /usr/local/share/bash-completion/completions/xdpfw; complete -p xdpfw"
    assert "_xdpfw" in installed.must("bash", "-c", words)
    installed.must("test", "-s", "/usr/local/share/man/man1/xdpfw.1")
    modes = "stat -c '%a %U %G' /etc/xdpfw /etc/xdpfw/xdpfw.toml /var/lib/xdpfw /run/xdpfw/xdpfw.sock"
    assert installed.must("sh", "-c", modes).splitlines() == [
        "750 root xdpfw",
        "640 root xdpfw",
        "700 xdpfw xdpfw",
        "660 xdpfw xdpfw",
    ]
    writable = "find /opt/xdpfw /etc/xdpfw ! -type l ( ! -user root -o -perm /022 )"
    assert installed.must(*writable.split()) == ""


def test_it_is_confined(installed: Machine) -> None:
    pid = installed.unit("MainPID")["MainPID"]
    status = dict(line.split(":\t", 1) for line in installed.must("cat", f"/proc/{pid}/status").splitlines())
    three = f"{1 << 12 | 1 << 38 | 1 << 39:016x}"
    assert [status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")] == [three] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    inside = ("nsenter", "--target", pid, "--mount")
    for path in ("/usr", "/etc", "/proc/sys/kernel/hostname", "/sys/kernel", "/sys/fs/bpf"):
        assert installed.call(*inside, "test", "-w", path).returncode, f"{path} is writable"
    for path in ("/var/lib/xdpfw", "/sys/fs/bpf/xdpfw-default"):
        installed.must(*inside, "test", "-w", path)
    exposure = installed.must("systemd-analyze", "security", "--no-pager", "xdpfw.service").splitlines()[-1]
    level = re.search(r"([0-9.]+) OK", exposure)
    assert level, exposure
    assert float(level[1]) < 2.0


def test_members_of_the_group_may_call_and_others_not(installed: Machine) -> None:
    installed.must("useradd", "--groups", "xdpfw", "operator1")
    installed.must("useradd", "stranger1")
    installed.must("runuser", "-u", "operator1", "--", "xdpfw", "status")
    assert installed.call("runuser", "-u", "stranger1", "--", "xdpfw", "status").returncode == 6
    installed.shell("userdel operator1; userdel stranger1")


def test_the_daemon_is_started_again_and_adopts(installed: Machine) -> None:
    running = program(installed)
    installed.must("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "xdpfw")
    assert dropped(installed)
    eventually(lambda: installed.unit("NRestarts")["NRestarts"] != "0", "it is started again", 30)
    eventually(lambda: installed.unit("ActiveState")["ActiveState"] == "active", "it is ready", 60)
    assert program(installed) == running
    assert dropped(installed)


def test_a_daemon_that_hangs_is_ended_by_the_watchdog(installed: Machine) -> None:
    installed.shell(
        """
        mkdir /etc/systemd/system/xdpfw.service.d
        printf '[Service]\\nWatchdogSec=2\\n' >/etc/systemd/system/xdpfw.service.d/test.conf
        systemctl daemon-reload
        systemctl restart xdpfw
        """
    )
    pid = installed.unit("MainPID")["MainPID"]
    installed.must("kill", "-STOP", pid)
    assert dropped(installed)
    eventually(
        lambda: installed.unit("MainPID", "ActiveState") not in ({"MainPID": pid, "ActiveState": "active"},),
        "it was ended",
        60,
    )
    eventually(lambda: installed.unit("ActiveState")["ActiveState"] == "active", "another one is ready", 60)
    assert installed.unit("MainPID")["MainPID"] not in ("0", pid)
    assert dropped(installed)
    installed.shell("rm -r /etc/systemd/system/xdpfw.service.d; systemctl daemon-reload")


def test_reload_and_stop_leave_the_filters(installed: Machine) -> None:
    running = program(installed)
    installed.must("systemctl", "reload", "xdpfw")
    assert program(installed) == running
    installed.must("systemctl", "stop", "xdpfw")
    assert dropped(installed)
    installed.must("systemctl", "start", "xdpfw")
    assert program(installed) == running


def test_it_starts_before_the_network(installed: Machine) -> None:
    assert "network-pre.target" in installed.must("systemctl", "show", "xdpfw", "--property", "Before")


def status(machine: Machine) -> str:
    """Once the daemon, which answers from its first moment on, no longer says that it is starting. One that is about to
    end may close a connection that it let in a moment ago."""
    for _ in range(20):
        said = machine.call("xdpfw", "status")
        if "starting" not in said.stderr and "closed the connection" not in said.stderr:
            break
        time.sleep(0.5)
    assert not said.returncode, said.stderr
    return said.stdout


def test_the_socket_unit_starts_a_daemon_that_was_stopped(installed: Machine) -> None:
    installed.must("systemctl", "stop", "xdpfw")
    installed.must("systemctl", "start", "xdpfw.socket")
    assert installed.unit("ActiveState")["ActiveState"] == "inactive"
    assert "lan1" in status(installed)
    # It is systemd's socket: a daemon that stops leaves it, and whoever calls meanwhile waits.
    installed.must("systemctl", "restart", "--no-block", "xdpfw")
    assert "lan1" in status(installed)
    installed.must("systemctl", "stop", "xdpfw.socket", "xdpfw.service")
    installed.must("systemctl", "start", "xdpfw.service")


def test_settings_that_cannot_be_are_not_tried_again(installed: Machine) -> None:
    installed.shell("cp /etc/xdpfw/xdpfw.toml /tmp/kept; echo 'lisen = 1' >>/etc/xdpfw/xdpfw.toml")
    assert installed.call("systemctl", "restart", "xdpfw").returncode
    shown = installed.unit("ActiveState", "ExecMainStatus")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "2"}
    assert "unknown setting 'lisen'" in installed.must("journalctl", "-u", "xdpfw", "-n", "20", "--no-pager")
    assert dropped(installed)
    installed.shell("cp /tmp/kept /etc/xdpfw/xdpfw.toml; systemctl start xdpfw")


def versions(machine: Machine) -> list[str]:
    return machine.must("find", "/opt/xdpfw", "-mindepth", "1", "-maxdepth", "1", "-type", "d").split()


def test_an_upgrade_keeps_the_filters(installed: Machine) -> None:
    running, old = program(installed), versions(installed)
    installed.shell("echo '# mine' >>/etc/xdpfw/xdpfw.toml")
    installed.must(INSTALL, "--from", "/media")
    assert program(installed) == running
    assert dropped(installed)
    [new] = versions(installed)
    assert new not in old
    assert "# mine" in installed.must("cat", "/etc/xdpfw/xdpfw.toml")


def test_an_upgrade_that_fails_changes_nothing(installed: Machine) -> None:
    old, running = versions(installed), program(installed)
    installed.shell(
        """
        cp -r /media/xdpfw /tmp/broken
        echo 'raise SystemExit("broken on purpose")' >>/tmp/broken/xdpfw/life.py
        """
    )
    failed = installed.call("/tmp/broken/script/install", "--from", "/media")
    assert failed.returncode == 1
    assert "broken on purpose" in failed.stderr
    assert "the one before runs again" in failed.stderr
    assert versions(installed) == old
    assert installed.unit("ActiveState")["ActiveState"] == "active"
    assert program(installed) == running
    assert dropped(installed)


def test_a_folder_that_is_not_whole_is_refused(installed: Machine) -> None:
    installed.shell("mkdir /tmp/half; cp -r /media/xdpfw /media/SHA256SUMS /media/wheels /tmp/half")
    refused = installed.call(INSTALL, "--from", "/tmp/half")
    assert refused.returncode == 1
    assert "is not whole" in refused.stderr
    assert len(versions(installed)) == 1


def test_removed_and_installed_again_it_filters_as_before(installed: Machine) -> None:
    installed.must(INSTALL, "--remove")
    assert not dropped(installed), "its filters are still there"
    assert installed.must("stat", "-c", "%U", "/var/lib/xdpfw", "/var/lib/xdpfw/xdpfw.db").split() == ["root", "root"]
    installed.must(INSTALL, "--from", "/media")
    eventually(lambda: dropped(installed), "what was attached is attached again")


def test_nothing_is_left(installed: Machine, before: str) -> None:
    installed.must(INSTALL, "--remove", "--purge")
    assert not dropped(installed)
    after = installed.must("sh", "-c", LISTING)
    left = set(after.splitlines()) - set(before.splitlines())
    # A directory in which something came and went counts as written; it is the machine's below.
    left = {path for path in left if not Path("/", path).is_dir()}
    accounts = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
    assert left <= {f"etc/{name}{suffix}" for name in accounts for suffix in ("", "-")} | {"etc/ld.so.cache"}
    assert installed.call("systemctl", "cat", "xdpfw.service").returncode
    assert "xdp" not in installed.must("ip", "-d", "link", "show", "lan1").replace("xdpfw", "")
