# SPDX-License-Identifier: Apache-2.0
"""The records of bpf/maps.h as numpy dtypes, field by field; a test lets the C compiler compare them.

META and DIRECTORY are read by userspace alone: they let a restarted daemon know what the tables hold.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from xdpfw.policy.match import LINE, WORDS

LEAF = np.dtype([("membership", "u4", 2)])
BRIEF_LEAVES, BRIEF_BLOCKS, BRIEF_ASK = 64, 4, 0xFF
BRIEF = np.dtype([("membership", "u1", (2, BRIEF_BLOCKS))])
HOST_LEAF = np.dtype("u4")
HOST4_KEY = np.dtype([("address", "u1", 4)])
HOST6_KEY = np.dtype([("address", "u1", 16)])
TRIE4_KEY = np.dtype([("length", "u4"), ("address", "u1", 4)])
TRIE6_KEY = np.dtype([("length", "u4"), ("address", "u1", 16)])

# bpf/tiers.h
PAGE_LINE = np.dtype([("words", "u8", 8)])
LINE6 = np.dtype(
    [("high", "u8", 3), ("low", "u8", 3), ("leaf", "u4", 3), ("length", "u1", 3), ("overflown", "u1")]
)  # fmt: skip
ROOT = np.dtype([("leaf", "u4"), ("longer", "u4")])
SEEDS = np.dtype([("keys", "u8", 4), ("odd", "u8"), ("reserved", "u8", 3)])
CELLS = np.dtype("u8")

CONTROL = np.dtype(
    [
        ("generation", "u4"),
        ("leaves", "u4"),
        ("leaf_shards", "u4"),
        ("shared_shards", "u4"),
        ("vectors", "u4"),
        ("limiter_sets", "u4"),
        ("changes", "u8"),
        ("reserved", "u4", 8),
    ]
)
MEMBERSHIP = np.dtype([("class", "u4"), ("next", "u4"), ("deadline", "u8")])
SUMMARY_WORDS = 2
VECTOR = np.dtype([("summary", "u8", SUMMARY_WORDS), ("word", "u8", WORDS)])
VALUE_LINE = np.dtype([("vector", "u2", LINE)])
LITERAL_KEY = np.dtype([("length", "u4"), ("generation", "u4"), ("address", "u1", 16)])
LITERAL = np.dtype([("source", "u2"), ("destination", "u2")])
ROW = np.dtype([("slot", "u4"), ("action", "u4"), ("log_rate", "u4"), ("reserved", "u4")])
RULE_COUNTER = np.dtype([("packets", "u8"), ("bytes", "u8")])
INTERFACE = np.dtype([("vector", "u4", 2)])

LIMIT = np.dtype(
    [
        ("rate", "u8"),
        ("burst", "u8"),
        ("cost", "u8"),
        ("ban", "u8"),
        ("salt", "u8"),
        ("fill", "u4"),
        ("fill_jiffies", "u4"),
        ("bytes", "u1"),
        ("per_rule", "u1"),
        ("fine", "u1"),
        ("length4", "u1"),
        ("length6", "u1"),
        ("reserved", "u1", 11),
    ]
)
LEVEL = np.dtype([("last", "u8"), ("tokens", "i8")])
RULE_LEVEL = np.dtype([("level", LEVEL), ("reserved", "u8", 6)])
LIMITER_WAYS = 8
LIMITER_TAGS = np.dtype(
    [("tag", "u2", LIMITER_WAYS), ("heat", "u1", LIMITER_WAYS), ("challenges", "u4"), ("reserved", "u4")]
)
PLACE = np.dtype([("owner", "u8"), ("level", LEVEL), ("until", "u4"), ("reserved", "u4")])
LIMITER_SET = np.dtype([("way", PLACE, LIMITER_WAYS), ("shared", LEVEL), ("shared_salt", "u4"), ("reserved", "u4", 11)])
LIMIT_STATS = np.dtype(
    [
        ("banned", "u8"),
        ("refused", "u8"),
        ("placeless", "u8"),
        ("full_at", "u8"),
        ("tick", "u4"),
        ("newcomers", "u4"),
        ("found", "u4"),
        ("reserved", "u4", 5),
    ]
)
BAN_KEY = np.dtype([("address", "u1", 16), ("length", "u4"), ("reserved", "u4")])
BAN = np.dtype([("deadline", "u8"), ("packets", "u8"), ("bytes", "u8"), ("slot", "u4"), ("since", "u4")])
BAN_LENGTHS = 8
BAN_CONTROL = np.dtype([("lengths", "u8", 2), ("first", "u4", 2), ("seed", "u8")])
# Array maps round every record up to 8 bytes.
BAN_PLACE = np.dtype({"names": ["row"], "formats": ["u4"], "offsets": [0], "itemsize": 8})
GATE_LINE_BYTES, GATE_LINES = 64, 2048
GATE_LINE = np.dtype([("maybe", "u1", GATE_LINE_BYTES)])

POLICY = np.dtype([("default_drop", "u4"), ("monitor", "u4"), ("ethertypes", "u2", 8)])
LEAF_COUNTER = np.dtype([("packets", "u8"), ("bytes", "u8")])
PENDING_HITS = 31
PENDING = np.dtype([("drained", "u4"), ("count", "u4"), ("hit", "u8", PENDING_HITS)])
CONFIG = np.dtype(
    [
        ("epoch", "u4"),
        ("buckets", "u4"),
        ("seed", "u8"),
        ("program", "u8"),
        ("native_error", "u4"),
        ("reserved", "u4", 9),
    ]
)
TALLY = np.dtype(
    [
        ("passed_packets", "u8"),
        ("passed_bytes", "u8"),
        ("dropped_packets", "u8"),
        ("dropped_bytes", "u8"),
        ("monitored_packets", "u8"),
        ("monitored_bytes", "u8"),
        ("reserved", "u8", 2),
    ]
)
SLOT = np.dtype(
    [
        ("address", "u1", 16),
        ("epoch", "u2"),
        ("sequence", "u2"),
        ("leaf", "u4"),
        ("since", "u4"),
        ("last_seen", "u4"),
        ("passed_packets", "u8"),
        ("passed_bytes", "u8"),
        ("dropped_packets", "u8"),
        ("dropped_bytes", "u8"),
    ]
)


def offset_of(record: np.dtype[Any], field: str) -> int:
    """In bytes."""
    fields = record.fields
    assert fields
    return fields[field][1]


COUNT_BITS = {"passed_packets": 48, "passed_bytes": 56, "dropped_packets": 48, "dropped_bytes": 56}
"""Low bits of a slot's words that are counts."""
TALKER_WAYS = 4
BUCKET = np.dtype([("way", SLOT, TALKER_WAYS + 1)])
TALKER_TAGS = np.dtype([("tags", "u8"), ("heats", "u4"), ("epoch", "u2"), ("turns", "u2")])

