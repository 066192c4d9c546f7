/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What leaves an interface teaches which answers to let in under a default of drop (established.h): frame -> parse ->
 * learn. It runs on the way out (tc, clsact), after network address translation, so it sees the addresses and ports
 * that answers will come back to, also for hosts behind this one. It changes nothing and decides nothing: whatever
 * other filters are there come after it.
 */
#define EGRESS

#include "flows.h"
#include "parse.h"

#define TC_ACT_UNSPEC -1

BPF_TABLE("array", __u32, struct asked, outgoing, 1);

/* Nobody answers with a group's address, nor with everybody's, as their own; to DHCP anybody does. */
static __always_inline int can_be_answered(const struct packet *packet, const struct flow_key *key)
{
	return packet->fragment != FRAGMENT_LATER && (is_dhcp(key) || !is_group(packet));
}

/*
 * A SYN begins a connection, whatever was known under these ports. One with an ACK answers somebody else's, which a
 * row let in: a socket of this host knows it already, and in a flood of SYNs the others would push out what is in use.
 */
static __always_inline void learn_new(struct __sk_buff *skb, const struct packet *packet, const struct flow_key *key,
				      __u64 now)
{
	struct flow flow = {};

	if (packet->protocol == IPPROTO_TCP) {
		if (packet->tcp_flags & TCP_RST)
			return;
		if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && !skb->ingress_ifindex)
			return;
		if (packet->tcp_flags & TCP_FIN)
			flow.state = FLOW_CLOSING;
	}
	flow.deadline = now + (__u64)seconds_of(key, flow.state) * HZ;
	flows.update(key, &flow);
}

/* Answers 0 when this is the beginning of another flow. */
static __always_inline int learn_known(const struct packet *packet, const struct flow_key *key, struct flow *flow,
				       __u64 now)
{
	if (!is_alive(flow, now))
		return 0;
	if (packet->protocol == IPPROTO_TCP) {
		if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
			return 0;
		if (packet->tcp_flags & (TCP_FIN | TCP_RST) && flow->state != FLOW_CLOSING) {
			flow->state = FLOW_CLOSING;
			flow->deadline = now + TCP_TRANSITORY_SECONDS * HZ;
		}
		if (packet->tcp_flags & TCP_RST) {
			flow->deadline = now + TCP_RESET_SECONDS * HZ;
			return 1;
		}
	}
	keep_alive(key, flow, now);
	return 1;
}

int learn(struct __sk_buff *skb)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct asked *frame = outgoing.lookup(&cpu);
	struct flow *flow;
	__u64 now;

	if (!frame)
		return TC_ACT_UNSPEC;
	frame->packet = (struct packet){};
	if (parse(skb, &frame->packet, &frame->room) != REASON_DEFAULT || frame->packet.tail_fault)
		return TC_ACT_UNSPEC;
	if (key_of(skb, &frame->packet, 1, frame) || !can_be_answered(&frame->packet, &frame->key))
		return TC_ACT_UNSPEC;
	now = bpf_jiffies64();
	flow = flows.lookup(&frame->key);
	if (!flow || !learn_known(&frame->packet, &frame->key, flow, now))
		learn_new(skb, &frame->packet, &frame->key, now);
	return TC_ACT_UNSPEC;
}
