/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* pf(4): pf_test_state finds the state of a packet, pf_test_rule makes one. */
#ifndef BSDNET_PF_H
#define BSDNET_PF_H

#include "pf_flow.h"
#include "pf_icmp.h"
#include "pf_log.h"
#include "pf_nat.h"
#include "pf_norm.h"
#include "pf_rules.h"
#include "pf_translate.h"
#include "pf_tree.h"

/* pf_free: gives up a state and its other key; whoever wins the tag does it. */
inline_always void pf_free(struct pf_state *s, __u32 slot)
{
	struct pf_state_head *head = pf_state_head_get();
	__u64 tag = *(volatile __u64 *)&s->tag;
	__u32 rule = s->rule;
	__u64 *of_rule;

	if (tag >> 32 != PF_STATE_LIVE || __sync_val_compare_and_swap(&s->tag, tag, (__u64)PF_STATE_FREEING << 32 | (__u32)tag) != tag)
		return;
	if (s->flags & PF_STATE_SRC_NODE)
		pf_src_nodes_drop(slot);
	if (s->peer != slot) {
		struct pf_state *other = pf_state_slot(s->peer);

		if (other)
			pf_unclaim(other, s->peer);
	}
	pf_unclaim(s, slot);
	if (head)
		__sync_fetch_and_add(&head->count, -1);
	of_rule = bpf_map_lookup_elem(&pf_rule_states, &rule);
	if (of_rule)
		__sync_fetch_and_add(of_rule, -1);
}

/* pf_track: the packet moves its state on, if it belongs to it. */
inline_always enum pf_tracked pf_track(struct pf_state *s, const struct pf_pdesc *pd)
{
	__u32 p = pd->dir == s->direction ? 0 : 1, q = 1 - p;

	if (pd->proto != IPPROTO_TCP) {
		pf_track_other(s, pd, p, q);
		return PF_TRACK_OK;
	}
	if (s->flags & PF_STATE_SLOPPY) {
		pf_track_sloppy(s, pd, p, q);
		return PF_TRACK_OK;
	}
	return pf_track_tcp(s, pd, p, q);
}

/*
 * pf_turn: what was found out of a packet on its way in holds on its way out,
 * by another interface and the other way round.
 */
inline_always void pf_turn(struct pf_pdesc *pd, const struct mbuf *m)
{
	__u64 *a = (__u64 *)pd->addr[0], *b = (__u64 *)pd->addr[1], low = a[0], high = a[1];
	__be16 port = pd->port[0];

	a[0] = b[0];
	a[1] = b[1];
	b[0] = low;
	b[1] = high;
	pd->port[0] = pd->port[1];
	pd->port[1] = port;
	pd->dir = PFIL_OUT;
	pd->ifslot = m->ifp;
	pd->act = (struct pf_actions){};
}

/*
 * pf_stays: nothing was done to the packet that its description does not
 * tell, so it can be used once more in this run.
 */
inline_always bool pf_stays(const struct mbuf *m, const struct pf_pdesc *pd)
{
	return m->dir == PFIL_IN && !pd->options && !pf_scrubs(pd, &pd->act);
}

/* pf_rehash: the hash of a key that was turned round. */
inline_always void pf_rehash(const struct pf_state_head *head, struct pf_pdesc *pd, bool turned)
{
	if (turned)
		pd->hash = pf_hash(pd->addr, pd->port, pd->proto, pd->af, head->seed);
}

/* pf_search: the slot of the packet's state, or PF_NOSLOT. The hash is not made where a link leads there. */
inline_always __u32 pf_search(const struct pf_state_head *head, const struct mbuf *m, struct pf_pdesc *pd, bool described)
{
	__u32 slot;

	pf_counted(searches);
	if (described) {
		slot = pf_linked(pd, m->pf_slot);
		if (slot != PF_NOSLOT)
			return slot;
		pf_rehash(head, pd, true);
	}
	slot = m->flags & M_PFNEW ? PF_NOSLOT : pf_find(pd, 0, pd->dir, pd->proto, pd->hash);
	if (described && slot != PF_NOSLOT)
		pf_link(m->pf_slot, slot);
	return slot;
}