DECISION = np.dtype(
    [
        ("drop", "u4"),
        ("monitored", "u4"),
        ("cause", "u4"),
        ("leaf", "u4"),
        ("monitored_cause", "u4"),
        ("log_rate", "u4"),
        ("log_cause", "u4"),
        ("within", "u4"),
        ("banned_by", "u4"),
        ("reserved", "u4"),
    ]
)
LOG_WISH = np.dtype(
    [
        ("sample", "u4"),
        ("budget", "u4"),
        ("repeat", "u4"),
        ("snap", "u4"),
        ("hz", "u4"),
        ("slots", "u4"),
        ("interface", "u4"),
        ("reserved", "u4"),
    ]
)
LOG_STATE = np.dtype(
    [
        ("head", "u8"),
        ("limited", "u8"),
        ("until", "u4"),
        ("second", "u4"),
        ("used", "u4"),
        ("reserved", "u4"),
        ("padding", "u8", 4),
    ]
)  # fmt: skip
LOG_SEEN = np.dtype([("hash", "u4"), ("second", "u4")])
LOG_RATE = np.dtype([("until", "u4"), ("used", "u4")])
SNAP_MAX = 256
SEEN_SOURCES = 1024
EVENT = np.dtype(
    [
        ("number", "u8"),
        ("time", "u8"),
        ("cause", "u4"),
        ("interface", "u4"),
        ("frame_length", "u4"),
        ("queue", "u4"),
        ("captured", "u2"),
        ("drop", "u1"),
        ("monitored", "u1"),
        ("monitored_cause", "u4"),
        ("reserved", "u8", 3),
        ("frame", "u1", SNAP_MAX),
    ]
)
PACKET = np.dtype(
    [
        ("source", "u1", 16),
        ("destination", "u1", 16),
        ("frame_length", "u4"),
        ("network", "u4"),
        ("transport", "u4"),
        ("end", "u4"),
        ("ethertype", "u2"),
        ("source_port", "u2"),
        ("destination_port", "u2"),
        ("version", "u1"),
        ("protocol", "u1"),
        ("hop_limit", "u1"),
        ("fragment", "u1"),
        ("vlan_depth", "u1"),
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
        ("tcp_flags", "u1"),
        ("tail_fault", "u1"),
        ("fragment_header", "u1"),
        ("vlan", "u2"),
        ("has_ports", "u1"),
        ("has_type", "u1"),
        ("cursor", "u2"),
        ("reserved", "u1", 2),
    ]
)
FLOW_KEY = np.dtype(
    [
        ("local", "u1", 16),
        ("remote", "u1", 16),
        ("local_port", "u2"),
        ("remote_port", "u2"),
        ("protocol", "u1"),
        ("version", "u1"),
        ("kind", "u1"),
        ("reserved", "u1"),
    ]
)
FLOW = np.dtype([("deadline", "u8"), ("state", "u4"), ("reserved", "u4")])
ASKED = np.dtype([("packet", PACKET), ("key", FLOW_KEY), ("tuple", "u1", 36), ("reserved", "u4"), ("room", "u8", 5)])
TRACE = np.dtype([("decision", DECISION), ("packet", PACKET)])
SCRATCH = np.dtype(
    [("packet", PACKET), ("decision", DECISION), ("rows", "u4", 2), ("seat", "u4", 2), ("room", "u8", 8)]
)

