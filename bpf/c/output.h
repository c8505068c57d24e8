/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Link layer output: ether_output, if_transmit; the host's own: if_output, if_start. */
#ifndef BSDNET_OUTPUT_H
#define BSDNET_OUTPUT_H

#include "deliver.h"
#include "ip_input.h"
#include "ip6_input.h"
#include "mbuf.h"
#include "netisr.h"

inline_always __be16 af_type(const struct mbuf *m)
{
	return m->af == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

/* ether_hooks: the list of Ethernet output hooks that the interface has. */
inline_always __u64 ether_hooks(const struct config *cfg, const struct ifnet *ifp)
{
	return ifp->pfil_out ? ifp->pfil_out : cfg->pfil[PFIL_ETHER][PFIL_OUT];
}

#ifdef BUILD_XDP
/*
 * ether_header_write: replaces the old link header by the one of the sending
 * interface, tags and all. The type fields are written from the payload
 * outwards, one for each level of logical interface.
 */
inline_always bool ether_header_write(ctx_t *ctx, struct mbuf *m, const struct ifnet *ifp)
{
	__u32 len = ifp->l2_len ? ifp->l2_len : ETH_HLEN;
	const struct ifnet *level = ifp;
	int delta = (int)m->l3_off - (int)len;
	struct ethhdr *eth;
	__be16 type = af_type(m);

	if (delta && bpf_xdp_adjust_head(ctx, delta))
		return false;
	m->l3_off = len;
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return false;
	__builtin_memcpy(eth->h_dest, m->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, ifp->lladdr, ETH_ALEN);
	if (len == ETH_HLEN) {
		eth->h_proto = type;
		return true;
	}
#pragma unroll
	for (int i = 0; i < ENCAP_MAX; i++) {
		__be16 *field;
		__u32 off;

		if (!(level->if_flags & IFNET_VLAN))
			break;
		off = len - 4;
		opaque(off);
		if (off < ETH_HLEN || off > L3_OFF_MAX)
			return false;
		field = frame(ctx) + off;
		opaque(field);
		if ((void *)(field + 2) > frame_end(ctx))
			return false;
		field[0] = bpf_htons(level->vlan_tci);
		field[1] = type;
		type = level->vlan_proto;
		len -= 4;
		level = ifnet_slot(level->parent);
		if (!level)
			return false;
	}
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx) || len != ETH_HLEN)
		return false;
	eth->h_proto = type;
	return true;
}
#else
inline_always bool ether_header_write(ctx_t *ctx, struct mbuf *m, const struct ifnet *ifp)
{
	const struct ifnet *level = ifp;
	struct ethhdr *eth;

	if (!m->l3_off) {
		if (bpf_skb_change_head(ctx, ETH_HLEN, 0))
			return false;
		m->l3_off = ETH_HLEN;
	} else if (!tags_pop(ctx, m)) {
		return false;
	}
	pull(ctx, ETH_HLEN);
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return false;
	__builtin_memcpy(eth->h_dest, m->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, ifp->lladdr, ETH_ALEN);
	eth->h_proto = af_type(m);
	if (!(ifp->if_flags & IFNET_VLAN))
		return true;
#pragma unroll
	for (int i = 0; i < ENCAP_MAX; i++) {
		if (!(level->if_flags & IFNET_VLAN))
			return true;
		if (bpf_skb_vlan_push(ctx, level->vlan_proto, level->vlan_tci))
			return false;
		level = ifnet_slot(level->parent);
		if (!level)
			return false;
	}
	return true;
}
#endif

/* if_transmit_on: counts the frame and gives it to the device that carries it. */
inline_always int if_transmit_on(ctx_t *ctx, struct mbuf *m, const struct ifnet *ifp)
{
	struct if_data *ifd = if_data_of(m->ifp);

	if (ifd) {
		ifd->opackets += packets(ctx);
		ifd->obytes += frame_len(ctx);
	}
	m->redirect = ifp->tx_port;
#ifdef BUILD_XDP
	if (!(ifp->if_flags & IFNET_XDP_XMIT))
		return netisr_transmit(ctx, m);
	if (bpf_redirect_map(&tx_port, ifp->tx_port, 0) != XDP_REDIRECT)
		return drop(REASON_IF_NOXMIT);
	count(m->af == 4 ? REASON_FORWARD : REASON_FORWARD6);
	return XDP_REDIRECT;
#else
	count(m->af == 4 ? REASON_FORWARD : REASON_FORWARD6);
	ctx->tc_index = TC_MARK_OUTPUT;
	return bpf_redirect(ifp->tx_ifindex, 0);
#endif
}

/* ether_output: the link header, then the Ethernet hooks. */
STAGE(ether_output)
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
	if (!ether_header_write(ctx, m, ifp))
		return drop(REASON_ADJUST);
	hooks = ether_hooks(cfg, ifp);
	if (hooks)
		pfil_run(ctx, m, hooks, PROTO_IF_TRANSMIT);
	return if_transmit_on(ctx, m, ifp);
}

/* if_transmit: after the Ethernet hooks. */
STAGE(if_transmit)
{
	struct mbuf *m = mget();
	struct ifnet *ifp;

	if (!m)
		return drop(REASON_MBUF);
	ifp = ifnet_slot(m->ifp);
	if (!ifp)
		return drop(REASON_MBUF);
	return if_transmit_on(ctx, m, ifp);
}

#ifdef BUILD_TC
inline_always int if_start_on(ctx_t *ctx, struct mbuf *m)
{
	struct if_data *ifd = if_data_of(m->ifp);

	if (ifd) {
		ifd->opackets += packets(ctx);
		ifd->obytes += frame_len(ctx);
	}
	return pass(REASON_OUTPUT);
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
	if (hooks) {
		if (!host_describe(ctx, m))
			return drop(REASON_IP_TOOSHORT);
		pfil_run(ctx, m, hooks, PROTO_IF_START);
	}
	if (ether_hooks(cfg, ifp))
		stage(ctx, PROTO_IF_START);
	return if_start_on(ctx, m);
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
	return if_start_on(ctx, m);
}
#endif

#endif