/* pf_test: the hook. What has a flow is on its way at once. */
STAGE(pf_test)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_settings *set = pf_settings_get();
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();
	struct ifnet *ifp;
	int verdict;

	if (!m || !pd || !set || !head)
		return drop(REASON_MBUF);
	ifp = ifnet_slot(m->dir == PFIL_IN ? m->rcvif : m->ifp);
	m->flags &= ~M_PFNEW;
	if (ifp && (ifp->if_flags & IFNET_PFSKIP)) {
		m->flags &= ~(M_PFDESC | M_PFFLOW);
		pfil_continue(ctx, m);
	}
	if (m->dir == PFIL_IN) {
		m->flags &= ~(M_PFDESC | M_PFFLOW);
		verdict = pf_flow_forward(ctx, m, pd, head, set);
		if (verdict != PF_NOFLOW)
			return verdict;
	}
	stage(ctx, PF_HOOK_STATE);
}

/*
 * pf_test_state: a packet of a known state goes on, translated if the state says
 * so; others go to the rules.
 */
STAGE(pf_test_state)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_settings *set = pf_settings_get();
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();
	struct pf_state *s, *primary;
	__u32 slot, now, first;
	bool described, flow;
	__u64 states;

	if (!m || !pd || !set || !head)
		return drop(REASON_MBUF);
	described = (m->flags & M_PFDESC) && m->dir == PFIL_OUT && !(set->flags & PF_SET_NORMALIZE);
	flow = m->dir == PFIL_OUT && (m->flags & M_PFFLOW);
	m->flags &= ~M_PFDESC;
	if (described) {
		pf_turn(pd, m);
		goto search;
	}
	switch (pf_setup(ctx, m, pd, head->seed)) {
	case PF_SHORT:
		pf_counted(too_short);
		return pf_drop(ctx, m, REASON_PF_SHORT);
	case PF_NORMALIZED:
		pf_counted(normalize);
		return pf_drop(ctx, m, REASON_PF_NORMALIZE);
	case PF_ROUTED:
		pf_counted(ip_option);
		return pf_drop(ctx, m, REASON_PF_BLOCK);
	default:
		break;
	}
	if ((set->flags & PF_SET_NORMALIZE) && !(m->flags & M_NORMALIZED))
		stage(ctx, PF_HOOK_NORMALIZE);
	m->flags &= ~M_NORMALIZED;
	if ((m->flags & M_FRAG) && (set->flags & PF_SET_REASSEMBLE))
		return pf_reassemble(ctx, m, set->flags & PF_SET_REASSEMBLE_NODF);
	if (m->flags & M_FRAG)
		stage(ctx, PF_HOOK_RULES); /* without ports it has no state */
	if ((pd->proto == IPPROTO_ICMP || pd->proto == IPPROTO_ICMPV6) && pf_icmp_error(pd->af, pd->icmp_type))
		stage(ctx, PF_HOOK_ERROR);
