/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Tunnels: packets in packets. What comes out of one enters as received on the
 * tunnel's interface; what goes into one becomes a packet of this host, which
 * finds its way and meets the output filters like any other.
 */
#ifndef BSDNET_TUNNEL_H
#define BSDNET_TUNNEL_H

#include "ip_input.h"
#include "ip6_input.h"
#include "netisr_header.h"
#include "output.h"

#define ECN_MASK	3
#define ECN_CE		3
#define ECN_ECT0	2

/* The innermost header may begin here at the latest, so that another fits in front of L3_OFF_MAX. */
#define UNNEST_OFF_MAX	(L3_OFF_MAX - 40)
#define UNNESTING_MAX	4

#ifdef BUILD_XDP
/* frame_restart: cuts off all before the packet but a link header, which says its family. */
inline_always bool frame_restart(ctx_t *ctx, struct mbuf *m)
{
	struct ethhdr *eth;
	int extra = (int)m->l3_off - ETH_HLEN;

	if (extra && bpf_xdp_adjust_head(ctx, extra))
		return false;
	eth = frame(ctx);
	if ((void *)(eth + 1) > frame_end(ctx))
		return false;
	__builtin_memset(eth, 0, 2 * ETH_ALEN);
	eth->h_proto = af_type(m);
	m->l3_off = ETH_HLEN;
	m->frame_len -= extra;
	return true;
}

/* tunnel_push: room for len bytes in front of the packet, which m->l3_off then points at. */
inline_always bool tunnel_push(ctx_t *ctx, struct mbuf *m, const struct tunnel *t, __u32 len, __u64 flags)
{
	if (bpf_xdp_adjust_head(ctx, (int)m->l3_off - (int)(ETH_HLEN + len)))
		return false;
	m->l3_off = ETH_HLEN;
	m->encaps = 0;
	return true;
}

/* tunnel_pull: what begins at m->l4_off is the packet from here on. */
inline_always int tunnel_pull(ctx_t *ctx, struct mbuf *m, __u8 af)
{
	m->l3_off = m->l4_off;
	m->af = af;
	if (m->l3_off > UNNEST_OFF_MAX && !frame_restart(ctx, m))
		return -1;
	return 0;
}
#else
inline_always bool tunnel_push(ctx_t *ctx, struct mbuf *m, const struct tunnel *t, __u32 len, __u64 flags)
{
	flags |= BPF_F_ADJ_ROOM_FIXED_GSO;
	flags |= t->af == 4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	if (m->l3_off && !tags_pop(ctx, m))
		return false;
	return !bpf_skb_adjust_room(ctx, len, BPF_ADJ_ROOM_MAC, flags);
}

/* Flags of kernels from 6.3 on, which make the packet one of the inner family. */
#define ADJ_ROOM_DECAP_L3_IPV4	(1ULL << 7)
#define ADJ_ROOM_DECAP_L3_IPV6	(1ULL << 8)

inline_always int tunnel_pull(ctx_t *ctx, struct mbuf *m, __u8 af)
{
	int len = (int)m->l4_off - (int)m->l3_off, err;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	if (af != m->af)
		flags |= af == 4 ? ADJ_ROOM_DECAP_L3_IPV4 : ADJ_ROOM_DECAP_L3_IPV6;
	if (m->l3_off && !tags_pop(ctx, m))
		return -1;
	err = bpf_skb_adjust_room(ctx, -len, BPF_ADJ_ROOM_MAC, flags);
	if (err)
		return err;
	m->af = af;
	m->frame_len = frame_len(ctx);
	return 0;
}

/*
 * tunnel_bounce: goes on in the XDP build, by way of the netisr veth, on which
 * segments are cut and checksums filled in. For what TC cannot do to a packet.
 */
inline_always int tunnel_bounce(ctx_t *ctx, struct mbuf *m, __u8 resume)
{
	const struct config *cfg = config_of(m);
	struct netisr_header *h;

	if (!cfg)
		return drop(REASON_CONFIG);
	if ((m->flags & M_HWTAG) && !tags_pop(ctx, m))
		return drop(REASON_ADJUST);
	if (!m->l3_off) {
		if (bpf_skb_change_head(ctx, ETH_HLEN, 0))
			return drop(REASON_ADJUST);
		m->l3_off = ETH_HLEN;
	}
	h = netisr_header_push(ctx, m, cfg);
	if (!h)
		return drop(REASON_ADJUST);
	h->resume = resume;
	return bpf_redirect(cfg->netisr_ifindex, 0);
}
#endif

