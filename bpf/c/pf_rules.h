/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Evaluation of pf's rules: which one decides about a packet. */
#ifndef BSDNET_PF_RULES_H
#define BSDNET_PF_RULES_H

#include "pf_actions.h"
#include "pf_pool.h"
#include "pf_route.h"
#include "pf_table.h"

/* Evaluation in progress; bpf_loop carries it from rule to rule. */
struct pf_evaluation {
	struct pf_pdesc *pd;
	struct mbuf *m;
	__u32 ruleset;		/* slot of pf_rulesets */
	__u32 line;		/* next rule */
	__u32 end;		/* first line after the list */
	__u32 found;		/* line of the rule that holds so far, 0: none */
	__u32 found_at;		/* where it stands in the list; trees hold copies */
	__u32 found_flags;
	__u16 tag;
	__u8 found_action;
	__u8 first;		/* the first match decides (translation) */
	__u8 untranslated;	/* a match rule found no address or port */
	__u8 audit;		/* PF_AUDIT is on */
	__u32 translation;	/* slot of the counters of the match rule that translated last */
};

inline_always void *pf_line_at(__u32 ruleset, __u32 line)
{
	void *lines = bpf_map_lookup_elem(&pf_rulesets, &ruleset);

	return lines ? bpf_map_lookup_elem(lines, &line) : NULL;
}

inline_always bool pf_addr_match(const struct pf_rule *r, const struct pf_rule_ext *ext,
				 const struct pf_pdesc *pd, bool source)
{
	/* The source of what comes in is first in the key, of what goes out second. */
	__u32 i = (pd->dir == PFIL_IN) == source ? 0 : 1;
	const __u8 *addr = pd->addr[i];
	__u32 table = source ? PFR_SRC_TABLE : PFR_DST_TABLE;
	__u32 not = source ? PFR_SRC_NOT : PFR_DST_NOT;
	bool match;

	if (r->flags & table) {
		__be32 number = source ? r->saddr : r->daddr;

		if (bpf_ntohl(number) >= PF_TABLE_NOROUTE)
			match = !pf_routable(pd, i, bpf_ntohl(number) == PF_TABLE_URPF);
		else
			match = pf_table_match(number, addr, pd->af);
		if (r->flags & PFR_COUNTERS)
			pf_table_evaluated(number, match);
	} else if (r->af != 6) {
		__u32 value = source ? r->saddr : r->daddr;
		__u32 mask = source ? r->smask : r->dmask;

		if (!mask && !(r->flags & not))
			return true;
		match = ((*(__u32 *)addr ^ value) & mask) == 0;
	} else {
		const __u64 *value, *mask, *a = (const __u64 *)addr;

		if (!ext)
			return !(r->flags & not);
		value = (const __u64 *)(source ? ext->saddr : ext->daddr);
		mask = (const __u64 *)(source ? ext->smask : ext->dmask);
		match = !(((a[0] ^ value[0]) & mask[0]) | ((a[1] ^ value[1]) & mask[1]));
	}
	return match != !!(r->flags & not);
}

inline_always bool pf_interface_match(const struct pf_rule *r, __u32 ifslot)
{
	struct ifnet *ifp;
	bool match;

	if (r->flags & PFR_IF_ANY) {
		ifp = ifnet_slot(ifslot);
		match = ifp && !(ifp->if_flags & IFNET_LOOPBACK);
	} else if (r->flags & PFR_IF_GROUP) {
		ifp = ifnet_slot(ifslot);
		match = ifp && (ifp->groups & r->ifslot);
	} else {
		if (r->ifslot == IFNET_SLOTS)
			return true;
		match = r->ifslot == ifslot;
	}
	return match != !!(r->flags & PFR_IF_NOT);
}

inline_always bool pf_port_match(const struct pf_rule *r, const struct pf_pdesc *pd, bool source)
{
	__u32 i = (pd->dir == PFIL_IN) == source ? 0 : 1;
	__u16 port = bpf_ntohs(pd->port[i]);
	const __u16 *range = source ? r->sport : r->dport;

	return (port >= range[0] && port <= range[1]) != !!(r->flags & (source ? PFR_SPORT_NOT : PFR_DPORT_NOT));
}

/*
 * pf_rule_match: all that a rule asks of a packet, which has a tag. A function
 * of its own, so that the verifier walks it once.
 */
