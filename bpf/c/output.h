/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Link layer output: ether_output, if_transmit; the host's own: if_output, if_start. */
#ifndef BSDNET_OUTPUT_H
#define BSDNET_OUTPUT_H

#include "deliver.h"
#include "mbuf.h"
#include "netisr_header.h"

inline_always __be16 af_type(const struct mbuf *m)
{
	return m->af == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

/* vlan_tci_of: the tag of a logical interface, with the priority that the packet was given. */
inline_always __u16 vlan_tci_of(const struct mbuf *m, const struct ifnet *level)
{
	if (!m->prio)
		return level->vlan_tci;
	return (level->vlan_tci & 0x1fff) | (m->prio - 1) << 13;
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
		field[0] = bpf_htons(vlan_tci_of(m, level));
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
/* tags_push: the tags of a logical interface, from the payload outwards. */
inline_always bool tags_push(ctx_t *ctx, const struct mbuf *m, const struct ifnet *level)
{
#pragma unroll
	for (int i = 0; i < ENCAP_MAX; i++) {
		if (!(level->if_flags & IFNET_VLAN))
			return true;
		if (bpf_skb_vlan_push(ctx, level->vlan_proto, vlan_tci_of(m, level)))
			return false;
		level = ifnet_slot(level->parent);
		if (!level)
			return false;
	}
	return !(level->if_flags & IFNET_VLAN);
}

inline_always bool ether_header_write(ctx_t *ctx, struct mbuf *m, const struct ifnet *ifp)
{
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
	return tags_push(ctx, m, ifp);
}
#endif

/* sent_len: bytes of the frame on the wire, less any padding. */
inline_always __u32 sent_len(ctx_t *ctx, const struct mbuf *m)
{
#ifdef BUILD_TC
	return ctx->len;
#else
	return m->l3_off + m->ip_len;
#endif
}

/* count_output: a frame of len bytes that goes out, on its carrier too. */
inline_always void count_output(ctx_t *ctx, const struct mbuf *m, const struct ifnet *ifp,
				__u32 len)
{
	struct if_data *ifd = if_data_of(m->ifp);

	if (ifd) {
		ifd->opackets += packets(ctx);
		ifd->obytes += len;
	}
	if (!(ifp->if_flags & IFNET_VLAN))
		return;
	ifd = if_data_of(ifp->tx_port);
	if (ifd) {
		ifd->opackets += packets(ctx);
		ifd->obytes += len;
	}
}

/* if_transmit_on: counts the frame and gives it to the device that carries it. */
inline_always int if_transmit_on(ctx_t *ctx, struct mbuf *m, const struct ifnet *ifp)
{
	count_output(ctx, m, ifp, sent_len(ctx, m));
	m->redirect = ifp->tx_port;
#ifdef BUILD_XDP
	if (!(ifp->if_flags & IFNET_XDP_XMIT))
		return netisr_transmit(ctx, m);
	if (bpf_redirect_map(&tx_port, ifp->tx_port, 0) != XDP_REDIRECT)
		return drop(REASON_IF_NOXMIT);
	count(m->af == 4 ? REASON_FORWARD : REASON_FORWARD6);
	return XDP_REDIRECT;
#else
	if (!ifp->tx_ifindex)
		return drop(REASON_IF_NOXMIT);
	count(m->af == 4 ? REASON_FORWARD : REASON_FORWARD6);
	ctx->tc_index = TC_MARK_OUTPUT;
	return bpf_redirect(ifp->tx_ifindex, 0);
#endif
}

/* ether_output_on: the link header, then the Ethernet hooks, then out. */
inline_always int ether_output_on(ctx_t *ctx, struct mbuf *m, const struct config *cfg,
				  const struct ifnet *ifp)
{
	__u64 hooks;

	if (ifp->if_flags & IFNET_TUNNEL)
		stage(ctx, PROTO_TUNNEL_OUTPUT);
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

#endif
