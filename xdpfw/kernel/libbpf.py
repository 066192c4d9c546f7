# SPDX-License-Identifier: Apache-2.0
"""libbpf, as far as it is needed: the one place with ctypes. Descriptors are plain ints that the caller closes.

Every failure is a `Refused` with the errno and, for programs, the verifier's log.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.errors import KernelError

Buffer = npt.NDArray[Any]

LIBRARY = "libbpf.so.1"
LOG_BYTES = 1 << 24
LOG_SHOWN = 4000
PROG_TYPE_XDP = 6
ATTACH_XDP = 37
F_XDP_HAS_FRAGS = 1 << 5
ANY = 0


class Refused(KernelError):
    """The kernel refused a call; `errno` says why."""

    def __init__(self, what: str, number: int, more: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)}){more}")
        self.errno = number


class _MapCreate(ct.Structure):
    _fields_ = (
        ("sz", ct.c_size_t),
        ("btf_fd", ct.c_uint32),
        ("btf_key_type_id", ct.c_uint32),
        ("btf_value_type_id", ct.c_uint32),
        ("btf_vmlinux_value_type_id", ct.c_uint32),
        ("inner_map_fd", ct.c_uint32),
        ("map_flags", ct.c_uint32),
        ("map_extra", ct.c_uint64),
        ("numa_node", ct.c_uint32),
        ("map_ifindex", ct.c_uint32),
    )


class _ProgLoad(ct.Structure):
    _fields_ = (
        ("sz", ct.c_size_t),
        ("attempts", ct.c_int),
        ("expected_attach_type", ct.c_int),
        ("prog_btf_fd", ct.c_uint32),
        ("prog_flags", ct.c_uint32),
        ("prog_ifindex", ct.c_uint32),
        ("kern_version", ct.c_uint32),
        ("attach_btf_id", ct.c_uint32),
        ("attach_prog_fd", ct.c_uint32),
        ("attach_btf_obj_fd", ct.c_uint32),
        ("fd_array", ct.c_void_p),
        ("func_info", ct.c_void_p),
        ("func_info_cnt", ct.c_uint32),
        ("func_info_rec_size", ct.c_uint32),
        ("line_info", ct.c_void_p),
        ("line_info_cnt", ct.c_uint32),
        ("line_info_rec_size", ct.c_uint32),
        ("log_level", ct.c_uint32),
        ("log_size", ct.c_uint32),
        ("log_buf", ct.c_void_p),
    )


class _LinkCreate(ct.Structure):
    _fields_ = (
        ("sz", ct.c_size_t),
        ("flags", ct.c_uint32),
        ("iter_info", ct.c_void_p),
        ("iter_info_len", ct.c_uint32),
        ("target_btf_id", ct.c_uint32),
        ("cookie", ct.c_uint64),
    )


class _Batch(ct.Structure):
    _fields_ = (("sz", ct.c_size_t), ("elem_flags", ct.c_uint64), ("flags", ct.c_uint64))


class _TestRun(ct.Structure):
    _fields_ = (
        ("sz", ct.c_size_t),
        ("data_in", ct.c_void_p),
        ("data_out", ct.c_void_p),
        ("data_size_in", ct.c_uint32),
        ("data_size_out", ct.c_uint32),
        ("ctx_in", ct.c_void_p),
        ("ctx_out", ct.c_void_p),
        ("ctx_size_in", ct.c_uint32),
        ("ctx_size_out", ct.c_uint32),
        ("retval", ct.c_uint32),
        ("repeat", ct.c_int),
        ("duration", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("cpu", ct.c_uint32),
        ("batch_size", ct.c_uint32),
    )


class _LinkInfo(ct.Structure):
    """struct bpf_link_info; the union begins 8-aligned behind three ints, and holds an ifindex for XDP."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("prog_id", ct.c_uint32),
        ("_pad", ct.c_uint32),
        ("ifindex", ct.c_uint32),
        ("_more", ct.c_uint8 * 108),
    )


class _MapInfo(ct.Structure):
    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("key_size", ct.c_uint32),
        ("value_size", ct.c_uint32),
        ("max_entries", ct.c_uint32),
        ("flags", ct.c_uint32),
    )


