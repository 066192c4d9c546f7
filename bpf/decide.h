/* SPDX-License-Identifier: GPL-2.0-only */
/* From what is known about a packet to its verdict and the cause that it is counted under. */
#pragma once

#include "classify.h"
#include "match.h"

struct decision {
	__u32 drop;
	__u32 monitored; /* passed, though the policy says drop */
	__u32 cause;     /* enum reason, or MAX_REASONS + row */
	__u32 leaf;
};

static __always_inline int may_pass_default_drop(const struct policy *policy, __u16 ethertype)
{
#pragma unroll
	for (int i = 0; i < ETHERTYPES; i++)
		if (ethertype && policy->ethertypes[i] == ethertype)
			return 1;
	return 0;
}

/* The rows come before a fault in the tail: what an address may do never depends on what follows the IP header. */
static __always_inline void decide_by_address(const struct packet *packet, const struct policy *policy,
					      const struct control *control, __u32 generation,
					      struct decision *decision)
{
	__u32 class = 0;
	__u32 row;

	decision->leaf = find_leaf(&packet->source);
	if (decision->leaf)
		class = class_of_leaf(decision->leaf, generation, control);
	row = first_row(class, generation);
	if (row < NO_ROW) {
		decision->cause = MAX_REASONS + row;
		decision->drop = (policy->drop_rows >> row) & 1;
	} else if (packet->tail_fault) {
		decision->cause = packet->tail_fault;
		decision->drop = 1;
	} else {
		decision->cause = REASON_DEFAULT;
		decision->drop = policy->default_drop;
	}
}

static __always_inline void decide(const struct packet *packet, enum reason reason, struct decision *decision)
{
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
		decide_by_address(packet, rules, now, generation, decision);
		break;
	case REASON_ARP:
	case REASON_NDP:
		break;
	case REASON_NON_IP:
		decision->drop = rules->default_drop && !may_pass_default_drop(rules, packet->ethertype);
		break;
	default:
		decision->drop = 1;
	}
	if (decision->drop && rules->monitor) {
		decision->drop = 0;
		decision->monitored = 1;
	}
}
