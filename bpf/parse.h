/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frame to struct packet. One cursor (cursor.h); every step checks its own bounds.
 *
 * A step answers a reason that ends the parse, or REASON_DEFAULT to go on. Faults behind the IP header end nothing
 * here: they are noted in tail_fault, because the verdict on an address must not depend on them.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "cursor.h"
#include "packet.h"
#include "reason.h"

#define VLAN_MAX_DEPTH 4
/* No driver begins a second buffer for a frame of that length, Ethernet header and two tags included, but to split headers
 * from data; then what follows the end of the IP packet there (padding) is not counted. */
#define FIRST_BUFFER 1522
#define VLAN_ID 0x0fff
#define EXTENSION_MAX 8

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_FRAGMENT_OFFSET 0xfff8
/* The most that a length field can say; what is longer carries 0 there (BIG TCP, RFC 2675). */
#define LENGTH_MAX 65535

#define EXTENSION_MOBILITY 135
#define EXTENSION_HIP 139
#define EXTENSION_SHIM6 140

#define TCP_FLAGS 13 /* offset in the header */

#define NDP_TYPE_FIRST 133
#define NDP_TYPE_LAST 137
#define NDP_HOP_LIMIT 255

struct vlan_tag {
	__be16 control;
	__be16 ethertype;
};

struct extension {
	__u8 next;
	__u8 length;
};

struct fragment_extension {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

struct ports {
	__be16 source;
	__be16 destination;
};

struct icmp {
	__u8 type;
	__u8 code;
	__be16 checksum;
};

static __always_inline int is_vlan(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD) ||
	       ethertype == bpf_htons(ETH_P_QINQ1);
}

static __always_inline enum reason parse_ethernet(struct cursor *cursor, struct packet *packet)
{
	struct ethhdr ethernet;
	struct vlan_tag tag;
	__be16 ethertype;

	if (peek(cursor, &ethernet, sizeof(ethernet)))
		return REASON_SHORT_ETHERNET;
	cursor->offset += sizeof(ethernet);
	ethertype = ethernet.h_proto;
	packet->vlan = UNTAGGED;

#pragma unroll
	for (int depth = 0; depth < VLAN_MAX_DEPTH; depth++) {
		if (!is_vlan(ethertype))
			break;
		if (peek(cursor, &tag, sizeof(tag)))
			return REASON_SHORT_ETHERNET;
		advance(cursor, packet, sizeof(tag));
		ethertype = tag.ethertype;
		if (!depth)
			packet->vlan = bpf_ntohs(tag.control) & VLAN_ID;
		packet->vlan_depth++;
	}
	if (is_vlan(ethertype))
		return REASON_VLAN_DEPTH;
	packet->ethertype = bpf_ntohs(ethertype);
	packet->network = cursor->offset;
	return REASON_DEFAULT;
}

static __always_inline void copy_ipv6(union address *address, const struct in6_addr *ipv6)
{
	address->halves[0] = half_of(ipv6->s6_addr32[0], ipv6->s6_addr32[1]);
	address->halves[1] = half_of(ipv6->s6_addr32[2], ipv6->s6_addr32[3]);
}

static __always_inline void map_ipv4(union address *address, __be32 ipv4)
{
	address->halves[0] = 0;
	address->halves[1] = half_of(bpf_htonl(0xffff), ipv4);
}

