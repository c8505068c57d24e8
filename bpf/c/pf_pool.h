/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Pools: which address and port a translation takes. Meanwhile a packet's key
 * in pd is what it is so far, and the translated key what it was.
 */
#ifndef BSDNET_PF_POOL_H
#define BSDNET_PF_POOL_H

#include "pf_src_node.h"

#define PF_PORT_TRIES	64	/* ports tried for a new state */
#define PF_RANGE_DEPTH	18	/* halvings down to one of PF_RANGES */

inline_always struct pf_range *pf_range_at(__u32 index)
{
	return bpf_map_lookup_elem(&pf_ranges, &index);
}

/* pf_source_hash: of a source address, with the key of its pool. */
inline_always __u64 pf_source_hash(const __u8 *addr, const struct pf_pool *pool)
{
	const __u64 *a = (const __u64 *)addr;

	return pf_mix(pf_mix(pf_mix(pf_mix(pool->key[0], a[0]), a[1]), pool->key[1]), a[0]);
}

/* pf_addr_add: the address that follows another by so many. */
inline_always void pf_addr_add(__u8 *addr, __u64 offset, __u8 af)
{
	if (af == 4) {
		__be32 *word = (__be32 *)addr;

		*word = bpf_htonl(bpf_ntohl(*word) + (__u32)offset);
	} else {
		__be64 *half = (__be64 *)addr;
		__u64 low = bpf_be64_to_cpu(half[1]) + offset;

		if (low < offset)
			half[0] = bpf_cpu_to_be64(bpf_be64_to_cpu(half[0]) + 1);
		half[1] = bpf_cpu_to_be64(low);
	}
}

/* pf_addr_graft: gives out the first bits of net and the rest of host. */
inline_always void pf_addr_graft(__u8 *out, const __u8 *net, const __u8 *host, __u32 bits)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 mask = bits >= 32 ? ~0U : bits ? ~0U << (32 - bits) : 0;
		__be32 keep = bpf_htonl(mask);

		((__be32 *)out)[i] = (((const __be32 *)net)[i] & keep) | (((const __be32 *)host)[i] & ~keep);
		bits = bits >= 32 ? bits - 32 : 0;
	}
}

/*
 * pf_map_addr: chooses an address of a pool for the end of the packet that it
 * changes, and puts it there.
 * False: the pool has no address of the family. The verifier walks it once.
 */
__noinline int pf_map_addr(struct pf_pdesc *pd, struct pf_pool *pool, __u32 change)
{
	__u32 first, count, low, high;
	__u64 place, ranges, index, begin = 0;
	struct pf_range *range;
	__u8 af;

	if (!pd || !pool)
		return false;
	change &= 1;
	af = pd->af;
	/* One load, so that first and count belong together. */
	ranges = *(volatile __u64 *)&pool->ranges[af == 6];
	first = ranges;
	count = ranges >> 32;
	if (!count)
		return false;
	if (pool->type == PF_POOL_BITMASK) {
		range = pf_range_at(first);
		if (!range)
			return false;
		pf_addr_graft(pd->addr[change], range->addr, pd->addr[change], range->bits);
		return true;
	}
	range = pf_range_at(first + count - 1);
	if (!range || !range->end)
		return false;
	place = 0;
	if (range->end > 1) {
		switch (pool->type) {
		case PF_POOL_RANDOM:
			place = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
			break;
		case PF_POOL_SRCHASH:
			place = pf_source_hash(pd->source, pool);
			break;
		default:
			place = __sync_fetch_and_add(&pool->position, 1);
		}
	}
	index = place % range->end;
	low = first;
	high = first + count - 1;
	for (int i = 0; i < PF_RANGE_DEPTH && low < high; i++) {
		__u32 middle = low + (high - low) / 2;

		range = pf_range_at(middle);
		if (!range)
			return false;
		if (range->end > index)
			high = middle;
		else
			low = middle + 1;
	}
	if (low != first) {
		range = pf_range_at(low - 1);
		if (!range)
			return false;
		begin = range->end;
	}
	range = pf_range_at(low);
	if (!range)
		return false;
	__builtin_memcpy(pd->addr[change], range->addr, 16);
	pf_addr_add(pd->addr[change], index - begin, af);
	return true;
}

/* pf_port_free: the packet takes a port; false: the key is somebody's already. The verifier walks it once. */
__noinline int pf_port_free(struct pf_pdesc *pd, __u32 change, __u32 port)
{
	struct pf_state_head *head = pf_state_head_get();

	if (!pd || !head)
		return false;
	pd->port[change & 1] = bpf_htons(port);
	return pf_find(pd, 0, pd->dir == PFIL_IN ? PFIL_OUT : PFIL_IN, pd->proto,
		       pf_hash(pd->addr, pd->port, pd->proto, pd->af, head->seed)) == PF_NOSLOT;
}

