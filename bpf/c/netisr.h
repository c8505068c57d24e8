/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * To the daemon and back. One veth pair serves all interfaces: its end in the
 * host's namespace (netisr0) takes frames for the daemon from both builds; at
 * its other end an XDP program gives them to the daemon's AF_XDP sockets. What
 * the daemon sends comes in at netisr0 and goes on in the stage it names.
 */
#ifndef BSDNET_NETISR_H
#define BSDNET_NETISR_H

#include "ip_input.h"
#include "ip6_input.h"
#include "netisr_header.h"
#include "output.h"
#include "tunnel.h"

/* netisr_queue: to the daemon, for the reason in the mbuf. */
STAGE(netisr_queue)
{
	const struct config *cfg;
	struct mbuf *m = mget();

	if (!m)
		return drop(REASON_MBUF);
	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
#ifdef BUILD_TC
	/* A tag in the descriptor would end up inside our header. */
	if ((m->flags & M_HWTAG) && !tags_pop(ctx, m))
		return drop(REASON_ADJUST);
	if (!m->l3_off) {
		if (bpf_skb_change_head(ctx, ETH_HLEN, 0))
			return drop(REASON_ADJUST);
		m->l3_off = ETH_HLEN;
	}
#endif
	if (!netisr_header_push(ctx, m, cfg))
		return drop(REASON_ADJUST);
#ifdef BUILD_XDP
	if (bpf_redirect_map(&tx_port, cfg->netisr, 0) != XDP_REDIRECT)
		return drop(REASON_NETISR_DOWN);
	count(m->reason);
	return XDP_REDIRECT;
#else
	count(m->reason);
	return bpf_redirect(cfg->netisr_ifindex, 0);
#endif
}

#ifdef BUILD_XDP

/* netisr_meta_pass: leave the frame to netisr_output with a word on what to do. */
inline_always int netisr_meta_pass(ctx_t *ctx, __u32 ifindex, __u32 input)
{
	struct netisr_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return drop(REASON_ADJUST);
	meta = frame_meta(ctx);
	if ((void *)(meta + 1) > frame(ctx))
		return drop(REASON_ADJUST);
	meta->ifindex = ifindex;
	meta->input = input;
	return XDP_PASS;
}

/* netisr_funnel: at the daemon's end of the veth, frames for its sockets. */
STAGE(netisr_funnel)
{
	struct netisr_header *h = frame(ctx);
	int verdict;

	if ((void *)(h + 1) > frame_end(ctx) || h->magic != NETISR_MAGIC)
		return drop(REASON_NETISR_HEADER);
	/* For a stage of the XDP build, from one of the TC build. */
	if (h->resume)
		return XDP_TX;
	verdict = bpf_redirect_map(&xsk, ctx->rx_queue_index, XDP_DROP);
	if (verdict != XDP_REDIRECT)
		return drop(REASON_NETISR_DOWN);
	return verdict;
}

/*
 * netisr_pfil: the hooks of the packet's direction, and what follows them. What
 * the host itself sends is complete behind them.
 */
inline_always int netisr_pfil(ctx_t *ctx, struct mbuf *m, __u32 head, __u32 forward, __u32 output)
{
	const struct config *cfg = config_of(m);
	__u32 next = m->dir == PFIL_IN ? forward : output;
	__u64 hooks;

	if (!cfg)
		return drop(REASON_CONFIG);
	if (m->flags & M_HOST) {
		m->reason = REASON_NETISR_REFRAGMENT;
		next = PROTO_NETISR;
	}
	hooks = cfg->pfil[head][m->dir & 1];
	if (hooks)
		pfil_run(ctx, m, hooks, next);
	stage_at(ctx, next);
}