/* The fixed header, which may be quoted by an ICMP error: its lengths are those of the whole packet. */
static __always_inline enum reason parse_ipv4_header(struct cursor *cursor, struct packet *packet, struct iphdr *header)
{
	__u32 fragment;

	if (peek(cursor, header, sizeof(*header)) || header->version != 4)
		return REASON_BAD_IPV4;
	packet->version = 4;
	map_ipv4(&packet->source, header->saddr);
	map_ipv4(&packet->destination, header->daddr);
	if (header->ihl * 4 < sizeof(*header))
		return REASON_BAD_IPV4;
	fragment = bpf_ntohs(header->frag_off);
	if (fragment & IPV4_FRAGMENT_OFFSET)
		packet->fragment = FRAGMENT_LATER;
	else if (fragment & IPV4_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	packet->protocol = header->protocol;
	packet->hop_limit = header->ttl;
	advance(cursor, packet, header->ihl * 4);
	return REASON_DEFAULT;
}

/*
 * Bytes of the frame from an offset on. The first buffer's will do, if it holds as much as the header says and is not
 * full: to ask for the length of all buffers costs as much as to find the source in the tiers.
 */
static __always_inline __u32 available_for(const struct cursor *cursor, struct packet *packet, __u32 offset, __u32 length)
{
	if (!length || offset + length > packet->frame_length || packet->frame_length > FIRST_BUFFER)
		packet->frame_length = frame_length(cursor->ctx);
	return packet->frame_length - offset;
}

static __always_inline enum reason parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	struct iphdr header;
	__u32 total_length, available;

	if (parse_ipv4_header(cursor, packet, &header))
		return REASON_BAD_IPV4;
	total_length = bpf_ntohs(header.tot_len);
	available = available_for(cursor, packet, packet->network, total_length);
	if (!total_length && available > LENGTH_MAX)
		total_length = available;
	if (total_length < header.ihl * 4 || total_length > available)
		return REASON_BAD_IPV4;
	packet->end = packet->network + total_length;
	return REASON_DEFAULT;
}

static __always_inline int is_extension(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case EXTENSION_MOBILITY:
	case EXTENSION_HIP:
	case EXTENSION_SHIM6:
		return 1;
	}
	return 0;
}

/* RFC 8200 section 4.5 */
static __always_inline int parse_fragment_extension(struct cursor *cursor, struct packet *packet)
{
	struct fragment_extension header;
	__u16 offset;

	if (peek(cursor, &header, sizeof(header)))
		return -1;
	offset = bpf_ntohs(header.offset);
	packet->fragment_header = 1;
	if (offset & IPV6_FRAGMENT_OFFSET)
		packet->fragment = FRAGMENT_LATER;
	else if (offset & IPV6_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	return 0;
}

/* Step over one extension header. AH counts in 4 bytes less 2 (RFC 4302), the others in 8 less 1 (RFC 8200). */
static __always_inline int parse_extension(struct cursor *cursor, struct packet *packet)
{
	struct extension header;
	__u32 length;

	if (cursor->offset + sizeof(struct fragment_extension) > packet->end)
		return -1;
	if (peek(cursor, &header, sizeof(header)))
		return -1;
	if (packet->protocol == IPPROTO_FRAGMENT)
		length = sizeof(struct fragment_extension);
	else if (packet->protocol == IPPROTO_AH)
		length = (header.length + 2) * 4;
	else
		length = (header.length + 1) * 8;
	if (cursor->offset + length > packet->end)
		return -1;
	if (packet->protocol == IPPROTO_FRAGMENT && parse_fragment_extension(cursor, packet))
		return -1;
	packet->protocol = header.next;
	advance(cursor, packet, length);
	return 0;
}

static __always_inline enum reason parse_extensions(struct cursor *cursor, struct packet *packet)
{
	for (int depth = 0; depth < EXTENSION_MAX; depth++) {
		if (packet->fragment == FRAGMENT_LATER || !is_extension(packet->protocol))
			return REASON_DEFAULT;
		if (parse_extension(cursor, packet))
			return REASON_SHORT_EXTENSION;
	}
	if (packet->fragment != FRAGMENT_LATER && is_extension(packet->protocol))
		return REASON_EXTENSION_DEPTH;
	return REASON_DEFAULT;
}

static __always_inline enum reason parse_ipv6_header(struct cursor *cursor, struct packet *packet,
						     struct ipv6hdr *header)
{
	if (peek(cursor, header, sizeof(*header)) || header->version != 6)
		return REASON_BAD_IPV6;
	packet->version = 6;
	copy_ipv6(&packet->source, &header->saddr);
	copy_ipv6(&packet->destination, &header->daddr);
	packet->protocol = header->nexthdr;
	packet->hop_limit = header->hop_limit;
	cursor->offset += sizeof(*header);
	return REASON_DEFAULT;
}

static __always_inline enum reason parse_ipv6(struct cursor *cursor, struct packet *packet)
{
	struct ipv6hdr header;
	__u32 payload, available;

	if (parse_ipv6_header(cursor, packet, &header))
		return REASON_BAD_IPV6;
	payload = bpf_ntohs(header.payload_len);
	available = available_for(cursor, packet, cursor->offset, payload);
	if (!payload && (header.nexthdr == IPPROTO_HOPOPTS || available > LENGTH_MAX))
		payload = available;
	if (payload > available)
		return REASON_BAD_IPV6;
	packet->end = cursor->offset + payload;
	packet->tail_fault = parse_extensions(cursor, packet);
	return REASON_DEFAULT;
}

/* What a protocol's header needs before its fields may be believed; 0 for protocols that are not looked into. */
static __always_inline __u32 transport_size(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return 20;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
		return 8;
	case IPPROTO_SCTP:
		return 12;
	case IPPROTO_ICMPV6:
		return 4;
	}
	return 0;
}

