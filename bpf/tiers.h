/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What stands before the tries, so that hardly a packet pays for one. All of it is derived from hosts and tries by
 * userspace (xdpfw/kernel/tiers.py), in step with every change, and all of it holds leaf ids.
 *
 * A prefix is held at the next of a few fixed lengths, its level, as that many prefixes as it takes, and never over a
 * more specific one of the same level (controlled prefix expansion, Srinivasan and Varghese 1999):
 *
 *   IPv4   root4 /16 · flats4 /24 · buckets4 /28 and /32
 *   IPv6   root6 /16 · buckets6 /28, /32, /36 and so on up to /64, and /128 · trie6 from /65 to /124
 *
 * The gates say which levels are worth asking: top4 has a bit for every /16 and gate4 2 for every /24, gate6 counts what is held at each level
 * within a /32 (or several: a cell is chosen by hash). Tables that grow with the number of prefixes are maps of pages: what nobody needs costs
 * no memory, and a page is replaced under the packets' eyes.
 */
#pragma once

#include "maps.h"

enum gate4_state {
	GATE_NOTHING = 0, /* nothing longer than a /16 */
	GATE_FLAT = 1,    /* the whole /24 is one leaf */
	GATE_HOSTS = 2,   /* ask for the /32, then as GATE_FLAT */
	GATE_DEEP = 3,    /* ask for the /32, the /28, then as GATE_FLAT */
};

/* A word of top4 has that many /16s (a power of two): whether gate4 has anything in that /16. With few prefixes nothing else is asked, and it
 * is small enough for the nearest cache. */
#define TOP4_LOG 6

/* A cell of gate6: 5 bits for each level, which stay at 31 once they got there. */
#define GATE6_CELLS_LOG 19
#define GATE6_BITS 5
#define GATE6_FIRST 28 /* the length of level 0; each further one is longer by 4 */
#define GATE6_LEVELS 10
#define GATE6_HOSTS 10
#define GATE6_TRIE 11

/*
 * filter6 has a bit for each value of a key's hash, of those in buckets6: a prefix that is not there mostly costs no line of
 * that table, which no cache holds. Bits outlive their keys for a while.
 */
#define FILTER6_LOG 23
#define FILTER6_SHIFT 17

#define PAGE_LINES 4096
#define PAGE_SLOTS_LOG 8
/* Lines that a full one overflows into: those of its group, in turn. A power of two. */
#define NEAR 16
/* So many of them are asked; hardly a key is farther from home. */
#define ASKED 6

/* A page's record: one cache line. */
struct line {
	__u64 words[8];
};
_Static_assert(sizeof(struct line) == 64, "struct line");

/* The same line in buckets4, a word for each way, written and read as one: bits 0-31 the address (host order), 32-60 the
 * leaf, 61 that the way is taken, 62 that it is a /28 rather than a /32; bit 63 of the first: the line is overflown. */
#define WAYS4 8
#define WAY4_TAKEN (1ULL << 61)
#define WAY4_DEEP (1ULL << 62)
#define WAY4_KEY (WAY4_DEEP | WAY4_TAKEN | 0xffffffff)
#define WAY4_LEAF(way) ((__u32)((way) >> 32) & 0x1fffffff)

/* In buckets6. Length 0 is an empty way; the length is written last when a way is filled and first when it is emptied, and
 * one that was emptied is not filled again before a grace period has passed. */
#define WAYS6 3
struct line6 {
	__u64 high[WAYS6];
	__u64 low[WAYS6];
	__u32 leaf[WAYS6];
	__u8 length[WAYS6];
	__u8 overflown; /* what had no room went on to the next line */
};
_Static_assert(sizeof(struct line6) == 64, "struct line6");

struct root {
	__u32 leaf;   /* of the longest prefix of at most /16 */
	__u32 longer; /* how many longer ones lie inside (IPv6) */
};
_Static_assert(sizeof(struct root) == 8, "struct root");

/* Secret, so that nobody outside can aim at a line. */
struct seeds {
	__u64 keys[4];
	__u64 odd; /* multiplier */
	__u64 reserved[3];
};
_Static_assert(sizeof(struct seeds) == 64, "struct seeds");

BPF_TABLE("array", __u32, struct seeds, seeds, 1);
BPF_TABLE("array", __u32, struct root, root4, 1);
BPF_TABLE("array", __u32, struct root, root6, 1);
BPF_TABLE("array", __u32, __u64, top4, 1);
BPF_TABLE("array", __u32, __u64, gate4, 1);
BPF_TABLE("array", __u32, __u64, gate6, 1);
BPF_TABLE("array", __u32, __u64, filter6, 1);
BPF_TABLE("array", __u32, struct line, page, 1);
BPF_ARRAY_OF_MAPS(flats4, "page", 1);
BPF_ARRAY_OF_MAPS(buckets4, "page", 1);
BPF_ARRAY_OF_MAPS(buckets6, "page", 1);

/* Sums of products of halves, each with a key added (Black et al., UMAC, 1999), then spread over all bits. */
static __always_inline __u64 hash_key(__u64 high, __u64 low, const struct seeds *by)
{
	__u64 sum = ((__u32)high + by->keys[0]) * ((high >> 32) + by->keys[1]) +
		    ((__u32)low + by->keys[2]) * ((low >> 32) + by->keys[3]);

	sum ^= sum >> 32;
	return sum * by->odd;
}

/* Which slot of the map of pages, and which line of the page. */
static __always_inline __u32 slot_of(__u64 hash)
{
	return hash >> (64 - PAGE_SLOTS_LOG);
}

static __always_inline __u32 line_of(__u64 hash, __u32 step)
{
	__u32 line = hash >> 40;

	return (line & (PAGE_LINES - NEAR)) | ((line + step) & (NEAR - 1));
}
