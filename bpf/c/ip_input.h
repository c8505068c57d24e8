/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* IPv4: ip_input, ip_forward, ip_output. RFC 791, 1122, 1812. */
#ifndef BSDNET_IP_INPUT_H
#define BSDNET_IP_INPUT_H

#include "deliver.h"
#include "dhcp.h"
#include "fib.h"
#include "mbuf.h"
#include "output.h"

#define IP_RF		0x8000
#define IP_DF		0x4000
#define IP_MF		0x2000
#define IP_OFFMASK	0x1fff

/* Networks by their first octet, address in network order. */
#define in_first(addr)		((addr) & bpf_htonl(0xff000000))
#define in_loopback(addr)	(in_first(addr) == bpf_htonl(0x7f000000))
#define in_zeronet(addr)	(in_first(addr) == 0)
#define in_multicast(addr)	(((addr) & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000))
#define in_experimental(addr)	(((addr) & bpf_htonl(0xf0000000)) == bpf_htonl(0xf0000000))
#define in_linklocal(addr)	(((addr) & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000))
#define in_broadcast(addr)	((addr) == 0xffffffff)

/*
 * in_cksum_hdr: sum of an IPv4 header of hlen bytes, all of them readable;
 * 0xffff if its checksum is right.
 */
inline_always __u16 in_cksum_hdr(const struct iphdr *ip, const void *end, __u32 hlen)
{
	const __u32 *word = (const __u32 *)ip;
	__u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];

	if (hlen > sizeof(*ip)) {
		for (__u32 i = 5; i < 15; i++) {
			if (i * 4 >= hlen || (const void *)(word + i + 1) > end)
				break;
			sum += word[i];
		}
	}
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* ip_decttl: one hop less, checksum adjusted (RFC 1624). */
inline_always void ip_decttl(struct iphdr *ip)
{
	__u32 sum = ip->check + bpf_htons(0x0100);

	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
}

/* ip_header: the header at m->l3_off, its first 20 bytes readable; NULL if not there. */
inline_always struct iphdr *ip_header(ctx_t *ctx, const struct mbuf *m)
{
	__u32 off = m->l3_off;
	struct iphdr *ip;

	pull(ctx, off + sizeof(*ip));
	opaque(off);
	if (off > L3_OFF_MAX)
		return NULL;
	ip = frame(ctx) + off;
	if ((void *)(ip + 1) > frame_end(ctx))
		return NULL;
	return ip;
}

/* ip_describe: what later stages and hooks want to know, from a checked header. */
inline_always void ip_describe(struct mbuf *m, const struct iphdr *ip, __u32 hlen)
{
	__u16 frag = bpf_ntohs(ip->frag_off);

	m->ip_len = bpf_ntohs(ip->tot_len);
	m->l4_off = m->l3_off + hlen;
	m->proto = ip->protocol;
	m->tos = ip->tos;
	if (frag & (IP_MF | IP_OFFMASK))
		m->flags |= M_FRAG;
	if (frag & IP_OFFMASK)
		m->flags |= M_FRAG_NOTFIRST;
	if (!(frag & IP_DF))
		m->flags |= M_NODF;
}

/* in_canforward: both addresses may cross a router. */
inline_always bool in_canforward(const struct iphdr *ip)
{
	return !(in_zeronet(ip->saddr) || in_zeronet(ip->daddr) || in_loopback(ip->daddr) ||
		 in_experimental(ip->daddr) || in_linklocal(ip->daddr) || in_linklocal(ip->saddr));
}

