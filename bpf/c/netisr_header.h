/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The header in front of frames on the netisr veth, and the way out over it. */
#ifndef BSDNET_NETISR_HEADER_H
#define BSDNET_NETISR_HEADER_H

#include "mbuf.h"

/* netisr_header_push: room for the header in front of the frame, filled in. */
inline_always struct netisr_header *netisr_header_push(ctx_t *ctx, const struct mbuf *m,
						       const struct config *cfg)
{
	struct netisr_header *h;

#ifdef BUILD_XDP
	if (bpf_xdp_adjust_head(ctx, -(int)NETISR_HEADER_LEN))
		return NULL;
#else
	if (bpf_skb_change_head(ctx, NETISR_HEADER_LEN, 0))
		return NULL;
#endif
	h = frame(ctx);
	if ((void *)(h + 1) > frame_end(ctx))
		return NULL;
	__builtin_memset(h, 0, sizeof(*h));
	h->ether_dhost[0] = 2;
	h->ether_shost[0] = 2;
	h->ether_type = bpf_htons(NETISR_ETHERTYPE);
	h->magic = NETISR_MAGIC;
	h->reason = m->reason;
	h->rcvif = m->rcvif;
	h->ifp = m->ifp;
	h->nexthop = m->nexthop;
	h->flags = m->flags;
	h->config = cfg->generation;
	h->l3_off = m->l3_off;
	h->ip_len = m->ip_len;
	h->af = m->af;
	h->proto = m->proto;
	h->encaps = m->encaps;
	h->queue = bpf_get_smp_processor_id();
	h->hook = m->hook;
	h->reassembly = m->reassembly;
	h->prio = m->prio;
	return h;
}

#ifdef BUILD_XDP
/*
 * netisr_transmit: a finished frame for a device that takes none from XDP
 * goes round through the netisr veth, whose TC program can send on anything.
 */
inline_always int netisr_transmit(ctx_t *ctx, struct mbuf *m)
{
	const struct config *cfg = config_of(m);
	struct netisr_header *h;

	if (!cfg)
		return drop(REASON_CONFIG);
	h = netisr_header_push(ctx, m, cfg);
	if (!h)
		return drop(REASON_ADJUST);
	h->resume = RESUME_TRANSMIT;
	if (bpf_redirect_map(&tx_port, cfg->funnel, 0) != XDP_REDIRECT)
		return drop(REASON_IF_NOXMIT);
	count(m->af == 4 ? REASON_FORWARD : REASON_FORWARD6);
	return XDP_REDIRECT;
}
#endif

#endif
