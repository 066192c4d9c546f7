/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Drops a frame after it has read STEPS lines of a table of 1 << LOG lines, the first by the frame's source. With CHAINED
 * each line tells which is the next, so that the processor has to wait for one after the other.
 */
struct line {
	__u32 next;
	__u32 reserved[15];
};

BPF_TABLE("array", __u32, struct line, lines, 1);

int read_lines(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 index, sum = 0;
	struct line *line;

	if (data + 30 > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	index = *(__u32 *)(data + 26) * 2654435761U >> (32 - LOG);
#pragma nounroll
	for (int step = 0; step < STEPS; step++) {
		line = lines.lookup(&index);
		if (!line)
			return XDP_ABORTED;
		sum |= line->next;
#ifdef CHAINED
		index = line->next;
#else
		index = (index * 1664525 + 1013904223) & ((1 << LOG) - 1);
#endif
	}
	return sum >> LOG ? XDP_ABORTED : XDP_DROP;
}
