/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What rules ask of the routing table: no-route and urpf-failed. */
#ifndef BSDNET_PF_ROUTE_H
#define BSDNET_PF_ROUTE_H

#include "fib.h"
#include "pf_pdesc.h"

/*
 * pf_routable: a route leads to an end of the key; with urpf, one by the
 * interface in hand. An address of this host is behind none, so that nobody
 * may send from it. The verifier walks it once.
 */
__noinline int pf_routable(const struct pf_pdesc *pd, __u32 end, __u32 urpf)
{
	const struct nexthop *nh;
	const __u8 *addr;
	__u32 number;

	if (!pd)
		return false;
	addr = pd->addr[end & 1];
	if (pd->af == 4) {
		__be32 dst;

		__builtin_memcpy(&dst, addr, 4);
		number = rt_lookup(0, dst);
	} else {
		if (addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80)
			return true; /* link-local, on every link */
		number = rt6_lookup(0, (const struct in6 *)addr);
	}
	nh = number ? bpf_map_lookup_elem(&nexthop, &number) : NULL;
	if (!nh || !(nh->flags & NEXTHOP_UP))
		return false;
	if (!urpf)
		return true;
	if (nh->flags & NEXTHOP_LOCAL)
		return pd->dir == PFIL_OUT;
	return nh->ifslot == pd->ifslot;
}

#endif
