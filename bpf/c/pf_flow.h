/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Flows: the way of packets through both states and the route between them,
 * remembered with the key that they come in with. A flow changes nothing of
 * what happens to a packet; whatever is not plain goes the long way.
 */
#ifndef BSDNET_PF_FLOW_H
#define BSDNET_PF_FLOW_H

#include "pf_icmp.h"
#include "pf_norm.h"

#define PF_NOFLOW	(-1)

/* Packets that have no flow. */
#define M_NOFLOW	(M_BCAST | M_MCAST | M_FRAG | M_ATOMIC | M_REASSEMBLED | M_RESUMED | M_NORMALIZED | M_REDIRECT)

/* pf_flow_alone: nothing but pf looks at a packet on its way through, and it is forwarded as usual. */
inline_always bool pf_flow_alone(const struct config *cfg, const struct mbuf *m)
{
	__u32 head = m->af == 6 ? PFIL_INET6 : PFIL_INET;

	return !m->pfil && cfg->pfil[head][PFIL_IN] == PF_HOOK_TEST && cfg->pfil[head][PFIL_OUT] == PF_HOOK_TEST &&
	       !(cfg->flags & CONFIG_STEALTH);
}

/*
 * pf_flow_segment: the packet's key, and what its states want to know of it,
 * into pd. False: not a plain packet of UDP or of an open TCP connection.
 */
inline_always bool pf_flow_segment(ctx_t *ctx, const struct mbuf *m, struct pf_pdesc *pd)
{
	__u32 avail = m->l3_off + m->ip_len - m->l4_off;

	if (m->l4_off - m->l3_off != (m->af == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))
		return false;
	pd->af = m->af;
	pd->proto = m->proto;
	pd->dir = PFIL_IN;
	pd->ifslot = m->rcvif;
	pd->header = 1;
	pd->icmp_way = PF_ICMP_OTHER;
	if (!pf_key_addrs(ctx, m, pd) || pd->ttl <= 1)
		return false;
	if (m->proto == IPPROTO_TCP) {
		struct tcp_header *th = pf_l4(ctx, m, sizeof(*th));
		__u32 len;

		if (!th || (th->flags & (TH_SYN | TH_FIN | TH_RST | TH_ACK)) != TH_ACK)
			return false;
		len = (th->off >> 4) * 4;
		if (len < sizeof(*th) || len > avail)
			return false;
		pd->tcp_flags = th->flags;
		pd->seq = bpf_ntohl(th->seq);
		pd->ack = bpf_ntohl(th->ack);
		pd->win = bpf_ntohs(th->win);
		pd->data_len = avail - len;
		pf_key_ports(pd, th->sport, th->dport);
		return true;
	}
	if (m->proto == IPPROTO_UDP) {
		struct udp_header *uh = pf_l4(ctx, m, sizeof(*uh));

		if (!uh || (packets(ctx) == 1 && (bpf_ntohs(uh->len) > avail || bpf_ntohs(uh->len) < sizeof(*uh))))
			return false;
		pf_key_ports(pd, uh->sport, uh->dport);
		return true;
	}
	return false;
}

/* A state of a flow, and what it wants done to its packets. */
struct pf_flow_side {
	struct pf_state *s;
	const struct pf_actions *act;	/* NULL: nothing */
};

/* pf_flow_side: a state that is still the one of then, and not over. */
inline_always bool pf_flow_side(struct pf_flow_side *side, __u32 slot, __u32 id, struct pf_settings *set, __u64 states,
				__u32 now)
{
	struct pf_state *s = pf_state_slot(slot);

	if (!s || *(volatile __u64 *)&s->tag >> 32 != PF_STATE_LIVE || s->id != id)
		return false;
	side->s = s;
	side->act = NULL;
	if (s->flags & PF_STATE_ACTIONS) {
		side->act = pf_state_actions_get(slot);
		if (!side->act)
			return false;
		set = pf_settings_of(s, side->act, set, &states);
	}
	return now - s->expire <= pf_timeout_of(set, states, s->timeout);
}

/*
 * pf_flow_scrub: what the rules want done to the packet in its direction: first
 * a scrub rule, then those that the state remembers. False: it could not be
 * written. A function of its own, so that the verifier walks it once.
 */
__noinline int pf_flow_scrub(ctx_t *ctx, __u32 dir, const struct pf_actions *act)
{
	struct pf_pdesc *pd = pf_pd();
	const struct pf_rule_actions *of_rule;
	const struct pf_scrubbed *scrubbed;
	struct pf_rule_counters *counters;
	const struct config *cfg;
	struct mbuf *m = mget();

	if (!m || !pd)
		return false;
	cfg = config_of(m);
	if (!cfg)
		return false;
	scrubbed = &m->scrub[dir & 1];
	if (scrubbed->rule) {
		counters = bpf_map_lookup_elem(&pf_rule_counts, &scrubbed->rule);
		if (counters) {
			counters->packets[dir & 1] += packets(ctx);
			counters->bytes[dir & 1] += m->ip_len;
		}
		if (scrubbed->line) {
			of_rule = pf_line_at(cfg->pf_ruleset, scrubbed->line);
			if (!of_rule || !pf_scrub_on(ctx, m, pd, &of_rule->act))
				return false;
		}
	}
	return !act || !pf_scrubs(pd, act) || pf_scrub_on(ctx, m, pd, act);
}

