/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What pf looks at in a packet, taken out of it once. */
#ifndef BSDNET_PF_PDESC_H
#define BSDNET_PF_PDESC_H

#include "ip_input.h"
#include "ip6_input.h"
#include "pf_maps.h"

#define TH_FIN	0x01
#define TH_SYN	0x02
#define TH_RST	0x04
#define TH_PUSH	0x08
#define TH_ACK	0x10
#define TH_URG	0x20

#define PF_WSCALE_FLAG	0x80
#define PF_WSCALE_MASK	0x0f
#define TCP_OPTIONS	20	/* options looked at for the window scale */

#define ICMP_ECHOREPLY		0
#define ICMP_ECHO		8
#define ICMP_TSTAMP		13
#define ICMP_TSTAMPREPLY	14
#define ICMP_IREQ		15
#define ICMP_IREQREPLY		16
#define ICMP_MASKREQ		17
#define ICMP_MASKREPLY		18
#define ICMP6_ECHO_REQUEST	128
#define ICMP6_ECHO_REPLY	129
#define MLD_LISTENER_QUERY	130
#define MLD_LISTENER_DONE	132
#define MLDV2_LISTENER_REPORT	143

struct tcp_header {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 off;	/* header length in words, in the high half */
	__u8 flags;
	__be16 win;
	__be16 sum;
	__be16 urp;
};

struct udp_header {
	__be16 sport;
	__be16 dport;
	__be16 len;
	__be16 sum;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 sum;
	__be16 id;
	__be16 seq;
};

/* pf_l4: the first len bytes of the upper header, writable; NULL if not there. */
inline_always void *pf_l4(ctx_t *ctx, const struct mbuf *m, __u32 len)
{
	__u64 off = m->l4_off;
	void *p;

	pull(ctx, off + len);
	opaque(off);
	if (off > L4_OFF_MAX)
		return NULL;
	p = frame(ctx) + off;
	opaque(p);
	if (p + len > frame_end(ctx))
		return NULL;
	return p;
}

#define TCP_OPTION(kind, len)	((kind) << 8 | (len))
#define TCPOPT_MAXSEG		TCP_OPTION(2, 4)
#define TCPOPT_WINDOW		TCP_OPTION(3, 3)

#define TCP_OPTION_IS	(1 << 16)	/* pf_tcp_option_at: it is the one */

/*
 * pf_tcp_option_at: the option at a place in the frame; with TCP_OPTION_IS, it
 * is of the wanted kind and length; else where the next one is, 0: nowhere. The
 * verifier walks it once.
 */
__noinline int pf_tcp_option_at(ctx_t *ctx, __u32 place, __u32 end, __u32 wanted)
{
	__u64 at = place;
	__u8 *option;

	opaque(at);
	if (at + 2 > end || at > L4_OFF_MAX + 64)
		return 0;
	option = frame(ctx) + at;
	opaque(option);
	if ((void *)(option + 2) > frame_end(ctx) || option[0] == 0)
		return 0;
	if (option[0] == 1)
		return at + 1;
	if (option[1] < 2)
		return 0;
	if (TCP_OPTION(option[0], option[1]) == wanted)
		return at + option[1] <= end ? at | TCP_OPTION_IS : 0;
	return at + option[1];
}

/* pf_tcp_option: where in the frame a TCP header has an option of a kind and length; 0: nowhere. */
__noinline int pf_tcp_option(ctx_t *ctx, __u32 l4_off, __u32 header_len, __u32 wanted)
{
	__u32 at = l4_off + sizeof(struct tcp_header), end = l4_off + header_len;

	pull(ctx, end);
	for (int i = 0; i < TCP_OPTIONS; i++) {
		at = pf_tcp_option_at(ctx, at, end, wanted);
		if (!at)
			return 0;
		if (at & TCP_OPTION_IS)
			return at & ~TCP_OPTION_IS;
	}
	return 0;
}

