/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is talking: a fixed table of slots, set-associative, a part of its own for each CPU.
 *
 * A new address takes an empty way of its bucket, or one of an old epoch, else it challenges the coldest (among equals
 * the one that its hash picks): that way loses heat and is replaced once it has none left. Every packet of a talker heats its slot. So a flood of addresses that come
 * once cools only each other, while a talker that keeps talking stays (compare HeavyKeeper, Gong et al. 2018). The counts
 * themselves never decay: a slot's counts are exact from its `since` on.
 */
#pragma once

#include "decide.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"

#define HEAT_MAX 0xffff
/* A talker that was silent for that many jiffies (16 s at 250 Hz) loses half of its heat at each challenge. */
#define IDLE_JIFFIES 4096

#define barrier() asm volatile("" ::: "memory")

static __always_inline void count_in_slot(struct talker *slot, const struct packet *packet,
					  const struct decision *decision, __u32 now)
{
	slot->last_seen = now;
	if (slot->heat < HEAT_MAX)
		slot->heat++;
	if (decision->drop) {
		slot->dropped_packets++;
		slot->dropped_bytes += packet->frame_length;
	} else {
		slot->passed_packets++;
		slot->passed_bytes += packet->frame_length;
	}
}

static __always_inline __u16 cooled(const struct talker *slot, __u32 now)
{
	if (now - slot->last_seen > IDLE_JIFFIES)
		return slot->heat / 2;
	return slot->heat - 1;
}

/* An odd sequence number tells a reader that the slot is changing hands; the barriers keep the order of the stores. */
static __always_inline void take_slot(struct talker *slot, const struct packet *packet, __u16 epoch, __u32 now)
{
	slot->sequence++;
	barrier();
	slot->address = packet->source;
	slot->epoch = epoch;
	slot->heat = 0;
	slot->since = now;
	slot->passed_packets = 0;
	slot->passed_bytes = 0;
	slot->dropped_packets = 0;
	slot->dropped_bytes = 0;
	barrier();
	slot->sequence++;
}

static __always_inline void count_talker(const struct packet *packet, const struct decision *decision, __u32 cpu)
{
	__u32 zero = 0, index, hash, favourite, now = bpf_jiffies64();
	struct config *own = config.lookup(&zero);
	struct talker_bucket *bucket;
	struct talker *coldest;
	__u32 victim = 0, least = HEAT_MAX + 1;

	if (!own)
		return;
	hash = hash_address(&packet->source, own->seed) >> 32;
	favourite = hash >> 30;
	index = cpu * own->buckets + (hash & (own->buckets - 1));
	bucket = talkers.lookup(&index);
	if (!bucket)
		return;
#pragma unroll
	for (__u32 i = 0; i < TALKER_WAYS; i++) {
		struct talker *slot = &bucket->way[i];
		int current = slot->epoch == (__u16)own->epoch;
		__u32 heat = current ? slot->heat : 0;

		if (current && same_address(&slot->address, &packet->source)) {
			count_in_slot(slot, packet, decision, now);
			return;
		}
		if (heat < least || (heat == least && i == favourite)) {
			least = heat;
			victim = i;
		}
	}
	coldest = &bucket->way[victim & (TALKER_WAYS - 1)];
	if (least) {
		coldest->heat = cooled(coldest, now);
		return;
	}
	take_slot(coldest, packet, own->epoch, now);
	count_in_slot(coldest, packet, decision, now);
}