/* tunnel_route: the next hop of an address for this host's own business. */
inline_always struct nexthop *tunnel_route4(struct mbuf *m, const __u8 *addr)
{
	__be32 dst = *(const __be32 *)addr;
	struct ipflow *flow = ipflow_get(m, (const __u8 *)&dst, 4);

	if (!flow)
		return NULL;
	if (flow->nexthop == ~0U)
		flow->nexthop = rt_lookup(0, dst);
	m->nexthop = flow->nexthop;
	return flow->nexthop ? bpf_map_lookup_elem(&nexthop, &flow->nexthop) : NULL;
}

inline_always struct nexthop *tunnel_route6(struct mbuf *m, const __u8 *addr)
{
	struct ipflow *flow;
	struct in6 dst;

	__builtin_memcpy(dst.addr, addr, sizeof(dst.addr));
	flow = ipflow_get(m, dst.addr, 6);
	if (!flow)
		return NULL;
	if (flow->nexthop == ~0U)
		flow->nexthop = rt6_lookup(0, &dst);
	m->nexthop = flow->nexthop;
	return flow->nexthop ? bpf_map_lookup_elem(&nexthop, &flow->nexthop) : NULL;
}

inline_always struct nexthop *tunnel_route(struct mbuf *m, const __u8 *dst, __u8 af)
{
	return af == 4 ? tunnel_route4(m, dst) : tunnel_route6(m, dst);
}

/* tunnel_write4: the outer header of a packet of len bytes in all. */
inline_always bool tunnel_write4(ctx_t *ctx, struct mbuf *m, struct tunnel *t, __u32 len, __u8 proto, __u8 tos)
{
	struct iphdr *ip = ip_header(ctx, m);

	if (!ip)
		return false;
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = len > 0xffff ? 0 : bpf_htons(len);
	ip->id = bpf_htons(t->id++); /* two CPUs may take one number; few packets are cut */
	ip->frag_off = 0;
	ip->ttl = t->ttl;
	ip->protocol = proto;
	ip->check = 0;
	__builtin_memcpy(&ip->saddr, t->src, 4);
	__builtin_memcpy(&ip->daddr, t->dst, 4);
	ip->check = ~in_cksum_hdr(ip, frame_end(ctx), sizeof(*ip));
	m->l4_off = m->l3_off + sizeof(*ip);
	return true;
}

inline_always bool tunnel_write6(ctx_t *ctx, struct mbuf *m, const struct tunnel *t, __u32 len, __u8 proto, __u8 tos)
{
	struct ipv6hdr *ip6 = ip6_header(ctx, m);

	if (!ip6)
		return false;
	len -= sizeof(*ip6);
	*(__be32 *)ip6 = bpf_htonl(6 << 28 | (__u32)tos << 20);
	ip6->payload_len = len > 0xffff ? 0 : bpf_htons(len);
	ip6->nexthdr = proto;
	ip6->hop_limit = t->ttl;
	__builtin_memcpy(&ip6->saddr, t->src, 16);
	__builtin_memcpy(&ip6->daddr, t->dst, 16);
	m->l4_off = m->l3_off + sizeof(*ip6);
	return true;
}

/* tunnel_send: the outer packet, whose header is written, is sent as one of this host. */
inline_always int tunnel_send(ctx_t *ctx, struct mbuf *m, const struct tunnel *t, __u32 len, __u8 proto, __u8 tos)
{
	const struct config *cfg = config_of(m);
	struct nexthop *nh;
	struct ifnet *ifp;
	__u64 hooks;

	m->af = t->af;
	m->proto = proto;
	m->tos = tos;
	m->ip_len = len;
	m->flags = M_HOST | M_TUNNEL | (m->af == 4 ? M_NODF : 0);
	m->pf_slot = 0;
	m->dir = PFIL_OUT;
	if (!cfg)
		return drop(REASON_CONFIG);
	nh = tunnel_route(m, t->dst, t->af);
	if (!nh || (nh->flags & (NEXTHOP_UP | NEXTHOP_LOCAL | NEXTHOP_BROADCAST | NEXTHOP_REJECT | NEXTHOP_BLACKHOLE |
				 NEXTHOP_UNOWNED | NEXTHOP_MULTICAST)) != NEXTHOP_UP)
		return drop(REASON_TUNNEL_ROUTE);
	m->ifp = nh->ifslot;
	ifp = ifnet_slot(m->ifp);
	if (!ifp || !(ifp->if_flags & IFNET_UP))
		return drop(REASON_TUNNEL_ROUTE);
	hooks = cfg->pfil[m->af == 4 ? PFIL_INET : PFIL_INET6][PFIL_OUT];
	if (m->af == 4) {
		if (hooks)
			pfil_run(ctx, m, hooks, PROTO_IP_OUTPUT);
		return ip_output_on(ctx, m, cfg);
	}
	if (hooks)
		pfil_run(ctx, m, hooks, PROTO_IP6_OUTPUT);
	return ip6_output_on(ctx, m, cfg);
}

