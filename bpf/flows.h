/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows: which conversations this host, or one behind it, is having. Learnt from what leaves (egress.c), looked up for
 * what arrives and no row matches (established.h). One table for all interfaces: answers may take another way back.
 *
 * The table is of a fixed size and forgets what was used least recently. Nobody outside can fill it with what they
 * send: only what leaves makes a flow.
 */
#pragma once

#include "packet.h"
#include "parse.h"

enum flow_kind {
	FLOW_EXACT = 0,
	FLOW_FRAGMENTS = 1, /* between two addresses, datagrams of a flow arrive in fragments */
};

/* Named from here, whichever way a packet goes. */
struct flow_key {
	union address local;
	union address remote;
	__u16 local_port; /* host order; the identifier of an echo; 0 where a protocol has none */
	__u16 remote_port;
	__u8 protocol;
	__u8 version;
	__u8 kind; /* enum flow_kind */
	__u8 reserved;
};
_Static_assert(sizeof(struct flow_key) == 40, "struct flow_key");

enum flow_state {
	FLOW_NEW = 0,     /* nothing came back yet */
	FLOW_REPLIED = 1,
	FLOW_CLOSING = 2, /* this side sent a FIN or a RST */
};

struct flow {
	__u64 deadline; /* jiffies; from then on it is as good as absent */
	__u32 state;    /* enum flow_state */
	__u32 reserved;
};
_Static_assert(sizeof(struct flow) == 16, "struct flow");

/*
 * A packet that left (egress.c: it does now; established.h: an ICMP error quotes it), and the flow that it or an answer
 * to it is part of. One for each CPU, and not on the stack: see struct scratch in decide.h.
 */
struct asked {
	struct packet packet;
	struct flow_key key;
	struct bpf_sock_tuple tuple;
	__u32 reserved;
	struct room room;
};
_Static_assert(sizeof(struct asked) == 192, "struct asked is three cache lines");

BPF_TABLE("lru_hash", struct flow_key, struct flow, flows, 1);

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define DHCP_SERVER 67
#define DHCP_CLIENT 68
#define DHCPV6_CLIENT 546
#define DHCPV6_SERVER 547

/* Seconds without a packet. Those of Linux's connection tracking, but for TCP the least that RFC 5382 allows. */
#define TCP_ESTABLISHED_SECONDS 7500
#define TCP_TRANSITORY_SECONDS 120
#define TCP_RESET_SECONDS 10
#define UDP_NEW_SECONDS 30
#define UDP_REPLIED_SECONDS 120
#define ECHO_SECONDS 30
#define FRAGMENT_SECONDS 30
#define OTHER_SECONDS 600

struct echo {
	struct icmp header;
	__be16 id;
};

static __always_inline int is_icmp(__u8 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

/* Whether a packet goes to many: multicast, or the limited broadcast of IPv4. */
static __always_inline int is_group(const struct packet *packet)
{
	const union address *to = &packet->destination;

	if (packet->version == 6)
		return to->bytes[0] == 0xff;
	return to->bytes[12] >> 4 == 14 || to->words[3] == 0xffffffff;
}

static __always_inline int is_dhcp(const struct flow_key *key)
{
	if (key->protocol != IPPROTO_UDP)
		return 0;
	return (key->local_port == DHCP_CLIENT && key->remote_port == DHCP_SERVER) ||
	       (key->local_port == DHCPV6_CLIENT && key->remote_port == DHCPV6_SERVER);
}

/*
 * Who asks for an address asks everybody, without an address of its own or from one that it is about to get: an answer
 * has other addresses than the request (RFC 2131 section 4.1, RFC 8415 section 7.1).
 */
static __always_inline void forget_addresses(struct flow_key *key)
{
	if (!is_dhcp(key))
		return;
	key->local = (union address){};
	key->remote = (union address){};
}

static __always_inline __u8 echo_type(__u8 protocol, int outbound)
{
	if (protocol == IPPROTO_ICMP)
		return outbound ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY;
	return outbound ? ICMPV6_ECHO_REQUEST : ICMPV6_ECHO_REPLY;
}

/* The key of a packet's flow; answers -1 for packets that are part of none. */
static __always_inline int key_of(frame_context *ctx, const struct packet *packet, int outbound, struct asked *question)
{
	struct cursor cursor = cursor_at(ctx, packet->transport & OFFSET_MASK, &question->room);
	struct flow_key *key = &question->key;
	struct echo echo;

	*key = (struct flow_key){
		.local = outbound ? packet->source : packet->destination,
		.remote = outbound ? packet->destination : packet->source,
		.local_port = outbound ? packet->source_port : packet->destination_port,
		.remote_port = outbound ? packet->destination_port : packet->source_port,
		.protocol = packet->protocol,
		.version = packet->version,
	};
	if (is_icmp(packet->protocol)) {
		if (packet->icmp_type != echo_type(packet->protocol, outbound))
			return -1;
		if (cursor.offset + sizeof(echo) > packet->end || peek(&cursor, &echo, sizeof(echo)))
			return -1;
		key->local_port = bpf_ntohs(echo.id);
	}
	forget_addresses(key);
	return 0;
}

static __always_inline __u32 seconds_of(const struct flow_key *key, __u32 state)
{
	switch (key->protocol) {
	case IPPROTO_TCP:
		return state == FLOW_REPLIED ? TCP_ESTABLISHED_SECONDS : TCP_TRANSITORY_SECONDS;
	case IPPROTO_UDP:
		return state == FLOW_REPLIED ? UDP_REPLIED_SECONDS : UDP_NEW_SECONDS;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return ECHO_SECONDS;
	}
	return OTHER_SECONDS;
}

static __always_inline int is_alive(const struct flow *flow, __u64 now)
{
	return now < flow->deadline;
}

/* A packet of the flow was seen. Not written every time: CPUs would take the cache line from each other. */
static __always_inline void keep_alive(const struct flow_key *key, struct flow *flow, __u64 now)
{
	__u64 deadline = now + (__u64)seconds_of(key, flow->state) * HZ;

	if (deadline >= flow->deadline + HZ)
		flow->deadline = deadline;
}