/* pf_wscale: the window scale that a SYN offers, with PF_WSCALE_FLAG; 0: none. */
inline_always __u8 pf_wscale(ctx_t *ctx, __u32 l4_off, __u32 header_len)
{
	__u64 at = pf_tcp_option(ctx, l4_off, header_len, TCPOPT_WINDOW);
	__u8 *option;

	opaque(at);
	if (!at || at > L4_OFF_MAX + 64)
		return 0;
	option = frame(ctx) + at;
	opaque(option);
	if ((void *)(option + 3) > frame_end(ctx))
		return 0;
	return PF_WSCALE_FLAG | (option[2] > 14 ? 14 : option[2]);
}

/*
 * pf_key_addrs: the addresses go into the key by the way of the packet, not
 * by who sent it: what comes in and what goes out the other way meet there.
 */
inline_always bool pf_key_addrs(ctx_t *ctx, const struct mbuf *m, struct pf_pdesc *pd)
{
	__u32 s = pd->dir == PFIL_IN ? 0 : 1;

	if (pd->af == 4) {
		struct iphdr *ip = ip_header(ctx, m);

		if (!ip)
			return false;
		__builtin_memset(pd->addr, 0, sizeof(pd->addr));
		if (s) {
			*(__u32 *)pd->addr[1] = ip->saddr;
			*(__u32 *)pd->addr[0] = ip->daddr;
		} else {
			*(__u32 *)pd->addr[0] = ip->saddr;
			*(__u32 *)pd->addr[1] = ip->daddr;
		}
		pd->ttl = ip->ttl;
		return true;
	} else {
		struct ipv6hdr *ip6 = ip6_header(ctx, m);

		if (!ip6)
			return false;
		if (s) {
			__builtin_memcpy(pd->addr[1], &ip6->saddr, 16);
			__builtin_memcpy(pd->addr[0], &ip6->daddr, 16);
		} else {
			__builtin_memcpy(pd->addr[0], &ip6->saddr, 16);
			__builtin_memcpy(pd->addr[1], &ip6->daddr, 16);
		}
		pd->ttl = ip6->hop_limit;
		return true;
	}
}

inline_always void pf_key_ports(struct pf_pdesc *pd, __be16 sport, __be16 dport)
{
	if (pd->dir == PFIL_IN) {
		pd->port[0] = sport;
		pd->port[1] = dport;
	} else {
		pd->port[1] = sport;
		pd->port[0] = dport;
	}
}

/*
 * pf_icmp_way: whether an ICMP packet asks or answers, and what. Others are
 * conversations of their own, in one direction.
 */
inline_always enum pf_icmp_way pf_icmp_way(__u8 af, __u8 type, __u8 *query)
{
	*query = type;
	if (af == 4) {
		switch (type) {
		case ICMP_ECHO:
		case ICMP_TSTAMP:
		case ICMP_IREQ:
		case ICMP_MASKREQ:
			return PF_ICMP_QUERY;
		case ICMP_ECHOREPLY:
			*query = ICMP_ECHO;
			return PF_ICMP_REPLY;
		case ICMP_TSTAMPREPLY:
		case ICMP_IREQREPLY:
		case ICMP_MASKREPLY:
			*query = type - 1;
			return PF_ICMP_REPLY;
		}
		return PF_ICMP_OTHER;
	}
	if (type == ICMP6_ECHO_REQUEST)
		return PF_ICMP_QUERY;
	if (type == ICMP6_ECHO_REPLY) {
		*query = ICMP6_ECHO_REQUEST;
		return PF_ICMP_REPLY;
	}
	return PF_ICMP_OTHER;
}

