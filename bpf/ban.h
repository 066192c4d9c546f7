/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bans: sources that exceeded a limit, dropped until their deadline.
 *
 * A ban acts as a row of its own right before the rule that made it: rows that stand before that rule decide first. It
 * is made here and ends here, by the clock; no daemon needs to run. Bans never push each other out: when there is no room, a
 * new one is refused and counted.
 *
 * Most packets come from sources that are not banned, so a table of bytes is asked first, which is quick, and errs to
 * one side only. Userspace takes out of it what is not needed any more; should that hit a ban that is made at the same
 * moment, the next packet over the limit puts it in again.
 */
#pragma once

#include "classify.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"

#define BAN_LENGTHS 8
#define NO_PLACE 0xffffffff
#define E_EXIST 17

/* What the compiler knows about a number ends here: it would make branches of it, which the verifier has to follow. */
static __always_inline __u64 opaque(__u64 value)
{
	asm volatile("" : "+r"(value));
	return value;
}

/* The first `bits` of a half, 0 to 64; a shift by 64 is none. */
static __always_inline __u64 half_mask(__u64 bits)
{
	return bpf_htonll(~(~0ULL >> (bits >> 1) >> (bits - (bits >> 1))));
}

static __always_inline void mask_address(union address *masked, const union address *address, __u64 length)
{
	__u64 beyond = length - 64, second = beyond & ~opaque((__s64)beyond >> 63);

	masked->halves[0] = address->halves[0] & half_mask(length - second);
	masked->halves[1] = address->halves[1] & half_mask(second);
}

static __always_inline __u8 *gate_of(const struct ban_key *key, __u64 seed)
{
	__u64 hash = hash_address(&key->address, seed ^ key->length);
	__u32 line = hash >> 40 & (GATE_LINES - 1), place = hash >> 32 & (GATE_LINE - 1);
	struct gate_line *found = ban_gate.lookup(&line);

	return found ? &found->maybe[place] : 0;
}

/* The place of a ban of this prefix, NO_PLACE if there is none in force. Its packets count there. */
static __always_inline __u32 place_of_ban(struct ban_key *key, const struct packet *packet, __u32 generation,
					  __u32 row, __u32 *slot)
{
	struct ban *ban = bans.lookup(key);
	__u32 index, *place;

	if (!ban || bpf_jiffies64() >= ban->deadline || ban->slot >= MAX_SLOTS)
		return NO_PLACE;
	index = generation * MAX_SLOTS + ban->slot;
	place = ban_place.lookup(&index);
	if (!place || *place > row)
		return NO_PLACE;
	*slot = ban->slot;
#ifndef TWIN
	__sync_fetch_and_add(&ban->packets, 1);
	__sync_fetch_and_add(&ban->bytes, packet->frame_length);
#endif
	return *place;
}

/* Whether the source is banned before `row`; answers the place of the ban, and `slot`: of the rule that made it. */
static __always_inline __u32 find_ban(const struct packet *packet, __u32 row, __u32 generation, __u32 *slot)
{
	__u32 zero = 0, length, place;
	struct ban_control *asked = ban_control.lookup(&zero);
	struct ban_key key = {};
	__u64 lengths;
	__u8 *maybe;

	if (!asked || row < asked->first[generation & 1])
		return NO_PLACE;
	lengths = *(volatile __u64 *)&asked->lengths[!is_ipv4(&packet->source)];
#pragma clang loop unroll(disable)
	for (int i = 0; i < BAN_LENGTHS; i++, lengths >>= 8) {
		length = lengths & 0xff;
		if (!length)
			break;
		key.length = length - 1;
		mask_address(&key.address, &packet->source, key.length);
		maybe = gate_of(&key, asked->seed);
		if (!maybe || !*maybe)
			continue;
		place = place_of_ban(&key, packet, generation, row, slot);
		if (place != NO_PLACE)
			return place;
	}
	return NO_PLACE;
}

/* One that has run out may still be there, and is not in the way. */
static __always_inline int insert_ban(struct ban_key *key, struct ban *ban, __u64 now)
{
	int error = bans.insert(key, ban);
	struct ban *there;

	if (error != -E_EXIST)
		return error;
	there = bans.lookup(key);
	if (!there || now < there->deadline)
		return error;
	bans.delete(key);
	return bans.insert(key, ban);
}

/* A full table is asked once in a tick, so that a flood does not pay for it again and again. */
static __always_inline void ban_source(const struct packet *packet, const struct limit *limit, __u32 slot, __u64 now)
{
	__u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct limit_stats *stats = limit_stats.lookup(&cpu);
	struct ban_control *asked = ban_control.lookup(&zero);
	struct ban ban = { .deadline = now + limit->ban, .slot = slot, .since = now };
	struct ban_key key = { .length = is_ipv4(&packet->source) ? limit->length4 : limit->length6 };
	__u8 *maybe;
	int error;

	if (!stats || !asked)
		return;
	if (stats->full_at == now) {
		stats->refused++;
		return;
	}
	mask_address(&key.address, &packet->source, key.length);
	error = insert_ban(&key, &ban, now);
	if (!error) {
		stats->banned++;
	} else if (error != -E_EXIST) {
		stats->refused++;
		stats->full_at = now;
		return;
	}
	maybe = gate_of(&key, asked->seed);
	if (maybe)
		*maybe = 1;
}
