# SPDX-License-Identifier: Apache-2.0
"""The records that libbpf and the kernel take and give, as ctypes structures."""

from __future__ import annotations

import ctypes as ct
from typing import Any

_C_TYPES: dict[str, Any] = {
    "int": ct.c_int,
    "u32": ct.c_uint32,
    "u64": ct.c_uint64,
    "size": ct.c_size_t,
    "pointer": ct.c_void_p,
    "tag": ct.c_uint8 * 8,
    "name": ct.c_char * 16,
    "rest": ct.c_uint8 * 108,
}


def _structure(name: str, *fields: str) -> Any:
    """A ctypes structure: each of `fields` is a type and the names of fields of that type."""
    typed = [(field, _C_TYPES[kind]) for kind, *names in map(str.split, fields) for field in names]
    return type(name, (ct.Structure,), {"_fields_": tuple(typed)})


# Options of libbpf's calls (bpf.h), each beginning with its own size.
MapCreate = _structure(
    "bpf_map_create_opts",
    "size sz",
    "u32 btf_fd btf_key_type_id btf_value_type_id btf_vmlinux_value_type_id inner_map_fd map_flags",
    "u64 map_extra",
    "u32 numa_node map_ifindex",
)
ProgLoad = _structure(
    "bpf_prog_load_opts",
    "size sz",
    "int attempts expected_attach_type",
    "u32 prog_btf_fd prog_flags prog_ifindex kern_version attach_btf_id attach_prog_fd attach_btf_obj_fd",
    "pointer fd_array func_info",
    "u32 func_info_cnt func_info_rec_size",
    "pointer line_info",
    "u32 line_info_cnt line_info_rec_size log_level log_size",
    "pointer log_buf",
)
LinkCreate = _structure(
    "bpf_link_create_opts", "size sz", "u32 flags", "pointer iter_info", "u32 iter_info_len target_btf_id", "u64 cookie"
)
Batch = _structure("bpf_map_batch_opts", "size sz", "u64 elem_flags flags")
TestRun = _structure(
    "bpf_test_run_opts",
    "size sz",
    "pointer data_in data_out",
    "u32 data_size_in data_size_out",
    "pointer ctx_in ctx_out",
    "u32 ctx_size_in ctx_size_out retval",
    "int repeat",
    "u32 duration flags cpu batch_size",
)

# What the kernel tells about objects (linux/bpf.h): the beginning of each record, as far as it is wanted.
MapInfo = _structure("bpf_map_info", "u32 type id key_size value_size max_entries flags")
# The union begins 8-aligned behind three ints, and holds an interface index for XDP.
LinkInfo = _structure("bpf_link_info", "u32 type id prog_id padding ifindex", "rest rest")
ProgInfo = _structure(
    "bpf_prog_info",
    "u32 type id",
    "tag tag",
    "u32 jited_prog_len xlated_prog_len",
    "u64 jited_prog_insns xlated_prog_insns load_time",
    "u32 created_by_uid nr_map_ids",
    "u64 map_ids",
    "name name",
    "u32 ifindex gpl_compatible",
    "u64 netns_dev netns_ino",
    "u32 nr_jited_ksyms nr_jited_func_lens",
    "u64 jited_ksyms jited_func_lens",
    "u32 btf_id func_info_rec_size",
    "u64 func_info",
    "u32 nr_func_info nr_line_info",
    "u64 line_info jited_line_info",
    "u32 nr_jited_line_info line_info_rec_size jited_line_info_rec_size nr_prog_tags",
    "u64 prog_tags run_time_ns run_cnt recursion_misses",
    "u32 verified_insns attach_btf_obj_id attach_btf_id padding",
)
