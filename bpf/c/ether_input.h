/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Link layer input: ether_input, vlan_input, ether_demux. */
#ifndef BSDNET_ETHER_INPUT_H
#define BSDNET_ETHER_INPUT_H

#include "deliver.h"
#include "mbuf.h"

struct vlan_header {
	__be16 tci;
	__be16 type;	/* of what follows */
};

inline_always bool ether_is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

inline_always bool ether_equal(const __u8 *a, const __u8 *b)
{
	return !((*(__u32 *)a ^ *(__u32 *)b) | (__u32)(*(__u16 *)(a + 4) ^ *(__u16 *)(b + 4)));
}

/* mbuf_init: a fresh context for a frame that enters here. */
inline_always void mbuf_init(struct mbuf *m, __u32 rcvif, __u8 dir)
{
	__builtin_memset(m, 0, sizeof(*m));
	m->config = config_active();
	m->rcvif = rcvif;
	m->ifp = rcvif;
	m->l3_off = ETH_HLEN;
	m->dir = dir;
}

#ifdef BUILD_TC
/* tc_resumed: the frame was judged before a redirect brought it here as input. */
inline_always bool tc_resumed(ctx_t *ctx)
{
	if (ctx->tc_index != TC_MARK_INPUT)
		return false;
	ctx->tc_index = 0;
	return true;
}
#endif

/* ether_demux_type: hand the payload to the protocol of its EtherType. */
inline_always int ether_demux_type(ctx_t *ctx, struct mbuf *m, __be16 type)
{
	__u32 reason = REASON_ARP;

	switch (type) {
	case bpf_htons(ETH_P_IP):
		m->af = 4;
		stage(ctx, PROTO_IP_INPUT);
	case bpf_htons(ETH_P_IPV6):
		m->af = 6;
		stage(ctx, PROTO_IP6_INPUT);
	case bpf_htons(ETH_P_ARP):
		break;
	default:
		count_noproto(m->rcvif);
		reason = REASON_NOPROTO;
	}
	return deliver(ctx, m, reason);
}

/*
 * ether_accept: the frame belongs to the logical interface in m->rcvif and
 * its payload starts at m->l3_off. Checks the destination, runs the Ethernet
 * hooks, demultiplexes.
 */
inline_always int ether_accept(ctx_t *ctx, struct mbuf *m, const struct ifnet *ifp,
			       const struct ethhdr *eth, __be16 type)
{
	const struct config *cfg;
	__u64 hooks;

	if (eth->h_dest[0] & 1) {
		struct if_data *ifd = if_data_of(m->rcvif);
		bool broadcast = *(__u32 *)eth->h_dest == 0xffffffff &&
				 *(__u16 *)(eth->h_dest + 4) == 0xffff;

		m->flags |= broadcast ? M_BCAST : M_MCAST;
		if (ifd)
			ifd->imcasts++;
	} else if (!ether_equal(eth->h_dest, ifp->lladdr) && !(ifp->if_flags & IFNET_LOOPBACK)) {
		if (ifp->if_flags & IFNET_PROMISC)
			return deliver(ctx, m, REASON_OTHERHOST_TAP);
		return drop_input(m->rcvif, REASON_ETHER_OTHERHOST);
	}
	if (eth->h_source[0] & 1)
		return drop_input(m->rcvif, REASON_ETHER_BADSRC);

	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
	hooks = ifp->pfil_in;
	if (!hooks)
		hooks = cfg->pfil[PFIL_ETHER][PFIL_IN];
	if (hooks)
		pfil_run(ctx, m, hooks, PROTO_ETHER_DEMUX);
	return ether_demux_type(ctx, m, type);
}

/*
 * ether_input: where every frame of an owned interface enters. Tells what is
 * bsdnet's from what is the host's.
 */
STAGE(ether_input)
{
	struct if_data *ifd;
	struct ethhdr *eth;
	struct ifnet *ifp;
	struct mbuf *m;
	__u32 slot, len;

#ifdef BUILD_TC
	if (tc_resumed(ctx))
		return pass(REASON_INJECTED);
#endif
	ifp = ifnet_find(input_ifindex(ctx), &slot);
	if (!ifp || !(ifp->if_flags & IFNET_OWNED))
		return pass(REASON_NOPROTO);
	ifd = if_data_of(slot);
	len = frame_len(ctx);
	if (ifd) {
		ifd->ipackets += packets(ctx);
		ifd->ibytes += len;
	}
	if (ifp->if_flags & IFNET_UPPER)
		return pass_noproto(slot, REASON_UPPER);
	if (ifp->if_flags & IFNET_MONITOR)
		return drop_input(slot, REASON_IF_MONITOR);
	if (!(ifp->if_flags & IFNET_UP))
		return drop_input(slot, REASON_IF_DOWN);

	m = mget();
	if (!m)
		return drop(REASON_MBUF);
	mbuf_init(m, slot, PFIL_IN);
	m->frame_len = len;
#ifdef BUILD_TC
	if (ifp->if_flags & IFNET_RAWIP) {
		m->l3_off = 0;
		return ether_demux_type(ctx, m, ctx->protocol);
	}
	if (ctx->vlan_present) {
		m->flags |= M_HWTAG;
		stage(ctx, PROTO_VLAN_INPUT);
	}
#endif
	pull(ctx, ETH_HLEN);
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return drop_input(slot, REASON_ETHER_RUNT);
	if (ether_is_vlan(eth->h_proto))
		stage(ctx, PROTO_VLAN_INPUT);
	return ether_accept(ctx, m, ifp, eth, eth->h_proto);
}

