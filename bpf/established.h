/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a default of drop lets in all the same: answers to what this host, or one behind it, asked.
 *
 * Asked only when no row matched, so a row always has the last word. Two sources know what was asked: the flows that
 * egress.c learnt from what left, and the sockets of this host. The twin looks, and changes nothing.
 */
#pragma once

#include "classify.h"
#include "flows.h"
#include "parse.h"

#define ICMP_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMP_HEADER 8
#define QUOTED_TRANSPORT 8 /* the least of a transport header that an ICMP error quotes (RFC 792) */

#define MLD_QUERY 130
#define MLD_DONE 132
#define MLDV2_REPORT 143

#define SOCKET_ESTABLISHED 1 /* include/net/tcp_states.h; connected UDP sockets are in this state too */
#define SOCKET_LISTEN 10

BPF_TABLE("array", __u32, struct asked, asked, 1);

static __always_inline int is_link_local(const union address *address)
{
	return (address->words[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/*
 * IGMP and MLD never cross a router. Switches that snoop them cut off who does not answer their queries, and with
 * IPv6 that means neighbour discovery (RFC 4541, RFC 4890 section 4.4.1).
 */
static __always_inline int is_group_management(const struct packet *packet)
{
	if (packet->hop_limit != 1 || packet->fragment)
		return 0;
	if (packet->protocol == IPPROTO_IGMP)
		return packet->version == 4 && is_group(packet);
	return packet->version == 6 && packet->protocol == IPPROTO_ICMPV6 && is_link_local(&packet->source) &&
	       ((packet->icmp_type >= MLD_QUERY && packet->icmp_type <= MLD_DONE) || packet->icmp_type == MLDV2_REPORT);
}

/* Errors only: a redirect is none, and nobody asked for it. */
static __always_inline int is_icmp_error(const struct packet *packet)
{
	if (!packet->has_type)
		return 0;
	if (packet->protocol == IPPROTO_ICMPV6)
		return packet->icmp_type >= ICMPV6_UNREACHABLE && packet->icmp_type <= ICMPV6_PARAMETER_PROBLEM;
	return packet->icmp_type == ICMP_UNREACHABLE || packet->icmp_type == ICMP_TIME_EXCEEDED ||
	       packet->icmp_type == ICMP_PARAMETER_PROBLEM;
}

/* The packet that an ICMP error quotes, as far as it is there; -1 if it cannot be told. */
static __always_inline int parse_quoted(struct xdp_md *ctx, const struct packet *packet, struct packet *quoted,
					struct room *room)
{
	struct cursor cursor = cursor_at(ctx, (packet->transport + ICMP_HEADER) & OFFSET_MASK, room);
	struct ipv6hdr header6;
	struct iphdr header4;

	*quoted = (struct packet){ .end = packet->end };
	if (packet->version == 4) {
		if (parse_ipv4_header(&cursor, quoted, &header4))
			return -1;
	} else if (parse_ipv6_header(&cursor, quoted, &header6) || parse_extensions(&cursor, quoted)) {
		return -1;
	}
	/* It goes to the one who sent what it is about. */
	if (quoted->fragment == FRAGMENT_LATER || cursor.offset + QUOTED_TRANSPORT > packet->end ||
	    !same_address(&quoted->source, &packet->destination))
		return -1;
	quoted->transport = cursor.offset;
	if (is_icmp(quoted->protocol))
		return parse_icmp(&cursor, quoted);
	if (quoted->protocol == IPPROTO_TCP || quoted->protocol == IPPROTO_UDP || quoted->protocol == IPPROTO_SCTP) {
		parse_ports(&cursor, quoted);
		return quoted->has_ports ? 0 : -1;
	}
	return 0;
}

static __always_inline int key_of_quoted(struct xdp_md *ctx, const struct packet *packet, struct asked *question)
{
	return parse_quoted(ctx, packet, &question->packet, &question->room) ||
	       key_of(ctx, &question->packet, 1, question);
}

/* Fields of a socket are read one by one: the verifier takes no pointer that was calculated. */
#define OF_SOCKET(socket, field) (*(volatile typeof((socket)->field) *)&(socket)->field)

static __always_inline int is_peer(struct bpf_sock *socket, const struct flow_key *key)
{
	__be32 ipv4 = OF_SOCKET(socket, dst_ip4);
	union address peer = { .words = { OF_SOCKET(socket, dst_ip6[0]), OF_SOCKET(socket, dst_ip6[1]),
					  OF_SOCKET(socket, dst_ip6[2]), OF_SOCKET(socket, dst_ip6[3]) } };

	if (OF_SOCKET(socket, dst_port) != bpf_htons(key->remote_port))
		return 0;
	return key->version == 4 ? ipv4 == key->remote.words[3] : same_address(&peer, &key->remote);
}

/* A connection of this host with exactly this peer. Who listens has not asked, nor has an unconnected UDP socket. */
static __always_inline int has_socket(struct xdp_md *ctx, const struct flow_key *key, struct bpf_sock_tuple *tuple)
{
	struct bpf_sock *found;
	__u32 size;
	int known;

	if (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP)
		return 0;
	if (key->version == 4) {
		size = sizeof(tuple->ipv4);
		tuple->ipv4.saddr = key->remote.words[3];
		tuple->ipv4.daddr = key->local.words[3];
		tuple->ipv4.sport = bpf_htons(key->remote_port);
		tuple->ipv4.dport = bpf_htons(key->local_port);
	} else {
		/* As in ipv6_rcv: an IPv4 address has no place on the wire of IPv6. */
		if (is_ipv4(&key->remote) || is_ipv4(&key->local))
			return 0;
		size = sizeof(tuple->ipv6);
		__builtin_memcpy(tuple->ipv6.saddr, key->remote.bytes, sizeof(tuple->ipv6.saddr));
		__builtin_memcpy(tuple->ipv6.daddr, key->local.bytes, sizeof(tuple->ipv6.daddr));
		tuple->ipv6.sport = bpf_htons(key->remote_port);
		tuple->ipv6.dport = bpf_htons(key->local_port);
	}
	if (key->protocol == IPPROTO_TCP) {
		found = bpf_skc_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!found)
			return 0;
		known = found->state != SOCKET_LISTEN;
		bpf_sk_release(found);
		return known;
	}
	found = bpf_sk_lookup_udp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!found)
		return 0;
	known = found->state == SOCKET_ESTABLISHED && is_peer(found, key);
	bpf_sk_release(found);
	return known;
}

static __always_inline struct flow *living_flow(struct flow_key *key, __u64 now)
{
	struct flow *flow = flows.lookup(key);

	return flow && is_alive(flow, now) ? flow : 0;
}

/* Who answers keeps a conversation going, unless it was over, or was one question. */
static __always_inline void note_answer(const struct flow_key *key, struct flow *flow, __u64 now)
{
#ifndef TWIN
	if (flow->state == FLOW_CLOSING || is_icmp(key->protocol) || is_dhcp(key))
		return;
	if (flow->state != FLOW_REPLIED)
		flow->state = FLOW_REPLIED;
	keep_alive(key, flow, now);
#endif
}

static __always_inline void name_fragments(const struct packet *packet, struct flow_key *key)
{
	*key = (struct flow_key){
		.local = packet->destination,
		.remote = packet->source,
		.version = packet->version,
		.kind = FLOW_FRAGMENTS,
	};
}

/* Later fragments have no ports: they pass while datagrams of a known flow between the same addresses come in pieces. */
static __always_inline void expect_fragments(const struct packet *packet, struct flow_key *key, __u64 now)
{
#ifndef TWIN
	struct flow fresh = { .deadline = now + FRAGMENT_SECONDS * HZ };
	struct flow *flow;

	name_fragments(packet, key);
	flow = living_flow(key, now + HZ);
	if (!flow)
		flows.update(key, &fresh);
#endif
}

/* The key of the flow that a packet would belong to were it an answer; -1 if it is none. */
static __always_inline int key_of_answer(struct xdp_md *ctx, const struct packet *packet, struct asked *question)
{
	if (packet->fragment == FRAGMENT_LATER) {
		name_fragments(packet, &question->key);
		return 0;
	}
	/* Who begins a connection does not answer. */
	if (packet->protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return -1;
	return key_of(ctx, packet, 0, question);
}

/* Why a packet passes that no row matched and the default would drop; REASON_DEFAULT: it does not. */
static __always_inline enum reason find_excuse(struct xdp_md *ctx, const struct packet *packet)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct asked *question = asked.lookup(&cpu);
	int error = is_icmp_error(packet);
	__u64 now = bpf_jiffies64();
	struct flow *flow;

	if (!question)
		return REASON_DEFAULT;
	if (is_group_management(packet))
		return REASON_GROUP_MANAGEMENT;
	if (error ? key_of_quoted(ctx, packet, question) : key_of_answer(ctx, packet, question))
		return REASON_DEFAULT;
	flow = living_flow(&question->key, now);
	if (!flow && !has_socket(ctx, &question->key, &question->tuple))
		return REASON_DEFAULT;
	if (error)
		return REASON_RELATED;
	if (flow)
		note_answer(&question->key, flow, now);
	if (packet->fragment == FRAGMENT_FIRST)
		expect_fragments(packet, &question->key, now);
	return REASON_ESTABLISHED;
}
