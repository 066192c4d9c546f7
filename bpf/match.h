/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Classes to the first matching row of the policy, without walking the rows.
 *
 * Every dimension maps its class to a vector with one bit per row; the rows that match are the AND of the dimensions'
 * vectors, and the first of them is the lowest bit (Lakshman and Stiliadis 1998). A further dimension is one more line
 * in matching_rows(); more than 64 rows are more words, found through a summary word (Baboescu and Varghese 2001).
 */
#pragma once

#include "maps.h"

#define MAX_CLASSES 4096
#define VECTOR_WORDS 1
#define NO_ROW (VECTOR_WORDS * 64)

_Static_assert(NO_ROW == MAX_ROWS, "a vector has one bit for each row");

static __always_inline __u64 rows_of_class(__u32 class, __u32 generation, __u32 word)
{
	__u32 index = (generation * MAX_CLASSES + class) * VECTOR_WORDS + word;
	__u64 *rows = vector.lookup(&index);

	return rows ? *rows : 0;
}

static __always_inline __u64 matching_rows(__u32 source_class, __u32 generation, __u32 word)
{
	__u64 rows = rows_of_class(source_class, generation, word);

	return rows;
}

/*
 * Position of the lowest bit, as the number of ones below it: there is no instruction for it, and branches here would
 * multiply what the verifier has to walk.
 */
static __always_inline __u32 lowest_bit(__u64 word)
{
	__u64 ones = (word & -word) - 1;

	ones -= (ones >> 1) & 0x5555555555555555;
	ones = (ones & 0x3333333333333333) + ((ones >> 2) & 0x3333333333333333);
	ones = (ones + (ones >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (ones * 0x0101010101010101) >> 56;
}

static __always_inline __u32 first_row(__u32 source_class, __u32 generation)
{
	for (__u32 word = 0; word < VECTOR_WORDS; word++) {
		__u64 rows = matching_rows(source_class, generation, word);

		if (rows)
			return word * 64 + lowest_bit(rows);
	}
	return NO_ROW;
}
