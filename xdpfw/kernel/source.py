# SPDX-License-Identifier: Apache-2.0
"""The packet program's text as one piece, and the tiny kernel tree that BCC wants to see.

BCC rewrites map accesses in the main file only, so the project's own quoted includes are put in place here, with
`#line` so that messages name the real file and line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xdpfw.model.errors import KernelError

QUOTED_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
HEADERS = Path("/usr/include")

# BCC brings its own <linux/bpf.h>; this is what it takes from a kernel tree besides. The wire formats come from
# the user headers of linux-libc-dev, which are the same for every kernel.
KERNEL_TREE = {
    "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "include/linux/version.h": "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
    "#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)\n",
    "include/linux/log2.h": "",
    "include/linux/types.h": "#include_next <linux/types.h>\n"
    "typedef __u8 u8;\ntypedef __u16 u16;\ntypedef __u32 u32;\ntypedef __u64 u64;\n"
    "typedef __SIZE_TYPE__ size_t;\ntypedef __UINTPTR_TYPE__ uintptr_t;\n"
    "typedef __s8 s8;\ntypedef __s16 s16;\ntypedef __s32 s32;\ntypedef __s64 s64;\n",
    "include/asm/page.h": "",
    "include/uapi/linux/bpf.h": "#include <linux/types.h>\n",
    "include/uapi/linux/if_packet.h": "#include <linux/if_packet.h>\n",
}


_LOSES_COUNT = ("#endif", "{")
"""After these the compiler may not know its line any more: what is skipped takes its `#line` along, and BCC puts lines
before functions."""


def find_sources() -> Path:
    """The directory of xdp_filter.c: in the checkout, or where the package was installed to."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package.parent / "bpf", package / "bpf", Path("/usr/share/xdpfw/bpf")):
        if (candidate / "xdp_filter.c").is_file():
            return candidate
    raise KernelError(f"the packet program's source (bpf/xdp_filter.c) is missing beside {package}")


def inline(path: Path) -> str:
    """The text of a C file with its quoted includes in place, each once.

    Raises:
        KernelError: a file cannot be read.
    """
    try:
        return "\n".join(_lines(path, set())) + "\n"
    except OSError as error:
        raise KernelError(f"cannot read {error.filename}: {error.strerror}") from error


def _lines(path: Path, seen: set[Path]) -> Iterator[str]:
    seen.add(path)
    yield f'#line 1 "{path.name}"'
    for number, line in enumerate(path.read_text().splitlines(), 1):
        include = QUOTED_INCLUDE.match(line)
        if include:
            included = path.parent / include[1]
            if included not in seen:
                yield from _lines(included, seen)
            yield f'#line {number + 1} "{path.name}"'
        elif line.strip() != "#pragma once":
            yield line
        if line in _LOSES_COUNT:
            yield f'#line {number + 1} "{path.name}"'


def fingerprint(source: str, cflags: Sequence[str]) -> int:
    """63 bits that tell one program from another without compiling it."""
    digest = hashlib.sha256("\0".join([source, *cflags]).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def find_headers() -> list[Path]:
    """The directories of the kernel's user headers, of all machines and of this one.

    Raises:
        KernelError: linux-libc-dev is not installed.
    """
    machine = next((asm.parent for asm in sorted(HEADERS.glob("*-linux-gnu*/asm"))), HEADERS)
    if not (HEADERS / "linux/if_packet.h").is_file() or not (machine / "asm/types.h").is_file():
        raise KernelError(f"{HEADERS} lacks the kernel's user headers: apt-get install linux-libc-dev")
    return [HEADERS, machine]


def make_kernel_tree(root: Path) -> list[str]:
    """Write what BCC includes from a kernel source tree; answers the compiler flags that complete it.

    Raises:
        KernelError: linux-libc-dev is not installed.
    """
    for name, text in KERNEL_TREE.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("#pragma once\n" + text)
    return [f"-idirafter{directory}" for directory in find_headers()]