class _ProgInfo(ct.Structure):
    """The beginning of struct bpf_prog_info, up to the figure of the verifier's work; the kernel fills what fits."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("tag", ct.c_uint8 * 8),
        ("jited_prog_len", ct.c_uint32),
        ("xlated_prog_len", ct.c_uint32),
        ("jited_prog_insns", ct.c_uint64),
        ("xlated_prog_insns", ct.c_uint64),
        ("load_time", ct.c_uint64),
        ("created_by_uid", ct.c_uint32),
        ("nr_map_ids", ct.c_uint32),
        ("map_ids", ct.c_uint64),
        ("name", ct.c_char * 16),
        ("ifindex", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("netns_dev", ct.c_uint64),
        ("netns_ino", ct.c_uint64),
        ("nr_jited_ksyms", ct.c_uint32),
        ("nr_jited_func_lens", ct.c_uint32),
        ("jited_ksyms", ct.c_uint64),
        ("jited_func_lens", ct.c_uint64),
        ("btf_id", ct.c_uint32),
        ("func_info_rec_size", ct.c_uint32),
        ("func_info", ct.c_uint64),
        ("nr_func_info", ct.c_uint32),
        ("nr_line_info", ct.c_uint32),
        ("line_info", ct.c_uint64),
        ("jited_line_info", ct.c_uint64),
        ("nr_jited_line_info", ct.c_uint32),
        ("line_info_rec_size", ct.c_uint32),
        ("jited_line_info_rec_size", ct.c_uint32),
        ("nr_prog_tags", ct.c_uint32),
        ("prog_tags", ct.c_uint64),
        ("run_time_ns", ct.c_uint64),
        ("run_cnt", ct.c_uint64),
        ("recursion_misses", ct.c_uint64),
        ("verified_insns", ct.c_uint32),
        ("attach_btf_obj_id", ct.c_uint32),
        ("attach_btf_id", ct.c_uint32),
        ("_pad", ct.c_uint32),
    )


@cache
def _library() -> ct.CDLL:
    try:
        library = ct.CDLL(LIBRARY, use_errno=True)
    except OSError as error:
        raise KernelError(f"{LIBRARY} is missing: apt-get install libbpf1 ({error})") from error
    # It would print to stderr; every failure is reported through the return value as well.
    library.libbpf_set_print(None)
    library.libbpf_version_string.restype = ct.c_char_p
    return library


def version() -> str:
    return str(_library().libbpf_version_string().decode())


def _call(what: str, name: str, *arguments: Any, more: Callable[[], str] = lambda: "") -> int:
    function = getattr(_library(), name)
    ct.set_errno(0)
    result: int = function(*arguments)
    if result < 0:
        raise Refused(what, -result if result != -1 or not ct.get_errno() else ct.get_errno(), more())
    return result


def _sized(options: Any) -> Any:
    options.sz = ct.sizeof(options)
    return ct.byref(options)


def _pointer(data: Buffer) -> ct.c_void_p:
    if not data.flags.c_contiguous:
        raise ValueError("a buffer for the kernel must be contiguous")
    return ct.c_void_p(data.ctypes.data)


# maps


def map_create(kind: int, name: str, key_size: int, value_size: int, entries: int, flags: int, inner: int = 0) -> int:
    options = _MapCreate(map_flags=flags, inner_map_fd=inner)
    return _call(
        f"creating the map {name} ({entries} entries)",
        "bpf_map_create",
        kind,
        name[:15].encode(),
        key_size,
        value_size,
        entries,
        _sized(options),
    )


def map_update(fd: int, key: Buffer, value: Buffer, flags: int = ANY) -> None:
    _call("writing a map", "bpf_map_update_elem", fd, _pointer(key), _pointer(value), ct.c_uint64(flags))


def map_delete(fd: int, key: Buffer) -> None:
    _call("deleting from a map", "bpf_map_delete_elem", fd, _pointer(key))


def map_lookup(fd: int, key: Buffer, value: Buffer) -> bool:
    """Read into `value`; False when the key is not there."""
    try:
        _call("reading a map", "bpf_map_lookup_elem", fd, _pointer(key), _pointer(value))
    except Refused as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def map_update_batch(fd: int, keys: Buffer, values: Buffer, flags: int = ANY) -> tuple[int, Refused | None]:
    """Write keys in order; answers how many were written, and what stopped it if anything did."""
    return _batch("bpf_map_update_batch", fd, keys, _pointer(values), flags)


def map_delete_batch(fd: int, keys: Buffer) -> tuple[int, Refused | None]:
    """Delete keys in order; answers how many were deleted, and what stopped it if anything did."""
    return _batch("bpf_map_delete_batch", fd, keys, None, 0)


def _batch(name: str, fd: int, keys: Buffer, values: Any, flags: int) -> tuple[int, Refused | None]:
    count = ct.c_uint32(len(keys))
    options = _Batch(elem_flags=flags)
    rest = (values, ct.byref(count), _sized(options)) if values is not None else (ct.byref(count), _sized(options))
    try:
        _call("writing a map", name, fd, _pointer(keys), *rest)
    except Refused as error:
        return count.value, error
    return len(keys), None


# programs and links


def prog_load(name: str, instructions: bytes, *, frags: bool, log_level: int = 0) -> tuple[int, str]:
    """Load an XDP program; answers its descriptor and the verifier's log (empty at level 0).

    Raises:
        Refused: with the end of the verifier's log.
    """
    log = ct.create_string_buffer(LOG_BYTES) if log_level else None
    options = _ProgLoad(
        expected_attach_type=ATTACH_XDP, prog_flags=F_XDP_HAS_FRAGS if frags else 0, log_level=log_level
    )
    if log is not None:
        options.log_buf, options.log_size = ct.addressof(log), LOG_BYTES
    arguments = (PROG_TYPE_XDP, name[:15].encode(), b"GPL", instructions, ct.c_size_t(len(instructions) // 8))
    try:
        fd = _call(f"loading the program {name}", "bpf_prog_load", *arguments, _sized(options))
    except Refused as error:
        if log is not None:
            raise Refused(f"loading the program {name}", error.errno, f"\n{_end_of(log)}") from error
        return prog_load(name, instructions, frags=frags, log_level=1)
    return fd, log.value.decode(errors="replace") if log is not None else ""


def _end_of(log: ct.Array[ct.c_char]) -> str:
    return log.value.decode(errors="replace")[-LOG_SHOWN:].strip()


def link_create(prog_fd: int, ifindex: int, flags: int) -> int:
    return _call(
        "attaching the program", "bpf_link_create", prog_fd, ifindex, ATTACH_XDP, _sized(_LinkCreate(flags=flags))
    )


def link_update(link_fd: int, prog_fd: int) -> None:
    _call("replacing the program in place", "bpf_link_update", link_fd, prog_fd, None)


def link_detach(link_fd: int) -> None:
    _call("detaching the program", "bpf_link_detach", link_fd)


def test_run(prog_fd: int, frame: bytes, repeat: int = 1) -> tuple[int, int]:
    """Run the program on a frame; answers its return value and the mean duration in ns."""
    options = _TestRun(data_in=ct.cast(ct.c_char_p(frame), ct.c_void_p), data_size_in=len(frame), repeat=repeat)
    _call("running the program", "bpf_prog_test_run_opts", prog_fd, _sized(options))
    return options.retval, options.duration


# pins, ids, information


def pin(fd: int, path: Path) -> None:
    _call(f"pinning {path}", "bpf_obj_pin", fd, os.fsencode(path))


def get(path: Path) -> int:
    return _call(f"opening the pin {path}", "bpf_obj_get", os.fsencode(path))


def _info(fd: int, record: Any) -> Any:
    length = ct.c_uint32(ct.sizeof(record))
    _call("asking about an object", "bpf_obj_get_info_by_fd", fd, ct.byref(record), ct.byref(length))
    return record


def link_info(fd: int) -> tuple[int, int]:
    """Program id and interface index (0: the interface is gone) of an XDP link."""
    record = _info(fd, _LinkInfo())
    return record.prog_id, record.ifindex


def map_info(fd: int) -> tuple[int, int]:
    """Value size and number of entries."""
    record = _info(fd, _MapInfo())
    return record.value_size, record.max_entries


def map_id(fd: int) -> int:
    return int(_info(fd, _MapInfo()).id)


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """`verified`: how many instructions the verifier went through (0 before Linux 5.16)."""

    id: int
    name: str
    verified: int
    compiled: bool


def prog_info(fd: int) -> ProgramInfo:
    record = _info(fd, _ProgInfo())
    name = record.name.decode(errors="replace")
    return ProgramInfo(record.id, name, record.verified_insns, bool(record.jited_prog_len))


def prog_name(program_id: int) -> str:
    """Name of a loaded program, "" when it has none or is gone."""
    try:
        fd = _call("opening a program", "bpf_prog_get_fd_by_id", ct.c_uint32(program_id))
    except Refused:
        return ""
    try:
        return prog_info(fd).name
    finally:
        os.close(fd)


def program_ids() -> Iterator[int]:
    return _ids("bpf_prog_get_next_id")


def map_ids() -> Iterator[int]:
    return _ids("bpf_map_get_next_id")


def _ids(function: str) -> Iterator[int]:
    current = ct.c_uint32(0)
    while True:
        try:
            _call("listing ids", function, current, ct.byref(current))
        except Refused as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield current.value


def u32(*numbers: int) -> npt.NDArray[np.uint32]:
    """A key or value of 32-bit words."""
    return np.array(numbers, np.uint32)
