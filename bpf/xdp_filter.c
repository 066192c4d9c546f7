/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet path: frame -> parse -> classify -> match -> account -> verdict.
 *
 * parse.h     frame to struct packet (packet.h), by a cursor (cursor.h)
 * decide.h    the verdict: classify.h finds the sets of addresses, match.h the first row of the policy, ban.h the bans,
 *             limit.h charges token buckets, established.h finds what passes a default of drop all the same
 * account.h   counts by interface and cause, by leaf, and by talker (talkers.h)
 * log.h       samples of frames with their verdict, for whoever watches
 * maps.h      the tables, shared with userspace
 * reason.h    why a packet passed or was dropped
 * features.h  which steps this program is compiled for
 *
 * Only this program's text goes to the compiler as one piece: the loader puts the quoted includes in place.
 */
#include "parse.h"
#include "decide.h"
#include "account.h"
#include "log.h"
#ifdef TWIN
#include "twin.h"
#endif

int xdp_filter(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct scratch *frame = scratch.lookup(&cpu);
	struct talker_bucket *talkers_there = 0;
	enum reason reason;
	__u64 changes = 0;

	if (!frame)
		return XDP_DROP;
	__builtin_memset(frame, 0, __builtin_offsetof(struct scratch, room));
	reason = parse(ctx, &frame->packet, &frame->room);
	if (TALKERS) {
		talkers_there = seek_talker(frame, reason, cpu, &changes);
		if (!talkers_there)
			return XDP_DROP;
	}
	decide(ctx, reason, frame);
	account(&frame->packet, &frame->decision, cpu);
	if (TALKERS)
		count_talker(talkers_there, frame, reason == REASON_DEFAULT, changes);
	if (EVENTS)
		log_frame(ctx, &frame->packet, &frame->decision, cpu);
#ifdef TWIN
	leave_trace(&frame->packet, &frame->decision);
#endif
	return frame->decision.drop ? XDP_DROP : XDP_PASS;
}
