/* SPDX-License-Identifier: GPL-2.0-only */
/* Talkers in the kernel's LRU hash, in place of bpf/talkers.h: what the project's own table is compared with. */
#pragma once

#include "bits.h"
#include "decide.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"

#define NO_WAY 0xff

#define barrier() asm volatile("" ::: "memory")

struct lru_talker {
	__u64 passed_packets;
	__u64 passed_bytes;
	__u64 dropped_packets;
	__u64 dropped_bytes;
	__u64 last_seen;
};

BPF_TABLE("lru_percpu_hash", union address, struct lru_talker, lru_talkers, 1);

static __always_inline struct talker_bucket *seek_talker(struct scratch *frame, enum reason reason, __u32 cpu,
							 __u64 *changes)
{
	frame->seat.way = frame->packet.version ? 0 : NO_WAY;
	return talkers.lookup(&cpu);
}

static __always_inline void count_talker(struct talker_bucket *bucket, const struct scratch *frame, int leaf_found,
					 __u64 changes)
{
	const struct packet *packet = &frame->packet;
	union address source = packet->source;
	struct lru_talker fresh = {}, *counts;

	if (frame->seat.way == NO_WAY)
		return;
	counts = lru_talkers.lookup(&source);
	if (!counts) {
		lru_talkers.update(&source, &fresh);
		counts = lru_talkers.lookup(&source);
	}
	if (!counts)
		return;
	counts->last_seen = bpf_jiffies64();
	if (frame->decision.drop) {
		counts->dropped_packets++;
		counts->dropped_bytes += packet->frame_length;
	} else {
		counts->passed_packets++;
		counts->passed_bytes += packet->frame_length;
	}
}
