/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is talking: a fixed table of slots, set-associative, a part of its own for each CPU.
 *
 * A bucket's tags and heats lie apart from its slots, in a table small enough for the nearest caches: they tell which slot
 * is an address's, if any, so that a packet touches one slot at most, and one of a flood mostly none.
 *
 * A new address takes an empty way of its bucket, or one of an old epoch, else it challenges the coldest (among equals
 * the one that its hash picks): that way loses heat and is replaced once it has too little left. Every packet of a talker
 * heats its slot, long ones more. So a flood of addresses that come once cools only each other, while a talker that keeps
 * talking stays (compare HeavyKeeper, Gong et al. 2018). The counts themselves never decay: a slot's counts are exact from
 * its `since` on.
 *
 * The last slot of a bucket is where evicted counts spill, if they are worth it: those of one address, the one with the
 * most bytes. There they stay, also when that address comes back and counts on in another slot.
 */
#pragma once

#include "decide.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"

#define HEAT_MAX 0x7f
#define WORTH_KEEPING 0x80
/* Counts are worth keeping once they made a slot that hot: sources of a flood come once or twice. */
#define WORTH_HEAT 16
/* How much hotter a slot begins than its first packet makes it. */
#define FIRST_HEAT 1
/* Of newcomers with short packets, as floods bring them, one of so many may challenge; others are not tracked. */
#define SAMPLED 8
/* A talker that was silent for that many jiffies (16 s at 250 Hz) loses half of its heat at each challenge. */
#define IDLE_JIFFIES 4096

#define NO_WAY 0xff
#define LANES 0x0001000100010001ULL

#define barrier() asm volatile("" ::: "memory")

/* The highest bit of each 16-bit lane that equals the tag; lanes above the first of them may be wrong. */
static __always_inline __u64 equal_lanes(__u64 tags, __u64 tag)
{
	__u64 differ = tags ^ tag * LANES;

	return (differ - LANES) & ~differ & LANES << 15;
}

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
	__u64 wide = heats & 0x7f7f7f7f, order = (0x0003000200010000ULL + favourite * LANES) & 3 * LANES, keys;

	wide = (wide | wide << 16) & 0x0000ffff0000ffffULL;
	wide = (wide | wide << 8) & 0x00ff00ff00ff00ffULL;
	keys = wide << 2 | order;
	return smaller(smaller(keys & 0xffff, keys >> 16 & 0xffff), smaller(keys >> 32 & 0xffff, keys >> 48));
}

/* What a packet is worth, so that bytes count as well as packets. */
static __always_inline __u32 warmth(const struct packet *packet)
{
	__u32 warmth = 1 + (packet->frame_length >> 8);

	return warmth < HEAT_MAX / 4 ? warmth : HEAT_MAX / 4;
}

static __always_inline void set_heat(struct talker_tags *tags, __u32 way, __u32 heat)
{
	tags->heats = (tags->heats & ~(0xff << 8 * way)) | heat << 8 * way;
}

/*
 * An odd sequence number tells a reader that the slot is changing hands; the barriers keep the order of the stores. What
 * was in the slot is not read, so nobody waits for it to come from memory.
 */
static __always_inline void take_slot(struct talker *slot, const union address *address, struct talker_tags *tags,
				      __u32 since)
{
	__u32 sequence = ++tags->turns * 2;

	slot->sequence = sequence - 1;
	barrier();
	slot->address = *address;
	slot->epoch = tags->epoch;
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
		if (current && slot->passed_bytes + slot->dropped_bytes >=
				       evicted->passed_bytes + evicted->dropped_bytes)
			return;
		take_slot(slot, &evicted->address, tags, evicted->since);
	}
	slot->last_seen = evicted->last_seen;
	slot->passed_packets += evicted->passed_packets;
	slot->passed_bytes += evicted->passed_bytes;
	slot->dropped_packets += evicted->dropped_packets;
	slot->dropped_bytes += evicted->dropped_bytes;
}

