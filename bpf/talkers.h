/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is talking: a fixed table of slots, set-associative, a part of its own for each CPU.
 *
 * A bucket's tags and heats lie apart from its slots, in a table small enough for the nearest caches: they tell which slot
 * is an address's, if any, so that a packet touches one slot at most, and one of a flood mostly none.
 *
 * A new address takes an empty way of its bucket, or one of an old epoch, else it challenges the coldest (among equals
 * its favourite): that way loses heat and is replaced once it has too little left, and its talker was silent meanwhile.
 * Every packet of a talker heats its slot, long ones more. So a flood of addresses that come once cools only each other,
 * while a talker that keeps talking stays (compare HeavyKeeper, Gong et al. 2018). The counts themselves never decay: a
 * slot's counts are exact from its `since` on.
 *
 * The last slot of a bucket is where evicted counts spill, if they are worth it: those of one address, the one with the
 * most bytes. There they stay, also when that address comes back and counts on in another slot.
 */
#pragma once

#include "bits.h"
#include "decide.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"

#define HEAT_MAX 0xff
/* How much hotter a slot begins than its first packet makes it. */
#define FIRST_HEAT 1
/* Of newcomers with short packets, as floods bring them, one of so many may challenge; others are not tracked. */
#define SAMPLED 8
/* What is hotter and was silent for that many jiffies (16 s at 250 Hz) loses half of its heat at each challenge. */
#define WARM 16
#define IDLE_JIFFIES 4096
/* Counts of fewer packets are not worth keeping: sources of a flood come once or twice. */
#define SPILL_PACKETS 4

#define NO_WAY 0xff

#define barrier() asm volatile("" ::: "memory")

static __always_inline __u32 first_lane(__u64 marks)
{
	__u64 first = marks & -marks;

	return (first >> 31 & 1) + (first >> 47 & 1) * 2 + (first >> 63) * 3;
}

static __always_inline __u64 smaller(__s64 a, __s64 b)
{
	return b + ((a - b) & (a - b) >> 63);
}

/* The heat of the coldest way times 4, plus its number counted from the favourite on: without branches, which nobody
 * could predict here. */
static __always_inline __u64 coldest(__u32 heats, __u32 favourite)
{
	__u64 wide = heats, order = (0x0003000200010000ULL + (4 - favourite) * LANES) & 3 * LANES, keys;

	wide = (wide | wide << 16) & 0x0000ffff0000ffffULL;
	wide = (wide | wide << 8) & 0x00ff00ff00ff00ffULL;
	keys = wide << 2 | order;
	return smaller(smaller(keys & 0xffff, keys >> 16 & 0xffff), smaller(keys >> 32 & 0xffff, keys >> 48));
}

/* What a packet is worth, so that bytes count as well as packets. */
static __always_inline __u32 warmth(const struct packet *packet)
{
	__u32 warmth = 1 + (packet->frame_length >> 8);

	return warmth < WARM ? warmth : WARM;
}

static __always_inline void set_heat(struct talker_tags *tags, __u32 way, __u32 heat)
{
	tags->heats = (tags->heats & ~(HEAT_MAX << 8 * way)) | heat << 8 * way;
}

/* An odd sequence number tells a reader that the slot is changing hands; the barriers keep the order of the stores. */
static __always_inline void take_slot(struct talker *slot, const union address *address, struct talker_tags *tags,
				      __u32 since)
{
	__u16 sequence = ++tags->turns * 2;

	slot->sequence = sequence - 1;
	barrier();
	slot->address = *address;
	slot->epoch = tags->epoch;
	slot->leaf = 0;
	slot->since = since;
	slot->passed_packets = 0;
	slot->passed_bytes = 0;
	slot->dropped_packets = 0;
	slot->dropped_bytes = 0;
	barrier();
	slot->sequence = sequence;
}

