/* SPDX-License-Identifier: GPL-2.0-only */
/* Gives a frame the next source out of a table, and the next length if it says one. FAMILY is 4 or 6. */
#pragma once

struct varied {
#if FAMILY == 4
	__be32 source[1];
#else
	__be32 source[4];
	__u32 reserved;
#endif
	__u32 length; /* 0: as it is */
};

BPF_TABLE("array", __u32, struct varied, variants, 1);
BPF_TABLE("percpu_array", __u32, __u64, turn, 1);

static __always_inline int vary(struct xdp_md *ctx)
{
	__u32 zero = 0, index;
	__u64 *next = turn.lookup(&zero);
	struct varied *to;
	void *data;
	long has;

	if (!next)
		return -1;
	index = (*next)++ & (VARIANTS - 1);
	to = variants.lookup(&index);
	if (!to)
		return -1;
#ifdef LENGTHS
	has = ctx->data_end - ctx->data;
	asm volatile("" : "+r"(has));
	if (to->length && bpf_xdp_adjust_tail(ctx, to->length - has))
		return -1;
#endif
	data = (void *)(long)ctx->data;
#if FAMILY == 4
	if (data + 34 > (void *)(long)ctx->data_end)
		return -1;
	*(__be32 *)(data + 26) = to->source[0];
#else
	if (data + 54 > (void *)(long)ctx->data_end)
		return -1;
	__builtin_memcpy(data + 22, to->source, 16);
#endif
	return 0;
}
