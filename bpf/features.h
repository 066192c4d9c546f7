/* SPDX-License-Identifier: GPL-2.0-only */
/* What the program is compiled for: userspace sets to 1 what the policy asks for (xdpfw/model/feature.py). */
#pragma once

#ifndef MATCH_DESTINATION
#define MATCH_DESTINATION 0
#endif
#ifndef MATCH_SOURCE_PREFIX
#define MATCH_SOURCE_PREFIX 0
#endif
#ifndef MATCH_DESTINATION_PREFIX
#define MATCH_DESTINATION_PREFIX 0
#endif
#ifndef MATCH_PROTOCOL
#define MATCH_PROTOCOL 0
#endif
#ifndef MATCH_SOURCE_PORT
#define MATCH_SOURCE_PORT 0
#endif
#ifndef MATCH_DESTINATION_PORT
#define MATCH_DESTINATION_PORT 0
#endif
#ifndef MATCH_ICMP
#define MATCH_ICMP 0
#endif
#ifndef MATCH_TCP_FLAGS
#define MATCH_TCP_FLAGS 0
#endif
#ifndef MATCH_VLAN
#define MATCH_VLAN 0
#endif
#ifndef MATCH_LENGTH
#define MATCH_LENGTH 0
#endif
#ifndef MATCH_FRAGMENT
#define MATCH_FRAGMENT 0
#endif
#ifndef MATCH_INTERFACE
#define MATCH_INTERFACE 0
#endif
#ifndef MANY_ROWS /* more than one word of rows */
#define MANY_ROWS 0
#endif
#ifndef EVENTS
#define EVENTS 0
#endif
#ifndef MONITORED_RULES
#define MONITORED_RULES 0
#endif
#ifndef LIMITS /* rules with a limit */
#define LIMITS 0
#endif
#ifndef BANS /* of sources that exceed one */
#define BANS 0
#endif
#ifndef ESTABLISHED /* the default is drop: answers pass */
#define ESTABLISHED 0
#endif
/* Not wishes of any policy: benchmarks/ and tests compare with programs that go without. */
#ifndef TALKERS
#define TALKERS 1
#endif
#ifndef ENTRY_COUNTERS
#define ENTRY_COUNTERS 1
#endif
#ifdef TRIES_ONLY /* nothing before the tries */
#define REMEMBERED_LEAVES 0
#else
#define REMEMBERED_LEAVES 1
#endif