/* ip_output_on: does it fit, and who is next on the link. */
inline_always int ip_output_on(ctx_t *ctx, struct mbuf *m, const struct config *cfg)
{
	struct arp_key key = {};
	struct llentry *entry;
	struct ipflow *flow;
	struct nexthop *nh;
	struct ifnet *ifp;
	struct iphdr *ip;
	__u32 mtu;

	nh = bpf_map_lookup_elem(&nexthop, &m->nexthop);
	ifp = ifnet_slot(m->ifp);
	if (!nh || !ifp)
		return drop(REASON_MBUF);
	refragment(ctx, m, false);
	mtu = nh->mtu ? nh->mtu : ifp->if_mtu;
	if (wire_len(ctx, m) > mtu) {
		if (m->flags & M_NODF)
			to_netisr(ctx, m, REASON_NETISR_FRAGMENT);
		to_netisr(ctx, m, REASON_NETISR_TOOBIG);
	}
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
	ip = ip_header(ctx, m);
	if (!ip)
		return drop(REASON_IP_TOOSHORT);
	key.ifslot = m->ifp;
	__builtin_memcpy(key.addr, &ip->daddr, sizeof(key.addr));
	flow = ipflow_of(m, key.addr, 4);
	if (flow && lladdr_word(m, flow->lladdr))
		goto resolved;
	entry = bpf_map_lookup_elem(&arp, &key);
	if (!llentry_lladdr(m, entry))
		to_netisr(ctx, m, REASON_NETISR_ARP);
	if (flow)
		flow->lladdr = *(volatile const __u64 *)entry;
resolved:
	return ether_output_on(ctx, m, cfg, ifp);
}

/*
 * ip_forward_on: whose is the packet, and if another's, where does it go. Output
 * hooks see it with the TTL that it will have on the wire.
 */
inline_always int ip_forward_on(ctx_t *ctx, struct mbuf *m, const struct config *cfg)
{
	struct ipflow *flow;
	struct nexthop *nh;
	struct ifnet *ifp;
	struct iphdr *ip;
	__be32 dst;
	__u32 flags;
	__u64 hooks;

	ip = ip_header(ctx, m);
	if (!ip)
		return drop_input(m->rcvif, REASON_IP_TOOSHORT);
	if (in_multicast(ip->daddr))
		return deliver(ctx, m, REASON_MULTICAST);
	if (in_broadcast(ip->daddr))
		return deliver(ctx, m, REASON_BROADCAST);

	dst = ip->daddr;
	flow = ipflow_get(m, (const __u8 *)&dst, 4);
	if (!flow)
		return drop(REASON_MBUF);
	if (flow->nexthop == ~0U)
		flow->nexthop = rt_lookup(0, dst);
	nh = flow->nexthop ? bpf_map_lookup_elem(&nexthop, &flow->nexthop) : NULL;
	flags = nh ? nh->flags : 0;
	if (flags & NEXTHOP_LOCAL) {
		if (tunnel_proto(cfg, m->proto))
			stage(ctx, PROTO_TUNNEL_INPUT);
		return deliver(ctx, m, REASON_LOCAL);
	}
	if (flags & NEXTHOP_BROADCAST) {
		if (nh->ifslot == m->rcvif)
			return deliver(ctx, m, REASON_BROADCAST);
		return drop_input(m->rcvif, REASON_IP_CANTFORWARD);
	}
	/* Nothing arrives here that a neighbour took for a router's: leave it to the host. */
	if (flags & NEXTHOP_UNOWNED) {
		count_noproto(m->rcvif);
		return deliver(ctx, m, REASON_UNOWNED);
	}
	if (!(cfg->flags & CONFIG_IPFORWARDING))
		return drop_input(m->rcvif, REASON_IP_FORWARDING);
	if ((m->flags & (M_BCAST | M_MCAST)) || !in_canforward(ip))
		return drop_input(m->rcvif, REASON_IP_CANTFORWARD);
	if (ip->ihl > 5 && !(m->flags & M_RESUMED))
		to_netisr(ctx, m, REASON_NETISR_OPTIONS);
	if (!(cfg->flags & CONFIG_STEALTH) && ip->ttl <= 1)
		to_netisr(ctx, m, REASON_NETISR_TTL);
	if (!(flags & NEXTHOP_UP))
		to_netisr(ctx, m, REASON_NETISR_NOROUTE);
	if (flags & NEXTHOP_BLACKHOLE)
		return drop_input(m->rcvif, REASON_IP_BLACKHOLE);
	if (flags & NEXTHOP_REJECT)
		to_netisr(ctx, m, REASON_NETISR_REJECT);

	m->nexthop = flow->nexthop;
	m->ifp = nh->ifslot;
	ifp = ifnet_slot(m->ifp);
	if (!ifp || !(ifp->if_flags & IFNET_UP))
		to_netisr(ctx, m, REASON_NETISR_NOROUTE);
	if (m->ifp == m->rcvif && (cfg->flags & CONFIG_SENDREDIRECTS) &&
	    !(flags & (NEXTHOP_DYNAMIC | NEXTHOP_DEFAULT)) && redirect_due(ifp))
		m->flags |= M_REDIRECT;
	if (!(cfg->flags & CONFIG_STEALTH))
		ip_decttl(ip);

	m->dir = PFIL_OUT;
	hooks = cfg->pfil[PFIL_INET][PFIL_OUT];
	if (hooks)
		pfil_run(ctx, m, hooks, PROTO_IP_OUTPUT);
	return ip_output_on(ctx, m, cfg);
}