__noinline int pf_rule_match(const struct pf_pdesc *pd, const struct pf_rule *r, __u32 ruleset, __u32 tag)
{
	const struct pf_rule_ext *ext = NULL;

	if (!pd || !r)
		return false;
	if (!(r->flags & (pd->dir == PFIL_IN ? PFR_IN : PFR_OUT)))
		return false;
	if (r->af && r->af != pd->af)
		return false;
	if (r->proto && r->proto != pd->proto)
		return false;
	if (!pf_interface_match(r, r->flags & PFR_RECEIVED ? pd->rcvif : pd->ifslot))
		return false;
	if (r->ext && r->af == 6)
		ext = pf_line_at(ruleset, r->ext);
	if (!pf_addr_match(r, ext, pd, true) || !pf_addr_match(r, ext, pd, false))
		return false;
	if (r->flags & (PFR_SPORT | PFR_DPORT)) {
		if (!pd->header)
			return false;
		if ((r->flags & PFR_SPORT) && !pf_port_match(r, pd, true))
			return false;
		if ((r->flags & PFR_DPORT) && !pf_port_match(r, pd, false))
			return false;
	}
	if (r->tcp_flagset &&
	    (pd->proto != IPPROTO_TCP || !pd->header || (pd->tcp_flags & r->tcp_flagset) != r->tcp_flags)) {
		/* flags S/SA on a rule for every protocol asks TCP alone. */
		if (pd->proto == IPPROTO_TCP || r->proto == IPPROTO_TCP)
			return false;
	}
	/* A reply alone makes no state, so no rule that would keep one takes it. */
	if (pd->icmp_way == PF_ICMP_REPLY && r->action == PF_PASS && (r->flags & (PFR_KEEP_STATE | PFR_SLOPPY)) == PFR_KEEP_STATE)
		return false;
	if ((r->flags & PFR_ICMP_TYPE) && (!pd->header || pd->icmp_type != r->icmp_type))
		return false;
	if ((r->flags & PFR_ICMP_CODE) && pd->icmp_code != r->icmp_code)
		return false;
	if (r->tos && r->tos != pd->tos)
		return false;
	if ((r->flags & PFR_FRAGMENT) && !pd->fragment)
		return false;
	if (r->tagged && (tag == r->tagged) == !!(r->flags & PFR_TAGGED_NOT))
		return false;
	if (r->probability && bpf_get_prandom_u32() > r->probability - 1)
		return false;
	return true;
}

inline_always void pf_evaluated(const struct pf_rule *r)
{
	__u64 *evaluations = bpf_map_lookup_elem(&pf_rule_evals, &r->number);

	if (evaluations)
		++*evaluations;
}

__noinline __u32 pf_classify(__u32 ruleset, __u32 roots_line, __u32 tag);

/* pf_decide: a rule that matched holds until another does; 1: it is the last word. */
inline_always long pf_decide(struct pf_evaluation *e, const struct pf_rule *r, __u32 line, __u32 at)
{
	e->found = line;
	e->found_at = at;
	e->found_flags = r->flags;
	e->found_action = r->action;
	return e->first || (r->flags & PFR_QUICK);
}

/* pf_tree_step: a run of rules at once, by its trees. */
inline_always long pf_tree_step(struct pf_evaluation *e, const struct pf_rule *tree)
{
	__u32 line = pf_classify(e->ruleset, tree->ext, e->tag);
	const struct pf_rule *r;

	e->line = tree->skip;
	if (!line)
		return 0;
	r = pf_line_at(e->ruleset, line);
	if (!r)
		return 1;
	return pf_decide(e, r, line, r->skip <= PF_RANK_QUICK ? r->skip : PF_RANK_LAST - r->skip);
}

/* pf_match_translates: at once, so that the rules that follow see it. False: there is no address or port. */
inline_always bool pf_match_translates(struct pf_evaluation *e, const struct pf_rule *r)
{
	if (e->m->flags & M_FRAG)
		return true; /* it has no ports that could be told apart */
	if (!pf_get_transaddr(e->pd, r->pool)) {
		e->untranslated = 1;
		return false;
	}
	e->translation = r->number;
	return true;
}

/* pf_rule_step: one rule of a list; 1 ends the evaluation. */
static long pf_rule_step(__u32 index, void *context)
{
	struct pf_evaluation *e = context;
	struct pf_rule_counters *counters;
	const struct pf_rule *r;
	__u32 line = e->line;

	if (line >= e->end)
		return 1;
	r = pf_line_at(e->ruleset, line);
	if (!r)
		return 1;
	e->line = line + 1;
	if (r->action == PF_ANCHOR_END)
		/* Quick, and something in there decided: skip is its first line. */
		return (r->flags & PFR_QUICK) && e->found_at > r->skip;
	if (r->action == PF_TREE)
		return pf_tree_step(e, r);
	pf_evaluated(r);
	if (!pf_rule_match(e->pd, r, e->ruleset, e->tag)) {
		if (r->action == PF_ANCHOR)
			e->line = r->skip;
		return 0;
	}
	if (r->tag)
		e->tag = r->tag;
	if (r->action == PF_ANCHOR)
		return 0;
	if ((r->flags & (PFR_ACTIONS | PFR_LOG)) || e->pd->matches)
		pf_matched(e->pd, r, r->flags & PFR_ACTIONS ? pf_line_at(e->ruleset, r->ext + 1) : NULL);
	if (r->action == PF_MATCH) {
		counters = bpf_map_lookup_elem(&pf_rule_counts, &r->number);
		if (counters)
			counters->packets[e->pd->dir & 1]++;
		return r->pool && !pf_match_translates(e, r);
	}
	return pf_decide(e, r, line, line);
}

/* pf_evaluation_begin: the ruleset that a packet is judged by; NULL: there is none. */
inline_always const struct pf_ruleset *pf_evaluation_begin(struct pf_evaluation *e, struct mbuf *m, struct pf_pdesc *pd)
{
	const struct config *cfg = config_of(m);

	if (!cfg)
		return NULL;
	e->pd = pd;
	e->m = m;
	e->tag = m->pf_tag;
	e->ruleset = cfg->pf_ruleset % CONFIG_SLOTS;
	e->audit = cfg->pf_flags & PF_AUDIT;
	return pf_line_at(e->ruleset, 0);
}

/* pf_evaluate: runs a list of rules over the packet. */
inline_always void pf_evaluate(struct pf_evaluation *e, __u32 first, __u32 count)
{
	e->line = first;
	e->end = first + count;
	e->found = 0;
	e->found_at = 0;
	bpf_loop(count, pf_rule_step, e, 0);
}

#endif
