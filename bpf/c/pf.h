/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* pf(4): pf_test finds the state of a packet, pf_test_rule makes one. */
#ifndef BSDNET_PF_H
#define BSDNET_PF_H

#include "pf_log.h"
#include "pf_rules.h"
#include "pf_translate.h"

/* pf_account: the packet counts for a state and for the rule that made it. */
inline_always void pf_account(ctx_t *ctx, struct pf_state *s, const struct mbuf *m, const struct pf_pdesc *pd, __u32 way)
{
	struct pf_rule_counters *counters = bpf_map_lookup_elem(&pf_rule_counts, &s->rule);
	__u32 bytes = m->ip_len, n = packets(ctx);

	way &= 1;
	s->packets[way] += n;
	s->bytes[way] += bytes;
	if (counters) {
		counters->packets[pd->dir & 1] += n;
		counters->bytes[pd->dir & 1] += bytes;
	}
}

/* pf_free: gives up a state and its other key; whoever wins the tag does it. */
inline_always void pf_free(struct pf_state *s, __u32 slot)
{
	struct pf_state_head *head = pf_state_head_get();
	__u64 tag = *(volatile __u64 *)&s->tag;

	if (tag >> 32 != PF_STATE_LIVE || __sync_val_compare_and_swap(&s->tag, tag, (__u64)PF_STATE_BUSY << 32) != tag)
		return;
	if (s->peer != slot) {
		struct pf_state *other = pf_state_slot(s->peer);

		if (other)
			*(volatile __u64 *)&other->tag = 0;
	}
	*(volatile __u64 *)&s->tag = 0;
	if (head)
		__sync_fetch_and_add(&head->count, -1);
}

/* pf_track: the packet moves its state on; false: it does not belong to it. */
inline_always bool pf_track(struct pf_state *s, const struct pf_pdesc *pd)
{
	__u32 p = pd->dir == s->direction ? 0 : 1, q = 1 - p;

	if (pd->proto != IPPROTO_TCP) {
		pf_track_other(s, pd, p, q);
		return true;
	}
	if (!pd->header)
		return true;
	if (s->flags & PF_STATE_SLOPPY) {
		pf_track_sloppy(s, pd, p, q);
		return true;
	}
	return pf_track_tcp(s, pd, p, q);
}

/*
 * pf_test: the hook. A packet of a known state goes on at once, translated if
 * the state says so; others go to the rules.
 */
STAGE(pf_test)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_settings *set = pf_settings_get();
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();
	struct pf_state *s, *primary;
	struct ifnet *ifp;
	__u32 slot, now, first;

	if (!m || !pd || !set || !head)
		return drop(REASON_MBUF);
	ifp = ifnet_slot(m->dir == PFIL_IN ? m->rcvif : m->ifp);
	if (ifp && (ifp->if_flags & IFNET_PFSKIP))
		pfil_continue(ctx, m);
	switch (pf_setup(ctx, m, pd)) {
	case PF_SHORT:
		pf_counted(too_short);
		return drop(REASON_PF_SHORT);
	case PF_NORMALIZED:
		pf_counted(normalize);
		return drop(REASON_PF_NORMALIZE);
	default:
		break;
	}
	pf_counted(searches);
	slot = pf_find(pd->addr, pd->port, pd->proto, pd->af, pd->dir, pd->ifslot, pd->hash);
	if (slot == PF_NOSLOT)
		stage(ctx, PF_HOOK_RULES);
	s = pf_state_slot(slot);
	if (!s)
		return drop(REASON_MBUF);
	primary = s;
	first = slot;
	if (*(volatile __u64 *)&s->tag >> 32 == PF_STATE_ALIAS) {
		first = s->peer;
		primary = pf_state_slot(first);
		if (!primary)
			return drop(REASON_MBUF);
	}
	now = bpf_jiffies64();
	if (now - primary->expire > pf_timeout_of(set, head->count, primary->timeout) ||
	    (pd->proto == IPPROTO_TCP && (pd->tcp_flags & (TH_SYN | TH_ACK)) == TH_SYN &&
	     primary->peers[0] >= PF_TCPS_FIN_WAIT_2 && primary->peers[1] >= PF_TCPS_FIN_WAIT_2)) {
		/* Over, or the same ports once more. */
		pf_free(primary, first);
		stage(ctx, PF_HOOK_RULES);
	}
	if (!pf_track(primary, pd)) {
		pf_counted(state_mismatch);
		return drop(REASON_PF_STATE);
	}
	primary->expire = now;
	if (primary->flags & PF_STATE_LOG)
		pf_log_packet(ctx, m, primary->rule, PF_PASS, PFRES_MATCH);
	pf_account(ctx, primary, m, pd, pd->dir == primary->direction ? 0 : 1);
	if (s->peer != slot) {
		struct pf_state *other = pf_state_slot(s->peer);

		if (!other)
			return drop(REASON_MBUF);
		if (!pf_rewrite(ctx, m, pd, other->addr, other->port))
			return drop(REASON_PF_TRANSLATE);
	}
	pfil_continue(ctx, m);
}

