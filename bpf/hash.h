/* SPDX-License-Identifier: GPL-2.0-only */
/* A hash of addresses. Whoever does not know the seed cannot aim at a place; xdpfw/kernel/ban_maps.py computes it too. */
#pragma once

#include "packet.h"

#define HASH_MULTIPLIER 0x9e3779b97f4a7c15ULL

static __always_inline __u64 hash_address(const union address *address, __u64 seed)
{
	__u64 hash = (address->halves[0] ^ seed) * HASH_MULTIPLIER;

	hash ^= hash >> 32;
	hash = (hash ^ address->halves[1]) * HASH_MULTIPLIER;
	hash ^= hash >> 29;
	return (hash ^ seed) * HASH_MULTIPLIER;
}