/* The slot that these counts come from has changed hands already: a reader may miss them, but never sees them twice. */
static __always_inline void spill(struct talker *slot, const struct talker *evicted, struct talker_tags *tags)
{
	int current = slot->epoch == tags->epoch;

	if (!current || !same_address(&slot->address, &evicted->address)) {
		if (current && BYTES_IN(slot->passed_bytes) + BYTES_IN(slot->dropped_bytes) >=
				       BYTES_IN(evicted->passed_bytes) + BYTES_IN(evicted->dropped_bytes))
			return;
		take_slot(slot, &evicted->address, tags, evicted->since);
	}
	slot->last_seen = evicted->last_seen;
	slot->passed_packets += PACKETS_IN(evicted->passed_packets);
	slot->passed_bytes += BYTES_IN(evicted->passed_bytes);
	slot->dropped_packets += PACKETS_IN(evicted->dropped_packets);
	slot->dropped_bytes += BYTES_IN(evicted->dropped_bytes);
}

/* Less heat for a way that was challenged; answers whether it is out of heat, and its talker silent since it had some. */
static __always_inline int cool_down(struct talker_tags *tags, __u32 way, __u32 heat, struct talker *slot,
				     __u32 strength, __u32 now)
{
	if (heat >= strength) {
		if (heat > WARM && now - slot->last_seen > IDLE_JIFFIES)
			heat /= 2;
		else
			heat -= strength;
		set_heat(tags, way, heat);
		return 0;
	}
	if (slot->epoch != tags->epoch || !(slot->leaf >> LEAF_BITS))
		return 1;
	set_heat(tags, way, slot->leaf >> LEAF_BITS);
	slot->leaf &= (1 << LEAF_BITS) - 1;
	return 0;
}

static __always_inline __u64 packets_of(const struct talker *slot)
{
	return PACKETS_IN(slot->passed_packets) + PACKETS_IN(slot->dropped_packets);
}

/* Answers the way that the newcomer gets, if any. */
static __always_inline __u32 challenge(struct talker_tags *tags, struct talker_bucket *bucket,
				       const struct packet *packet, __u64 hash, __u32 now)
{
	__u32 strength = warmth(packet), favourite = FAVOURITE_OF(hash), cold, way;
	struct talker *slot, evicted;

	if (strength == 1 && ++tags->turns % SAMPLED && !equal_lanes(tags->tags, 0))
		return NO_WAY;
	cold = coldest(tags->heats, favourite);
	way = (cold + favourite) & (TALKER_WAYS - 1);
	slot = &bucket->way[way];
	if (!cool_down(tags, way, cold >> 2, slot, strength, now))
		return NO_WAY;
	tags->tags = (tags->tags & ~(0xffffULL << 16 * way)) | TAG_OF(hash) << 16 * way;
	set_heat(tags, way, FIRST_HEAT + strength);
	if (slot->epoch != tags->epoch || packets_of(slot) < SPILL_PACKETS) {
		take_slot(slot, &packet->source, tags, now);
		return way;
	}
	evicted = *slot;
	take_slot(slot, &packet->source, tags, now);
	spill(&bucket->way[TALKER_WAYS], &evicted, tags);
	return way;
}

static __always_inline int is_in(const struct talker_bucket *bucket, __u32 way, const struct packet *packet)
{
	return same_address(&bucket->way[way].address, &packet->source);
}

static __always_inline __u32 find_way(const struct talker_tags *tags, const struct talker_bucket *bucket,
				      const struct packet *packet, __u64 hash)
{
	__u64 marks = equal_lanes(tags->tags, TAG_OF(hash));

#pragma unroll
	for (int tries = 0; tries < 2; tries++) {
		__u32 way = first_lane(marks) & (TALKER_WAYS - 1);

		if (!marks)
			return NO_WAY;
		if (is_in(bucket, way, packet))
			return way;
		marks &= marks - 1;
	}
	return NO_WAY;
}

/* The way of the source, which a newcomer may get now. Its favourite is asked first, and mostly it is there. */
static __always_inline __u32 way_of(struct talker_tags *tags, struct talker_bucket *bucket, const struct packet *packet,
				    __u64 hash, __u32 epoch)
{
	__u32 favourite = FAVOURITE_OF(hash), way;

	if (tags->epoch != (__u16)epoch) {
		tags->epoch = epoch;
		tags->tags = 0;
		tags->heats = 0;
	}
	if ((__u16)(tags->tags >> 16 * favourite) == TAG_OF(hash) && is_in(bucket, favourite, packet))
		return favourite;
	way = find_way(tags, bucket, packet, hash);
	return way == NO_WAY ? challenge(tags, bucket, packet, hash, bpf_jiffies64()) : way;
}

