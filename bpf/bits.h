/* SPDX-License-Identifier: GPL-2.0-only */
/* Searches in a word without branches: nobody could predict them, and the verifier would have to follow each. */
#pragma once

#define LANES 0x0001000100010001ULL
#define LANE_BYTES 0x0101010101010101ULL

/* Position of the lowest bit, as the number of ones below it: there is no instruction for it. */
static __always_inline __u32 lowest_bit(__u64 word)
{
	__u64 ones = (word & -word) - 1;

	ones -= (ones >> 1) & 0x5555555555555555;
	ones = (ones & 0x3333333333333333) + ((ones >> 2) & 0x3333333333333333);
	ones = (ones + (ones >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (ones * LANE_BYTES) >> 56;
}

/* The highest bit of each 16-bit lane that equals the tag; lanes above the first of them may be wrong. */
static __always_inline __u64 equal_lanes(__u64 tags, __u64 tag)
{
	__u64 differ = tags ^ tag * LANES;

	return (differ - LANES) & ~differ & LANES << 15;
}

/* The highest bit of each byte that is 0; bytes above the first of them may be wrong. */
static __always_inline __u64 zero_bytes(__u64 bytes)
{
	return (bytes - LANE_BYTES) & ~bytes & LANE_BYTES << 7;
}
