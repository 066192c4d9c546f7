/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known about a packet to the first matching row of the policy, without walking the rows.
 *
 * Every dimension maps its value to a vector with one bit per row; the rows that match are the AND of the dimensions'
 * vectors, and the first of them is the lowest bit (Lakshman and Stiliadis 1998). A summary has one bit for every word
 * that is not all zeros, so that long vectors are mostly skipped (Baboescu and Varghese 2001).
 *
 * Vectors are found in two ways. Addresses have a class, which is the number of their vector. Other values look theirs
 * up in value_vector; a value that a packet does not have (ports of a later fragment) is a value of its own.
 *
 * Userspace compiles the program for the dimensions that the policy asks for: MATCH_… is 0 or 1, and what is 0 leaves
 * no instruction behind. The tables are always complete, so a program with more dimensions than needed is right too.
 */
#pragma once

#include "bits.h"
#include "classify.h"
#include "maps.h"
#include "packet.h"

#define DIMENSIONS (1 + MATCH_DESTINATION + MATCH_SOURCE_PREFIX + MATCH_DESTINATION_PREFIX + MATCH_PROTOCOL + \
		    MATCH_SOURCE_PORT + MATCH_DESTINATION_PORT + MATCH_ICMP + MATCH_TCP_FLAGS + MATCH_VLAN + \
		    MATCH_LENGTH + MATCH_FRAGMENT + MATCH_INTERFACE)

/* Where the values of each dimension begin in value_vector; multiples of a line. The last value is "has none". */
#define VALUES_PROTOCOL 0
#define NO_PROTOCOL 256
#define VALUES_ICMP 288
#define NO_ICMP 512 /* ICMPv6 types follow those of ICMP */
#define VALUES_TCP_FLAGS 832
#define NO_TCP_FLAGS 256
#define VALUES_FRAGMENT 1120
#define VALUES_VLAN 1152
#define VALUES_LENGTH 5280
#define VALUES_SOURCE_PORT 70816
#define NO_PORT 65536
#define VALUES_DESTINATION_PORT 136384

#define NO_ROW MAX_ROWS

/* Rows: the first that is enforced, and the first in monitor mode before it. */
struct matched {
	__u32 row;
	__u32 monitored;
};

static __always_inline struct vector *vector_at(__u32 number, __u32 generation, const struct control *control)
{
	__u32 index = generation * control->vectors + number;

	return vector.lookup(&index);
}

static __always_inline struct vector *vector_of(__u32 value, __u32 generation, const struct control *control)
{
	__u32 index = generation * VALUE_LINES + value / LINE_VALUES;
	struct value_line *line = value_vector.lookup(&index);

	return line ? vector_at(line->vector[value % LINE_VALUES], generation, control) : 0;
}

static __always_inline struct literal *literal_of(const union address *address, __u32 generation)
{
	struct literal_key key = { .length = 160, .generation = generation };

	__builtin_memcpy(key.address, address->bytes, sizeof(key.address));
	return literals.lookup(&key);
}

/*
 * The vectors of all dimensions; answers -1 if one is missing, which does not happen. Every one is looked at where it is
 * found: the verifier would walk all combinations of those that may be missing.
 */