/* packet_len: bytes of the packet; a segmentation packet has no more than its frame says. */
inline_always __u32 packet_len(ctx_t *ctx, const struct mbuf *m)
{
#ifdef BUILD_TC
	if (ctx->gso_size)
		return ctx->len - m->l3_off;
#endif
	return m->ip_len;
}

/* ecn_ingress: the outer TOS of a packet (RFC 3168, 9.1). */
inline_always __u8 ecn_ingress(const struct tunnel *t, __u8 inner)
{
	if (!(t->flags & TUNNEL_ECN))
		return 0;
	return (inner & ECN_MASK) == ECN_CE ? (inner & ~ECN_MASK) | ECN_ECT0 : inner;
}

/* tunnel_count: a packet of len bytes goes into the tunnel that m->ifp is. */
inline_always void tunnel_count(ctx_t *ctx, struct mbuf *m, __u32 len)
{
	struct if_data *ifd = if_data_of(m->ifp);

	if (ifd) {
		ifd->opackets += packets(ctx);
		ifd->obytes += len;
	}
	m->nesting++;
}

/* tunnel_output: into the tunnel that m->ifp is. */
STAGE(tunnel_output)
{
	struct mbuf *m = mget();
	struct tunnel *t;
	struct ifnet *ifp;
	__u32 slot, len, outer;
	__u8 proto, tos;

	if (!m)
		return drop(REASON_MBUF);
	slot = m->ifp;
	ifp = ifnet_slot(slot);
	t = bpf_map_lookup_elem(&tunnel, &slot);
	if (!ifp || !t)
		return drop(REASON_MBUF);
	if (!(ifp->if_flags & IFNET_UP) || t->kind == TUNNEL_NONE)
		return drop(REASON_TUNNEL_DOWN);
	if (m->nesting >= TUNNEL_NESTING)
		return drop(REASON_NESTING);
	if (t->kind == TUNNEL_GRE)
		stage(ctx, PROTO_GRE_OUTPUT);
	outer = t->af == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	proto = m->af == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	tos = ecn_ingress(t, m->tos);
	len = packet_len(ctx, m);
#ifdef BUILD_TC
	if (ctx->gso_size)
		m->wire_len = wire_len(ctx, m) + outer;
#endif
	if (!tunnel_push(ctx, m, t, outer, 0)) {
#ifdef BUILD_TC
		/* It has been in a tunnel before, and TC handles one header at a time. */
		return tunnel_bounce(ctx, m, RESUME_TUNNEL_OUTPUT);
#else
		return drop(REASON_ADJUST);
#endif
	}
	tunnel_count(ctx, m, len);
	len += outer;
	if (!(t->af == 4 ? tunnel_write4(ctx, m, t, len, proto, tos) : tunnel_write6(ctx, m, t, len, proto, tos)))
		return drop(REASON_ADJUST);
	return tunnel_send(ctx, m, t, len, proto, tos);
}

/* tunnel_flow_get: the place of what was found of the packet's like last; NULL: there is none for it. */
inline_always struct tunnel_flow *tunnel_flow_get(const struct mbuf *m, const struct tunnel_key *key)
{
	__u32 index = *(const __u32 *)key->src ^ key->key;

	if (m->af != 4)
		return NULL;
	index = index * 0x9e3779b1 >> 16 & (TUNNEL_FLOWS - 1);
	return bpf_map_lookup_elem(&tunnel_flow, &index);
}

