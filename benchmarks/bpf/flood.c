/* SPDX-License-Identifier: GPL-2.0-only */
/* Varies the frame and sends it out of an interface, with its IPv4 checksum kept right. */
#include "vary.h"

int flood(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 sum;
	__u16 *header = data + 14;

	if (vary(ctx))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	header = data + 14;
	if (data + 34 > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
#if FAMILY == 4
	header[5] = 0;
	sum = 0;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += header[i];
	sum = (sum & 0xffff) + (sum >> 16);
	header[5] = ~((sum & 0xffff) + (sum >> 16));
#endif
	return bpf_redirect(INTERFACE, 0);
}
