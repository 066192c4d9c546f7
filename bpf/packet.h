/* SPDX-License-Identifier: GPL-2.0-only */
/* What parsing learns about a frame; the later steps read nothing else. It lies in a map, never on the stack. */
#pragma once

enum fragment {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 2,
};

/* An IPv4 address is kept as ::ffff:a.b.c.d, so that no later step needs two versions of itself. */
union address {
	__u8 bytes[16];
	__be32 words[4];
	__u64 halves[2];
};

/* Stored as one: a processor waits when it is to load as one what was stored as two just before. */
static __always_inline __u64 half_of(__be32 first, __be32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u64)second << 32 | first;
#else
	return (__u64)first << 32 | second;
#endif
}

static __always_inline int same_address(const union address *a, const union address *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

struct packet {
	union address source;
	union address destination;
	__u32 frame_length; /* all buffers, from the Ethernet header on */
	__u32 network;      /* offset of the IP header */
	__u32 transport;    /* offset of what follows the IP headers */
	__u32 end;          /* offset of the end of the IP packet */
	__u16 ethertype;    /* behind all VLAN tags */
	__u16 source_port;  /* host order; 0 where there is none */
	__u16 destination_port;
	__u8 version;       /* 4 or 6 once the addresses are known, else 0 */
	__u8 protocol;      /* what follows the IP headers */
	__u8 hop_limit;
	__u8 fragment;      /* enum fragment */
	__u8 vlan_depth;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 tcp_flags;
	__u8 tail_fault;    /* enum reason: what is wrong behind the IP header, else 0 */
	__u8 fragment_header; /* an IPv6 fragment header is present, even an atomic one (RFC 6946) */
	__u16 vlan;         /* id of the outermost tag; UNTAGGED without one */
	__u8 has_ports;     /* ports were there to be read (TCP, UDP, SCTP, no later fragment), for TCP its flags too */
	__u8 has_type;      /* so was the type of ICMP or ICMPv6 */
	__u16 cursor;       /* of the parser alone */
	__u8 reserved[2];
};

#define UNTAGGED 4096

_Static_assert(sizeof(struct packet) == 72, "struct packet has no hidden padding");
