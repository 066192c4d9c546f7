/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Limits: token buckets of rules and of sources, shared by all CPUs.
 *
 * A bucket fills by the clock, once a tick, by whichever CPU is the first to notice; what packets take is subtracted
 * atomically. Two CPUs that take at the same moment may overdraw it; that is owed, and paid back before anything else
 * passes. So over time a bucket gives exactly its rate.
 *
 * Buckets of sources lie in a table of fixed size, set-associative, and begin full. One that would be full again is as
 * good as absent, and a new source takes its place. Where there is none, the new one challenges those who are there; every
 * some challenges one of them loses heat, or who has none left his place. Until then the new source shares a bucket with
 * others like it if all who have places came back for more, and passes else: then this is a flood of addresses that come
 * once, which keep within their limit. So such a flood costs nobody his bucket, and more heavy sources than there are
 * places share what is left.
 */
#pragma once

#include "ban.h"
#include "bits.h"
#include "classify.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"

#define HEAT_FULL 0xff
/* Where all places are taken: challenges that cost somebody one degree, or who is cold his place. */
#define PATIENCE 64
/* Of all newcomers on a CPU in a tick, that many search and challenge; then one of so many does, for some others too. */
#define SEARCHES 64
#define NEWCOMERS_SAMPLED 32
#define SAMPLE_STRENGTH 8
#define NONE LIMITER_WAYS
#define SHARED (LIMITER_WAYS + 1)
#define UNTRACKED (LIMITER_WAYS + 2)
#define TAG_OF_OWNER(owner) ((owner) >> 48 | 1) /* the upper bits depend on all of the address */
#define FINE_SHIFT 9 /* of nanoseconds: 10^9 / 2^9 ticks a second is a whole number */

/* Fill a bucket up to `now`; the CPU that moves `last` on does it. */
static __always_inline void fill(struct level *level, const struct limit *limit, __u64 now)
{
	__u64 last = level->last;
	__s64 gain, over;

	if (now <= last || __sync_val_compare_and_swap(&level->last, last, now) != last)
		return;
	gain = now - last < limit->fill ? (now - last) * limit->rate : limit->burst;
	over = __sync_fetch_and_add(&level->tokens, gain) + gain - (__s64)limit->burst;
	if (over > 0)
		__sync_fetch_and_add(&level->tokens, -over);
}

/* Whether the packet found what it costs. What costs more than a bucket holds passes when it is full, and owes the rest. */
static __always_inline int take(struct level *level, const struct limit *limit, __u64 units)
{
	__s64 cost = units * limit->cost;
	__s64 wanted = cost < (__s64)limit->burst ? cost : limit->burst;

	if (level->tokens < wanted)
		return 0;
	__sync_fetch_and_add(&level->tokens, -cost);
	return 1;
}

/* The mask stays in the program, although the compiler knows better: the verifier does not. */
static __always_inline __u32 opaque_way(__u32 way)
{
	return opaque(way) & (LIMITER_WAYS - 1);
}

static __always_inline int is_full(const struct limiter_set *set, __u32 way, __u32 now)
{
	return (__s32)(now - set->way[way].until) >= 0;
}

/* The bucket for all sources that have none of their own here. */
static __always_inline struct level *shared_level(struct limiter_set *set, const struct limit *limit)
{
	if (set->shared_salt != (__u32)limit->salt) {
		set->shared_salt = limit->salt;
		set->shared = (struct level){};
	}
	return &set->shared;
}

/* A bit for each way with this tag: ways 0 to 3 at 0, 16, 32 and 48, the others at the bits behind them. */
static __always_inline __u64 ways_with(const struct limiter_tags *tags, __u64 tag)
{
	return equal_lanes(tags->tags[0], tag) >> 15 | equal_lanes(tags->tags[1], tag) >> 14;
}

static __always_inline __u32 first_way(__u64 ways)
{
	__u32 bit = lowest_bit(ways);

	return opaque_way(bit >> 4 | (bit & 1) << 2);
}

/* Two sources may have the same tag; with three, one of them is always new. */
static __always_inline __u32 find_place(const struct limiter_tags *tags, const struct limiter_set *set, __u64 owner)
{
	__u64 ways = ways_with(tags, TAG_OF_OWNER(owner));
	__u32 way;

#pragma unroll
	for (int tries = 0; tries < 2; tries++, ways &= ways - 1) {
		if (!ways)
			return NONE;
		way = first_way(ways);
		if (set->way[way].owner == owner)
			return way;
	}
	return NONE;
}