/*
 * vlan_claim: the logical interface of a tag on the interface in m->rcvif,
 * which it becomes.
 */
inline_always struct ifnet *vlan_claim(struct mbuf *m, __be16 proto, __u16 tci)
{
	struct vlan_key key = {
		.parent = m->rcvif,
		.proto = proto,
		.vid = tci & 0xfff,
	};
	__u32 *slot = bpf_map_lookup_elem(&vlan, &key);
	struct ifnet *ifp;

	if (!slot)
		return NULL;
	ifp = ifnet_slot(*slot);
	if (!ifp || !(ifp->if_flags & IFNET_VLAN))
		return NULL;
	m->rcvif = *slot;
	m->ifp = *slot;
	m->flags |= M_VLANTAG;
	m->vlan_tci = tci;
	return ifp;
}

/*
 * vlan_input: finds the logical interface of a tagged frame, tag by tag. The
 * tags stay in the frame: what nobody claimed goes to the host as it came.
 */
STAGE(vlan_input)
{
	struct vlan_header *tag;
	struct if_data *ifd;
	struct ethhdr *eth;
	struct ifnet *ifp;
	struct mbuf *m;
	__u32 off;
	__be16 type;

	m = mget();
	if (!m)
		return drop(REASON_MBUF);
	ifp = ifnet_slot(m->rcvif);
	if (!ifp)
		return drop(REASON_MBUF);
	pull(ctx, ETH_HLEN + ENCAP_MAX * sizeof(*tag));
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return drop_input(m->rcvif, REASON_ETHER_RUNT);
	off = ETH_HLEN;
	type = eth->h_proto;
#ifdef BUILD_TC
	if (m->flags & M_HWTAG) {
		__u16 tci = ctx->vlan_tci;

		m->encaps++;
		if (tci & 0xfff) {
			ifp = vlan_claim(m, ctx->vlan_proto, tci);
			if (!ifp)
				return pass_noproto(m->rcvif, REASON_NOPROTO);
			if (!(ifp->if_flags & IFNET_UP))
				return drop_input(m->rcvif, REASON_IF_DOWN);
		} else {
			m->vlan_tci = tci;
		}
	}
#endif
#pragma unroll
	for (int i = 0; i < ENCAP_MAX; i++) {
		__u16 tci;

		if (!ether_is_vlan(type))
			break;
		if (m->encaps++ >= ENCAP_MAX)
			return drop_input(m->rcvif, REASON_NESTING);
		tag = frame(ctx) + off;
		if ((void *)(tag + 1) > frame_end(ctx))
			return drop_input(m->rcvif, REASON_ETHER_VLAN);
		tci = bpf_ntohs(tag->tci);
		/* Number 0 is a priority alone: the frame stays where it is. */
		if (tci & 0xfff) {
			ifp = vlan_claim(m, type, tci);
			if (!ifp)
				return pass_noproto(m->rcvif, REASON_NOPROTO);
			if (!(ifp->if_flags & IFNET_UP))
				return drop_input(m->rcvif, REASON_IF_DOWN);
		} else {
			m->vlan_tci = tci;
		}
		type = tag->type;
		off += sizeof(*tag);
	}
	if (ether_is_vlan(type))
		return drop_input(m->rcvif, REASON_NESTING);
	if (m->flags & M_VLANTAG) {
		ifd = if_data_of(m->rcvif);
		if (ifd) {
			ifd->ipackets += packets(ctx);
			ifd->ibytes += frame_len(ctx);
		}
	}
	m->l3_off = off;
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return drop_input(m->rcvif, REASON_ETHER_RUNT);
	return ether_accept(ctx, m, ifp, eth, type);
}

/* ether_demux: after the Ethernet hooks. */
STAGE(ether_demux)
{
	struct mbuf *m = mget();
	__be16 *type;
	__u32 off;

	if (!m)
		return drop(REASON_MBUF);
	off = m->l3_off;
	pull(ctx, off);
	off -= sizeof(*type);
	opaque(off);
	if (off > L3_OFF_MAX)
		return drop(REASON_MBUF);
	type = frame(ctx) + off;
	opaque(type);
	if ((void *)(type + 1) > frame_end(ctx))
		return drop_input(m->rcvif, REASON_ETHER_RUNT);
	return ether_demux_type(ctx, m, *type);
}

#endif
