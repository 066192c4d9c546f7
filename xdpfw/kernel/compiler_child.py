# SPDX-License-Identifier: Apache-2.0
"""Runs in a process of its own: one C source in, instructions out. The only importer of bcc.

It is started by path, by whichever interpreter can import bcc, so it uses nothing but the standard library. BCC
changes the working directory, keeps LLVM in memory and reports errors on stderr only: all of that ends with the
process. Arguments: the kernel tree's directory, and a descriptor that comes to its end when whoever asked is gone.
Request on stdin and answer on stdout are JSON::

    {"source": text, "function": name, "maps": [names], "cflags": [...], "load": bool}
    {"instructions": base64, "maps": {index of the instruction: map name}, "bcc": version}

The maps that BCC creates meanwhile have one entry each and vanish with the process; the answer says by name which
map each instruction refers to. With `load`, BCC also loads the program: when the verifier refuses it, its log on stderr
has source lines, which no other loader can give it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import sys
import threading
from typing import Any

LOAD_IMMEDIATE_64 = 0x18  # BPF_LD | BPF_IMM | BPF_DW
PSEUDO_MAP_FD = 1
INSTRUCTION = struct.Struct("<BBhi")  # opcode, registers (source in the high half), offset, immediate


def map_references(instructions: bytes, names: dict[int, str]) -> dict[int, str]:
    """Which instruction loads which map: {index: name}. `names`: descriptor to name."""
    found = {}
    for index, (code, registers, _, immediate) in enumerate(INSTRUCTION.iter_unpack(instructions)):
        if code == LOAD_IMMEDIATE_64 and registers >> 4 == PSEUDO_MAP_FD:
            found[index] = names[immediate]
    return found


def compile_program(request: dict[str, Any], kernel_tree: str) -> dict[str, Any]:
    # BCC reads this when it is imported and when it compiles.
    os.environ["BCC_KERNEL_SOURCE"] = kernel_tree
    import bcc

    module = bcc.BPF(text=request["source"].encode(), cflags=request["cflags"])
    if request["load"]:
        module.load_func(request["function"].encode(), bcc.BPF.XDP)
    instructions = module.dump_func(request["function"].encode())
    names = {bcc.lib.bpf_table_fd(module.module, name.encode()): name for name in request["maps"]}
    return {
        "instructions": base64.b64encode(instructions).decode(),
        "maps": map_references(instructions, names),
        "bcc": bcc.__version__,
    }


def end_with(alive: int, kernel_tree: str) -> None:
    """What compiles for nobody takes the next daemon's time."""
    os.read(alive, 1)
    shutil.rmtree(kernel_tree, ignore_errors=True)
    os._exit(1)


def main(kernel_tree: str, alive: int) -> None:
    threading.Thread(target=end_with, args=(alive, kernel_tree), daemon=True).start()
    # What BCC prints must not mix with the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        request = json.load(sys.stdin)
    except ValueError:  # it was gone before it had said all
        end_with(alive, kernel_tree)
    json.dump(compile_program(request, kernel_tree), answer)
    answer.flush()
    # Tearing down LLVM takes as long as a compile; the kernel frees everything anyway.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
