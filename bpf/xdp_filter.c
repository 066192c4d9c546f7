/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet path: frame -> parse -> classify -> match -> account -> verdict.
 *
 * parse.h     frame to struct packet (packet.h)
 * decide.h    the verdict: classify.h finds the sets of the source, match.h the first row of the policy
 * account.h   counts by interface and cause, by leaf, and by talker (talkers.h)
 * maps.h      the tables, shared with userspace
 * reason.h    why a packet passed or was dropped
 *
 * Only this program's text goes to the compiler as one piece: the loader puts the quoted includes in place.
 */
#include "parse.h"
#include "decide.h"
#include "account.h"
#ifdef TWIN
#include "twin.h"
#endif

int xdp_filter(struct xdp_md *ctx)
{
	struct packet packet = {};
	struct decision decision = {};
	enum reason reason = parse(ctx, &packet);

	decide(&packet, reason, &decision);
	account(&packet, &decision);
#ifdef TWIN
	leave_trace(&packet, &decision);
#endif
	return decision.drop ? XDP_DROP : XDP_PASS;
}
