# SPDX-License-Identifier: Apache-2.0
"""What this machine offers to the firewall: each finding with what it means and how to mend it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from xdpfw.kernel import bpffs, capabilities, ethtool, libbpf, netlink, source
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.compile import find_interpreter
from xdpfw.kernel.maps import possible_cpus
from xdpfw.kernel.port import Check
from xdpfw.kernel.program import MULTI_BUFFER_SINCE, kernel_version
from xdpfw.model.errors import KernelError

OLDEST, RECOMMENDED = (5, 15), (6, 1)
LIBBPF_OLDEST = (1, 0)
NATIVE_WITHOUT_FRAGS_MTU = 3498

# Drivers with native XDP, as of Linux 6.12 (those that implement ndo_bpf).
_NATIVE = frozenset(
    [
        *("veth", "tun", "bonding", "netdevsim", "virtio_net", "vif", "hv_netvsc", "vmxnet3", "ena", "gve", "mana"),
        *("ixgbe", "ixgbevf", "i40e", "ice", "igb", "igc", "mlx4_en", "mlx5_core", "bnxt_en", "nfp", "qede", "sfc"),
        *("ionic", "atlantic", "octep", "nicvf", "rvu_nicpf", "rvu_nicvf", "mvneta", "mvpp2", "netsec", "tsnep"),
        *("fsl_dpaa2_eth", "fsl_dpa", "fsl_enetc", "fec", "st_gmac", "cpsw", "ti-cpsw", "am65-cpsw-nuss"),
        *("lan966x-switch", "mtk_soc_eth"),
    ]
)


def checks() -> list[Check]:
    """Everything that `xdpfw doctor` looks at, the necessary first. Needs no daemon; best run as root."""
    necessary = [_kernel(), _capabilities(), *_bpf(), _btf(), _bpffs(), _libbpf(), _bcc(), _headers(), _source()]
    return [*necessary, *_interfaces()]


def _guarded(name: str, look: Callable[[], str], meaning: str, mend: str) -> Check:
    """`look` answers how it is, or raises what is wrong."""
    try:
        return Check(name, True, look())
    except (KernelError, OSError) as error:
        return Check(name, False, error.detail if isinstance(error, KernelError) else str(error), meaning, mend)


def _kernel() -> Check:
    version, release = kernel_version(), platform.release()
    if version < OLDEST:
        return Check(
            "kernel", False, f"Linux {release}", "XDP links, batches and the helpers used need 5.15.", "Upgrade to 6.1."
        )
    if version < MULTI_BUFFER_SINCE:
        detail = (
            f"Linux {release}: no multi-buffer XDP, so native mode needs an MTU of at most {NATIVE_WITHOUT_FRAGS_MTU}"
        )
        return Check("kernel", True, detail)
    if version < RECOMMENDED:
        return Check("kernel", True, f"Linux {release}: works, but 6.1 or newer is what is tested")
    return Check("kernel", True, f"Linux {release}, {possible_cpus()} possible CPUs")


def _capabilities() -> Check:
    missing = capabilities.missing()
    if not missing:
        return Check("capabilities", True, "all that are needed")
    meaning = "Programs cannot be loaded or attached."
    return Check("capabilities", False, f"missing {', '.join(missing)}", meaning, capabilities.MEND)


def _bpf() -> list[Check]:
    try:
        clock = KernelClock()
    except KernelError as error:
        mend = "Run as root; if it fails then too, the kernel lacks CONFIG_BPF_SYSCALL or is locked down."
        return [Check("bpf system call", False, error.detail, "No program can be loaded.", mend)]
    compiled = clock.is_compiled
    clock.close()
    works = Check("bpf system call", True, "programs load and run")
    if compiled:
        return [works, Check("jit", True, "on")]
    meaning = "Programs are interpreted: many times slower."
    return [works, Check("jit", False, "off", meaning, "sysctl net.core.bpf_jit_enable=1")]


def _btf() -> Check:
    there = Path("/sys/kernel/btf/vmlinux").exists()
    return Check("btf", True, "there" if there else "not there; nothing here needs it, bpftool shows less")


def _bpffs() -> Check:
    def look() -> str:
        mounted = bpffs.is_mounted()
        bpffs.ensure_mounted()
        return f"{'mounted' if mounted else 'mounted now'} at {bpffs.DEFAULT}"

    return _guarded(
        "bpffs",
        look,
        "Nothing can be pinned, so filtering would end with the daemon.",
        f"mount -t bpf bpf {bpffs.DEFAULT}; in a systemd unit, ProtectKernelTunables= makes it read-only.",
    )


def _libbpf() -> Check:
    def look() -> str:
        version = libbpf.version()
        major, minor = version.lstrip("v").split(".")[:2]
        if (int(major), int(minor)) < LIBBPF_OLDEST:
            raise KernelError(f"{version} is too old")
        return version

    return _guarded("libbpf", look, "Maps and programs cannot be made.", "apt-get install libbpf1")


def _bcc() -> Check:
    def look() -> str:
        interpreter = find_interpreter()
        asked = [interpreter, "-I", "-c", "import bcc; print(bcc.__version__)"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KernelError((done.stderr.strip().splitlines() or ["it cannot be imported"])[-1])
        return f"{done.stdout.strip()}, imported by {interpreter}"

    return _guarded("bcc", look, "The packet program cannot be compiled.", "apt-get install python3-bpfcc")


def _headers() -> Check:
    def look() -> str:
        source.find_headers()
        return f"in {source.HEADERS}"

    return _guarded("user headers", look, "The packet program cannot be compiled.", "apt-get install linux-libc-dev")


def _source() -> Check:
    return _guarded(
        "program text",
        lambda: str(source.find_sources()),
        "The packet program cannot be compiled.",
        "Install the package again: bpf/ belongs to it.",
    )


def _interfaces() -> Iterator[Check]:
    try:
        seen = netlink.interfaces()
    except KernelError as error:
        yield Check("interfaces", False, error.detail, "Nothing can be attached.", "Run as root.")
        return
    with ethtool.control_socket() as control:
        for each in seen:
            if each.link.name != "lo":
                strips = ethtool.strips_vlan_tags(each.link.name, control)
                yield Check(f"interface {each.link.name}", True, "; ".join(_findings(each, strips)))


def _findings(seen: netlink.Seen, strips_vlan_tags: bool) -> Iterator[str]:
    link = seen.link
    yield f"driver {link.driver or 'unknown'}, MTU {link.mtu}, {'up' if link.up else 'down'}"
    if link.driver in _NATIVE:
        yield "native XDP"
        if link.mtu > NATIVE_WITHOUT_FRAGS_MTU and kernel_version() < MULTI_BUFFER_SINCE:
            yield f"but not at this MTU on this kernel: ip link set {link.name} mtu {NATIVE_WITHOUT_FRAGS_MTU}"
    else:
        yield "no native XDP known of this driver: generic mode works, at several times the cost"
    if strips_vlan_tags:
        yield f"takes VLAN tags off before XDP sees them; to have them counted: ethtool -K {link.name} rxvlan off"
    if link.xdp_program is not None:
        name = libbpf.prog_name(link.xdp_program) if os.geteuid() == 0 else ""
        yield f"carries XDP program {link.xdp_program} {name}".rstrip()