/*
 * ip_input: every check of the header, before anything believes it; then the
 * input hooks. In the TC build the total length of a segmentation packet may
 * exceed what its 16 bits hold.
 */
STAGE(ip_input)
{
	const struct config *cfg;
	struct mbuf *m = mget();
	__u32 hlen, len, avail;
	struct ifnet *ifp;
	struct iphdr *ip;

	if (!m)
		return drop(REASON_MBUF);
	ip = ip_header(ctx, m);
	if (!ip)
		return drop_input(m->rcvif, REASON_IP_TOOSHORT);
	if (ip->version != 4)
		return drop_input(m->rcvif, REASON_IP_BADVERS);
	hlen = ip->ihl * 4;
	avail = m->frame_len - m->l3_off;
	if (hlen < sizeof(*ip) || hlen > avail)
		return drop_input(m->rcvif, REASON_IP_BADHLEN);
	if (hlen > sizeof(*ip)) {
		pull(ctx, m->l3_off + hlen);
		ip = ip_header(ctx, m);
		if (!ip)
			return drop_input(m->rcvif, REASON_IP_TOOSHORT);
	}

	ifp = ifnet_slot(m->rcvif);
	cfg = config_of(m);
	if (!ifp || !cfg)
		return drop(REASON_CONFIG);
	if ((in_loopback(ip->saddr) || in_loopback(ip->daddr)) &&
	    !(ifp->if_flags & IFNET_LOOPBACK))
		return drop_input(m->rcvif, REASON_IP_BADADDR);
	if (in_cksum_hdr(ip, frame_end(ctx), hlen) != 0xffff)
		return drop_input(m->rcvif, REASON_IP_BADSUM);
	len = bpf_ntohs(ip->tot_len);
#ifdef BUILD_TC
	if (!len && ctx->gso_segs)
		len = avail;
#endif
	if (len < hlen)
		return drop_input(m->rcvif, REASON_IP_BADLEN);
	if (len > avail)
		return drop_input(m->rcvif, REASON_IP_TRUNCATED);
	if (in_multicast(ip->saddr) || in_experimental(ip->saddr))
		return drop_input(m->rcvif, REASON_IP_BADADDR);
	ip_describe(m, ip, hlen);

	if ((ifp->if_flags & IFNET_DHCP) && dhcp_reply(ctx, m, ip->daddr))
		return deliver(ctx, m, REASON_LOCAL);
	if (cfg->pfil[PFIL_INET][PFIL_IN])
		pfil_run(ctx, m, cfg->pfil[PFIL_INET][PFIL_IN], PROTO_IP_FORWARD);
	return ip_forward_on(ctx, m, cfg);
}

/* ip_forward: as a stage of its own after hooks and for what netisr returns. */
STAGE(ip_forward)
{
	const struct config *cfg;
	struct mbuf *m = mget();

	if (!m)
		return drop(REASON_MBUF);
	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
	return ip_forward_on(ctx, m, cfg);
}

/* ip_output: as a stage of its own after hooks and for what netisr returns. */
STAGE(ip_output)
{
	const struct config *cfg;
	struct mbuf *m = mget();

	if (!m)
		return drop(REASON_MBUF);
	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
	return ip_output_on(ctx, m, cfg);
}

#endif