SCHEMA = 1
"""Version of what the pins mean, to be raised when an earlier version must not take them over."""

META = np.dtype(
    [
        ("layout", "u8"),
        ("revision", "u8"),
        ("applying", "u4"),  # a change was begun and not finished
        ("ready", "u4"),  # the tables have been in force
        ("records", "u8"),  # RECORDS of the version that wrote them
        ("schema", "u4"),  # SCHEMA of the version that wrote them
        ("spare", "u4"),
        ("features", "u8"),  # of the program, as a bit for each in the order of model/feature.py
        ("reserved", "u8", 2),
    ]
)
FREE, INSERTING, LIVE, DELETING = range(4)
DIRECTORY = np.dtype(
    [("address", "u1", 16), ("length", "u1"), ("family", "u1"), ("state", "u1"), ("reserved", "u1", 5)]
)  # fmt: skip

RECORDS = int.from_bytes(
    hashlib.sha256(repr([d.descr for d in (DIRECTORY, LEAF_COUNTER, RULE_COUNTER, BAN_KEY, BAN)]).encode()).digest()[:7]
)
"""Tells whether another version's directory, counters and bans can be read."""

C_STRUCTS = {
    "struct control": CONTROL,
    "struct leaf": LEAF,
    "struct brief": BRIEF,
    "struct membership": MEMBERSHIP,
    "struct policy": POLICY,
    "struct vector": VECTOR,
    "struct value_line": VALUE_LINE,
    "struct literal_key": LITERAL_KEY,
    "struct literal": LITERAL,
    "struct row": ROW,
    "struct rule_counter": RULE_COUNTER,
    "struct interface": INTERFACE,
    "struct limit": LIMIT,
    "struct level": LEVEL,
    "struct rule_level": RULE_LEVEL,
    "struct limiter_tags": LIMITER_TAGS,
    "struct place": PLACE,
    "struct limiter_set": LIMITER_SET,
    "struct limit_stats": LIMIT_STATS,
    "struct ban_key": BAN_KEY,
    "struct ban": BAN,
    "struct ban_control": BAN_CONTROL,
    "struct gate_line": GATE_LINE,
    "struct leaf_counter": LEAF_COUNTER,
    "struct pending": PENDING,
    "struct config": CONFIG,
    "struct tally": TALLY,
    "struct talker": SLOT,
    "struct talker_bucket": BUCKET,
    "struct talker_tags": TALKER_TAGS,
    "struct line": PAGE_LINE,
    "struct line6": LINE6,
    "struct root": ROOT,
    "struct seeds": SEEDS,
    "struct trie4_key": TRIE4_KEY,
    "struct trie6_key": TRIE6_KEY,
    "struct decision": DECISION,
    "struct log_wish": LOG_WISH,
    "struct log_state": LOG_STATE,
    "struct log_seen": LOG_SEEN,
    "struct log_rate": LOG_RATE,
    "struct event": EVENT,
    "struct packet": PACKET,
    "struct flow_key": FLOW_KEY,
    "struct flow": FLOW,
    "struct asked": ASKED,
}
