/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables of the packet path and their records.
 *
 * Declared here with one entry each: the loader creates the real ones (xdpfw/kernel/maps.py has sizes and flags) and
 * puts their descriptors into the compiled instructions. A test compares these records with xdpfw/kernel/layouts.py.
 *
 * Shared by all interfaces: control, hosts, tries, leaf, brief, membership, policy, vector, value_vector, literals, row, limits
 * and bans with what belongs to them, and the counters of leaves and rules. One of its own for each interface: config,
 * interface, tally, talkers and their tags.
 */
#pragma once

#include "features.h"
#include "packet.h"
#include "reason.h"

/* Generation and changes are the only fields that change while packets pass; a packet reads each once. */
struct control {
	__u32 generation;    /* 0 or 1: which half of all tables that have two is in force */
	__u32 leaves;        /* records of leaf, and of each shard of leaf_counters */
	__u32 leaf_shards;   /* shards of leaf_counters; with fewer than CPUs, CPUs share them */
	__u32 shared_shards; /* whether they do */
	__u32 vectors;       /* records in each half of vector */
	__u32 limiter_sets;  /* records of limiter and limiter_tags; a power of two */
	__u64 changes;       /* another one whenever the leaf of an address may be another one; 48 bits */
	__u32 reserved[8];
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

/* By generation: both lie in one record, so that the table takes half of the memory and a packet one cache line. */
struct leaf {
	__u32 membership[2];
};
_Static_assert(sizeof(struct leaf) == 8, "struct leaf");

/*
 * By generation, the membership that all leaves of a block have in common, which are BRIEF_LEAVES one after the other. Many
 * prefixes that came together mostly have one, and this stays in the nearest caches, while `leaf` does not.
 */
#define BRIEF_LEAVES 64
#define BRIEF_BLOCKS 4
#define BRIEF_ASK 0xff /* they differ, or its number is larger: leaf knows it */

struct brief {
	__u8 membership[2][BRIEF_BLOCKS];
};
_Static_assert(sizeof(struct brief) == 8, "struct brief");

/* Valid until `deadline` (jiffies; 0 is for ever), after which membership `next` holds instead. */
struct membership {
	__u32 class;
	__u32 next;
	__u64 deadline;
};
_Static_assert(sizeof(struct membership) == 16, "struct membership");

#define ETHERTYPES 8

struct policy {
	__u32 default_drop;
	__u32 monitor; /* pass what would be dropped, and count it as such */
	__u16 ethertypes[ETHERTYPES]; /* what passes under default drop beside IP and ARP; 0 ends the list */
};
_Static_assert(sizeof(struct policy) == 24, "struct policy");

/* One bit for each row of the policy, and in the summary one for each word that is not 0. */
#define VECTOR_WORDS (MAX_ROWS / 64)
#define SUMMARY_WORDS 2

struct vector {
	__u64 summary[SUMMARY_WORDS];
	__u64 word[VECTOR_WORDS];
};
_Static_assert(VECTOR_WORDS <= SUMMARY_WORDS * 64, "a summary has one bit for each word");

/* Numbers of vectors: of the classes of sources, of destinations, of the rows that are enforced; then any others. */
#define MAX_CLASSES 4096
#define VECTOR_DESTINATION MAX_CLASSES
#define VECTOR_ENFORCED (2 * MAX_CLASSES)

/* Numbers of vectors for some values of a dimension, one cache line of them. */
#define LINE_VALUES 32
#define VALUE_LINES 6311

struct value_line {
	__u16 vector[LINE_VALUES];
};
_Static_assert(sizeof(struct value_line) == 64, "struct value_line");

/* Prefixes that rules name themselves, of both families: IPv4 is ::ffff:0:0/96. Both generations in one trie. */
struct literal_key {
	__u32 length;
	__u32 generation;
	__be32 address[4];
};

struct literal {
	__u16 source; /* numbers of vectors */
	__u16 destination;
};
_Static_assert(sizeof(struct literal_key) == 24 && sizeof(struct literal) == 4, "literals");

enum action {
	ACTION_PASS = 0,
	ACTION_DROP = 1,
	ACTION_LIMIT = 2,
};

/* What a row of the policy does, and where its rule is counted. */
struct row {
	__u32 slot;
	__u32 action;   /* enum action */
	__u32 log_rate; /* events a second that the rule may log */
	__u32 reserved;
};
_Static_assert(sizeof(struct row) == 16, "struct row");

struct rule_counter {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct rule_counter) == 16, "struct rule_counter");

