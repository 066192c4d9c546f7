/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events: samples of frames with their verdict, for whoever watches. Compiled in only while somebody does, or a rule
 * logs.
 *
 * A frame is offered when its rule logs, or when all traffic is sampled. Then three bounds apply: the budget of this CPU,
 * one event for each source and second, the rule's own rate. So whatever the traffic, a bounded number of records is
 * written, into a ring of this CPU that userspace reads through mmap, by its own clock: no packet wakes anybody.
 */
#pragma once

#include "decide.h"
#include "maps.h"
#include "packet.h"
#include "talkers.h"

#define SNAP_MAX 256
#define SEEN_SOURCES 1024 /* of each CPU */
#define SEEN_SHIFT 22     /* leaves that many places of 32 bits */

/* What the reader wishes, for this interface. */
struct log_wish {
	__u32 sample;    /* offer frames whose rule does not log, too */
	__u32 budget;    /* events a second from each CPU */
	__u32 repeat;    /* a source may come again within a second */
	__u32 snap;      /* bytes of the frame that an event carries, at most SNAP_MAX */
	__u32 hz;        /* jiffies in a second */
	__u32 slots;     /* of each CPU's ring; a power of two */
	__u32 interface; /* its number, for the reader */
	__u32 reserved;
};
_Static_assert(sizeof(struct log_wish) == 32, "struct log_wish");

/* Of each CPU. `head` counts the events ever written; the last of them are in the ring. */
struct log_state {
	__u64 head;
	__u64 limited; /* offered, and beyond a bound */
	__u32 until;   /* jiffies at which this second ends */
	__u32 second;  /* its number */
	__u32 used;    /* of its budget */
	__u32 reserved;
	__u64 padding[4];
};
_Static_assert(sizeof(struct log_state) == 64, "struct log_state");

/* When a source was logged last; where sources share a place, there is an event less. */
struct log_seen {
	__u32 hash;
	__u32 second;
};

/* A rule's own rate, of all CPUs together; a race costs an event more or less. */
struct log_rate {
	__u32 until;
	__u32 used;
};

struct event {
	__u64 number; /* of this CPU's events, from 1 on: 0 while it is being written */
	__u64 time;   /* ns, monotonic */
	__u32 cause;
	__u32 interface;
	__u32 frame_length;
	__u32 queue;
	__u16 captured;
	__u8 drop;
	__u8 monitored;
	__u32 monitored_cause;
	__u64 reserved[3];
	__u8 frame[SNAP_MAX];
};
_Static_assert(sizeof(struct event) == 64 + SNAP_MAX, "struct event");

BPF_TABLE("array", __u32, struct log_wish, log_wish, 1);
BPF_TABLE("array", __u32, struct log_state, log_states, 1);
BPF_TABLE("array", __u32, struct log_seen, log_seen, 1);
BPF_TABLE("array", __u32, struct log_rate, log_rates, 1);
BPF_TABLE("array", __u32, struct event, events, 1);

static __always_inline int source_is_new(const struct packet *packet, __u32 second, __u32 cpu)
{
	__u32 hash = (packet->source.halves[0] ^ packet->source.halves[1]) * HASH_MULTIPLIER >> 32;
	__u32 index = cpu * SEEN_SOURCES + (hash >> SEEN_SHIFT); /* the upper bits depend on all of the address */
	struct log_seen *seen = log_seen.lookup(&index);

	if (!seen || (seen->hash == hash && seen->second == second))
		return 0;
	seen->hash = hash;
	seen->second = second;
	return 1;
}

static __always_inline int is_over(__u32 until, __u32 now)
{
	return (__s32)(now - until) >= 0;
}

static __always_inline int rule_has_room(const struct decision *decision, __u32 now, __u32 hz)
{
	__u32 slot = decision->log_cause - MAX_REASONS;
	struct log_rate *rate = log_rates.lookup(&slot);

	if (!rate)
		return 0;
	if (is_over(rate->until, now)) {
		rate->until = now + hz;
		rate->used = 0;
	}
	return rate->used++ < decision->log_rate;
}

/* Copy the beginning of a frame: 1 to SNAP_MAX bytes, which the mask tells the verifier. */
static __always_inline __u32 snap(struct xdp_md *ctx, struct event *event, __u32 length)
{
	length = (length - 1) & (SNAP_MAX - 1);
	asm volatile("" : "+r"(length));
	return bpf_xdp_load_bytes(ctx, 0, event->frame, length + 1) ? 0 : length + 1;
}

static __always_inline void write_event(struct xdp_md *ctx, const struct packet *packet, const struct decision *decision,
					const struct log_wish *wish, struct log_state *state, __u32 cpu)
{
	__u32 length = packet->frame_length < wish->snap ? packet->frame_length : wish->snap;
	__u32 index = cpu * wish->slots + (state->head & (wish->slots - 1));
	struct event *event = events.lookup(&index);

	if (!event)
		return;
	event->number = 0;
	barrier();
	event->time = bpf_ktime_get_ns();
	event->cause = decision->cause;
	event->interface = wish->interface;
	event->frame_length = packet->frame_length;
	event->queue = ctx->rx_queue_index;
	event->drop = decision->drop;
	event->monitored = decision->monitored;
	event->monitored_cause = decision->monitored_cause;
	event->captured = snap(ctx, event, length);
	/* An atomic addition is the one store that orders those before it. */
	event->number = state->head + 1;
	__sync_fetch_and_add(&state->head, 1);
}

static __always_inline void log_frame(struct xdp_md *ctx, const struct packet *packet, const struct decision *decision,
				      __u32 cpu)
{
	__u32 zero = 0, now;
	struct log_wish *wish = log_wish.lookup(&zero);
	struct log_state *state = log_states.lookup(&cpu);

	if (!wish || !state || !(decision->log_rate || wish->sample))
		return;
	now = bpf_jiffies64();
	if (is_over(state->until, now)) {
		state->until = now + wish->hz;
		state->second++;
		state->used = 0;
	}
	if (state->used < wish->budget &&
	    (wish->repeat || !packet->version || source_is_new(packet, state->second, cpu)) &&
	    (wish->sample || rule_has_room(decision, now, wish->hz))) {
		state->used++;
		write_event(ctx, packet, decision, wish, state, cpu);
	} else {
		state->limited++;
	}
}
