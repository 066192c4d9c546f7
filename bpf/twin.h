/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The twin: the same program with counters of its own, run on frames that somebody asks about. It leaves behind what it
 * decided and what it saw.
 */
#pragma once

#include "decide.h"
#include "packet.h"

struct trace {
	struct decision decision;
	struct packet packet;
};

BPF_TABLE("array", __u32, struct trace, trace, 1);

static __always_inline void leave_trace(const struct packet *packet, const struct decision *decision)
{
	__u32 zero = 0;
	struct trace *last = trace.lookup(&zero);

	if (!last)
		return;
	last->decision = *decision;
	last->packet = *packet;
}
