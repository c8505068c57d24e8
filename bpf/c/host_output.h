/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Output of the host's own sockets, TC build alone: if_output, if_start. */
#ifndef BSDNET_HOST_OUTPUT_H
#define BSDNET_HOST_OUTPUT_H

#include "ip_input.h"
#include "ip6_input.h"
#include "output.h"

/* if_start_on: lets the device have the frame; that of a logical interface is its carrier. */
inline_always int if_start_on(ctx_t *ctx, struct mbuf *m, const struct ifnet *ifp)
{
	if (ifp->if_flags & IFNET_TUNNEL)
		stage(ctx, PROTO_TUNNEL_OUTPUT);
	if (!(ifp->if_flags & IFNET_VLAN)) {
		count_output(ctx, m, ifp, frame_len(ctx));
		return pass(REASON_OUTPUT);
	}
	if (!ifp->tx_ifindex)
		return drop(REASON_IF_NOXMIT);
	if (!tags_push(ctx, m, ifp))
		return drop(REASON_ADJUST);
	count_output(ctx, m, ifp, frame_len(ctx));
	count(REASON_OUTPUT);
	ctx->tc_index = TC_MARK_OUTPUT;
	return bpf_redirect(ifp->tx_ifindex, 0);
}

/* host_describe: what filters want to know of a packet that the host made. */
inline_always bool host_describe(ctx_t *ctx, struct mbuf *m)
{
	if (ctx->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = ip_header(ctx, m);

		if (!ip || ip->ihl < 5)
			return false;
		m->af = 4;
		ip_describe(m, ip, ip->ihl * 4);
		return true;
	}
	if (ctx->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = ip6_header(ctx, m);

		if (!ip6)
			return false;
		m->af = 6;
		ip6_describe(ctx, m, ip6);
		return true;
	}
	return false;
}

/*
 * if_output: where frames that the host's sockets send leave by an owned
 * interface. They meet the same output hooks as forwarded packets.
 */
STAGE(if_output)
{
	const struct config *cfg;
	struct ifnet *ifp;
	struct mbuf *m;
	__u64 hooks = 0;
	__u32 slot;

	if (ctx->tc_index == TC_MARK_OUTPUT) {
		ctx->tc_index = 0;
		return VERDICT_PASS;
	}
	ifp = ifnet_find(ctx->ifindex, &slot);
	m = mget();
	if (!ifp || !m || !(ifp->if_flags & IFNET_OWNED))
		return pass(REASON_NOPROTO);
	if (ifp->if_flags & IFNET_MONITOR)
		return drop(REASON_IF_MONITOR);
	mbuf_init(m, slot, PFIL_OUT);
	m->flags = M_HOST;
	if (ifp->if_flags & IFNET_RAWIP)
		m->l3_off = 0;
	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		hooks = cfg->pfil[PFIL_INET][PFIL_OUT];
	else if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		hooks = cfg->pfil[PFIL_INET6][PFIL_OUT];
	if ((ifp->if_flags & IFNET_TUNNEL) && !hooks && !host_describe(ctx, m))
		return drop(REASON_IP_TOOSHORT);
	if (hooks) {
		if (!host_describe(ctx, m))
			return drop(REASON_IP_TOOSHORT);
		if (!(ifp->if_flags & IFNET_DHCP) || !dhcp_request(ctx, m))
			pfil_run(ctx, m, hooks, PROTO_IF_START);
	}
	if (ether_hooks(cfg, ifp))
		stage(ctx, PROTO_IF_START);
	return if_start_on(ctx, m, ifp);
}

/* if_start: after the hooks of the host's own output; the Ethernet ones run here. */
STAGE(if_start)
{
	const struct config *cfg;
	struct mbuf *m = mget();
	struct ifnet *ifp;
	__u64 hooks;

	if (!m)
		return drop(REASON_MBUF);
	ifp = ifnet_slot(m->ifp);
	cfg = config_of(m);
	if (!ifp || !cfg)
		return drop(REASON_MBUF);
	hooks = ether_hooks(cfg, ifp);
	if (hooks && !(m->flags & M_ETHER_DONE)) {
		m->flags |= M_ETHER_DONE;
		pfil_run(ctx, m, hooks, PROTO_IF_START);
	}
	return if_start_on(ctx, m, ifp);
}

#endif