/*
 * What a row's limit says, in units that spare the packet path every division: a packet or byte costs `cost` of them, and
 * each tick of the clock brings `rate`. The clock is jiffies, or with `fine` one of 512 ns.
 */
struct limit {
	__u64 rate;
	__u64 burst; /* what a full bucket holds */
	__u64 cost;
	__u64 ban;   /* jiffies; 0: none */
	__u64 salt;  /* tells the sources of one rule from those of another */
	__u32 fill;  /* ticks that fill an empty bucket */
	__u32 fill_jiffies;
	__u8 bytes;
	__u8 per_rule;
	__u8 fine;
	__u8 length4; /* to which sources are aggregated; both count from the beginning of ::ffff:0:0/96 */
	__u8 length6;
	__u8 reserved[11];
};
_Static_assert(sizeof(struct limit) == 64, "struct limit");

/* How much is in a token bucket, and the tick of which it was told. All zeros is full. */
struct level {
	__u64 last;
	__s64 tokens; /* below 0: owed */
};
_Static_assert(sizeof(struct level) == 16, "struct level");

/* The bucket of a limit per rule, on a cache line of its own. */
struct rule_level {
	struct level level;
	__u64 reserved[6];
};
_Static_assert(sizeof(struct rule_level) == 64, "struct rule_level");

/*
 * Buckets of sources that hash to the same place (limit.h). Tags and heats lie apart, in a table small enough for the
 * nearest caches, so that a packet of a flood touches nothing else. `until` is when a bucket will be full for certain
 * (jiffies, the low half); `heat` counts its packets since it was.
 */
#define LIMITER_WAYS 8

struct limiter_tags {
	union {
		__u16 tag[LIMITER_WAYS]; /* 0: nobody's */
		__u64 tags[LIMITER_WAYS / 4];
	};
	union {
		__u8 heat[LIMITER_WAYS];
		__u64 heats;
	};
	__u32 challenges;
	__u32 reserved;
};
_Static_assert(sizeof(struct limiter_tags) == 32, "struct limiter_tags");

struct place {
	__u64 owner; /* a hash of source and rule */
	struct level level;
	__u32 until;
	__u32 reserved;
};

struct limiter_set {
	struct place way[LIMITER_WAYS];
	struct level shared; /* of sources that have no place */
	__u32 shared_salt;   /* of which rule */
	__u32 reserved[11];
};
_Static_assert(sizeof(struct limiter_set) == 320, "struct limiter_set");

struct ban_key {
	union address address; /* masked */
	__u32 length;          /* from the beginning of ::ffff:0:0/96 in IPv4 too */
	__u32 reserved;
};
_Static_assert(sizeof(struct ban_key) == 24, "struct ban_key");

struct ban {
	__u64 deadline; /* jiffies */
	__u64 packets;
	__u64 bytes;
	__u32 slot;  /* of the rule that made it */
	__u32 since; /* jiffies, the low half */
};
_Static_assert(sizeof(struct ban) == 32, "struct ban");

/* What a packet reads before it looks for a ban. */
struct ban_control {
	__u64 lengths[2]; /* of prefixes that may be banned, for IPv4 and IPv6: a byte each, length + 1; 0 ends */
	__u32 first[2];   /* by generation: the first row before which a ban may stand */
	__u64 seed;
};
_Static_assert(sizeof(struct ban_control) == 32, "struct ban_control");

/* One byte for each value of the bans' hash: whether a ban may have it. */
#define GATE_LINE 64
#define GATE_LINES 2048

struct gate_line {
	__u8 maybe[GATE_LINE];
};
_Static_assert(sizeof(struct gate_line) == 64, "struct gate_line");

/* On each CPU. */
struct limit_stats {
	__u64 banned;    /* bans that were made */
	__u64 refused;   /* that found no room: once for each packet that would have made one */
	__u64 placeless; /* packets of sources that had no bucket of their own */
	__u64 full_at;   /* jiffies of the last refusal */
	__u32 tick;      /* jiffies, the low half */
	__u32 newcomers; /* packets in that tick whose sources had no place */
	__u32 found;     /* limit.h */
	__u32 reserved[5];
};
_Static_assert(sizeof(struct limit_stats) == 64, "struct limit_stats");

/* The number of the interface's vector, by generation. */
struct interface {
	__u32 vector[2];
};
_Static_assert(sizeof(struct interface) == 8, "struct interface");

struct leaf_counter {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct leaf_counter) == 16, "struct leaf_counter");