/*
 * A slot remembers the leaf of its address, so that a packet of somebody who talks need not find it. It holds as long as
 * no prefix came or went. `changes` was read before the leaf was found: what changed meanwhile makes it worthless.
 */
static __always_inline __u64 changes_of(const struct talker *slot)
{
	return slot->passed_packets >> PACKETS_BITS | slot->dropped_packets >> PACKETS_BITS << 16 |
	       slot->passed_bytes >> BYTES_BITS << 32 | slot->dropped_bytes >> BYTES_BITS << 40;
}

static __always_inline void remember(struct talker *slot, __u32 leaf, __u64 changes)
{
	if (leaf >> LEAF_BITS)
		return;
	slot->leaf = (slot->leaf & ~0U << LEAF_BITS) | leaf;
	slot->passed_packets = PACKETS_IN(slot->passed_packets) | changes << PACKETS_BITS;
	slot->dropped_packets = PACKETS_IN(slot->dropped_packets) | changes >> 16 << PACKETS_BITS;
	slot->passed_bytes = BYTES_IN(slot->passed_bytes) | changes >> 32 << BYTES_BITS;
	slot->dropped_bytes = BYTES_IN(slot->dropped_bytes) | changes >> 40 << BYTES_BITS;
}

/*
 * The bucket of the source, in `seat` its slot there, if it has one or gets one now, and in the decision its leaf, if it is
 * remembered. This comes before the verdict and the counting after it, so that what has to come from memory for either is
 * on its way at the same time.
 */
static __always_inline struct talker_bucket *seek_talker(struct scratch *frame, enum reason reason, __u32 cpu,
							 __u64 *changes)
{
	const struct packet *packet = &frame->packet;
	__u32 zero = 0, index, way = NO_WAY;
	struct config *own = config.lookup(&zero);
	struct control *now = control.lookup(&zero);
	struct talker_bucket *bucket;
	struct talker_tags *tags;
	__u64 hash;

	if (!own || !now)
		return 0;
	*changes = *(volatile __u64 *)&now->changes;
	hash = hash_address(&packet->source, own->seed);
	index = cpu * own->buckets + (hash >> 32 & (own->buckets - 1));
	bucket = talkers.lookup(&index);
	tags = talker_tags.lookup(&index);
	if (!bucket || !tags)
		return 0;
	if (packet->version)
		way = way_of(tags, bucket, packet, hash, own->epoch);
	if (REMEMBERED_LEAVES && reason == REASON_DEFAULT && way < TALKER_WAYS &&
	    changes_of(&bucket->way[way]) == *changes) {
		frame->seat.knows_leaf = 1;
		frame->decision.leaf = bucket->way[way].leaf & ((1 << LEAF_BITS) - 1);
	}
	frame->seat.way = way;
	return bucket;
}

/* `leaf_found`: somebody looked for it. */
static __always_inline void count_talker(struct talker_bucket *bucket, const struct scratch *frame, int leaf_found,
					 __u64 changes)
{
	const struct decision *decision = &frame->decision;
	__u32 way = frame->seat.way;
	struct talker *slot;

	if (way >= TALKER_WAYS)
		return;
	slot = &bucket->way[way];
	slot->last_seen = bpf_jiffies64();
	if (slot->leaf >> LEAF_BITS < HEAT_MAX - WARM)
		slot->leaf += warmth(&frame->packet) << LEAF_BITS;
	if (REMEMBERED_LEAVES && leaf_found && !frame->seat.knows_leaf)
		remember(slot, decision->leaf, changes);
	if (decision->drop) {
		slot->dropped_packets++;
		slot->dropped_bytes += frame->packet.frame_length;
	} else {
		slot->passed_packets++;
		slot->passed_bytes += frame->packet.frame_length;
	}
}