/* netisr_input: at the host's end, frames that come back from the daemon. */
STAGE(netisr_input)
{
	struct netisr_header *h = frame(ctx);
	struct mbuf *m = mget();
	struct ifnet *ifp;
	__u32 resume;

	if (!m)
		return drop(REASON_MBUF);
	if ((void *)(h + 1) > frame_end(ctx) || h->magic != NETISR_MAGIC ||
	    h->l3_off < ETH_HLEN || h->l3_off > L3_OFF_MAX)
		return drop(REASON_NETISR_HEADER);
	__builtin_memset(m, 0, sizeof(*m));
	m->config = config_active();
	m->rcvif = h->rcvif;
	m->ifp = h->ifp;
	m->nexthop = h->nexthop;
	m->flags = (h->flags & ~M_PFDESC) | M_RESUMED;
	m->l3_off = h->l3_off;
	m->af = h->af;
	m->encaps = h->encaps;
	m->reassembly = h->reassembly;
	m->prio = h->prio;
	m->dir = h->resume == RESUME_FORWARD || h->resume == RESUME_PFIL_IN || h->resume == RESUME_TUNNEL_INPUT ? PFIL_IN : PFIL_OUT;
	m->frame_len = frame_len(ctx) - NETISR_HEADER_LEN;
	resume = h->resume;
	if (bpf_xdp_adjust_head(ctx, NETISR_HEADER_LEN))
		return drop(REASON_ADJUST);

	if (resume == RESUME_LOCAL) {
		ifp = ifnet_slot(m->rcvif);
		if (!ifp)
			return drop(REASON_NETISR_HEADER);
		count(REASON_INJECTED);
		if (ifp->if_flags & IFNET_CLONE) {
			if (!(ifp->if_flags & IFNET_TUNNEL ? frame_restart(ctx, m) : tags_pop(ctx, m)))
				return drop(REASON_ADJUST);
			return netisr_meta_pass(ctx, ifp->input_ifindex, 1);
		}
		return netisr_meta_pass(ctx, ifp->if_index, 1);
	}
	if (resume == RESUME_TRANSMIT) {
		ifp = ifnet_slot(m->ifp);
		if (!ifp)
			return drop(REASON_NETISR_HEADER);
		/* What the host sends on a logical interface has no tags yet. */
		if ((m->flags & M_HOST) && (ifp->if_flags & IFNET_VLAN)) {
			struct ethhdr *eth = frame(ctx);

			if ((void *)(eth + 1) > frame_end(ctx))
				return drop(REASON_NETISR_HEADER);
			__builtin_memcpy(m->dmac, eth->h_dest, ETH_ALEN);
			if (!ether_header_write(ctx, m, ifp))
				return drop(REASON_ADJUST);
		}
		if (!ifp->tx_ifindex)
			return drop(REASON_IF_NOXMIT);
		if (ifp->if_flags & IFNET_XDP_XMIT)
			return bpf_redirect_map(&tx_port, ifp->tx_port, XDP_DROP);
		return netisr_meta_pass(ctx, ifp->tx_ifindex, 0);
	}
	if (m->af == 4) {
		struct iphdr *ip = ip_header(ctx, m);

		if (!ip || ip->ihl < 5)
			return drop(REASON_NETISR_HEADER);
		ip_describe(m, ip, ip->ihl * 4);
		if (resume == RESUME_PFIL_IN || resume == RESUME_PFIL_OUT)
			return netisr_pfil(ctx, m, PFIL_INET, PROTO_IP_FORWARD, PROTO_IP_OUTPUT);
		if (resume == RESUME_FORWARD)
			stage(ctx, PROTO_IP_FORWARD);
		if (resume == RESUME_TUNNEL_INPUT)
			stage(ctx, PROTO_TUNNEL_INPUT);
		if (resume == RESUME_TUNNEL_OUTPUT)
			stage(ctx, PROTO_TUNNEL_OUTPUT);
		if (resume == RESUME_OUTPUT || resume == RESUME_ETHER_OUTPUT)
			stage(ctx, PROTO_IP_OUTPUT);
	} else if (m->af == 6) {
		struct ipv6hdr *ip6 = ip6_header(ctx, m);

		if (!ip6)
			return drop(REASON_NETISR_HEADER);
		ip6_describe(ctx, m, ip6);
		if (resume == RESUME_PFIL_IN || resume == RESUME_PFIL_OUT)
			return netisr_pfil(ctx, m, PFIL_INET6, PROTO_IP6_FORWARD, PROTO_IP6_OUTPUT);
		if (resume == RESUME_FORWARD)
			stage(ctx, PROTO_IP6_FORWARD);
		if (resume == RESUME_TUNNEL_INPUT)
			stage(ctx, PROTO_TUNNEL_INPUT);
		if (resume == RESUME_TUNNEL_OUTPUT)
			stage(ctx, PROTO_TUNNEL_OUTPUT);
		if (resume == RESUME_OUTPUT || resume == RESUME_ETHER_OUTPUT)
			stage(ctx, PROTO_IP6_OUTPUT);
	}
	return drop(REASON_NETISR_HEADER);
}

#else

/* netisr_output: hands what netisr_input passed to the device that it named. */
STAGE(netisr_output)
{
	struct netisr_meta *meta = frame_meta(ctx);

	if ((void *)(meta + 1) > frame(ctx))
		return drop(REASON_NETISR_HEADER);
	if (meta->input) {
		ctx->tc_index = TC_MARK_INPUT;
		return bpf_redirect(meta->ifindex, BPF_F_INGRESS);
	}
	ctx->tc_index = TC_MARK_OUTPUT;
	return bpf_redirect(meta->ifindex, 0);
}

#endif

#endif
