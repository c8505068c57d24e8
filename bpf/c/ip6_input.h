/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* IPv6: ip6_input, ip6_forward, ip6_output. RFC 8200, 4291, 4443. */
#ifndef BSDNET_IP6_INPUT_H
#define BSDNET_IP6_INPUT_H

#include "deliver.h"
#include "fib.h"
#include "mbuf.h"
#include "output.h"

#define IN6_WORD(addr, i)	((addr)->in6_u.u6_addr32[i])
#define IN6_MULTICAST(addr)	((addr)->in6_u.u6_addr8[0] == 0xff)
#define IN6_LINKLOCAL(addr)	((IN6_WORD(addr, 0) & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
#define IN6_HIGH_ZERO(addr)	(!(IN6_WORD(addr, 0) | IN6_WORD(addr, 1)))
#define IN6_UNSPECIFIED(addr)	(IN6_HIGH_ZERO(addr) && !(IN6_WORD(addr, 2) | IN6_WORD(addr, 3)))
#define IN6_LOOPBACK(addr)	(IN6_HIGH_ZERO(addr) && !IN6_WORD(addr, 2) && IN6_WORD(addr, 3) == bpf_htonl(1))
#define IN6_V4MAPPED(addr)	(IN6_HIGH_ZERO(addr) && IN6_WORD(addr, 2) == bpf_htonl(0xffff))
/* multicast that must not leave the node, or has no scope at all */
#define IN6_MC_NODELOCAL(addr)	(IN6_MULTICAST(addr) && ((addr)->in6_u.u6_addr8[1] & 0xf) <= 1)

#define IP6_EXTENSIONS	6	/* extension headers followed to the upper layer */

struct ip6_extension {
	__u8 next;
	__u8 len;	/* in units of 8 bytes, the first not counted */
};

struct ip6_routing {
	__u8 next;
	__u8 len;	/* likewise */
	__u8 type;
	__u8 left;
};

struct ip6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset;	/* 13 bits, 2 reserved, more */
	__be32 id;
};

/* ip6_header: the header at m->l3_off; NULL if it is not there whole. */
inline_always struct ipv6hdr *ip6_header(ctx_t *ctx, const struct mbuf *m)
{
	__u32 off = m->l3_off;
	struct ipv6hdr *ip6;

	pull(ctx, off + sizeof(*ip6));
	opaque(off);
	if (off > L3_OFF_MAX)
		return NULL;
	ip6 = frame(ctx) + off;
	if ((void *)(ip6 + 1) > frame_end(ctx))
		return NULL;
	return ip6;
}

/*
 * ip6_describe: finds the upper layer behind the extension headers. Without
 * one within reach, l4_off is 0 and proto the last header seen: filters decide.
 */
inline_always void ip6_describe(ctx_t *ctx, struct mbuf *m, const struct ipv6hdr *ip6)
{
	__u64 off = m->l3_off + sizeof(*ip6);
	__u8 next = ip6->nexthdr;

	m->ip_len = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	m->tos = (ip6->priority << 4) | (ip6->flow_lbl[0] >> 4);
	m->l4_off = 0;
	if (next == IPPROTO_TCP || next == IPPROTO_UDP || next == IPPROTO_ICMPV6) {
		m->l4_off = off;
		m->proto = next;
		return;
	}
	for (int i = 0; i < IP6_EXTENSIONS; i++) {
		struct ip6_extension *ext;
		struct ip6_fragment *frag;

		opaque(off);
		if (off > L4_OFF_MAX)
			break;
		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			pull(ctx, off + sizeof(*ext));
			ext = frame(ctx) + off;
			if ((void *)(ext + 1) > frame_end(ctx))
				goto out;
			next = ext->next;
			off += ((__u32)ext->len + 1) * 8;
			break;
		case IPPROTO_FRAGMENT:
			pull(ctx, off + sizeof(*frag));
			frag = frame(ctx) + off;
			if ((void *)(frag + 1) > frame_end(ctx))
				goto out;
			next = frag->next;
			off += sizeof(*frag);
			if (!(frag->offset & bpf_htons(0xfff9))) {
				m->flags |= M_ATOMIC; /* RFC 6946 */
				break;
			}
			m->flags |= M_FRAG;
			if (frag->offset & bpf_htons(0xfff8)) {
				m->flags |= M_FRAG_NOTFIRST;
				m->l4_off = off;
				goto out;
			}
			break;
		default:
			m->l4_off = off;
			goto out;
		}
	}