/* The outcome lies in a map, where the verifier forgets it; else it would follow each. */
static __always_inline __u32 find_full(const struct limiter_set *set, __u32 now, volatile __u32 *found)
{
	*found = NONE;
#pragma unroll
	for (__u32 i = 0; i < LIMITER_WAYS; i++)
		if (is_full(set, i, now))
			*found = i;
	return *found;
}

/* Which place a newcomer gets of those who have one, if any. */
static __always_inline __u32 challenge_places(struct limiter_tags *tags, struct limiter_set *set,
					      struct limit_stats *stats, __u32 now, __u32 strength)
{
	__u64 cold = zero_bytes(tags->heats);
	__u32 turn = tags->challenges, way = find_full(set, now, &stats->found);

	if (way != NONE)
		return way;
	tags->challenges = turn + strength;
	if (turn / PATIENCE == (turn + strength) / PATIENCE)
		return cold ? UNTRACKED : SHARED;
	if (cold)
		return opaque_way(lowest_bit(cold) / 8);
	tags->heat[turn / PATIENCE % LIMITER_WAYS]--;
	return SHARED;
}

/* A place for a source that has none, or SHARED or UNTRACKED. In a flood few newcomers look further than at tags. */
static __always_inline __u32 take_place(struct limiter_tags *tags, struct limiter_set *set, __u64 owner, __u32 now)
{
	__u32 cpu = bpf_get_smp_processor_id(), way, strength;
	struct limit_stats *stats = limit_stats.lookup(&cpu);
	__u64 empty = ways_with(tags, 0);

	if (!stats)
		return UNTRACKED;
	if (stats->tick != now) {
		stats->tick = now;
		stats->newcomers = 0;
	}
	strength = stats->newcomers++ < SEARCHES ? 1 : SAMPLE_STRENGTH;
	if (empty)
		way = first_way(empty);
	else if (strength > 1 && stats->newcomers % NEWCOMERS_SAMPLED)
		way = zero_bytes(tags->heats) ? UNTRACKED : SHARED;
	else
		way = challenge_places(tags, set, stats, now, strength);
	if (way >= LIMITER_WAYS) {
		stats->placeless++;
		return way;
	}
	way = opaque_way(way);
	set->way[way].owner = owner;
	set->way[way].level = (struct level){};
	set->way[way].until = now;
	tags->tag[way] = TAG_OF_OWNER(owner);
	return way;
}

/* The bucket of a source, none if it passes without; `shared`: whether it is not its alone. */
static __always_inline struct level *level_of_source(const struct packet *packet, const struct limit *limit,
						     const struct control *control, __u32 now, __u32 *shared)
{
	struct limiter_tags *tags;
	struct limiter_set *set;
	union address source;
	__u32 index, way;
	__u64 owner;

	mask_address(&source, &packet->source, is_ipv4(&packet->source) ? limit->length4 : limit->length6);
	owner = hash_address(&source, limit->salt);
	index = owner >> 32 & (control->limiter_sets - 1);
	tags = limiter_tags.lookup(&index);
	set = limiter.lookup(&index);
	if (!tags || !set)
		return 0;
	way = find_place(tags, set, owner);
	if (way == NONE)
		way = take_place(tags, set, owner, now);
	*shared = way == SHARED;
	if (way >= LIMITER_WAYS)
		return *shared ? shared_level(set, limit) : 0;
	way = opaque_way(way);
	if (is_full(set, way, now))
		tags->heat[way] = 0;
	else if (tags->heat[way] < HEAT_FULL)
		tags->heat[way]++;
	set->way[way].until = now + limit->fill_jiffies;
	return &set->way[way].level;
}

/* Whether this packet exceeds the limit of a row. `may_ban`: its source is banned then, if the limit says so. */
static __always_inline int over_limit(const struct packet *packet, __u32 row, __u32 slot, __u32 generation,
				      const struct control *control, int may_ban)
{
	__u32 index = generation * MAX_ROWS + row, shared = 0;
	struct limit *limit = limits.lookup(&index);
	__u64 now = bpf_jiffies64();
	struct rule_level *own;
	struct level *level;

	if (!limit)
		return 0;
	if (limit->per_rule) {
		own = rule_levels.lookup(&slot);
		level = own ? &own->level : 0;
	} else {
		level = level_of_source(packet, limit, control, now, &shared);
	}
	if (!level)
		return 0;
	fill(level, limit, limit->fine ? bpf_ktime_get_ns() >> FINE_SHIFT : now);
	if (take(level, limit, limit->bytes ? packet->frame_length : 1))
		return 0;
	if (BANS && may_ban && limit->ban && !shared)
		ban_source(packet, limit, slot, now);
	return 1;
}
