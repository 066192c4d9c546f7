/* SPDX-License-Identifier: GPL-2.0-only */
/* Why a packet passed or was dropped. Append-only: userspace shows these numbers by name (xdpfw/model/reason.py). */
#pragma once

enum reason {
	REASON_DEFAULT = 0,
	REASON_RULE = 1, /* of rules that are gone; no packet is counted here */
	REASON_ARP = 2,
	REASON_NDP = 3,
	REASON_NON_IP = 4,
	REASON_SHORT_ETHERNET = 5,
	REASON_VLAN_DEPTH = 6,
	REASON_BAD_IPV4 = 7,
	REASON_BAD_IPV6 = 8,
	REASON_EXTENSION_DEPTH = 9,
	REASON_SHORT_EXTENSION = 10,
	REASON_SHORT_TRANSPORT = 11,
	REASON_BANNED = 12,
	REASON_ESTABLISHED = 13,
	REASON_RELATED = 14,
	REASON_GROUP_MANAGEMENT = 15,
};

/*
 * What a frame is counted under: its reason, or MAX_REASONS + the slot of the rule that decided. A rule keeps its slot
 * while it exists, wherever it stands; a row is a place in the policy's order.
 */
#define MAX_REASONS 32
#define MAX_ROWS 4224
#define MAX_SLOTS 8448
#define CAUSES (MAX_REASONS + MAX_SLOTS)
