/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address to class: the combination of sets that the address is in, resolved beforehand by userspace.
 *
 * address -> leaf id (the longest prefix that contains it) -> membership in force now -> class. Id 0 of each of
 * them means "in no set".
 */
#pragma once

#include "gate.h"
#include "maps.h"
#include "packet.h"

#define CHAIN_MAX 8

/* An IPv6 packet from ::ffff:a.b.c.d comes from the same address as an IPv4 packet from a.b.c.d. */
static __always_inline int is_ipv4(const union address *address)
{
	return !address->halves[0] && address->words[2] == bpf_htonl(0xffff);
}

/* The whole truth, at its price. A host is the longest prefix there is: the trie is not asked when the hash knows it. */
static __always_inline __u32 ask_tries(const union address *address)
{
	__u32 *leaf_id;

	if (is_ipv4(address)) {
		struct trie4_key key = { .length = 32, .address = address->words[3] };

		leaf_id = hosts4.lookup(&key.address);
		if (!leaf_id)
			leaf_id = trie4.lookup(&key);
	} else {
		union address host = *address;
		struct trie6_key key = { .length = 128 };

		leaf_id = hosts6.lookup(&host);
		if (!leaf_id) {
			__builtin_memcpy(key.address, host.bytes, sizeof(key.address));
			leaf_id = trie6.lookup(&key);
		}
	}
	return leaf_id ? *leaf_id : 0;
}

static __always_inline __u32 find_leaf(const union address *address)
{
#ifndef TRIES_ONLY
	__u32 found = is_ipv4(address) ? ask_tiers4(address->words[3]) : ask_tiers6(address);

	if (found != LOST)
		return found;
#endif
	return ask_tries(address);
}

static __always_inline __u32 membership_of(__u32 leaf_id, __u32 generation)
{
	__u32 block = leaf_id / BRIEF_LEAVES, index = block / BRIEF_BLOCKS, id;
	struct brief *shared = brief.lookup(&index);
	struct leaf *held;

	if (!shared)
		return 0;
	id = shared->membership[generation & 1][block % BRIEF_BLOCKS];
	if (id != BRIEF_ASK)
		return id;
	held = leaf.lookup(&leaf_id);
	return held ? held->membership[generation & 1] : 0;
}

/* Entries run out here, by the clock, also when nobody cleans up behind them. */
static __always_inline __u32 class_of_leaf(__u32 leaf_id, __u32 generation)
{
	__u32 id = membership_of(leaf_id, generation);
	struct membership *member;

	for (int step = 0; step < CHAIN_MAX; step++) {
		member = membership.lookup(&id);
		if (!member)
			return 0;
		if (!member->deadline || bpf_jiffies64() < member->deadline)
			return member->class;
		id = member->next;
	}
	return 0;
}

static __always_inline __u32 class_of(const union address *address, __u32 generation)
{
	__u32 leaf_id = find_leaf(address);

	return leaf_id ? class_of_leaf(leaf_id, generation) : 0;
}
