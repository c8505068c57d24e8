/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Translation of the first packet of a state: nat, rdr and binat rules, which come before the filter rules. */
#ifndef BSDNET_PF_NAT_H
#define BSDNET_PF_NAT_H

#include "pf_pool.h"
#include "pf_rules.h"
#include "pf_translate.h"

/* pf_keep_key: what the packet was, before it is translated. */
inline_always void pf_keep_key(struct pf_pdesc *pd)
{
	__builtin_memcpy(pd->naddr, pd->addr, sizeof(pd->naddr));
	*(__u32 *)pd->nport = *(__u32 *)pd->port;
}

/* pf_key_changed: the packet is no longer what it was. */
inline_always bool pf_key_changed(const struct pf_pdesc *pd)
{
	return !pf_addr_equal(pd->addr[0], pd->naddr[0]) || !pf_addr_equal(pd->addr[1], pd->naddr[1]) ||
	       *(__u32 *)pd->port != *(__u32 *)pd->nport;
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
 * pf_nat: the translation rules, of which the first that matches counts.
 * The filter rules see the packet as it will be.
 */
STAGE(pf_nat)
{
	struct pf_evaluation e = {.first = 1};
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();
	const struct pf_ruleset *rs;
	const struct pf_rule *r;

	if (!m || !pd)
		return drop(REASON_MBUF);
	rs = pf_evaluation_begin(&e, m, pd);
	if (!rs)
		return drop(REASON_CONFIG);
	if (pd->dir == PFIL_IN)
		pf_evaluate(&e, rs->rdr, rs->rdr_count);
	else
		pf_evaluate(&e, rs->nat, rs->nat_count);
	m->pf_tag = e.tag;
	pd->nat = PF_NAT_NONE;
	if (!e.found || e.found_action == PF_NO)
		stage(ctx, PF_HOOK_RULES);
	r = pf_line_at(e.ruleset, e.found);
	if (!r)
		return drop(REASON_CONFIG);
	pf_keep_key(pd);
	if (!pf_get_transaddr(pd, r->pool))
		return pf_drop(ctx, m, REASON_PF_TRANSLATE);
	if (!pf_key_changed(pd)) {
		pd->sticky = 0;
		stage(ctx, PF_HOOK_RULES); /* into itself: as if no rule had matched */
	}
	pd->nat = r->flags & PFR_NATPASS ? PF_NAT_PASS : PF_NAT_TRANSLATED;
	pd->translation = r->number;
	stage(ctx, PF_HOOK_RULES);
}

#endif
