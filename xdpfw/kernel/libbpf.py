# SPDX-License-Identifier: Apache-2.0
"""libbpf, as far as it is needed. Descriptors are plain ints that the caller closes.

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

from xdpfw.kernel import libbpf_records as records
from xdpfw.model.errors import KernelError

Buffer = npt.NDArray[Any]

LIBRARY = "libbpf.so.1"
LOG_BYTES = 1 << 24
LOG_SHOWN = 4000
_READ_AT_ONCE = 8192
PROG_TYPE_SCHED_CLS, PROG_TYPE_XDP = 3, 6
ATTACH_XDP = 37
F_XDP_HAS_FRAGS = 1 << 5
ANY = 0
STATS_RUN_TIME = 0

_ENOTSUPP = 524  # the kernel's own, not in errno
_NO_BATCHES = (_ENOTSUPP, errno.EOPNOTSUPP)
"""Batches came to the map types one after the other; where one has none, keys go one by one."""


class Refused(KernelError):
    """The kernel refused a call; `errno` says why."""

    def __init__(self, what: str, number: int, more: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)}){more}")
        self.errno = number


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
    options = records.MapCreate(map_flags=flags, inner_map_fd=inner)
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


def map_keys(fd: int, key: np.dtype[Any]) -> Buffer:
    """All keys, one by one: for small maps."""
    found: list[Buffer] = []
    before, following = None, np.zeros(1, key)
    while True:
        try:
            _call("listing a map", "bpf_map_get_next_key", fd, before, _pointer(following))
        except Refused as error:
            if error.errno != errno.ENOENT:
                raise
            return np.concatenate(found) if found else np.zeros(0, key)
        found.append(following.copy())
        before = _pointer(found[-1])


def map_read(fd: int, entries: int, key: np.dtype[Any], value: np.dtype[Any]) -> tuple[Buffer, Buffer]:
    """All keys and values of a hash that holds at most so many."""
    keys, values, count, position = (
        np.zeros(entries, key),
        np.zeros(entries, value),
        ct.c_uint32(entries),
        ct.c_uint32(),
    )
    into = (None, ct.byref(position), _pointer(keys), _pointer(values), ct.byref(count))
    try:
        _call("reading a map", "bpf_map_lookup_batch", fd, *into, _sized(records.Batch()))
    except Refused as error:
        if error.errno != errno.ENOENT:  # which says that it came to the end
            raise
    return keys[: count.value], values[: count.value]


def map_update_batch(fd: int, keys: Buffer, values: Buffer) -> tuple[int, Refused | None]:
    """Write keys in order; answers how many were written, and what stopped it if anything did."""
    count, error = _batch("bpf_map_update_batch", fd, keys, _pointer(values))
    if error is not None and error.errno in _NO_BATCHES:
        return _one_by_one(keys, lambda at: map_update(fd, keys[at : at + 1], values[at : at + 1]))
    return count, error


def map_delete_batch(fd: int, keys: Buffer) -> tuple[int, Refused | None]:
    """Delete keys in order; answers how many were deleted, and what stopped it if anything did."""
    count, error = _batch("bpf_map_delete_batch", fd, keys)
    if error is not None and error.errno in _NO_BATCHES:
        return _one_by_one(keys, lambda at: map_delete(fd, keys[at : at + 1]))
    return count, error


def _batch(name: str, fd: int, keys: Buffer, *values: Any) -> tuple[int, Refused | None]:
    count = ct.c_uint32(len(keys))
    try:
        _call("writing a map", name, fd, _pointer(keys), *values, ct.byref(count), _sized(records.Batch()))
    except Refused as error:
        # Where it fails before the first key, older kernels leave the count as it was.
        return count.value if count.value < len(keys) else 0, error
    return len(keys), None


def map_records(fd: int, key: np.dtype[Any], value: np.dtype[Any]) -> Iterator[tuple[Buffer, Buffer]]:
    """Keys and values of a hash or a trie, some thousands at a time. What changes meanwhile may be missed or come
    twice."""
    keys, values = np.zeros(_READ_AT_ONCE, key), np.zeros(_READ_AT_ONCE, value)
    # Where it has come to: a number of a hash, the key of a trie.
    begin, place = None, np.zeros(max(4, key.itemsize), np.uint8)
    more = True
    while more:
        count = ct.c_uint32(_READ_AT_ONCE)
        rest = (_pointer(place), _pointer(keys), _pointer(values), ct.byref(count), _sized(records.Batch()))
        try:
            _call("reading a map", "bpf_map_lookup_batch", fd, begin, *rest)
        except Refused as error:
            if error.errno != errno.ENOENT:
                raise
            more = False
        yield keys[: count.value].copy(), values[: count.value].copy()
        begin = _pointer(place)


def _one_by_one(keys: Buffer, perform: Callable[[int], None]) -> tuple[int, Refused | None]:
    for at in range(len(keys)):
        try:
            perform(at)
        except Refused as error:
            return at, error
    return len(keys), None


# programs and links


def prog_load(
    name: str, instructions: bytes, *, frags: bool = False, kind: int = PROG_TYPE_XDP, log_level: int = 0
) -> tuple[int, str]:
    """Load a program; answers its descriptor and the verifier's log (empty at level 0).

    Raises:
        Refused: with the end of the verifier's log.
    """
    log = ct.create_string_buffer(LOG_BYTES) if log_level else None
    options = records.ProgLoad(
        expected_attach_type=ATTACH_XDP if kind == PROG_TYPE_XDP else 0,
        prog_flags=F_XDP_HAS_FRAGS if frags else 0,
        log_level=log_level,
    )
    if log is not None:
        options.log_buf, options.log_size = ct.addressof(log), LOG_BYTES
    arguments = (kind, name[:15].encode(), b"GPL", instructions, ct.c_size_t(len(instructions) // 8))
    try:
        fd = _call(f"loading the program {name}", "bpf_prog_load", *arguments, _sized(options))
    except Refused as error:
        if log is not None:
            raise Refused(f"loading the program {name}", error.errno, f"\n{_end_of(log)}") from error
        return prog_load(name, instructions, frags=frags, kind=kind, log_level=1)
    return fd, log.value.decode(errors="replace") if log is not None else ""


def _end_of(log: ct.Array[ct.c_char]) -> str:
    return log.value.decode(errors="replace")[-LOG_SHOWN:].strip()


def link_create(prog_fd: int, ifindex: int, flags: int) -> int:
    return _call(
        "attaching the program",
        "bpf_link_create",
        prog_fd,
        ifindex,
        ATTACH_XDP,
        _sized(records.LinkCreate(flags=flags)),
    )


def link_update(link_fd: int, prog_fd: int) -> None:
    _call("replacing the program in place", "bpf_link_update", link_fd, prog_fd, None)


def link_detach(link_fd: int) -> None:
    _call("detaching the program", "bpf_link_detach", link_fd)


def test_run(prog_fd: int, frame: bytes, repeat: int = 1) -> tuple[int, int]:
    """Run the program on a frame; answers its return value and the mean duration in ns."""
    options = records.TestRun(data_in=ct.cast(ct.c_char_p(frame), ct.c_void_p), data_size_in=len(frame), repeat=repeat)
    _call("running the program", "bpf_prog_test_run_opts", prog_fd, _sized(options))
    return options.retval, options.duration


class TestRunner:
    """For one frame after the other: what the calls have in common is made once."""

    def __init__(self, prog_fd: int, repeat: int = 1, flags: int = 0) -> None:
        self._fd = prog_fd
        self._options = records.TestRun(repeat=repeat, flags=flags)
        self._options.sz = ct.sizeof(self._options)
        self._reference = ct.byref(self._options)
        self._call = _library().bpf_prog_test_run_opts

    def run(self, frame: bytes) -> int:
        """Answers the program's return value. Raises Refused."""
        self._options.data_in = ct.cast(ct.c_char_p(frame), ct.c_void_p)
        self._options.data_size_in = len(frame)
        self._options.data_size_out = 0  # the kernel leaves the last frame's length there
        ct.set_errno(0)
        if result := self._call(self._fd, self._reference):
            raise Refused("running the program", ct.get_errno() or -result)
        return int(self._options.retval)


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
    record = _info(fd, records.LinkInfo())
    return record.prog_id, record.ifindex