static __always_inline int parse_icmp(const struct cursor *cursor, struct packet *packet)
{
	struct icmp icmp;

	if (peek(cursor, &icmp, sizeof(icmp)))
		return -1;
	packet->icmp_type = icmp.type;
	packet->icmp_code = icmp.code;
	packet->has_type = 1;
	return 0;
}

/* TCP, UDP and SCTP begin alike (RFC 9293, 768, 9260). */
static __always_inline int parse_ports(struct cursor *cursor, struct packet *packet)
{
	struct ports ports;

	if (peek(cursor, &ports, sizeof(ports)))
		return -1;
	packet->source_port = bpf_ntohs(ports.source);
	packet->destination_port = bpf_ntohs(ports.destination);
	packet->has_ports = 1;
	if (packet->protocol != IPPROTO_TCP)
		return 0;
	cursor->offset += TCP_FLAGS;
	return peek(cursor, &packet->tcp_flags, sizeof(packet->tcp_flags));
}

static __always_inline enum reason parse_transport(struct cursor *cursor, struct packet *packet)
{
	__u32 size = transport_size(packet->protocol);
	int failed;

	packet->transport = cursor->offset;
	if (!size || packet->fragment == FRAGMENT_LATER)
		return REASON_DEFAULT;
	if (cursor->offset + size > packet->end)
		return REASON_SHORT_TRANSPORT;
	if (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6)
		failed = parse_icmp(cursor, packet);
	else
		failed = parse_ports(cursor, packet);
	return failed ? REASON_SHORT_TRANSPORT : REASON_DEFAULT;
}

/* RFC 4861: neighbour discovery never crosses a router, hence the hop limit; RFC 6980: nor is it fragmented. */
static __always_inline int is_ndp(const struct packet *packet)
{
	return packet->version == 6 && packet->protocol == IPPROTO_ICMPV6 && !packet->fragment_header &&
	       packet->hop_limit == NDP_HOP_LIMIT && packet->icmp_type >= NDP_TYPE_FIRST &&
	       packet->icmp_type <= NDP_TYPE_LAST;
}

static __always_inline enum reason parse(frame_context *ctx, struct packet *packet, struct room *room)
{
	struct cursor cursor = cursor_at(ctx, 0, room);
	enum reason reason;

	packet->frame_length = cursor.end - cursor.start;
	reason = parse_ethernet(&cursor, packet);
	if (!reason) {
		if (packet->ethertype == ETH_P_IP)
			reason = parse_ipv4(&cursor, packet);
		else if (packet->ethertype == ETH_P_IPV6)
			reason = parse_ipv6(&cursor, packet);
		else
			reason = packet->ethertype == ETH_P_ARP ? REASON_ARP : REASON_NON_IP;
	}
	if (reason) {
		packet->frame_length = frame_length(ctx);
		return reason;
	}
	if (!packet->tail_fault)
		packet->tail_fault = parse_transport(&cursor, packet);
	return is_ndp(packet) ? REASON_NDP : REASON_DEFAULT;
}