/* tunnel_flow_is: it is of the packet's like, from the same ends by the same interface, and nothing has changed. */
inline_always bool tunnel_flow_is(const struct mbuf *m, const struct tunnel_flow *f, const struct tunnel_key *key)
{
	return f && f->generation == fib_generation() && f->src == *(const __u32 *)key->src &&
	       f->dst == *(const __u32 *)key->dst && f->key == key->key && f->rcvif == m->rcvif && f->proto == m->proto;
}

inline_always void tunnel_flow_set(const struct mbuf *m, struct tunnel_flow *f, const struct tunnel_key *key,
				   const __u8 *src, __u32 slot, __u64 generation)
{
	if (!f)
		return;
	f->generation = generation;
	f->src = *(const __u32 *)src;
	f->dst = *(const __u32 *)key->dst;
	f->key = key->key;
	f->rcvif = m->rcvif;
	f->proto = m->proto;
	f->slot = slot;
}

/* tunnel_find: the slot of the tunnel that an outer packet is of, if any. */
inline_always __u32 *tunnel_find(struct tunnel_key *key)
{
	__u32 *slot = bpf_map_lookup_elem(&tunnel_key, key);

	if (slot)
		return slot;
	__builtin_memset(key->src, 0, sizeof(key->src));
	return bpf_map_lookup_elem(&tunnel_key, key);
}

/* tunnel_ecn: congestion that the outer header tells of is told on (RFC 3168, 9.1). */
inline_always bool tunnel_ecn(ctx_t *ctx, const struct mbuf *m)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u32 sum;

	if (m->af == 4) {
		ip = ip_header(ctx, m);
		if (!ip)
			return true; /* ip_input says what is wrong */
		if (!(ip->tos & ECN_MASK))
			return false;
		sum = (__u16)~ip->check + (__u16)~bpf_htons(ip->tos) + bpf_htons(ip->tos | ECN_CE);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		ip->check = ~sum;
		ip->tos |= ECN_CE;
		return true;
	}
	ip6 = ip6_header(ctx, m);
	if (!ip6)
		return true;
	if (!(ip6->flow_lbl[0] & ECN_MASK << 4))
		return false;
	ip6->flow_lbl[0] |= ECN_CE << 4;
	return true;
}

/* tunnel_receive: the packet is on its way as received by a tunnel's interface. */
inline_always int tunnel_receive(ctx_t *ctx, struct mbuf *m, const struct tunnel *t, __u32 slot, __u8 outer_tos)
{
	struct if_data *ifd;

	if (m->unnesting++ >= UNNESTING_MAX)
		return drop_input(slot, REASON_NESTING);
	m->rcvif = slot;
	m->ifp = slot;
	m->flags = 0;
	m->pf_slot = 0;
	m->prio = 0;
	m->dir = PFIL_IN;
	__builtin_memset(m->scrub, 0, sizeof(m->scrub));
	ifd = if_data_of(slot);
	if (ifd) {
		ifd->ipackets += packets(ctx);
		ifd->ibytes += m->frame_len - m->l3_off;
	}
	if ((t->flags & TUNNEL_ECN) && (outer_tos & ECN_MASK) == ECN_CE && !tunnel_ecn(ctx, m))
		return drop_input(slot, REASON_TUNNEL_ECN);
	if (m->af == 4)
		stage(ctx, PROTO_IP_INPUT);
	stage(ctx, PROTO_IP6_INPUT);
}

/* tunnel_key_of: source and destination of an outer packet. */
inline_always bool tunnel_key_of(ctx_t *ctx, const struct mbuf *m, struct tunnel_key *key)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	key->af = m->af;
	if (m->af == 4) {
		ip = ip_header(ctx, m);
		if (!ip)
			return false;
		__builtin_memcpy(key->src, &ip->saddr, 4);
		__builtin_memcpy(key->dst, &ip->daddr, 4);
		return true;
	}
	ip6 = ip6_header(ctx, m);
	if (!ip6)
		return false;
	__builtin_memcpy(key->src, &ip6->saddr, 16);
	__builtin_memcpy(key->dst, &ip6->daddr, 16);
	return true;
}

/* tunnel_source: a source, the route to which leads over the receiving interface. */
inline_always bool tunnel_source(struct mbuf *m, const struct tunnel *t, const __u8 *source)
{
	struct nexthop *nh;

	if (t->flags & TUNNEL_ANYIF)
		return true;
	nh = tunnel_route(m, source, m->af);
	return nh && nh->ifslot == m->rcvif;
}