def map_info(fd: int) -> tuple[int, int]:
    """Value size and number of entries."""
    record = _info(fd, records.MapInfo())
    return record.value_size, record.max_entries


def map_id(fd: int) -> int:
    return int(_info(fd, records.MapInfo()).id)


def map_by_id(number: int) -> int:
    return _call("opening a map", "bpf_map_get_fd_by_id", ct.c_uint32(number))


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """`verified`: how many instructions the verifier went through (0 before Linux 5.16); `instructions` of the program,
    `machine_code` bytes made of them (0: it is interpreted). `loaded`: ns since the boot. `runs` and their ns are
    counted while statistics are on."""

    id: int
    name: str
    tag: str
    loaded: int
    verified: int
    instructions: int
    machine_code: int
    runs: int
    run_ns: int

    @property
    def compiled(self) -> bool:
        return self.machine_code > 0


def prog_info(fd: int) -> ProgramInfo:
    record = _info(fd, records.ProgInfo())
    return ProgramInfo(
        id=record.id,
        name=record.name.decode(errors="replace"),
        tag=bytes(record.tag).hex(),
        loaded=record.load_time,
        verified=record.verified_insns,
        instructions=record.xlated_prog_len // 8,
        machine_code=record.jited_prog_len,
        runs=record.run_cnt,
        run_ns=record.run_time_ns,
    )


def count_runs() -> int:
    """Statistics of all programs' runs are on until this descriptor is closed."""
    return _call("turning on run statistics", "bpf_enable_stats", STATS_RUN_TIME)


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