/* pf_inner: a packet quoted in an ICMP error, by the way of the packet that it quotes. */
inline_always bool pf_error_state(ctx_t *ctx, struct mbuf *m, struct pf_pdesc *pd, __u32 *slot)
{
	struct pf_state_head *head = pf_state_head_get();
	__u8 proto, dir = pd->dir == PFIL_IN ? PFIL_OUT : PFIL_IN;
	/* What is quoted went the other way: its source is where this one's destination is. */
	__u32 s = dir == PFIL_IN ? 0 : 1;
	__u64 off = m->l4_off + 8;
	__be16 *ports;

	if (!head || !pd->header)
		return false;
	__builtin_memset(pd->naddr, 0, sizeof(pd->naddr));
	pd->nport[0] = pd->nport[1] = 0;
	s &= 1;
	if (pd->af == 4) {
		struct iphdr *ip;

		if (pd->icmp_type != 3 && pd->icmp_type != 4 && pd->icmp_type != 5 && pd->icmp_type != 11 && pd->icmp_type != 12)
			return false;
		pull(ctx, off + sizeof(*ip) + 8);
		opaque(off);
		if (off > L4_OFF_MAX)
			return false;
		ip = frame(ctx) + off;
		opaque(ip);
		if ((void *)(ip + 1) > frame_end(ctx) || ip->ihl < 5 || (ip->frag_off & bpf_htons(IP_OFFMASK)))
			return false;
		*(__u32 *)pd->naddr[s] = ip->saddr;
		*(__u32 *)pd->naddr[1 - s] = ip->daddr;
		proto = ip->protocol;
		off += ip->ihl * 4;
	} else {
		struct ipv6hdr *ip6;

		if (pd->icmp_type < 1 || pd->icmp_type > 4)
			return false;
		pull(ctx, off + sizeof(*ip6) + 8);
		opaque(off);
		if (off > L4_OFF_MAX)
			return false;
		ip6 = frame(ctx) + off;
		opaque(ip6);
		if ((void *)(ip6 + 1) > frame_end(ctx))
			return false;
		__builtin_memcpy(pd->naddr[s], &ip6->saddr, 16);
		__builtin_memcpy(pd->naddr[1 - s], &ip6->daddr, 16);
		proto = ip6->nexthdr;
		off += sizeof(*ip6);
	}
	opaque(off);
	if (off > L4_OFF_MAX + 128)
		return false;
	ports = frame(ctx) + off;
	opaque(ports);
	if ((void *)(ports + 4) > frame_end(ctx))
		return false;
	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP) {
		pd->nport[s] = ports[0];
		pd->nport[1 - s] = ports[1];
	} else if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		pd->nport[0] = pd->nport[1] = ports[2];
	}
	*slot = pf_find(pd->naddr, pd->nport, proto, pd->af, dir, pd->ifslot,
			pf_hash(pd->naddr, pd->nport, proto, pd->af, head->seed));
	return *slot != PF_NOSLOT;
}

