/* SPDX-License-Identifier: GPL-2.0-only */
/* Talkers in the kernel's LRU hash, in place of bpf/talkers.h: what the project's own table is compared with. */
#pragma once

#include "decide.h"
#include "maps.h"
#include "packet.h"

#define NO_WAY 0xff

struct lru_talker {
	__u64 passed_packets;
	__u64 passed_bytes;
	__u64 dropped_packets;
	__u64 dropped_bytes;
	__u64 last_seen;
};

BPF_TABLE("lru_percpu_hash", union address, struct lru_talker, lru_talkers, 1);

static __always_inline struct talker_bucket *seek_talker(const struct packet *packet, __u32 cpu, __u32 *way)
{
	*way = packet->version ? 0 : NO_WAY;
	return talkers.lookup(&cpu);
}

static __always_inline void count_talker(struct talker_bucket *bucket, __u32 way, const struct packet *packet,
					 const struct decision *decision)
{
	union address source = packet->source;
	struct lru_talker fresh = {}, *counts;

	if (way == NO_WAY)
		return;
	counts = lru_talkers.lookup(&source);
	if (!counts) {
		lru_talkers.update(&source, &fresh);
		counts = lru_talkers.lookup(&source);
	}
	if (!counts)
		return;
	counts->last_seen = bpf_jiffies64();
	if (decision->drop) {
		counts->dropped_packets++;
		counts->dropped_bytes += packet->frame_length;
	} else {
		counts->passed_packets++;
		counts->passed_bytes += packet->frame_length;
	}
}
