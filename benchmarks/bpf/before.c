/* SPDX-License-Identifier: GPL-2.0-only */
/* Varies the frame and goes on to the program under test. */
#include "vary.h"

BPF_PROG_ARRAY(tested, 1);

int before(struct xdp_md *ctx)
{
	if (!vary(ctx))
		tested.call(ctx, 0);
	return XDP_ABORTED;
}
