/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counting, once per frame. Every table is an array with a part for each CPU: only this CPU writes there, and an XDP
 * program is not interrupted by another, so plain additions lose nothing. Userspace reads the arrays through mmap.
 *
 * The tally comes first, the talker after it: a reader that takes the talkers first and the tally last never sees more
 * in the talkers than in the tally.
 */
#pragma once

#include "decide.h"
#include "maps.h"
#include "packet.h"
#include "talkers.h"

static __always_inline void count_tally(const struct packet *packet, const struct decision *decision, __u32 cpu)
{
	__u32 index = cpu * CAUSES + decision->cause;
	struct tally *counts = tally.lookup(&index);

	if (!counts)
		return;
	if (decision->drop) {
		counts->dropped_packets++;
		counts->dropped_bytes += packet->frame_length;
		return;
	}
	counts->passed_packets++;
	counts->passed_bytes += packet->frame_length;
	if (decision->monitored) {
		counts->monitored_packets++;
		counts->monitored_bytes += packet->frame_length;
	}
}

/* Where memory does not allow a shard for every CPU, some share one, and only then must additions be atomic. */
static __always_inline void count_hit(const struct control *sizes, __u64 hit, __u32 cpu)
{
	__u32 index = cpu % sizes->leaf_shards * sizes->leaves + (__u32)hit;
	struct leaf_counter *counts = leaf_counters.lookup(&index);

	if (!counts)
		return;
	if (sizes->shared_shards) {
		__sync_fetch_and_add(&counts->packets, 1);
		__sync_fetch_and_add(&counts->bytes, hit >> 32);
	} else {
		counts->packets++;
		counts->bytes += hit >> 32;
	}
}

/*
 * With many prefixes no cache holds their counters. So packets note their leaf, and some are counted together: then the
 * processor waits for all of these counters at once. Readers add what is noted (xdpfw/kernel/hits.py).
 */
static __always_inline void count_leaf(const struct packet *packet, const struct decision *decision, __u32 cpu)
{
	__u32 zero = 0, count;
	struct control *sizes = control.lookup(&zero);
	struct pending *noted = pending.lookup(&cpu);

	if (!noted || !sizes || !sizes->leaf_shards)
		return;
	count = noted->count;
	if (count >= PENDING_HITS)
		count = 0;
	noted->hit[count] = (__u64)packet->frame_length << 32 | decision->leaf;
	barrier();
	noted->count = ++count;
	if (count < PENDING_HITS)
		return;
	noted->drained++;
	barrier();
#pragma nounroll
	for (count = 0; count < PENDING_HITS; count++)
		count_hit(sizes, noted->hit[count], cpu);
	barrier();
	noted->count = 0;
	barrier();
	noted->drained++;
}

static __always_inline void count_rule(const struct packet *packet, __u32 cause, __u32 cpu)
{
	__u32 index = cpu * MAX_SLOTS + cause - MAX_REASONS;
	struct rule_counter *counts = rule_counters.lookup(&index);

	if (!counts)
		return;
	counts->packets++;
	counts->bytes += packet->frame_length;
}

/*
 * A rule in monitor mode counts what it would have decided, a limit what exceeds it; the frame itself counts under what
 * did.
 */
static __always_inline void count_monitored(const struct packet *packet, const struct decision *decision, __u32 cpu)
{
	__u32 index = cpu * CAUSES + decision->monitored_cause;
	struct tally *counts = tally.lookup(&index);

	if (!counts)
		return;
	count_rule(packet, decision->monitored_cause, cpu);
	if (LIMITS && decision->within)
		return;
	counts->monitored_packets++;
	counts->monitored_bytes += packet->frame_length;
}

static __always_inline void account(const struct packet *packet, const struct decision *decision, __u32 cpu)
{
	count_tally(packet, decision, cpu);
	if (decision->cause >= MAX_REASONS)
		count_rule(packet, decision->cause, cpu);
	if (MONITORED_RULES && decision->monitored_cause)
		count_monitored(packet, decision, cpu);
	if (ENTRY_COUNTERS && decision->leaf)
		count_leaf(packet, decision, cpu);
}