/* pf_icmp_error: the packet tells of another one. */
inline_always bool pf_icmp_error(__u8 af, __u8 type)
{
	if (af == 4)
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

inline_always __u64 pf_mix(__u64 h, __u64 word)
{
	h ^= word;
	h *= 0xff51afd7ed558ccdULL;
	return h ^ (h >> 32);
}

/* pf_hash: of a key, with the secret of this host; never 0. */
inline_always __u32 pf_hash(const __u8 addr[2][16], const __be16 port[2], __u8 proto, __u8 af, __u64 seed)
{
	const __u64 *a = (const __u64 *)addr;
	__u64 h = pf_mix(seed, a[0]);

	h = pf_mix(h, a[2]);
	if (af == 6) {
		h = pf_mix(h, a[1]);
		h = pf_mix(h, a[3]);
	}
	h = pf_mix(h, (__u64)port[0] << 32 | (__u64)port[1] << 16 | (__u64)proto << 8 | af);
	return (__u32)h | 1;
}

/*
 * pf_options: the packet has IP options or extension headers. Those of group
 * membership, which never leave the link, are forgiven their router alert.
 */
inline_always bool pf_options(const struct mbuf *m, const struct pf_pdesc *pd)
{
	__u32 plain = sizeof(struct iphdr);

	if (m->af == 6 && (m->flags & M_FRAG))
		return false;
	if (!m->l4_off)
		return true; /* the upper layer is behind more headers than are followed */
	if (m->af == 6)
		plain = sizeof(struct ipv6hdr) + (m->flags & M_ATOMIC ? sizeof(struct ip6_fragment) : 0);
	if (m->l4_off - m->l3_off <= plain)
		return false;
	if (pd->ttl != 1)
		return true;
	if (m->af == 4)
		return m->proto != IPPROTO_IGMP;
	return m->proto != IPPROTO_ICMPV6 ||
	       !((pd->icmp_type >= MLD_LISTENER_QUERY && pd->icmp_type <= MLD_LISTENER_DONE) ||
		 pd->icmp_type == MLDV2_LISTENER_REPORT);
}

/* pf_fragment_df: a fragment that must not be one. */
inline_always bool pf_fragment_df(ctx_t *ctx, const struct mbuf *m)
{
	struct iphdr *ip;

	if (m->af != 4)
		return false;
	ip = ip_header(ctx, m);
	return !ip || (ip->frag_off & bpf_htons(IP_DF));
}

/*
 * pf_routed_by_source: an IPv6 packet has a routing header of type 0 (RFC 5095),
 * or more than one. Its headers begin at an offset. The verifier walks it once.
 */
__noinline int pf_routed_by_source(ctx_t *ctx, __u32 from, __u32 next)
{
	__u64 off = from;
	__u32 seen = 0;

	for (int i = 0; i < IP6_EXTENSIONS; i++) {
		struct ip6_routing *ext;

		pull(ctx, off + sizeof(*ext));
		opaque(off);
		if (off > L4_OFF_MAX)
			return false;
		ext = frame(ctx) + off;
		opaque(ext);
		if ((void *)(ext + 1) > frame_end(ctx))
			return false;
		if (next == IPPROTO_ROUTING && (ext->type == 0 || seen++))
			return true;
		if (next == IPPROTO_FRAGMENT)
			off += sizeof(struct ip6_fragment);
		else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS)
			off += ((__u32)ext->len + 1) * 8;
		else
			return false;
		next = ext->next;
	}
	return false;
}

/* What pf_setup says. */
enum pf_verdict {
	PF_OK,
	PF_SHORT,
	PF_NORMALIZED,	/* dropped by normalisation */
	PF_ROUTED,	/* by a routing header that nobody must follow */
};

/*
 * pf_setup: fills in pd. Headers must be there whole, except in fragments,
 * which count as having none.
 */
