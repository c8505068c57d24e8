/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * What no filter sees: the packets of the host's own DHCP client. On the BSDs
 * it reads and writes bpf(4), beside the stack.
 */
#ifndef BSDNET_DHCP_H
#define BSDNET_DHCP_H

#include "fib.h"
#include "mbuf.h"

#define DHCP_SERVER_PORT	67
#define DHCP_CLIENT_PORT	68

/* dhcp_ports: a whole UDP packet of IPv4 between two ports. */
inline_always bool dhcp_ports(ctx_t *ctx, const struct mbuf *m, __u16 sport, __u16 dport)
{
	__u32 off = m->l4_off;
	__be16 *port;

	if (m->proto != IPPROTO_UDP || (m->flags & (M_FRAG | M_FRAG_NOTFIRST)))
		return false;
	pull(ctx, off + 8);
	opaque(off);
	if (off > L4_OFF_MAX)
		return false;
	port = frame(ctx) + off;
	if ((void *)(port + 4) > frame_end(ctx))
		return false;
	return port[0] == bpf_htons(sport) && port[1] == bpf_htons(dport);
}

/*
 * dhcp_reply: to everybody on the link or to an address of this host. Answers
 * to others, which a router forwards, are for the filter to see.
 */
inline_always bool dhcp_reply(ctx_t *ctx, const struct mbuf *m, __be32 daddr)
{
	struct nexthop *nh;
	__u32 number;

	if (!dhcp_ports(ctx, m, DHCP_SERVER_PORT, DHCP_CLIENT_PORT))
		return false;
	if (daddr == 0xffffffff)
		return true;
	number = rt_lookup(0, daddr);
	nh = number ? bpf_map_lookup_elem(&nexthop, &number) : NULL;
	return nh && (nh->flags & NEXTHOP_LOCAL);
}

/* dhcp_request: of a packet that the host sends. */
inline_always bool dhcp_request(ctx_t *ctx, const struct mbuf *m)
{
	return m->af == 4 && dhcp_ports(ctx, m, DHCP_CLIENT_PORT, DHCP_SERVER_PORT);
}

#endif