static __always_inline int gather(const struct packet *packet, __u32 source_class, __u32 generation,
				  const struct control *control, struct vector **of)
{
	struct literal *literal;
	struct interface *here;
	__u32 zero = 0, value;
	int n = 0;

	if (!(of[n++] = vector_at(source_class, generation, control)))
		return -1;
	if (MATCH_DESTINATION) {
		value = VECTOR_DESTINATION + class_of(&packet->destination, generation);
		if (!(of[n++] = vector_at(value, generation, control)))
			return -1;
	}
	if (MATCH_SOURCE_PREFIX) {
		literal = literal_of(&packet->source, generation);
		if (!literal || !(of[n++] = vector_at(literal->source, generation, control)))
			return -1;
	}
	if (MATCH_DESTINATION_PREFIX) {
		literal = literal_of(&packet->destination, generation);
		if (!literal || !(of[n++] = vector_at(literal->destination, generation, control)))
			return -1;
	}
	if (MATCH_PROTOCOL) {
		value = packet->tail_fault ? NO_PROTOCOL : packet->protocol;
		if (!(of[n++] = vector_of(VALUES_PROTOCOL + value, generation, control)))
			return -1;
	}
	if (MATCH_SOURCE_PORT) {
		value = packet->has_ports ? packet->source_port : NO_PORT;
		if (!(of[n++] = vector_of(VALUES_SOURCE_PORT + value, generation, control)))
			return -1;
	}
	if (MATCH_DESTINATION_PORT) {
		value = packet->has_ports ? packet->destination_port : NO_PORT;
		if (!(of[n++] = vector_of(VALUES_DESTINATION_PORT + value, generation, control)))
			return -1;
	}
	if (MATCH_ICMP) {
		value = NO_ICMP;
		if (packet->has_type)
			value = (packet->protocol == IPPROTO_ICMPV6) * 256 + packet->icmp_type;
		if (!(of[n++] = vector_of(VALUES_ICMP + value, generation, control)))
			return -1;
	}
	if (MATCH_TCP_FLAGS) {
		value = packet->has_ports && packet->protocol == IPPROTO_TCP ? packet->tcp_flags : NO_TCP_FLAGS;
		if (!(of[n++] = vector_of(VALUES_TCP_FLAGS + value, generation, control)))
			return -1;
	}
	if (MATCH_VLAN && !(of[n++] = vector_of(VALUES_VLAN + packet->vlan, generation, control)))
		return -1;
	if (MATCH_LENGTH) {
		value = packet->frame_length > LENGTH_MAX ? LENGTH_MAX : packet->frame_length;
		if (!(of[n++] = vector_of(VALUES_LENGTH + value, generation, control)))
			return -1;
	}
	if (MATCH_FRAGMENT && !(of[n++] = vector_of(VALUES_FRAGMENT + packet->fragment, generation, control)))
		return -1;
	if (MATCH_INTERFACE) {
		here = interface.lookup(&zero);
		if (!here || !(of[n++] = vector_at(here->vector[generation & 1], generation, control)))
			return -1;
	}
	return 0;
}

static __always_inline __u64 matching_rows(struct vector **of, __u32 word)
{
	__u64 rows = of[0]->word[word];

#pragma unroll
	for (int i = 1; i < DIMENSIONS; i++)
		rows &= of[i]->word[word];
	return rows;
}

/* Look for the first row among the matching ones of one word; answers whether the search is over. */
static __always_inline int settle(__u64 rows, __u64 enforced, __u32 word, struct matched *found)
{
	__u64 monitored = rows & ~enforced;

	rows &= enforced;
	if (MONITORED_RULES && rows)
		monitored &= (rows & -rows) - 1;
	if (MONITORED_RULES && monitored && found->monitored == NO_ROW)
		found->monitored = word * 64 + lowest_bit(monitored);
	if (!rows)
		return 0;
	found->row = word * 64 + lowest_bit(rows);
	return 1;
}

static __always_inline void match(const struct packet *packet, __u32 source_class, __u32 generation,
				  const struct control *control, struct matched *found)
{
	struct vector *of[DIMENSIONS], *enforced = 0;

	found->row = found->monitored = NO_ROW;
	if (gather(packet, source_class, generation, control, of))
		return;
	if (MONITORED_RULES) {
		enforced = vector_at(VECTOR_ENFORCED, generation, control);
		if (!enforced)
			return;
	}
	if (!MANY_ROWS) {
		settle(matching_rows(of, 0), enforced ? enforced->word[0] : ~0ULL, 0, found);
		return;
	}
#pragma unroll
	for (__u32 half = 0; half < SUMMARY_WORDS; half++) {
		__u64 left = of[0]->summary[half];

#pragma unroll
		for (int i = 1; i < DIMENSIONS; i++)
			left &= of[i]->summary[half];
#pragma clang loop unroll(disable)
		for (__u32 eight = 0; eight < 8 && left; eight++) {
			if (!(left & 0xff)) {
				left >>= 8;
				continue;
			}
#pragma clang loop unroll(disable)
			for (__u32 one = 0; one < 8; one++, left >>= 1) {
				__u32 word = half * 64 + eight * 8 + one;

				if (word >= VECTOR_WORDS)
					return;
				if (left & 1 && settle(matching_rows(of, word), enforced ? enforced->word[word] : ~0ULL,
						       word, found))
					return;
			}
		}
	}
}
