/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An address to its leaf through the tiers, or LOST: the tiers do not hold such prefixes, or all lines within reach are
 * full; then hosts and tries decide.
 */
#pragma once

#include "tiers.h"

#define LOST 0xffffffff

static __always_inline __u32 ask_buckets4(__u64 key, const struct seeds *by)
{
	__u64 hash = hash_key(key, 0, by);
	__u32 slot = slot_of(hash);
	void *pages = buckets4.lookup(&slot);

	if (!pages)
		return 0;
#pragma nounroll
	for (__u32 step = 0; step < ASKED; step++) {
		__u32 index = line_of(hash, step);
		volatile __u64 *way = bpf_map_lookup_elem(pages, &index);
		__u64 first;

		if (!way)
			return 0;
		first = way[0];
		if ((first & WAY4_KEY) == key)
			return WAY4_LEAF(first);
#pragma unroll
		for (__u32 i = 1; i < WAYS4; i++) {
			__u64 each = way[i];

			if ((each & WAY4_KEY) == key)
				return WAY4_LEAF(each);
		}
		if (!(first >> 63))
			return 0;
	}
	return LOST;
}

static __always_inline __u32 ask_flats4(__u32 host)
{
	__u32 slot = host >> 24, index = host >> 12 & (PAGE_LINES - 1);
	void *pages = flats4.lookup(&slot);
	__u32 *leaves;

	if (!pages)
		return 0;
	leaves = bpf_map_lookup_elem(pages, &index);
	return leaves ? leaves[host >> 8 & 15] : 0;
}

/* What is longer than a /16. */
static __always_inline __u32 ask_inside4(__u32 host)
{
	__u32 index = host >> 13, zero = 0, state, found;
	__u64 *cells = gate4.lookup(&index);
	struct seeds *by;

	if (!cells)
		return 0;
	state = *cells >> (host >> 7 & 62) & 3;
	if (state >= GATE_HOSTS) {
		by = seeds.lookup(&zero);
		if (!by)
			return 0;
		found = ask_buckets4(host | WAY4_TAKEN, by);
		if (!found && state == GATE_DEEP)
			found = ask_buckets4((host & ~15U) | WAY4_TAKEN | WAY4_DEEP, by);
		if (found)
			return found;
	}
	return state ? ask_flats4(host) : 0;
}

static __always_inline __u32 ask_tiers4(__be32 address)
{
	__u32 host = bpf_ntohl(address), index = host >> (16 + TOP4_LOG), top = host >> 16, found;
	__u64 *tops = top4.lookup(&index);
	struct root *root;

	if (tops && *tops >> (top & ((1 << TOP4_LOG) - 1)) & 1) {
		found = ask_inside4(host);
		if (found)
			return found;
	}
	root = root4.lookup(&top);
	return root ? root->leaf : 0;
}

static __always_inline int may_be_in_buckets6(__u64 hash)
{
	__u32 bit = hash >> FILTER6_SHIFT & ((1 << FILTER6_LOG) - 1), index = bit >> 6;
	__u64 *bits = filter6.lookup(&index);

	return bits && *bits >> (bit & 63) & 1;
}

static __always_inline __u32 ask_buckets6(__u64 high, __u64 low, __u32 length, const struct seeds *by)
{
	__u64 hash = hash_key(high, low + length, by);
	__u32 slot = slot_of(hash);
	void *pages;

	if (!may_be_in_buckets6(hash))
		return 0;
	pages = buckets6.lookup(&slot);
	if (!pages)
		return 0;
#pragma nounroll
	for (__u32 step = 0; step < ASKED; step++) {
		__u32 index = line_of(hash, step);
		volatile struct line6 *line = bpf_map_lookup_elem(pages, &index);

		if (!line)
			return 0;
#pragma unroll
		for (__u32 i = 0; i < WAYS6; i++)
			if (!((line->high[i] ^ high) | (line->low[i] ^ low) | (line->length[i] ^ length)))
				return line->leaf[i];
		if (!line->overflown)
			return 0;
	}
	return LOST;
}

static __always_inline int level_in(__u64 cell, __u32 level)
{
	return cell >> GATE6_BITS * level & ((1 << GATE6_BITS) - 1);
}

static __always_inline __u32 ask_tiers6(const union address *address)
{
	__u64 high = bpf_ntohll(address->halves[0]), cell;
	__u32 top = high >> 48, zero = 0, index, found;
	struct root *root = root6.lookup(&top);
	struct seeds *by = seeds.lookup(&zero);
	__u64 *counts;

	if (!root || !by)
		return 0;
	if (!root->longer)
		return root->leaf;
	index = (high >> 32) * by->odd >> (64 - GATE6_CELLS_LOG);
	counts = gate6.lookup(&index);
	if (!counts)
		return 0;
	cell = *counts;
	if (level_in(cell, GATE6_HOSTS)) {
		found = ask_buckets6(high, bpf_ntohll(address->halves[1]), 128, by);
		if (found)
			return found;
	}
	if (level_in(cell, GATE6_TRIE))
		return LOST;
#pragma nounroll
	for (int level = GATE6_LEVELS - 1; level >= 0; level--) {
		__u32 length = GATE6_FIRST + 4 * level;

		if (!level_in(cell, level))
			continue;
		found = ask_buckets6(high & ~0ULL << (64 - length), 0, length, by);
		if (found)
			return found;
	}
	return root->leaf;
}
