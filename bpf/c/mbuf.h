/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The packet context, the reasons, and the ways from stage to stage. */
#ifndef BSDNET_MBUF_H
#define BSDNET_MBUF_H

#include "maps.h"

/* Offsets in the mbuf are bounded for the verifier at each use. */
#define L3_OFF_MAX	96
#define L4_OFF_MAX	(L3_OFF_MAX + 512)

/* mget: this CPU's packet context. */
inline_always struct mbuf *mget(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&mbuf_map, &zero);
}

/* config_active: number of the configuration that rules now. */
inline_always __u32 config_active(void)
{
	struct configuration *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&config, &zero);
	return c ? c->active % CONFIG_SLOTS : 0;
}

/* config_of: the configuration that a packet is judged by. */
inline_always const struct config *config_of(const struct mbuf *m)
{
	struct configuration *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&config, &zero);
	return c ? &c->slot[m->config % CONFIG_SLOTS] : NULL;
}

/* fib_generation: by which remembered look-ups are known to be fresh. */
inline_always __u64 fib_generation(void)
{
	struct configuration *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&config, &zero);
	return c ? *(volatile __u64 *)&c->fib_generation : 0;
}

/* ifnet_slot: the entry in a slot. */
inline_always struct ifnet *ifnet_slot(__u32 slot)
{
	return bpf_map_lookup_elem(&ifnet, &slot);
}

/* ifnet_find: the entry of a Linux interface, and its slot; NULL: not known. */
inline_always struct ifnet *ifnet_find(__u32 index, __u32 *slot)
{
	struct ifnet *ifp;

#pragma unroll
	for (__u32 i = 0; i < IFNET_PROBES; i++) {
		*slot = (index + i) % IFNET_SLOTS;
		ifp = ifnet_slot(*slot);
		if (ifp && ifp->if_index == index)
			return ifp;
	}
	return NULL;
}

inline_always struct if_data *if_data_of(__u32 slot)
{
	return bpf_map_lookup_elem(&if_data, &slot);
}

inline_always void count(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&reasons, &reason);

	if (n)
		*n += 1;
}

/* pass: the frame goes up to the host as it came. */
inline_always int pass(__u32 reason)
{
	count(reason);
	return VERDICT_PASS;
}

inline_always void count_noproto(__u32 rcvif)
{
	struct if_data *ifd = if_data_of(rcvif);

	if (ifd)
		ifd->noproto++;
}

/* pass_noproto: likewise, for want of a handler. */
inline_always int pass_noproto(__u32 rcvif, __u32 reason)
{
	count_noproto(rcvif);
	return pass(reason);
}

inline_always int drop(__u32 reason)
{
	count(reason);
	return VERDICT_DROP;
}

/* drop_input: counted against the receiving interface too. */
inline_always int drop_input(__u32 rcvif, __u32 reason)
{
	struct if_data *ifd = if_data_of(rcvif);

	if (ifd)
		ifd->iqdrops++;
	return drop(reason);
}

/*
 * stage: go on in another stage, a constant one: the kernel makes a direct
 * jump of it. It comes back only if the slot is empty.
 */
#define stage(ctx, slot)                                                       \
	do {                                                                   \
		bpf_tail_call_static(ctx, &protosw, slot);                     \
		return drop(REASON_PROTOSW);                                   \
	} while (0)

/* stage_at: likewise, one that a variable tells. */
#define stage_at(ctx, slot)                                                    \
	do {                                                                   \
		bpf_tail_call(ctx, &protosw, slot);                            \
		return drop(REASON_PROTOSW);                                   \
	} while (0)

/* to_netisr: leave the packet to the daemon. */
#define to_netisr(ctx, m, why)                                                 \
	do {                                                                   \
		(m)->reason = (why);                                           \
		stage(ctx, PROTO_NETISR);                                      \
	} while (0)

/*
 * refragment: a packet whose rest the daemon holds goes back to it, to be
 * delivered or sent. Only the XDP build, into which the daemon sends, has such.
 */
#ifdef BUILD_XDP
#define refragment(ctx, m, local)                                              \
	do {                                                                   \
		if ((m)->flags & M_REASSEMBLED) {                              \
			(m)->hook = (local);                                   \
			to_netisr(ctx, m, REASON_NETISR_REFRAGMENT);           \
		}                                                              \
	} while (0)
#else
#define refragment(ctx, m, local) do { } while (0)
#endif

/*
 * pfil_run: run a list of hooks, then the stage next. An empty list goes
 * straight on, so callers test for it first where they can go on in line. pf
 * alone, the usual case, is reached by a direct jump.
 */
#define pfil_run(ctx, m, list, after)                                          \
	do {                                                                   \
		__u64 pfil_list = (list);                                      \
		(m)->next = (after);                                           \
		(m)->pfil = pfil_list >> 8;                                    \
		if (pfil_list == PF_HOOK_TEST)                                 \
			stage(ctx, PF_HOOK_TEST);                              \
		stage_at(ctx, pfil_list & 0xff);                               \
	} while (0)

/* pfil_continue: a hook is done with the packet and lets it go on. */
#define pfil_continue(ctx, m)                                                  \
	do {                                                                   \
		__u64 pfil_list = (m)->pfil;                                   \
		__u32 pfil_next = (m)->next;                                   \
		(m)->pfil = pfil_list >> 8;                                    \
		if (pfil_list)                                                 \
			stage_at(ctx, pfil_list & 0xff);                       \
		if (pfil_next == PROTO_IP_FORWARD)                             \
			stage(ctx, PROTO_IP_FORWARD);                          \
		if (pfil_next == PROTO_IP_OUTPUT)                              \
			stage(ctx, PROTO_IP_OUTPUT);                           \
		stage_at(ctx, pfil_next);                                      \
	} while (0)

#endif