/* pf_insert: a state for the packet in hand. PF_NOSLOT: there was no room. */
inline_always __u32 pf_insert(const struct pf_pdesc *pd, bool translated, const struct pf_rule *r, __u8 flags)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_settings *set = pf_settings_get();
	__u8 side = pd->dir == PFIL_IN ? PF_STATE_WIRE : PF_STATE_STACK;
	__u8 far = pd->dir == PFIL_IN ? PF_STATE_STACK : PF_STATE_WIRE;
	struct pf_state *s, *other;
	__u32 slot, alias;

	if (!head || !set)
		return PF_NOSLOT;
	if (__sync_fetch_and_add(&head->count, 1) >= set->states_limit) {
		__sync_fetch_and_add(&head->count, -1);
		pf_counted(state_limit);
		return PF_NOSLOT;
	}
	slot = pf_claim(pd->hash);
	s = slot == PF_NOSLOT ? NULL : pf_state_slot(slot);
	if (!s)
		goto full;
	s->ifslot = r->flags & PFR_IFBOUND ? pd->ifslot : IFNET_SLOTS;
	s->rule = r->number;
	s->creation = s->expire = bpf_jiffies64();
	alias = slot;
	if (r->flags & PFR_SLOPPY)
		flags |= PF_STATE_SLOPPY;
	if (r->flags & PFR_LOG_ALL)
		flags |= PF_STATE_LOG;
	if (translated) {
		__u32 hash = pf_hash(pd->naddr, pd->nport, pd->proto, pd->af, head->seed);

		alias = pf_claim(hash);
		other = alias == PF_NOSLOT ? NULL : pf_state_slot(alias);
		if (!other) {
			*(volatile __u64 *)&s->tag = 0;
			goto full;
		}
		pf_key_store(other, pd->naddr, pd->nport, pd, flags | far, slot);
		other->ifslot = s->ifslot;
		pf_publish(other, hash, PF_STATE_ALIAS);
		flags |= PF_STATE_NAT | side;
	} else {
		flags |= side | far;
	}
	pf_key_store(s, pd->addr, pd->port, pd, flags, alias);
	pf_first(s, pd);
	pf_publish(s, pd->hash, PF_STATE_LIVE);
	pf_counted(inserts);
	return slot;
full:
	__sync_fetch_and_add(&head->count, -1);
	pf_counted(memory);
	return PF_NOSLOT;
}

/*
 * pf_choose: the translated key of a new state: what the other side will see
 * of it. For nat the source changes, for rdr the destination. False: no port
 * is free, or there is no address.
 */
inline_always bool pf_choose(struct pf_pdesc *pd, const struct pf_rule *r)
{
	struct pf_state_head *head = pf_state_head_get();
	__u32 number = r->pool;
	struct pf_pool *pool = bpf_map_lookup_elem(&pf_pools, &number);
	__u32 s = pd->dir == PFIL_IN ? 0 : 1;
	bool nat = r->action == PF_NAT;
	__u32 change = nat ? s : 1 - s;
	bool icmp = pd->proto == IPPROTO_ICMP || pd->proto == IPPROTO_ICMPV6;
	__u32 low, high;

	change &= 1;
	if (!pool || pool->af != pd->af || !head)
		return false;
	__builtin_memcpy(pd->naddr, pd->addr, 32);
	*(__u32 *)pd->nport = *(__u32 *)pd->port;
	__builtin_memcpy(pd->naddr[change], pool->addr, 16);
	if (pool->bitmask) {
		const __u64 *mask = (const __u64 *)pool->mask, *old = (const __u64 *)pd->addr[change];
		__u64 *out = (__u64 *)pd->naddr[change];

		out[0] = (out[0] & mask[0]) | (old[0] & ~mask[0]);
		out[1] = (out[1] & mask[1]) | (old[1] & ~mask[1]);
	}
	low = pool->port[0];
	high = pool->port[1];
	if (!nat) {
		if (low && !icmp)
			pd->nport[change] = bpf_htons(high > low ? low + (bpf_ntohs(pd->port[change]) - r->dport[0]) : low);
		return true;
	}
	if (pd->proto != IPPROTO_TCP && pd->proto != IPPROTO_UDP && !icmp)
		return true;
	if (icmp) {
		low = 1;
		high = 65535;
	}
	if ((r->flags & PFR_STATIC_PORT) || !low)
		return true;
	for (__u32 i = 0; i < PF_PORT_TRIES; i++) {
		__u32 span = high - low + 1;
		__u16 p = low + bpf_get_prandom_u32() % (span ? span : 1);
		__u32 hash;

		pd->nport[change] = bpf_htons(p);
		if (icmp)
			pd->nport[0] = pd->nport[1] = pd->nport[change];
		hash = pf_hash(pd->naddr, pd->nport, pd->proto, pd->af, head->seed);
		if (pf_find(pd->naddr, pd->nport, pd->proto, pd->af, PFIL_IN, pd->ifslot, hash) == PF_NOSLOT)
			return true;
	}
	pf_counted(translate);
	return false;
}

/* pf_block: a rule says no; the daemon answers where the rule says return. */
inline_always int pf_block(ctx_t *ctx, struct mbuf *m, const struct pf_rule *r)
{
	__u32 answer = 0;

	if (r->flags & PFR_RETURN_RST)
		answer |= PF_ANSWER_RST;
	if (r->flags & PFR_RETURN_ICMP)
		answer |= PF_ANSWER_ICMP;
	if (!answer || (m->flags & M_FRAG_NOTFIRST))
		return drop(REASON_PF_BLOCK);
	m->hook = answer | r->return_code << 8 | (__u32)r->return_code6 << 16;
	to_netisr(ctx, m, REASON_NETISR_HOOK);
}