search:
	slot = pf_search(head, m, pd, described);
	if (slot == PF_NOSLOT)
		stage(ctx, PF_HOOK_RULES);
	s = pf_state_slot(slot);
	if (!s)
		return drop(REASON_MBUF);
	primary = pf_primary(s, slot, &first);
	if (!primary) {
		pf_rehash(head, pd, described);
		stage(ctx, PF_HOOK_RULES);
	}
	now = bpf_jiffies64();
	states = head->count;
	set = pf_state_settings(primary, first, pd, set, &states);
	if (now - primary->expire > pf_timeout_of(set, states, primary->timeout) ||
	    (pd->proto == IPPROTO_TCP && (pd->tcp_flags & (TH_SYN | TH_ACK)) == TH_SYN &&
	     primary->peers[0] >= PF_TCPS_FIN_WAIT_2 && primary->peers[1] >= PF_TCPS_FIN_WAIT_2)) {
		/* Over, or the same ports once more. */
		pf_free(primary, first);
		pd->act = (struct pf_actions){};
		pf_rehash(head, pd, described);
		stage(ctx, PF_HOOK_RULES);
	}
	switch (pf_track(primary, pd)) {
	case PF_TRACK_MISMATCH:
		pf_counted(state_mismatch);
		return pf_drop(ctx, m, REASON_PF_STATE);
	case PF_TRACK_OK:
		primary->expire = now;
		break;
	default:
		break;
	}
	if (primary->flags & PF_STATE_LOG)
		pf_log_packet(ctx, primary->rule, PF_PASS,
			      pf_log_how(PFRES_MATCH, pd->act.log_if, pd->act.flags & PFA_LOG_USER));
	if (pd->act.flags & PFA_LOG_MATCH)
		pf_log_packet(ctx, pd->act.match_rule, PF_MATCH,
			      pf_log_how(PFRES_MATCH, pd->act.match_log_if, pd->act.flags & PFA_LOG_USER));
	pf_account(ctx, primary, m, pd);
	if (pd->act.flags & PFA_TABLES)
		pf_tables_account(pd, first, m->ip_len, packets(ctx));
	if (!pf_state_lets(primary, m, pd))
		return pf_drop(ctx, m, REASON_PF_BLOCK);
	if (s->peer != slot) {
		struct pf_state *other = pf_state_slot(s->peer);

		if (!other)
			return drop(REASON_MBUF);
		if (!pf_rewrite(ctx, m, pd, other->addr, other->port))
			return pf_drop(ctx, m, REASON_PF_TRANSLATE);
		__builtin_memcpy(pd->addr, other->addr, sizeof(pd->addr));
		*(__u32 *)pd->port = *(__u32 *)other->port;
	}
	if (m->dir == PFIL_OUT) {
		if (flow && pf_flow_plain(m, primary, pd))
			pf_flow_record(m, pd, primary, first);
		pf_continue(ctx, m, pd);
	}
	m->pf_slot = first;
	m->pf_key = slot;
	if (pf_stays(m, pd))
		m->flags |= M_PFDESC;
	if (pf_flow_plain(m, primary, pd))
		m->flags |= M_PFFLOW;
	pf_continue(ctx, m, pd);
}

/*
 * pf_collides: a key that the new state will have is another's already, so
 * that replies could not be told apart; or another CPU makes one just now.
 */
inline_always bool pf_collides(struct pf_pdesc *pd, bool translated, __u32 translated_hash, __u32 rule_flags)
{
	__u8 far = pd->dir == PFIL_IN ? PFIL_OUT : PFIL_IN;
	__u32 flags = PF_FIND_BUSY;

	if (!(rule_flags & PFR_IFBOUND))
		flags |= PF_FIND_ANYIF;
	if (pf_find(pd, flags, pd->dir, pd->proto, pd->hash) != PF_NOSLOT)
		return true;
	if (translated)
		return pf_find(pd, flags | PF_FIND_TRANSLATED, far, pd->proto, translated_hash) != PF_NOSLOT;
	return pf_find(pd, flags, far, pd->proto, pd->hash) != PF_NOSLOT;
}

/*
 * pf_insert: a state for the packet in hand, made by a filter rule or, with
 * none, by the default. Its slots are taken before others are looked for, so
 * that of two CPUs with the same packet at least one sees the other.
 * PF_NOSLOT: there was no room.
 */