/* pf_flow_track: the packet, in a direction, moves a state on; false: it is no plain one. */
inline_always bool pf_flow_track(struct pf_state *s, const struct pf_pdesc *pd, __u32 dir)
{
	__u32 p = dir == s->direction ? 0 : 1, q = 1 - p;

	if (pd->proto == IPPROTO_TCP)
		return pf_track_established(s, pd, p, q);
	pf_track_other(s, pd, p & 1, q & 1);
	return true;
}

/* pf_flow_lladdr: the link address of the next hop, if it is known. */
inline_always bool pf_flow_lladdr(struct mbuf *m, const struct nexthop *nh, const struct ifnet *ifp, __u64 lladdr)
{
	if (ifp->if_flags & (IFNET_RAWIP | IFNET_NOARP))
		return true;
	return nh->flags & NEXTHOP_GATEWAY ? nexthop_lladdr(m, nh) : lladdr_word(m, lladdr);
}

/* pf_flow_hop: one hop less; false: the header is gone. */
inline_always bool pf_flow_hop(ctx_t *ctx, const struct mbuf *m)
{
	if (m->af == 4) {
		struct iphdr *ip = ip_header(ctx, m);

		if (!ip)
			return false;
		ip_decttl(ip);
	} else {
		struct ipv6hdr *ip6 = ip6_header(ctx, m);

		if (!ip6)
			return false;
		ip6->hop_limit--;
	}
	return true;
}

/* pf_flow_of: the flow of the packet in pd, if it is the way that it would go now; version is what it was read at. */
inline_always const struct pf_flow *pf_flow_of(struct mbuf *m, struct pf_pdesc *pd, const struct config *cfg,
					       const struct pf_state_head *head, __u32 *version)
{
	const struct pf_flow *f;
	struct pf_state *key;
	__u32 slot;

	pd->hash = pf_hash(pd->addr, pd->port, pd->proto, pd->af, head->seed);
	slot = pf_find(pd, 0, PFIL_IN, pd->proto, pd->hash);
	if (slot == PF_NOSLOT) {
		m->flags |= M_PFNEW;
		return NULL;
	}
	key = pf_state_slot(slot);
	if (!key)
		return NULL;
	f = &key->flow;
	*version = *(volatile __u32 *)&f->version;
	if (!*version || (*version & 1) || f->id != key->id || f->rcvif != m->rcvif || f->config != (__u32)cfg->generation ||
	    f->fib != (__u32)fib_generation())
		return NULL;
	return f;
}

/*
 * pf_flow_forward: the whole way of a packet that has a flow, or PF_NOFLOW with
 * nothing done that is not done alike once more on the long way.
 */
inline_always int pf_flow_forward(ctx_t *ctx, struct mbuf *m, struct pf_pdesc *pd, const struct pf_state_head *head,
				  struct pf_settings *set)
{
	const struct config *cfg = config_of(m);
	struct pf_status *status = pf_status_get();
	__u32 version, now = bpf_jiffies64();
	struct pf_flow_side in, out;
	const struct pf_flow *f;
	struct nexthop *nh;
	struct ifnet *ifp;
	__u64 lladdr;
	bool nat, scrubs;

	if (!cfg || (m->flags & M_NOFLOW) || !pf_flow_alone(cfg, m) || !pf_flow_segment(ctx, m, pd))
		return PF_NOFLOW;
	f = pf_flow_of(m, pd, cfg, head, &version);
	if (!f)
		return PF_NOFLOW;
	lladdr = f->lladdr;
	m->nexthop = f->nexthop;
	if (!pf_flow_side(&in, f->in, f->in_id, set, head->count, now) ||
	    !pf_flow_side(&out, f->out, f->out_id, set, head->count, now))
		return PF_NOFLOW;
	nat = (in.s->flags | out.s->flags) & PF_STATE_NAT;
	if (nat) {
		__builtin_memcpy(pd->naddr, f->naddr, sizeof(pd->naddr));
		*(__u32 *)pd->nport = *(__u32 *)f->nport;
	}
	scrubs = ((in.s->flags | out.s->flags) & PF_STATE_ACTIONS) || (set->flags & PF_SET_NORMALIZE);
	if (scrubs)
		__builtin_memcpy(m->scrub, f->scrub, sizeof(m->scrub));
	if (*(volatile __u32 *)&f->version != version)
		return PF_NOFLOW;