out:
	m->proto = next;
}

/* ip6_output_on: does it fit, and who is next on the link. */
inline_always int ip6_output_on(ctx_t *ctx, struct mbuf *m, const struct config *cfg)
{
	struct nd6_key key = {};
	struct llentry *entry;
	struct ipflow *flow;
	struct ipv6hdr *ip6;
	struct nexthop *nh;
	struct ifnet *ifp;
	__u32 mtu;

	nh = bpf_map_lookup_elem(&nexthop, &m->nexthop);
	ifp = ifnet_slot(m->ifp);
	if (!nh || !ifp)
		return drop(REASON_MBUF);
	refragment(ctx, m, false);
	mtu = nh->mtu ? nh->mtu : ifp->if_mtu;
	if (wire_len(ctx, m) > mtu)
		to_netisr(ctx, m, REASON_NETISR_TOOBIG);
	if (m->flags & M_REDIRECT) {
		m->flags &= ~M_REDIRECT;
		to_netisr(ctx, m, REASON_NETISR_REDIRECT);
	}
	if (ifp->if_flags & (IFNET_RAWIP | IFNET_NOARP))
		goto resolved;
	if (nh->flags & NEXTHOP_GATEWAY) {
		if (!nexthop_lladdr(m, nh))
			to_netisr(ctx, m, REASON_NETISR_ARP);
		goto resolved;
	}
	ip6 = ip6_header(ctx, m);
	if (!ip6)
		return drop(REASON_IP6_TOOSHORT);
	key.ifslot = m->ifp;
	__builtin_memcpy(key.addr, &ip6->daddr, sizeof(key.addr));
	flow = ipflow_of(m, key.addr, 6);
	if (flow && lladdr_word(m, flow->lladdr))
		goto resolved;
	entry = bpf_map_lookup_elem(&nd6, &key);
	if (!llentry_lladdr(m, entry))
		to_netisr(ctx, m, REASON_NETISR_ARP);
	if (flow)
		flow->lladdr = *(volatile const __u64 *)entry;
resolved:
	return ether_output_on(ctx, m, cfg, ifp);
}

/* ip6_forward_on: whose is the packet, and if another's, where does it go. */
inline_always int ip6_forward_on(ctx_t *ctx, struct mbuf *m, const struct config *cfg)
{
	struct ipv6hdr *ip6;
	struct ipflow *flow;
	struct in6 dst;
	struct nexthop *nh;
	struct ifnet *ifp;
	__u32 flags;
	__u64 hooks;

	ip6 = ip6_header(ctx, m);
	if (!ip6)
		return drop_input(m->rcvif, REASON_IP6_TOOSHORT);
	if (IN6_MULTICAST(&ip6->daddr))
		return deliver(ctx, m, REASON_MULTICAST);
	/* Link-local addresses are the host's own business on each link. */
	if (IN6_LINKLOCAL(&ip6->daddr))
		return deliver(ctx, m, REASON_LOCAL);

	__builtin_memcpy(dst.addr, &ip6->daddr, sizeof(dst.addr));
	flow = ipflow_get(m, dst.addr, 6);
	if (!flow)
		return drop(REASON_MBUF);
	if (flow->nexthop == ~0U)
		flow->nexthop = rt6_lookup(0, &dst);
	nh = flow->nexthop ? bpf_map_lookup_elem(&nexthop, &flow->nexthop) : NULL;
	flags = nh ? nh->flags : 0;
	if (flags & NEXTHOP_LOCAL) {
		if (tunnel_proto(cfg, m->proto))
			stage(ctx, PROTO_TUNNEL_INPUT);
		return deliver(ctx, m, REASON_LOCAL);
	}
	if (flags & NEXTHOP_UNOWNED) {
		count_noproto(m->rcvif);
		return deliver(ctx, m, REASON_UNOWNED);
	}
	if (!(cfg->flags & CONFIG_IP6FORWARDING))
		return drop_input(m->rcvif, REASON_IP6_FORWARDING);
	if ((m->flags & (M_BCAST | M_MCAST)) || IN6_UNSPECIFIED(&ip6->saddr))
		return drop_input(m->rcvif, REASON_IP6_CANTFORWARD);
	if (ip6->nexthdr == IPPROTO_HOPOPTS && !(m->flags & M_RESUMED))
		to_netisr(ctx, m, REASON_NETISR_OPTIONS);
	if (!(cfg->flags & CONFIG_STEALTH) && ip6->hop_limit <= 1)
		to_netisr(ctx, m, REASON_NETISR_TTL);
	if (!(flags & NEXTHOP_UP))
		to_netisr(ctx, m, REASON_NETISR_NOROUTE);
	if (flags & NEXTHOP_BLACKHOLE)
		return drop_input(m->rcvif, REASON_IP6_BLACKHOLE);
	if (flags & NEXTHOP_REJECT)
		to_netisr(ctx, m, REASON_NETISR_REJECT);

	m->nexthop = flow->nexthop;
	m->ifp = nh->ifslot;
	if (IN6_LINKLOCAL(&ip6->saddr) && m->ifp != m->rcvif)
		to_netisr(ctx, m, REASON_NETISR_SCOPE);
	ifp = ifnet_slot(m->ifp);
	if (!ifp || !(ifp->if_flags & IFNET_UP))
		to_netisr(ctx, m, REASON_NETISR_NOROUTE);
	if (m->ifp == m->rcvif && (cfg->flags & CONFIG_SEND6REDIRECTS) &&
	    !(flags & (NEXTHOP_DYNAMIC | NEXTHOP_DEFAULT)) && redirect_due(ifp))
		m->flags |= M_REDIRECT;
	if (!(cfg->flags & CONFIG_STEALTH))
		ip6->hop_limit--;

	m->dir = PFIL_OUT;
	hooks = cfg->pfil[PFIL_INET6][PFIL_OUT];
	if (hooks)
		pfil_run(ctx, m, hooks, PROTO_IP6_OUTPUT);
	return ip6_output_on(ctx, m, cfg);
}