inline_always __u32 pf_insert(struct pf_pdesc *pd, const struct mbuf *m, bool translated, __u32 rule, __u32 rule_flags,
			      __u32 translation)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_settings *set = pf_settings_get();
	__u8 side = pd->dir == PFIL_IN ? PF_STATE_WIRE : PF_STATE_STACK;
	__u8 far = pd->dir == PFIL_IN ? PF_STATE_STACK : PF_STATE_WIRE;
	struct pf_state *s, *other = NULL;
	__u32 slot, alias, hash = 0, id;
	__u64 *of_rule;
	__u8 flags = 0;

	if (!head || !set)
		return PF_NOSLOT;
	of_rule = bpf_map_lookup_elem(&pf_rule_states, &rule);
	if (!of_rule)
		return PF_NOSLOT;
	if (pd->max_states && *(volatile __u64 *)of_rule >= pd->max_states) {
		pf_counted(state_limit);
		pf_counted(max_states);
		return PF_NOSLOT;
	}
	if (__sync_fetch_and_add(&head->count, 1) >= set->states_limit) {
		__sync_fetch_and_add(&head->count, -1);
		pf_counted(state_limit);
		return PF_NOSLOT;
	}
	slot = pf_claim(pd->hash);
	s = slot == PF_NOSLOT ? NULL : pf_state_slot(slot);
	if (!s)
		goto full;
	alias = slot;
	if (translated) {
		hash = pf_hash(pd->naddr, pd->nport, pd->proto, pd->af, head->seed);
		alias = pf_claim(hash);
		other = alias == PF_NOSLOT ? NULL : pf_state_slot(alias);
		if (!other) {
			pf_unclaim(s, slot);
			goto full;
		}
	}
	pd->claimed[0] = slot;
	pd->claimed[1] = alias;
	if (pf_collides(pd, translated, hash, rule_flags)) {
		pf_counted(state_insert);
		goto refused;
	}
	if (pd->sticky) {
		if (!pf_src_nodes_get(pd, slot))
			goto refused;
		flags |= PF_STATE_SRC_NODE;
	}
	id = __sync_fetch_and_add(&head->ids, 1);
	s->ifslot = rule_flags & PFR_IFBOUND ? pd->ifslot : IFNET_SLOTS;
	s->id = id;
	s->rule = rule;
	s->translation = translation;
	s->packet_tag = m->pf_tag;
	s->creation = s->expire = bpf_jiffies64();
	if (rule_flags & PFR_SLOPPY)
		flags |= PF_STATE_SLOPPY;
	if (rule_flags & PFR_ALLOWOPTS)
		flags |= PF_STATE_ALLOWOPTS;
	if (rule_flags & PFR_LOG_ALL)
		flags |= PF_STATE_LOG;
	if (rule_flags & PFR_COUNTERS) {
		struct pf_state_tables *t = pf_state_tables_get(slot);

		if (t)
			*t = pd->tables;
		pd->act.flags |= PFA_TABLES;
	}
	if (pf_actions_any(&pd->act)) {
		struct pf_actions *act = pf_state_actions_get(slot);

		if (act) {
			*act = pd->act;
			flags |= PF_STATE_ACTIONS;
		}
	}
	__sync_fetch_and_add(of_rule, 1);
	pf_key_store(s, pd->addr, pd->port, pd, other ? flags | PF_STATE_NAT | side : flags | side | far, alias);
	pf_first(s, pd);
	pf_publish(s, pd->hash, PF_STATE_LIVE);
	if (other) {
		pf_key_store(other, pd->naddr, pd->nport, pd, flags | far, slot);
		other->ifslot = s->ifslot;
		other->id = id;
		pf_publish(other, hash, PF_STATE_ALIAS);
	}
	pf_counted(inserts);
	return slot;
full:
	__sync_fetch_and_add(&head->count, -1);
	pf_counted(memory);
	return PF_NOSLOT;
refused:
	pf_unclaim(s, slot);
	if (other)
		pf_unclaim(other, alias);
	__sync_fetch_and_add(&head->count, -1);
	return PF_NOSLOT;
}