/*
 * pf_choose_port: a port of those in pd that makes the key nobody else's. A
 * small range is searched whole, of a large one random ports are tried.
 */
__noinline int pf_choose_port(struct pf_pdesc *pd, __u32 change)
{
	__u32 random = bpf_get_prandom_u32(), span, tries;

	if (!pd)
		return false;
	span = pd->span ? pd->span : 1;
	tries = span > PF_PORT_TRIES ? PF_PORT_TRIES : span;
	for (__u32 i = 0; i < PF_PORT_TRIES && i < tries; i++) {
		if (span > PF_PORT_TRIES)
			random = bpf_get_prandom_u32();
		if (pf_port_free(pd, change, pd->low + (random + i) % span))
			return true;
	}
	return false;
}

/* pf_redirect_port: maps the ports of a rule onto those of a pool, which begin again at their end. */
inline_always __u32 pf_redirect_port(const struct pf_pool *pool, __u32 port)
{
	__u32 low = pool->port[0], high = pool->port[1], span = high - low + 1;

	if (!high)
		return low;
	port = low + (span ? (port - pool->dport) % span : 0);
	return port > 65535 ? port - 65535 : port;
}

/* pf_nat_ports: which ports the packet's source may get from a pool. */
inline_always void pf_nat_ports(struct pf_pdesc *pd, const struct pf_pool *pool, __u32 source)
{
	__u32 low = pool->port[0], high = pool->port[1];

	if (pd->icmp_way == PF_ICMP_QUERY) {
		low = 1;
		high = 65535;
	} else if ((pd->proto != IPPROTO_TCP && pd->proto != IPPROTO_UDP) || !low) {
		low = high = bpf_ntohs(pd->port[source & 1]);
	}
	pd->low = low;
	pd->span = high > low ? high - low + 1 : 1;
}

/* pf_nat_to: the packet gets another source that no other conversation has. */
inline_always bool pf_nat_to(struct pf_pdesc *pd, struct pf_pool *pool, __u32 source)
{
	bool kept = (pool->flags & PF_POOL_STICKY) && pf_src_node_want(pd, PF_SN_NAT, pool->rule, source);

	pf_nat_ports(pd, pool, source);
	for (int i = 0; i < PF_POOL_TRIES; i++) {
		if (!kept && !pf_map_addr(pd, pool, source))
			return false;
		if ((pd->proto == IPPROTO_ICMP || pd->proto == IPPROTO_ICMPV6) && pf_icmp_error(pd->af, pd->icmp_type))
			return true; /* about another conversation */
		if (pf_choose_port(pd, source))
			return true;
		if (kept || pool->type == PF_POOL_BITMASK || pool->type == PF_POOL_SRCHASH)
			break; /* would give the same address again */
	}
	pf_counted(translate);
	return false;
}

/* pf_rdr_to: the packet gets another destination. */
inline_always bool pf_rdr_to(struct pf_pdesc *pd, struct pf_pool *pool)
{
	__u32 change = pd->dir == PFIL_IN ? 1 : 0;

	if (!((pool->flags & PF_POOL_STICKY) && pf_src_node_want(pd, PF_SN_RDR, pool->rule, change)) &&
	    !pf_map_addr(pd, pool, change))
		return false;
	if (pool->port[0] && (pd->proto == IPPROTO_TCP || pd->proto == IPPROTO_UDP))
		pd->port[change] = bpf_htons(pf_redirect_port(pool, bpf_ntohs(pd->port[change])));
	return true;
}

inline_always void pf_chosen(struct pf_pdesc *pd, __u32 change)
{
	struct pf_choice *choice = &pd->choice[pd->choices++ % PF_CHOICES];

	change &= 1;
	__builtin_memcpy(choice->addr, pd->addr[change], 16);
	choice->port = pd->port[change];
}

/*
 * pf_get_transaddr: translates the packet's key by the pools of a rule, from
 * the first one's number on. False: there is no address or port. The verifier
 * walks it once.
 */
__noinline int pf_get_transaddr(struct pf_pdesc *pd, __u32 number)
{
	__u32 source;

	if (!pd)
		return false;
	source = pd->dir == PFIL_IN ? 0 : 1;
	__builtin_memcpy(pd->source, pd->addr[source], 16);
	for (int i = 0; i < 2; i++) {
		struct pf_pool *pool = bpf_map_lookup_elem(&pf_pools, &number);
		bool nat;

		if (!pool)
			return false;
		nat = pool->flags & PF_POOL_SOURCE;
		if (!(nat ? pf_nat_to(pd, pool, source) : pf_rdr_to(pd, pool)))
			return false;
		pf_chosen(pd, nat ? source : 1 - source);
		if (pool->flags & PF_POOL_STICKY)
			pf_src_node_chosen(pd, nat ? PF_SN_NAT : PF_SN_RDR, nat ? source : 1 - source);
		number = pool->next;
		if (!number)
			break;
	}
	return true;
}

#endif