inline_always enum pf_verdict pf_setup(ctx_t *ctx, struct mbuf *m, struct pf_pdesc *pd, __u64 seed)
{
	__u32 avail;

	/* The addresses are written in any case, the rest when it is needed. */
	__builtin_memset(pd->port, 0, __builtin_offsetof(struct pf_pdesc, words) - __builtin_offsetof(struct pf_pdesc, port));
	pd->proto = m->proto;
	pd->af = m->af;
	pd->dir = m->dir;
	pd->ifslot = m->dir == PFIL_IN ? m->rcvif : m->ifp;
	pd->rcvif = m->flags & M_HOST ? IFNET_SLOTS : m->rcvif;
	pd->l4_off = m->l4_off;
	pd->tos = m->tos;
	pd->fragment = !!(m->flags & M_FRAG);
	if (!pf_key_addrs(ctx, m, pd))
		return PF_SHORT;
	if ((m->proto == IPPROTO_ICMP && m->af == 6) || (m->proto == IPPROTO_ICMPV6 && m->af == 4))
		return PF_NORMALIZED;
	if (m->af == 6 && m->l4_off > m->l3_off + sizeof(struct ipv6hdr) && !(m->flags & M_FRAG_NOTFIRST)) {
		struct ipv6hdr *ip6 = ip6_header(ctx, m);

		if (ip6 && pf_routed_by_source(ctx, m->l3_off + sizeof(*ip6), ip6->nexthdr))
			return PF_ROUTED;
	}
	if (!m->l4_off || (m->flags & M_FRAG))
		goto hash;
	/* Extension headers may end behind the packet, within the frame. */
	avail = m->l3_off + m->ip_len > m->l4_off ? m->l3_off + m->ip_len - m->l4_off : 0;
	switch (m->proto) {
	case IPPROTO_TCP: {
		struct tcp_header *th = pf_l4(ctx, m, sizeof(*th));

		if (!th)
			return PF_SHORT;
		pd->l4_len = (th->off >> 4) * 4;
		if (pd->l4_len < sizeof(*th) || pd->l4_len > avail || !th->dport)
			return PF_SHORT;
		pd->tcp_flags = th->flags;
		pd->seq = bpf_ntohl(th->seq);
		pd->ack = bpf_ntohl(th->ack);
		pd->win = bpf_ntohs(th->win);
		pd->data_len = avail - pd->l4_len;
		pf_key_ports(pd, th->sport, th->dport);
		/* Combinations that no stack sends and that filters fall for. */
		if ((th->flags & TH_SYN) && (th->flags & (TH_RST | TH_FIN)))
			return PF_NORMALIZED;
		if (!(th->flags & (TH_SYN | TH_ACK | TH_RST)))
			return PF_NORMALIZED;
		if (!(th->flags & TH_ACK) && (th->flags & (TH_FIN | TH_PUSH | TH_URG)))
			return PF_NORMALIZED;
		if (pd->tcp_flags & TH_SYN)
			pd->wscale = pf_wscale(ctx, m->l4_off, pd->l4_len);
		break;
	}
	case IPPROTO_UDP: {
		struct udp_header *uh = pf_l4(ctx, m, sizeof(*uh));

		if (!uh)
			return PF_SHORT;
		if (!uh->dport || (packets(ctx) == 1 &&
				   (bpf_ntohs(uh->len) > avail || bpf_ntohs(uh->len) < sizeof(*uh))))
			return PF_SHORT;
		pd->l4_len = sizeof(*uh);
		pf_key_ports(pd, uh->sport, uh->dport);
		break;
	}
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: {
		struct icmp_header *ih = pf_l4(ctx, m, sizeof(*ih));
		__u8 query;

		if (!ih || avail < sizeof(*ih))
			return PF_SHORT;
		pd->l4_len = sizeof(*ih);
		pd->icmp_type = ih->type;
		pd->icmp_code = ih->code;
		/* The one who asks has the number as its port, the other the type. */
		pd->icmp_way = pf_icmp_way(m->af, ih->type, &query);
		switch (pd->icmp_way) {
		case PF_ICMP_QUERY:
			pf_key_ports(pd, ih->id, bpf_htons(query));
			break;
		case PF_ICMP_REPLY:
			pf_key_ports(pd, bpf_htons(query), ih->id);
			break;
		default:
			pf_key_ports(pd, 0, bpf_htons(query));
		}
		break;
	}
	}
	pd->header = 1;
hash:
	pd->options = pf_options(m, pd);
	pd->hash = pf_hash(pd->addr, pd->port, pd->proto, pd->af, seed);
	return PF_OK;
}

#endif
