/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables of the packet path and their records.
 *
 * Declared here with one entry each: the loader creates the real ones (xdpfw/kernel/maps.py has sizes and flags) and
 * puts their descriptors into the compiled instructions. A test compares these records with xdpfw/kernel/layouts.py.
 *
 * Shared by all interfaces: control, hosts, tries, leaf, membership, vector, policy, leaf_counters.
 * One of its own for each interface: config, tally, talkers.
 */
#pragma once

#include "packet.h"
#include "reason.h"

/* The generation is the only field that changes while packets pass; a packet reads it once. */
struct control {
	__u32 generation;    /* 0 or 1: which half of leaf, vector and policy is in force */
	__u32 leaves;        /* records in each half of leaf, and in each shard of leaf_counters */
	__u32 leaf_shards;   /* shards of leaf_counters; with fewer than CPUs, CPUs share them */
	__u32 shared_shards; /* whether they do */
	__u32 reserved[12];
};
_Static_assert(sizeof(struct control) == 64, "struct control");

struct trie4_key {
	__u32 length;
	__be32 address;
};

struct trie6_key {
	__u32 length;
	__be32 address[4];
};
_Static_assert(sizeof(struct trie4_key) == 8 && sizeof(struct trie6_key) == 20, "trie keys");

/* Valid until `deadline` (jiffies; 0 is for ever), after which membership `next` holds instead. */
struct membership {
	__u32 class;
	__u32 next;
	__u64 deadline;
};
_Static_assert(sizeof(struct membership) == 16, "struct membership");

#define ETHERTYPES 8

struct policy {
	__u64 drop_rows; /* bit per row: its verdict is drop */
	__u32 default_drop;
	__u32 monitor;   /* pass what would be dropped, and count it as such */
	__u16 ethertypes[ETHERTYPES]; /* what passes under default drop beside IP and ARP; 0 ends the list */
};
_Static_assert(sizeof(struct policy) == 32, "struct policy");

struct leaf_counter {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct leaf_counter) == 16, "struct leaf_counter");

struct config {
	__u32 epoch;   /* talkers of another epoch are as good as absent; never 0 */
	__u32 buckets; /* of the talker table on each CPU; a power of two */
	__u64 seed;    /* of the talker table's hash: nobody outside can aim at a bucket */
	__u64 program; /* which program runs here, and the errno with which native mode was refused; not read here */
	__u32 native_error;
	__u32 reserved[9];
};
_Static_assert(sizeof(struct config) == 64, "struct config");

/* One cache line, so that CPUs do not disturb each other. */
struct tally {
	__u64 passed_packets;
	__u64 passed_bytes;
	__u64 dropped_packets;
	__u64 dropped_bytes;
	__u64 monitored_packets;
	__u64 monitored_bytes;
	__u64 reserved[2];
};
_Static_assert(sizeof(struct tally) == 64, "struct tally");

/* Times are jiffies, the low half. `sequence` is odd while the slot changes hands. */
struct talker {
	union address address;
	__u16 epoch; /* 0: empty */
	__u16 heat;
	__u32 sequence;
	__u32 since;
	__u32 last_seen;
	__u64 passed_packets;
	__u64 passed_bytes;
	__u64 dropped_packets;
	__u64 dropped_bytes;
};
_Static_assert(sizeof(struct talker) == 64, "struct talker");

#define TALKER_WAYS 4

struct talker_bucket {
	struct talker way[TALKER_WAYS];
};

BPF_TABLE("array", __u32, struct control, control, 1);
BPF_TABLE("hash", __be32, __u32, hosts4, 1);
BPF_TABLE("hash", union address, __u32, hosts6, 1);
BPF_F_TABLE("lpm_trie", struct trie4_key, __u32, trie4, 1, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct trie6_key, __u32, trie6, 1, BPF_F_NO_PREALLOC);
BPF_TABLE("array", __u32, __u32, leaf, 1);
BPF_TABLE("array", __u32, struct membership, membership, 1);
BPF_TABLE("array", __u32, __u64, vector, 1);
BPF_TABLE("array", __u32, struct policy, policy, 1);
BPF_TABLE("array", __u32, struct leaf_counter, leaf_counters, 1);
BPF_TABLE("array", __u32, struct config, config, 1);
BPF_TABLE("array", __u32, struct tally, tally, 1);
BPF_TABLE("array", __u32, struct talker_bucket, talkers, 1);