/* ip6_input: every check of the header, then the input hooks. */
STAGE(ip6_input)
{
	const struct config *cfg;
	struct mbuf *m = mget();
	struct ipv6hdr *ip6;
	struct ifnet *ifp;
	__u32 avail, len;

	if (!m)
		return drop(REASON_MBUF);
	ip6 = ip6_header(ctx, m);
	if (!ip6)
		return drop_input(m->rcvif, REASON_IP6_TOOSHORT);
	if (ip6->version != 6)
		return drop_input(m->rcvif, REASON_IP6_BADVERS);
	ifp = ifnet_slot(m->rcvif);
	cfg = config_of(m);
	if (!ifp || !cfg)
		return drop(REASON_CONFIG);
	avail = m->frame_len - m->l3_off;
	len = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
#ifdef BUILD_TC
	if (!ip6->payload_len && ctx->gso_segs)
		len = avail;
#endif
	if (len > avail)
		return drop_input(m->rcvif, REASON_IP6_TRUNCATED);
	if (IN6_MULTICAST(&ip6->saddr) || IN6_UNSPECIFIED(&ip6->daddr) ||
	    IN6_V4MAPPED(&ip6->saddr) || IN6_V4MAPPED(&ip6->daddr))
		return drop_input(m->rcvif, REASON_IP6_BADADDR);
	if (!(ifp->if_flags & IFNET_LOOPBACK) &&
	    (IN6_LOOPBACK(&ip6->saddr) || IN6_LOOPBACK(&ip6->daddr) ||
	     IN6_MC_NODELOCAL(&ip6->daddr)))
		return drop_input(m->rcvif, REASON_IP6_BADADDR);
	ip6_describe(ctx, m, ip6);

	if (cfg->pfil[PFIL_INET6][PFIL_IN])
		pfil_run(ctx, m, cfg->pfil[PFIL_INET6][PFIL_IN], PROTO_IP6_FORWARD);
	return ip6_forward_on(ctx, m, cfg);
}

/* ip6_forward: as a stage of its own after hooks and for what netisr returns. */
STAGE(ip6_forward)
{
	const struct config *cfg;
	struct mbuf *m = mget();

	if (!m)
		return drop(REASON_MBUF);
	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
	return ip6_forward_on(ctx, m, cfg);
}

/* ip6_output: as a stage of its own after hooks and for what netisr returns. */
STAGE(ip6_output)
{
	const struct config *cfg;
	struct mbuf *m = mget();

	if (!m)
		return drop(REASON_MBUF);
	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
	return ip6_output_on(ctx, m, cfg);
}

#endif
