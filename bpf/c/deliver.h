/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What both families share: delivery to the host, next hops, sizes. */
#ifndef BSDNET_DELIVER_H
#define BSDNET_DELIVER_H

#include "mbuf.h"

#define HZ_REDIRECT	25	/* jiffies between packets handed over for a redirect */

#ifdef BUILD_TC
/* tags_pop: takes the vlan tags off that vlan_input claimed. */
inline_always bool tags_pop(ctx_t *ctx, struct mbuf *m)
{
#pragma unroll
	for (int i = 0; i < ENCAP_MAX; i++) {
		if (i >= m->encaps)
			break;
		if (bpf_skb_vlan_pop(ctx))
			return false;
	}
	m->encaps = 0;
	m->flags &= ~M_HWTAG;
	m->l3_off = ETH_HLEN;
	return true;
}
#else
/* tags_pop: likewise, by moving the Ethernet addresses up. */
inline_always bool tags_pop(ctx_t *ctx, struct mbuf *m)
{
	__u32 extra = m->l3_off - ETH_HLEN;
	__u8 addresses[2 * ETH_ALEN];
	struct ethhdr *eth;

	if (!extra)
		return true;
	if (m->l3_off < ETH_HLEN || extra > ENCAP_MAX * 4)
		return false;
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return false;
	__builtin_memcpy(addresses, eth, sizeof(addresses));
	if (bpf_xdp_adjust_head(ctx, extra))
		return false;
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return false;
	__builtin_memcpy(eth, addresses, sizeof(addresses));
	m->l3_off = ETH_HLEN;
	m->encaps = 0;
	return true;
}
#endif

/*
 * deliver: up to the host's sockets, as the frame came; on a clone, as input
 * of the clone's own device, without the tags that led to it.
 */
inline_always int deliver(ctx_t *ctx, struct mbuf *m, __u32 reason)
{
	struct ifnet *ifp = ifnet_slot(m->rcvif);

	if (!ifp)
		return drop(REASON_MBUF);
	refragment(ctx, m, true);
	count(reason);
	if (!(ifp->if_flags & IFNET_CLONE))
		return VERDICT_PASS;
	if (ifp->if_flags & IFNET_TUNNEL)
		stage(ctx, PROTO_TUNNEL_DELIVER);
	if (!tags_pop(ctx, m))
		return drop_input(m->rcvif, REASON_ADJUST);
#ifdef BUILD_XDP
	m->redirect = ifp->input_port;
	return bpf_redirect_map(&tx_port, ifp->input_port, XDP_DROP);
#else
	ctx->tc_index = TC_MARK_INPUT;
	return bpf_redirect(ifp->input_ifindex, BPF_F_INGRESS);
#endif
}

/* tunnel_proto: packets of the protocol may be for a tunnel. */
inline_always bool tunnel_proto(const struct config *cfg, __u8 proto)
{
	return proto == IPPROTO_IPIP || proto == IPPROTO_IPV6 || proto == IPPROTO_GRE ||
	       (proto == IPPROTO_UDP && (cfg->flags & CONFIG_GREUDP));
}

/* ipflow_is: the entry is a destination's, and nothing has changed since. */
inline_always bool ipflow_is(const struct ipflow *flow, const __u8 *dst, __u8 af)
{
	const __u32 *have = (const __u32 *)flow->dst, *want = (const __u32 *)dst;

	if (flow->generation != fib_generation() || flow->af != af || have[0] != want[0])
		return false;
	return af == 4 || (have[1] == want[1] && have[2] == want[2] && have[3] == want[3]);
}

/*
 * ipflow_get: the place where look-ups of a destination are remembered. If it
 * holds another's, or is out of date, it is made the destination's own, with
 * nexthop ~0: to be looked up.
 */
inline_always struct ipflow *ipflow_get(struct mbuf *m, const __u8 *dst, __u8 af)
{
	const __u32 *d = (const __u32 *)dst;
	struct ipflow *flow;
	__u32 index = d[0];

	if (af == 6)
		index = (index ^ d[1]) * 0x85ebca6b ^ (d[2] + d[3]) ^ d[3] >> 9;
	index = index * 0x9e3779b1 >> 16 & (IPFLOWS - 1);
	m->flow = index;
	flow = bpf_map_lookup_elem(&ipflow, &index);
	if (!flow)
		return NULL;
	if (ipflow_is(flow, dst, af))
		return flow;
	/* Before the look-up: a change during it makes the entry stale. */
	flow->generation = fib_generation();
	flow->af = af;
	__builtin_memcpy(flow->dst, dst, af == 4 ? 4 : 16);
	flow->nexthop = ~0U;
	flow->lladdr = 0;
	return flow;
}

/* ipflow_of: what is remembered for the packet's destination; NULL if it is no longer. */
inline_always struct ipflow *ipflow_of(const struct mbuf *m, const __u8 *dst, __u8 af)
{
	__u32 index = m->flow & (IPFLOWS - 1);
	struct ipflow *flow = bpf_map_lookup_elem(&ipflow, &index);

	return flow && ipflow_is(flow, dst, af) ? flow : NULL;
}

/*
 * redirect_due: time for another redirect by this interface. Racing CPUs may
 * both say yes; the daemon limits for good.
 */
inline_always bool redirect_due(struct ifnet *ifp)
{
	__u32 now = bpf_jiffies64();

	if (now - ifp->redirect_jiffies < HZ_REDIRECT)
		return false;
	ifp->redirect_jiffies = now;
	return true;
}

/*
 * lladdr_word: takes the link address out of the 64-bit word that holds it
 * and its state, read at once so that it cannot be torn. False: not usable.
 */
inline_always bool lladdr_word(struct mbuf *m, __u64 word)
{
	if (word >> 48 != NEIGHBOUR_VALID)
		return false;
	*(__u32 *)m->dmac = word;
	*(__u16 *)(m->dmac + 4) = word >> 32;
	return true;
}

inline_always bool nexthop_lladdr(struct mbuf *m, const struct nexthop *nh)
{
	return lladdr_word(m, *(volatile const __u64 *)nh->lladdr);
}

inline_always bool llentry_lladdr(struct mbuf *m, const struct llentry *entry)
{
	return entry && lladdr_word(m, *(volatile const __u64 *)entry);
}

/*
 * wire_len: bytes of the largest IP packet that this becomes on the wire. A
 * segmentation packet is cut by the device into segments of gso_size.
 */
inline_always __u32 wire_len(ctx_t *ctx, const struct mbuf *m)
{
#ifdef BUILD_TC
	if (ctx->gso_size) {
		__u32 headers = m->l4_off - m->l3_off;

		if (m->flags & M_TUNNEL)
			return m->wire_len;
		if (m->proto == IPPROTO_TCP) {
			__u8 offset;

			if (bpf_skb_load_bytes(ctx, m->l4_off + 12, &offset, 1))
				return m->ip_len;
			return headers + (offset >> 4) * 4 + ctx->gso_size;
		}
		return headers + 8 + ctx->gso_size;
	}
#endif
	return m->ip_len;
}

#endif