/* tunnel_enter: takes the outer headers off, as far as m->l4_off, and goes on with the packet. */
inline_always int tunnel_enter(ctx_t *ctx, struct mbuf *m, const struct tunnel *t, __u32 slot, __u8 af)
{
	__u8 tos = m->tos;
	int err = tunnel_pull(ctx, m, af);

#ifdef BUILD_TC
	if (err == -22) /* EINVAL: a kernel that does not know the flags */
		return tunnel_bounce(ctx, m, RESUME_TUNNEL_INPUT);
#endif
	if (err)
		return drop_input(slot, REASON_TUNNEL_HEADER);
	return tunnel_receive(ctx, m, t, slot, tos);
}

/*
 * tunnel_whole: the daemon puts fragments together, or has the rest of a packet
 * that pf wanted whole; then it comes here again.
 */
#define tunnel_whole(ctx, m)                                                   \
	do {                                                                   \
		if ((m)->flags & M_REASSEMBLED) {                              \
			(m)->hook = REFRAGMENT_TUNNEL;                         \
			to_netisr(ctx, m, REASON_NETISR_REFRAGMENT);           \
		}                                                              \
		if (((m)->flags & M_FRAG) || !(m)->l4_off)                     \
			to_netisr(ctx, m, REASON_NETISR_TUNNEL);               \
	} while (0)

/* tunnel_input: what is for this host and may be of a tunnel. */
STAGE(tunnel_input)
{
	struct tunnel_key key = {.kind = TUNNEL_GIF};
	struct mbuf *m = mget();
	struct tunnel *t;
	struct ifnet *ifp;
	struct tunnel_flow *f;
	__u8 source[16];
	__u64 generation;
	__u32 *slot;
	bool known;

	if (!m)
		return drop(REASON_MBUF);
	if (m->proto == IPPROTO_GRE || m->proto == IPPROTO_UDP)
		stage(ctx, PROTO_GRE_INPUT);
	if (!tunnel_key_of(ctx, m, &key))
		return drop_input(m->rcvif, REASON_IP_TOOSHORT);
	generation = fib_generation();
	f = tunnel_flow_get(m, &key);
	known = tunnel_flow_is(m, f, &key) && !(m->flags & (M_FRAG | M_REASSEMBLED));
	__builtin_memcpy(source, key.src, 16);
	slot = known ? &f->slot : tunnel_find(&key);
	if (!slot)
		return deliver(ctx, m, REASON_LOCAL);
	ifp = ifnet_slot(*slot);
	t = bpf_map_lookup_elem(&tunnel, slot);
	if (!ifp || !t || !(ifp->if_flags & IFNET_UP))
		return drop_input(*slot, REASON_TUNNEL_DOWN);
	if (!known) {
		tunnel_whole(ctx, m);
		if (!tunnel_source(m, t, source))
			return drop_input(*slot, REASON_TUNNEL_SOURCE);
		tunnel_flow_set(m, f, &key, source, *slot, generation);
	}
	return tunnel_enter(ctx, m, t, *slot, m->proto == IPPROTO_IPIP ? 4 : 6);
}

/* tunnel_deliver: to the host's sockets, as input of the tunnel's device. */
STAGE(tunnel_deliver)
{
	struct mbuf *m = mget();
	struct ifnet *ifp;

	if (!m)
		return drop(REASON_MBUF);
	ifp = ifnet_slot(m->rcvif);
	if (!ifp)
		return drop(REASON_MBUF);
#ifdef BUILD_XDP
	const struct config *cfg = config_of(m);
	struct netisr_header *h;

	if (!cfg)
		return drop(REASON_CONFIG);
	if (!frame_restart(ctx, m))
		return drop(REASON_ADJUST);
	/* The device takes no frames from XDP; TC of the netisr veth can give it one. */
	h = netisr_header_push(ctx, m, cfg);
	if (!h)
		return drop(REASON_ADJUST);
	h->resume = RESUME_LOCAL;
	m->redirect = ifp->input_port;
	if (bpf_redirect_map(&tx_port, cfg->funnel, 0) != XDP_REDIRECT)
		return drop(REASON_IF_NOXMIT);
	return XDP_REDIRECT;
#else
	ctx->tc_index = TC_MARK_INPUT;
	return bpf_redirect(ifp->input_ifindex, BPF_F_INGRESS);
#endif
}

#endif
