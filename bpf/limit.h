/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Limits: token buckets of rules and of sources, shared by all CPUs.
 *
 * A bucket fills by the clock, once a tick, by whichever CPU is the first to notice; what packets take is subtracted
 * atomically. Two CPUs that take at the same moment may overdraw it; that is owed, and paid back before anything else
 * passes. So over time a bucket gives exactly its rate.
 *
 * Buckets of sources lie in a table of fixed size, set-associative, and begin full. One that would be full again is as
 * good as absent, and a new source takes its place. Where there is none, the new one challenges the coldest; every some
 * challenges the coldest loses heat, and its place when it has none left. Until then the new source shares a bucket with
 * others like it if all who have places came back for more, and passes else: then this is a flood of addresses that come
 * once, which keep within their limit. So such a flood costs nobody his bucket, and more heavy sources than there are
 * places share what is left.
 */
#pragma once

#include "ban.h"
#include "classify.h"
#include "hash.h"
#include "maps.h"
#include "match.h"
#include "packet.h"

#define HEAT_FULL 0xff
#define PATIENCE 64 /* challenges that cost the coldest one degree */
#define SHARED LIMITER_WAYS
#define UNTRACKED (LIMITER_WAYS + 1)
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

/*
 * The table is searched without branches: the verifier would follow every outcome of every comparison. A mask is all ones
 * for yes and all zeros for no; where the compiler would see through it and make a branch of it, it is told nothing.
 */
static __always_inline __u64 opaque(__u64 value)
{
	asm volatile("" : "+r"(value));
	return value;
}

static __always_inline __u64 mask_if_zero(__u64 value)
{
	return ~((__s64)opaque(value | -value) >> 63);
}

static __always_inline __u64 mask_if_full(const struct limiter_set *set, __u32 way, __u32 now)
{
	return (__s64)opaque((__u64)(set->until[way] - now - 1) << 32) >> 63 | mask_if_zero(set->owner[way]);
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

/* Which way a source has, SHARED if none. */
static __always_inline __u32 find_place(const struct limiter_set *set, __u64 owner)
{
	__u64 found = 1 << SHARED;

#pragma unroll
	for (__u32 i = 0; i < LIMITER_WAYS; i++)
		found |= mask_if_zero(set->owner[i] ^ owner) & 1 << i;
	return lowest_bit(found);
}

/* The coldest way, and above it its degree: 0 is one that would be full. */
static __always_inline __u32 find_coldest(const struct limiter_set *set, __u32 now)
{
	__s64 least = 1 << 30, each;

#pragma unroll
	for (__u32 i = 0; i < LIMITER_WAYS; i++) {
		each = ((__u64)(set->heat[i] + 1) * LIMITER_WAYS & ~mask_if_full(set, i, now)) + i;
		least = each + ((least - each) & ((__s64)opaque(least - each) >> 63));
	}
	return least;
}

/* A place for a source that has none, or SHARED or UNTRACKED. */
static __always_inline __u32 take_place(struct limiter_set *set, __u64 owner, __u32 now)
{
	__u32 coldest = find_coldest(set, now), degree = coldest / LIMITER_WAYS, way = opaque(coldest) & (LIMITER_WAYS - 1);
	__u64 before;

	if (degree && ++set->challenges % PATIENCE)
		return degree > 1 ? SHARED : UNTRACKED;
	if (degree > 1) {
		set->heat[way]--;
		return SHARED;
	}
	before = set->owner[way];
	if (__sync_val_compare_and_swap(&set->owner[way], before, owner) != before)
		return UNTRACKED;
	set->level[way] = (struct level){};
	set->until[way] = now;
	return way;
}

/* A packet came for this bucket. */
static __always_inline void heat_up(struct limiter_set *set, __u32 way, __u32 now, __u32 fill_jiffies)
{
	__u32 heat = set->heat[way];

	set->heat[way] = (heat + (heat < HEAT_FULL)) & ~mask_if_full(set, way, now);
	set->until[way] = now + fill_jiffies;
}

/* The bucket of a source, none if it passes without; `shared`: whether it is not its alone. */
static __always_inline struct level *level_of_source(const struct packet *packet, const struct limit *limit,
						     const struct control *control, __u32 now, __u32 *shared)
{
	__u32 cpu = bpf_get_smp_processor_id(), index, way;
	struct limit_stats *stats = limit_stats.lookup(&cpu);
	struct limiter_set *set;
	union address source;
	__u64 owner;

	mask_address(&source, &packet->source, is_ipv4(&packet->source) ? limit->length4 : limit->length6);
	owner = hash_address(&source, limit->salt);
	index = owner >> 32 & (control->limiter_sets - 1);
	owner |= 1;
	set = limiter.lookup(&index);
	if (!set || !stats)
		return 0;
	way = find_place(set, owner);
	if (way == SHARED)
		way = take_place(set, owner, now);
	*shared = way == SHARED;
	if (way >= LIMITER_WAYS) {
		stats->placeless++;
		return *shared ? shared_level(set, limit) : 0;
	}
	way = opaque(way) & (LIMITER_WAYS - 1);
	heat_up(set, way, now, limit->fill_jiffies);
	return &set->level[way];
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