/* pf_made: the first packet of a state, and the state, count for the rules that made it. */
inline_always void pf_made(ctx_t *ctx, const struct mbuf *m, const struct pf_pdesc *pd, __u32 slot)
{
	struct pf_state *s = pf_state_slot(slot);
	struct pf_rule_counters *counters;

	if (!s)
		return;
	s->packets[0] = packets(ctx);
	s->bytes[0] = m->ip_len;
	counters = bpf_map_lookup_elem(&pf_rule_counts, &s->rule);
	if (counters)
		counters->states++;
	if (!s->translation)
		return;
	counters = bpf_map_lookup_elem(&pf_rule_counts, &s->translation);
	if (counters) {
		counters->states++;
		if (pd->nat == PF_NAT_MATCH)
			return; /* counted while it was evaluated */
		counters->packets[pd->dir & 1] += packets(ctx);
		counters->bytes[pd->dir & 1] += m->ip_len;
	}
}

/* pf_log_matches: logs the packet for the rules that said so while they were looked at. */
static __noinline int pf_log_matches(ctx_t *ctx, const struct pf_pdesc *pd)
{
	for (__u32 i = 0; i < PF_PACKET_LOGS; i++) {
		const struct pf_logged *l = &pd->logged[i];

		if (i >= pd->logs)
			break;
		pf_log_packet(ctx, l->rule, l->action, pf_log_how(PFRES_MATCH, l->log_if, l->user));
	}
	return 0;
}

/* pf_block: a rule says no; the daemon answers where the rule says return. */
inline_always int pf_block(ctx_t *ctx, struct mbuf *m, const struct pf_rule *r, __u32 reason)
{
	__u32 answer = 0;

	if (!r)
		return pf_drop(ctx, m, reason);
	if (r->flags & PFR_RETURN_RST)
		answer |= PF_ANSWER_RST;
	if (r->flags & PFR_RETURN_ICMP)
		answer |= PF_ANSWER_ICMP;
	if (!answer || (m->flags & M_FRAG_NOTFIRST))
		return pf_drop(ctx, m, reason);
	if (m->dir == PFIL_OUT)
		answer |= PF_ANSWER_OUT;
	pf_if_count(ctx, m, 1);
	m->hook = answer | r->return_code << 8 | (__u32)r->return_code6 << 16;
	to_netisr(ctx, m, REASON_NETISR_HOOK);
}

/*
 * pf_apply_rules: the filter rules see the packet as it is so far; match rules
 * translate it at once, the rule that decides at the end. Then the key is
 * again what the packet was, and the translated key what it will be. False:
 * there is no address or port for it.
 */
inline_always bool pf_apply_rules(struct pf_evaluation *e, const struct pf_ruleset *rs, const struct pf_rule **decided)
{
	struct pf_pdesc *pd = e->pd;
	const struct pf_rule *r = NULL;

	if (pd->nat < PF_NAT_TRANSLATED)
		pf_keep_key(pd);
	if (pd->nat != PF_NAT_PASS) {
		pf_evaluate(e, rs->filter, rs->filter_count);
		if (e->untranslated)
			return false;
		if (e->found)
			r = pf_line_at(e->ruleset, e->found);
		if (r && r->action == PF_PASS && r->pool && !(e->m->flags & M_FRAG)) {
			if (!pf_get_transaddr(pd, r->pool))
				return false;
			pd->translation = 0; /* the rule counts the state's packets as its own */
			e->translation = 0;
		}
		if (e->translation)
			pd->translation = e->translation;
	}
	*decided = r;
	if (!pf_key_changed(pd)) {
		pd->nat = PF_NAT_NONE;
		pd->translation = 0;
		pd->sticky = 0;
	} else if (e->translation) {
		pd->nat = PF_NAT_MATCH;
	} else if (pd->nat < PF_NAT_TRANSLATED) {
		pd->nat = PF_NAT_TRANSLATED;
	}
	pf_swap_keys(pd);
	return true;
}

/*
 * pf_test_rule: for a packet without a state. Translation rules come first, as
 * the older language has it; then the filter rules decide, and what passes
 * leaves a state behind.
 */
