/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Translation: another address and port into the packet, its checksums mended. */
#ifndef BSDNET_PF_TRANSLATE_H
#define BSDNET_PF_TRANSLATE_H

#include "pf_state.h"

/* csum_fold: of a sum of 16-bit words. */
inline_always __u16 pf_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* pf_sum: of an address of 4 or 16 bytes. */
inline_always __u64 pf_sum(const __u8 *addr, __u8 af)
{
	const __u32 *w = (const __u32 *)addr;
	__u64 sum = w[0];

	if (af == 6)
		sum += (__u64)w[1] + w[2] + w[3];
	return sum;
}

/* pf_sum_not: of the complement of an address, which takes it out of a sum. */
inline_always __u64 pf_sum_not(const __u8 *addr, __u8 af)
{
	const __u32 *w = (const __u32 *)addr;
	__u64 sum = (__u32)~w[0];

	if (af == 6)
		sum += (__u64)(__u32)~w[1] + (__u32)~w[2] + (__u32)~w[3];
	return sum;
}

/*
 * pf_l4_sum_offset: where the checksum of the upper header is in it; 0 if it
 * has none, or none that covers addresses.
 */
inline_always __u32 pf_l4_sum_offset(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return __builtin_offsetof(struct tcp_header, sum);
	case IPPROTO_UDP:
		return __builtin_offsetof(struct udp_header, sum);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return __builtin_offsetof(struct icmp_header, sum);
	}
	return 0;
}

#ifdef BUILD_TC
#define PF_F_IPV6	(1ULL << 7)	/* BPF_F_IPV6 of Linux 6.16 */

/*
 * pf_pseudo_replace: mends a checksum for other addresses. IPv6 has no header
 * checksum that makes up for them in the sum of the whole packet, which older
 * kernels do not know.
 */
inline_always bool pf_pseudo_replace(ctx_t *ctx, __u32 at, __u64 diff, __u64 flags, __u8 af)
{
	flags |= BPF_F_PSEUDO_HDR;
	if (af == 6 && !bpf_l4_csum_replace(ctx, at, 0, diff, flags | PF_F_IPV6))
		return true;
	return !bpf_l4_csum_replace(ctx, at, 0, diff, flags);
}
#endif

/*
 * pf_rewrite: puts source and destination of a key into the packet, in place
 * of those in pd. The key is placed for pd's direction. False: the packet
 * could not be written.
 */
inline_always bool pf_rewrite(ctx_t *ctx, struct mbuf *m, const struct pf_pdesc *pd, const __u8 addr[2][16],
			      const __be16 port[2])
{
	__u32 s = pd->dir == PFIL_IN ? 0 : 1, d = 1 - s;
	__u32 sum_at = pf_l4_sum_offset(pd->proto);
	__u64 addr_diff = 0, port_diff = 0;
	__be16 nports[2], oports[2];
	bool icmp = pd->proto == IPPROTO_ICMP || pd->proto == IPPROTO_ICMPV6;
	__u8 *l4;

	s &= 1;
	d &= 1;
	nports[0] = port[s];
	nports[1] = port[d];
	oports[0] = pd->port[s];
	oports[1] = pd->port[d];
	addr_diff = pf_sum(addr[0], pd->af) + pf_sum(addr[1], pd->af) +
		    pf_sum_not(pd->addr[0], pd->af) + pf_sum_not(pd->addr[1], pd->af);

	if (pd->af == 4) {
		struct iphdr *ip = ip_header(ctx, m);

		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, addr[s], 4);
		__builtin_memcpy(&ip->daddr, addr[d], 4);
		ip->check = ~pf_fold((__u64)(__u16)~ip->check + addr_diff);
	} else {
		struct ipv6hdr *ip6 = ip6_header(ctx, m);

		if (!ip6)
			return false;
		__builtin_memcpy(&ip6->saddr, addr[s], 16);
		__builtin_memcpy(&ip6->daddr, addr[d], 16);
	}
	if (pd->header && sum_at) {
		__u32 pseudo = addr_diff ? pf_fold(addr_diff) : 0;
		bool covers = pd->proto != IPPROTO_ICMP; /* has addresses in its sum */

		if (pd->icmp_way == PF_ICMP_REPLY) {
			nports[0] = nports[1];
			oports[0] = oports[1];
		}
		if (icmp) {
			if (pd->icmp_way != PF_ICMP_OTHER)
				port_diff = (__u64)nports[0] + (__u16)~oports[0];
		} else {
			port_diff = (__u64)nports[0] + (__u16)~oports[0] + nports[1] + (__u16)~oports[1];
		}
		l4 = pf_l4(ctx, m, 8);
		if (!l4)
			return false;
		if (icmp) {
			if (pd->icmp_way != PF_ICMP_OTHER)
				((struct icmp_header *)l4)->id = nports[0];
		} else {
			((struct udp_header *)l4)->sport = nports[0];
			((struct udp_header *)l4)->dport = nports[1];
		}
#ifdef BUILD_TC
		{
			/* The kernel knows which sums are only begun. */
			__u32 at = m->l4_off + sum_at;
			__u64 flags = pd->proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

			if (covers && pseudo && !pf_pseudo_replace(ctx, at, pseudo, flags, pd->af))
				return false;
			if (bpf_l4_csum_replace(ctx, at, 0, pf_fold(port_diff), flags))
				return false;
		}
#else
		{
			__be16 *sum;

			l4 = pf_l4(ctx, m, sum_at + 2);
			if (!l4)
				return false;
			sum = (__be16 *)(l4 + sum_at);
			if (pd->proto != IPPROTO_UDP || *sum) {
				__u16 folded = ~pf_fold((__u64)(__u16)~*sum + (covers ? pseudo : 0) + port_diff);

				if (pd->proto == IPPROTO_UDP && !folded)
					folded = 0xffff;
				*sum = folded;
			}
		}
#endif
	}
	return true;
}

#endif
