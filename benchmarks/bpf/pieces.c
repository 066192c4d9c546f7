/* SPDX-License-Identifier: GPL-2.0-only */
/* The packet path of a source that is known to be in no set, as far as a piece: 1 parses, 2 decides, 3 counts. */
#include "parse.h"
#include "decide.h"
#include "account.h"

int xdp_filter(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct scratch *frame = scratch.lookup(&cpu);
	enum reason reason;

	if (!frame)
		return XDP_ABORTED;
	__builtin_memset(frame, 0, __builtin_offsetof(struct scratch, room));
	reason = parse(ctx, &frame->packet, &frame->room);
	frame->seat.knows_leaf = 1;
	barrier();
	if (PIECES > 1)
		decide(ctx, reason, frame);
	if (PIECES > 2)
		account(&frame->packet, &frame->decision, cpu);
	return frame->decision.drop ? XDP_DROP : XDP_PASS;
}