/* Answers the way that the newcomer gets, if any. */
static __always_inline __u32 challenge(struct talker_tags *tags, struct talker_bucket *bucket,
				       const struct packet *packet, __u64 hash, __u32 now)
{
	__u32 strength = warmth(packet), favourite = hash >> 62, cold, way, heat, worth;
	struct talker evicted;

	if (strength == 1 && ++tags->turns % SAMPLED && !equal_lanes(tags->tags, 0))
		return NO_WAY;
	cold = coldest(tags->heats, favourite);
	way = (cold - favourite) & (TALKER_WAYS - 1);
	heat = cold >> 2;
	worth = tags->heats >> 8 * way & WORTH_KEEPING;
	if (heat >= strength) {
		if (heat > WORTH_HEAT && now - bucket->way[way].last_seen > IDLE_JIFFIES)
			heat /= 2;
		else
			heat -= strength;
		set_heat(tags, way, heat | worth);
		return NO_WAY;
	}
	tags->tags = (tags->tags & ~(0xffffULL << 16 * way)) | TAG_OF(hash) << 16 * way;
	set_heat(tags, way, FIRST_HEAT + strength);
	if (!worth) {
		take_slot(&bucket->way[way], &packet->source, tags, now);
		return way;
	}
	evicted = bucket->way[way];
	take_slot(&bucket->way[way], &packet->source, tags, now);
	spill(&bucket->way[TALKER_WAYS], &evicted, tags);
	return way;
}

static __always_inline void warm_up(struct talker_tags *tags, __u32 way, const struct packet *packet)
{
	__u32 old = tags->heats >> 8 * way, heat = old & HEAT_MAX;

	if (heat == HEAT_MAX)
		return;
	heat += warmth(packet);
	if (heat > HEAT_MAX)
		heat = HEAT_MAX;
	set_heat(tags, way, heat | (old & WORTH_KEEPING) | (heat >= WORTH_HEAT) << 7);
}

static __always_inline __u32 find_way(struct talker_tags *tags, struct talker_bucket *bucket,
				      const struct packet *packet, __u64 hash)
{
	__u64 marks = equal_lanes(tags->tags, TAG_OF(hash));

#pragma unroll
	for (int tries = 0; tries < 2; tries++) {
		__u32 way = first_lane(marks) & (TALKER_WAYS - 1);

		if (!marks)
			return NO_WAY;
		if (same_address(&bucket->way[way].address, &packet->source)) {
			warm_up(tags, way, packet);
			return way;
		}
		marks &= marks - 1;
	}
	return NO_WAY;
}

/*
 * The bucket of the source, and in `way` its slot there, if it has one or gets one now. This comes before the verdict and
 * the counting after it, so that what has to come from memory for either is on its way at the same time.
 */
static __always_inline struct talker_bucket *seek_talker(const struct packet *packet, __u32 cpu, __u32 *way)
{
	__u32 zero = 0, index, now = bpf_jiffies64();
	struct config *own = config.lookup(&zero);
	struct talker_bucket *bucket;
	struct talker_tags *tags;
	__u64 hash;

	*way = NO_WAY;
	if (!own)
		return 0;
	hash = hash_address(&packet->source, own->seed);
	index = cpu * own->buckets + (hash >> 32 & (own->buckets - 1));
	tags = talker_tags.lookup(&index);
	bucket = talkers.lookup(&index);
	if (!tags || !bucket || !packet->version)
		return bucket;
	if (tags->epoch != (__u16)own->epoch) {
		tags->epoch = own->epoch;
		tags->tags = 0;
		tags->heats = 0;
	}
	*way = find_way(tags, bucket, packet, hash);
	if (*way == NO_WAY)
		*way = challenge(tags, bucket, packet, hash, now);
	return bucket;
}

static __always_inline void count_talker(struct talker_bucket *bucket, __u32 way, const struct packet *packet,
					 const struct decision *decision)
{
	struct talker *slot;

	if (way >= TALKER_WAYS)
		return;
	slot = &bucket->way[way];
	slot->last_seen = bpf_jiffies64();
	if (decision->drop) {
		slot->dropped_packets++;
		slot->dropped_bytes += packet->frame_length;
	} else {
		slot->passed_packets++;
		slot->passed_bytes += packet->frame_length;
	}
}
