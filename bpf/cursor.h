/* SPDX-License-Identifier: GPL-2.0-only */
/* A place in a frame: reading there, and moving on. For what arrives (XDP), and with EGRESS for what leaves (tc). */
#pragma once

#include "packet.h"

#ifdef EGRESS
typedef struct __sk_buff frame_context;
#else
typedef struct xdp_md frame_context;
#endif

/* More than all headers within the bounds above can take: 14 + 4 * 4 + 40 + 8 * 2048. */
#define OFFSET_MASK 0x7fff

/* Where a header goes by that lies outside of the first buffer: the largest is that of IPv6. */
struct room {
	__u64 words[5];
};

struct cursor {
	frame_context *ctx;
	void *start;
	void *end; /* of the first buffer */
	struct room *room;
	__u32 offset;
};

static __always_inline __u32 frame_length(frame_context *ctx)
{
#ifdef EGRESS
	return ctx->len;
#elif defined(MULTI_BUFFER)
	return bpf_xdp_get_buff_len(ctx);
#else
	return ctx->data_end - ctx->data;
#endif
}

/*
 * Move on, and let the verifier forget how we got here: it would follow every combination of tags and extension headers
 * to the end of the program, were their lengths part of what it knows. What lies in a map is opaque to it; what lies on
 * the stack is not, however narrow.
 */
static __always_inline void advance(struct cursor *cursor, struct packet *packet, __u32 length)
{
	*(volatile __u16 *)&packet->cursor = cursor->offset + length;
	cursor->offset = *(volatile __u16 *)&packet->cursor & OFFSET_MASK;
}

/*
 * Copy a header. No helper ever sees its address, so it needs no place on the stack, where the verifier would remember
 * its contents long after they matter.
 */
static __always_inline int peek(const struct cursor *cursor, void *header, __u32 size)
{
	void *from = cursor->start + cursor->offset;

	if (from + size <= cursor->end) {
		__builtin_memcpy(header, __builtin_assume_aligned(from, 4), size);
		return 0;
	}
#ifdef EGRESS
	if (bpf_skb_load_bytes(cursor->ctx, cursor->offset, cursor->room, size))
		return -1;
#elif defined(MULTI_BUFFER)
	if (bpf_xdp_load_bytes(cursor->ctx, cursor->offset, cursor->room, size))
		return -1;
#else
	return -1;
#endif
	__builtin_memcpy(header, cursor->room, size);
	return 0;
}

static __always_inline struct cursor cursor_at(frame_context *ctx, __u32 offset, struct room *room)
{
	return (struct cursor){
		.ctx = ctx,
		.start = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.room = room,
		.offset = offset,
	};
}