/*
 * Packets of each CPU that their leaves' counters do not count yet: a leaf in the low half, the frame's length above it.
 * `drained` is odd while they are added, and another one afterwards.
 */
#define PENDING_HITS 31

struct pending {
	__u32 drained;
	__u32 count;
	__u64 hit[PENDING_HITS];
};
_Static_assert(sizeof(struct pending) == 256, "struct pending");

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

/*
 * One cache line. Times are jiffies, the low half. `sequence` is odd while the slot changes hands. The counts are the low
 * 48 bits of packets and the low 56 of bytes; above them is the number of changes for which `leaf` is the address's leaf.
 */
struct talker {
	union address address;
	__u16 epoch; /* 0: empty */
	__u16 sequence;
	__u32 leaf; /* its low 24 bits; above them the heat since the way was last out of heat */
	__u32 since;
	__u32 last_seen;
	__u64 passed_packets;
	__u64 passed_bytes;
	__u64 dropped_packets;
	__u64 dropped_bytes;
};
_Static_assert(sizeof(struct talker) == 64, "struct talker");

#define PACKETS_BITS 48
#define BYTES_BITS 56
#define PACKETS_IN(word) ((word) & (1ULL << PACKETS_BITS) - 1)
#define BYTES_IN(word) ((word) & (1ULL << BYTES_BITS) - 1)
#define LEAF_BITS 24

#define TALKER_WAYS 4

struct talker_bucket {
	struct talker way[TALKER_WAYS + 1]; /* the last is where evicted counts spill */
};

/* Which of a bucket's ways may be an address's, and how hot they are. Of another epoch, all ways are empty. */
struct talker_tags {
	__u64 tags;  /* 16 bits for each way: of the hash of its address, never 0 */
	__u32 heats; /* 8 bits for each way */
	__u16 epoch;
	__u16 turns; /* counts newcomers, and slots that change hands */
};
_Static_assert(sizeof(struct talker_tags) == 16, "struct talker_tags");

#define TAG_OF(hash) ((hash) >> 48 | 1)
#define FAVOURITE_OF(hash) ((__u32)((hash) >> 30) & 3)

BPF_TABLE("array", __u32, struct control, control, 1);
BPF_TABLE("hash", __be32, __u32, hosts4, 1);
BPF_TABLE("hash", union address, __u32, hosts6, 1);
BPF_F_TABLE("lpm_trie", struct trie4_key, __u32, trie4, 1, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct trie6_key, __u32, trie6, 1, BPF_F_NO_PREALLOC);
BPF_TABLE("array", __u32, struct leaf, leaf, 1);
BPF_TABLE("array", __u32, struct brief, brief, 1);
BPF_TABLE("array", __u32, struct membership, membership, 1);
BPF_TABLE("array", __u32, struct vector, vector, 1);
BPF_TABLE("array", __u32, struct value_line, value_vector, 1);
BPF_F_TABLE("lpm_trie", struct literal_key, struct literal, literals, 1, BPF_F_NO_PREALLOC);
BPF_TABLE("array", __u32, struct row, row, 1);
BPF_TABLE("array", __u32, struct rule_counter, rule_counters, 1);
BPF_TABLE("array", __u32, struct limit, limits, 1);
BPF_TABLE("array", __u32, struct rule_level, rule_levels, 1);
BPF_TABLE("array", __u32, struct limiter_tags, limiter_tags, 1);
BPF_TABLE("array", __u32, struct limiter_set, limiter, 1);
BPF_TABLE("array", __u32, struct limit_stats, limit_stats, 1);
BPF_TABLE("hash", struct ban_key, struct ban, bans, 1);
BPF_TABLE("array", __u32, struct ban_control, ban_control, 1);
BPF_TABLE("array", __u32, __u32, ban_place, 1);
BPF_TABLE("array", __u32, struct gate_line, ban_gate, 1);
BPF_TABLE("array", __u32, struct interface, interface, 1);
BPF_TABLE("array", __u32, struct policy, policy, 1);
BPF_TABLE("array", __u32, struct leaf_counter, leaf_counters, 1);
BPF_TABLE("array", __u32, struct pending, pending, 1);
BPF_TABLE("array", __u32, struct config, config, 1);
BPF_TABLE("array", __u32, struct tally, tally, 1);
BPF_TABLE("array", __u32, struct talker_bucket, talkers, 1);
BPF_TABLE("array", __u32, struct talker_tags, talker_tags, 1);