STAGE(pf_test_rule)
{
	struct pf_evaluation e = {};
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();
	const struct pf_ruleset *rs;
	const struct pf_rule *r = NULL;
	const struct pf_rule_actions *actions;
	struct pf_rule_counters *counters;
	__u32 slot, rule = 0, rule_flags = 0;
	bool translated, blocked;

	if (!m || !pd)
		return drop(REASON_MBUF);
	rs = pf_evaluation_begin(&e, m, pd);
	if (!rs)
		return drop(REASON_CONFIG);
	if (pd->nat == PF_NAT_UNKNOWN && !(m->flags & M_FRAG) &&
	    (pd->dir == PFIL_IN ? rs->rdr_count : rs->nat_count))
		stage(ctx, PF_HOOK_NAT);

	if (!pf_apply_rules(&e, rs, &r))
		return pf_drop(ctx, m, REASON_PF_TRANSLATE);
	m->pf_tag = e.tag;
	translated = pd->nat >= PF_NAT_TRANSLATED;
	if (r) {
		rule = r->number;
		rule_flags = r->flags;
		if (rule_flags & PFR_COUNTERS)
			pf_counted_tables(&pd->tables, r);
		if (rule_flags & PFR_ACTIONS) {
			actions = pf_line_at(e.ruleset, r->ext + 1);
			if (!actions)
				return drop(REASON_CONFIG);
			pf_actions_add(&pd->act, &actions->act);
			pd->act.flags |= actions->act.flags & PFA_LOG_USER;
			pd->act.timeouts = actions->act.timeouts;
			pd->act.log_if = actions->act.log_if;
			pd->max_states = actions->max_states;
		}
	}
	counters = bpf_map_lookup_elem(&pf_rule_counts, &rule);
	if (counters) {
		counters->packets[pd->dir & 1] += packets(ctx);
		counters->bytes[pd->dir & 1] += m->ip_len;
	}
	blocked = r && r->action == PF_DROP;
	if (e.audit)
		pf_log_audit(ctx, r ? rule : pd->translation, blocked);
	slot = 0;
	if (!blocked && (translated || (rule_flags & PFR_KEEP_STATE)) && !(m->flags & M_FRAG) &&
	    !((pd->proto == IPPROTO_ICMP || pd->proto == IPPROTO_ICMPV6) && pf_icmp_error(pd->af, pd->icmp_type))) {
		slot = pf_insert(pd, m, translated, rule, rule_flags, pd->translation);
		if (slot != PF_NOSLOT)
			pf_made(ctx, m, pd, slot);
	}
	if (pd->act.flags & PFA_TABLES)
		pf_tables_account(pd, slot, m->ip_len, packets(ctx));
	else if (rule_flags & PFR_COUNTERS)
		pf_tables_decided(pd, !blocked, m->ip_len, packets(ctx));
	/* What does not pass is answered as it came. */
	if (translated && !blocked && slot != PF_NOSLOT && !pf_rewrite(ctx, m, pd, pd->naddr, pd->nport))
		return pf_drop(ctx, m, REASON_PF_TRANSLATE);
	if (pd->logs)
		pf_log_matches(ctx, pd);
	if (r && (rule_flags & PFR_LOG))
		pf_log_packet(ctx, rule, r->action, pf_log_how(PFRES_MATCH, pd->act.log_if, pd->act.flags & PFA_LOG_USER));
	if (blocked) {
		pf_counted(match);
		return pf_block(ctx, m, r, REASON_PF_BLOCK);
	}
	if (slot == PF_NOSLOT)
		return pf_block(ctx, m, r, REASON_PF_LIMIT);
	if (pd->options && !(rule_flags & PFR_ALLOWOPTS)) {
		pf_counted(ip_option);
		return pf_drop(ctx, m, REASON_PF_BLOCK);
	}
	pf_continue(ctx, m, pd);
}

#endif
