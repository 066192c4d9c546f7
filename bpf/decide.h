/* SPDX-License-Identifier: GPL-2.0-only */
/* From what is known about a packet to its verdict and the cause that it is counted under. */
#pragma once

#include "ban.h"
#include "classify.h"
#include "established.h"
#include "limit.h"
#include "match.h"

struct decision {
	__u32 drop;
	__u32 monitored; /* passed, though the policy says drop */
	__u32 cause;     /* enum reason, or MAX_REASONS + slot of the rule */
	__u32 leaf;
	__u32 monitored_cause; /* MAX_REASONS + slot of the first rule in monitor mode that matched before, else 0 */
	__u32 log_rate;  /* of the rule that logs this frame, else 0 */
	__u32 log_cause; /* which one */
	__u32 within;          /* that rule has a limit, and this packet does not exceed it */
	__u32 banned_by;       /* MAX_REASONS + slot of the rule that banned the source, else 0 */
	__u32 reserved;
};

/* Where the source talks (talkers.h). */
struct seat {
	__u32 way;        /* its slot in its bucket, or NO_WAY */
	__u32 knows_leaf; /* which is in the decision already */
};

/*
 * What is known about the frame of each CPU. It lies in a map and not on the stack, because the verifier remembers
 * what it saw on the stack: it would walk the rest of the program for every way through the headers.
 */
struct scratch {
	struct packet packet;
	struct decision decision;
	struct matched found;
	struct seat seat;
	struct room room; /* not cleared */
	__u64 padding[3];
};
_Static_assert(sizeof(struct scratch) == 192, "struct scratch is three cache lines");

BPF_TABLE("array", __u32, struct scratch, scratch, 1);

static __always_inline int may_pass_default_drop(const struct policy *policy, __u16 ethertype)
{
#pragma unroll
	for (int i = 0; i < ETHERTYPES; i++)
		if (ethertype && policy->ethertypes[i] == ethertype)
			return 1;
	return 0;
}

static __always_inline struct row *row_at(__u32 number, __u32 generation)
{
	__u32 index = generation * MAX_ROWS + number;

	return number < NO_ROW ? row.lookup(&index) : 0;
}

/*
 * Charge the limits of the rows that matched: of the one that decides, and of the one in monitor mode before it. What is
 * only monitored bans nobody.
 */
static __always_inline void keep_limits(const struct packet *packet, const struct policy *policy,
					const struct control *control, __u32 generation, struct scratch *frame)
{
	struct decision *decision = &frame->decision;
	__u32 number, over;
	struct row *limited;

#ifndef TWIN
#pragma clang loop unroll(disable)
	for (int enforced = !MONITORED_RULES; enforced < 2; enforced++) {
		number = enforced ? frame->found.row : frame->found.monitored;
		limited = row_at(number, generation);
		if (!limited || limited->action != ACTION_LIMIT)
			continue;
		over = over_limit(packet, number, limited->slot, generation, control,
				  enforced && !policy->monitor);
		if (enforced)
			decision->drop = over;
		else
			decision->within = !over;
	}
#endif
}

/* A ban stands before the row that would decide: what stands behind it is not looked at. */
static __always_inline int is_banned(const struct packet *packet, __u32 generation, struct scratch *frame)
{
	__u32 slot = 0, place = find_ban(packet, frame->found.row, generation, &slot);

	if (place == NO_PLACE)
		return 0;
	frame->found.row = NO_ROW;
	if (frame->found.monitored > place)
		frame->found.monitored = NO_ROW;
	frame->decision.banned_by = MAX_REASONS + slot;
	return 1;
}

/* The rows come before a fault in the tail: what an address may do never depends on what follows the IP header. */
static __always_inline void decide_by_rows(struct xdp_md *ctx, const struct policy *policy,
					   const struct control *control, __u32 generation,
					   struct scratch *frame)
{
	const struct packet *packet = &frame->packet;
	struct decision *decision = &frame->decision;
	struct matched *found = &frame->found;
	__u32 class = 0;
	struct row *first;

	if (!frame->seat.knows_leaf)
		decision->leaf = find_leaf(&packet->source);
	if (decision->leaf)
		class = class_of_leaf(decision->leaf, generation);
	match(packet, class, generation, control, found);
	if (BANS && is_banned(packet, generation, frame))
		decision->cause = REASON_BANNED;
	if (MONITORED_RULES) {
		first = row_at(found->monitored, generation);
		if (first) {
			decision->monitored_cause = MAX_REASONS + first->slot;
			decision->log_rate = first->log_rate;
			decision->log_cause = decision->monitored_cause;
		}
	}
	first = row_at(found->row, generation);
	if (first) {
		decision->cause = MAX_REASONS + first->slot;
		if (first->log_rate) {
			decision->log_rate = first->log_rate;
			decision->log_cause = decision->cause;
		}
		decision->drop = first->action == ACTION_DROP;
	} else if (decision->cause == REASON_BANNED) {
		decision->drop = 1;
	} else if (packet->tail_fault) {
		decision->cause = packet->tail_fault;
		decision->drop = 1;
	} else {
		decision->cause = REASON_DEFAULT;
		if (ESTABLISHED && policy->default_drop)
			decision->cause = find_excuse(ctx, packet);
		decision->drop = policy->default_drop && decision->cause == REASON_DEFAULT;
	}
	if (LIMITS)
		keep_limits(packet, policy, control, generation, frame);
}

static __always_inline void decide(struct xdp_md *ctx, enum reason reason, struct scratch *frame)
{
	struct decision *decision = &frame->decision;
	__u32 zero = 0, generation;
	struct control *now = control.lookup(&zero);
	struct policy *rules;

	if (!now)
		return;
	generation = *(volatile __u32 *)&now->generation & 1;
	rules = policy.lookup(&generation);
	if (!rules)
		return;

	decision->cause = reason;
	switch (reason) {
	case REASON_DEFAULT:
		decide_by_rows(ctx, rules, now, generation, frame);
		break;
	case REASON_ARP:
	case REASON_NDP:
		break;
	case REASON_NON_IP:
		decision->drop = rules->default_drop && !may_pass_default_drop(rules, frame->packet.ethertype);
		break;
	default:
		decision->drop = 1;
	}
	if (decision->drop && rules->monitor) {
		decision->drop = 0;
		decision->monitored = 1;
	}
}