/* pf_swap_keys: the key and the translated key change places. */
inline_always void pf_swap_keys(struct pf_pdesc *pd)
{
	__u64 *a = (__u64 *)pd->addr, *b = (__u64 *)pd->naddr;
	__u32 *p = (__u32 *)pd->port, *q = (__u32 *)pd->nport, ports = *p;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u64 word = a[i];

		a[i] = b[i];
		b[i] = word;
	}
	*p = *q;
	*q = ports;
}

/*
 * pf_test_rule: for a packet without a state. Translation comes first, as the
 * older language has it; then the filter rules decide, and what passes leaves
 * a state behind.
 */
STAGE(pf_test_rule)
{
	struct pf_evaluation e = {};
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();
	const struct config *cfg;
	const struct pf_ruleset *rs;
	const struct pf_rule *r = NULL;
	struct pf_rule_counters *counters;
	__u32 lists[4], slot, zero = 0;
	bool translated = false, natpass = false;

	if (!m || !pd)
		return drop(REASON_MBUF);
	cfg = config_of(m);
	if (!cfg)
		return drop(REASON_CONFIG);
	if ((pd->proto == IPPROTO_ICMP || pd->proto == IPPROTO_ICMPV6) && pf_error_state(ctx, m, pd, &slot))
		pfil_continue(ctx, m);
	e.pd = pd;
	e.m = m;
	e.ruleset = cfg->pf_ruleset % CONFIG_SLOTS;
	rs = pf_line_at(e.ruleset, zero);
	if (!rs)
		return drop(REASON_CONFIG);
	lists[0] = pd->dir == PFIL_IN ? rs->rdr : rs->nat;
	lists[1] = pd->dir == PFIL_IN ? rs->rdr_count : rs->nat_count;
	lists[2] = rs->filter;
	lists[3] = rs->filter_count;

	if (lists[1]) {
		e.first = 1;
		pf_evaluate(&e, lists[0], lists[1]);
		e.first = 0;
		if (e.found && e.found_action != PF_NO) {
			r = pf_line_at(e.ruleset, e.found);
			if (!r)
				return drop(REASON_CONFIG);
			if (!pf_choose(pd, r))
				return drop(REASON_PF_TRANSLATE);
			translated = true;
			natpass = r->flags & PFR_NATPASS;
		}
	}
	if (translated) {
		/* The rules see the packet as it will be; the state begins with what it was. */
		if (!pf_rewrite(ctx, m, pd, pd->naddr, pd->nport))
			return drop(REASON_PF_TRANSLATE);
		pf_swap_keys(pd);
		if (!natpass)
			pf_evaluate(&e, lists[2], lists[3]);
		pf_swap_keys(pd);
	} else {
		pf_evaluate(&e, lists[2], lists[3]);
	}
	if (!natpass) {
		r = e.found ? pf_line_at(e.ruleset, e.found) : NULL;
		if (r) {
			counters = bpf_map_lookup_elem(&pf_rule_counts, &r->number);
			if (counters) {
				counters->packets[pd->dir & 1] += packets(ctx);
				counters->bytes[pd->dir & 1] += m->ip_len;
			}
			if (r->flags & PFR_LOG)
				pf_log_packet(ctx, m, r->number, r->action, PFRES_MATCH);
			if (r->action == PF_DROP) {
				pf_counted(match);
				return pf_block(ctx, m, r);
			}
		}
	}
	if (translated && !(r && (r->flags & (PFR_KEEP_STATE | PFR_NATPASS))) && r)
		return drop(REASON_PF_TRANSLATE);
	if (r && ((r->flags & PFR_KEEP_STATE) || natpass) && !(m->flags & M_FRAG_NOTFIRST)) {
		slot = pf_insert(pd, translated, r, 0);
		if (slot == PF_NOSLOT)
			return drop(REASON_PF_LIMIT);
		counters = bpf_map_lookup_elem(&pf_rule_counts, &r->number);
		if (counters)
			counters->states++;
		{
			struct pf_state *s = pf_state_slot(slot);

			if (s) {
				s->packets[0] = packets(ctx);
				s->bytes[0] = m->ip_len;
			}
		}
	}
	pfil_continue(ctx, m);
}

#endif