	nh = bpf_map_lookup_elem(&nexthop, &m->nexthop);
	ifp = nh ? ifnet_slot(nh->ifslot) : NULL;
	if (!ifp || (ifp->if_flags & (IFNET_UP | IFNET_PFSKIP)) != IFNET_UP ||
	    wire_len(ctx, m) > (nh->mtu ? nh->mtu : ifp->if_mtu) || !pf_flow_lladdr(m, nh, ifp, lladdr))
		return PF_NOFLOW;
	if (!pf_flow_track(in.s, pd, PFIL_IN) || !pf_flow_track(out.s, pd, PFIL_OUT))
		return PF_NOFLOW;

	in.s->expire = out.s->expire = now;
	pf_account(ctx, in.s, m, pd);
	if (scrubs && !pf_flow_scrub(ctx, PFIL_IN, in.act))
		return pf_drop(ctx, m, REASON_PF_NORMALIZE);
	pf_log_passed(ctx, m);
	m->dir = PFIL_OUT;
	m->ifp = nh->ifslot;
	if (nat && !pf_rewrite(ctx, m, pd, pd->naddr, pd->nport))
		return pf_drop(ctx, m, REASON_PF_TRANSLATE);
	if (!pf_flow_hop(ctx, m))
		return drop(REASON_MBUF);
	pd->dir = PFIL_OUT;
	pf_account(ctx, out.s, m, pd);
	if (scrubs && !pf_flow_scrub(ctx, PFIL_OUT, out.act))
		return pf_drop(ctx, m, REASON_PF_NORMALIZE);
	pf_log_passed(ctx, m);
	if (status) {
		status->searches += 2;
		status->flows++;
	}
	return ether_output_on(ctx, m, cfg, ifp);
}

/* pf_flow_plain: the state lets the packet pass, and wants nothing but that its header is mended. */
inline_always bool pf_flow_plain(const struct mbuf *m, const struct pf_state *s, const struct pf_pdesc *pd)
{
	if ((m->flags & M_NOFLOW) || (s->flags & (PF_STATE_SLOPPY | PF_STATE_LOG)) || pd->options ||
	    (pd->act.flags & ~PFA_SCRUB))
		return false;
	if (pd->proto == IPPROTO_TCP)
		return s->peers[0] == PF_TCPS_ESTABLISHED && s->peers[1] == PF_TCPS_ESTABLISHED &&
		       (pd->tcp_flags & (TH_SYN | TH_FIN | TH_RST | TH_ACK)) == TH_ACK;
	return pd->proto == IPPROTO_UDP;
}

/* pf_flow_neighbour: the link address of a packet on its way out, 0: it is not on the link, or not known. */
inline_always __u64 pf_flow_neighbour(const struct mbuf *m, const __u8 *dst)
{
	struct llentry *entry;

	if (m->af == 4) {
		struct arp_key key = {.ifslot = m->ifp};

		__builtin_memcpy(key.addr, dst, sizeof(key.addr));
		entry = bpf_map_lookup_elem(&arp, &key);
	} else {
		struct nd6_key key = {.ifslot = m->ifp};

		__builtin_memcpy(key.addr, dst, sizeof(key.addr));
		entry = bpf_map_lookup_elem(&nd6, &key);
	}
	return entry ? *(volatile const __u64 *)entry : 0;
}

/*
 * pf_flow_record: remembers the way of a packet that is about to leave. pd is
 * its description as it goes out.
 */
inline_always void pf_flow_record(const struct mbuf *m, const struct pf_pdesc *pd, const struct pf_state *out,
				  __u32 out_slot)
{
	const struct config *cfg = config_of(m);
	struct pf_state *key = pf_state_slot(m->pf_key), *in = pf_state_slot(m->pf_slot);
	__u32 version, index = m->flow & (IPFLOWS - 1);
	const struct ipflow *looked_up = bpf_map_lookup_elem(&ipflow, &index);
	struct pf_flow *f;

	if (!cfg || !key || !in || !looked_up || m->ifp == m->rcvif || looked_up->nexthop != m->nexthop ||
	    !pf_flow_alone(cfg, m))
		return;
	f = &key->flow;
	version = *(volatile __u32 *)&f->version;
	if ((version & 1) || __sync_val_compare_and_swap(&f->version, version, version | 1) != version)
		return;
	f->id = key->id;
	f->rcvif = m->rcvif;
	f->config = cfg->generation;
	f->fib = looked_up->generation; /* as of before the route was looked up */
	f->in = m->pf_slot;
	f->in_id = in->id;
	f->out = out_slot;
	f->out_id = out->id;
	f->nexthop = m->nexthop;
	f->lladdr = pf_flow_neighbour(m, pd->addr[0]);
	__builtin_memcpy(f->naddr[0], pd->addr[1], sizeof(f->naddr[0]));
	__builtin_memcpy(f->naddr[1], pd->addr[0], sizeof(f->naddr[1]));
	__builtin_memcpy(f->scrub, m->scrub, sizeof(f->scrub));
	f->nport[0] = pd->port[1];
	f->nport[1] = pd->port[0];
	version += 2;
	__sync_lock_test_and_set(&f->version, version ? version : 2);
}

#endif
