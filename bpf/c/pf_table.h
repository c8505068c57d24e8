/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Tables: whether they hold an address, and what is counted for them. */
#ifndef BSDNET_PF_TABLE_H
#define BSDNET_PF_TABLE_H

#include "pf_state.h"

/* pf_table_entry: of the longest prefix of a table that holds an address, PF_ENTRY_NOT and its number; NULL: none does. */
inline_always __u32 *pf_table_entry(__be32 table, const __u8 *addr, __u8 af)
{
	if (af == 4) {
		struct pf_table_key key = {.prefixlen = 64, .table = table};

		__builtin_memcpy(key.addr, addr, 4);
		return bpf_map_lookup_elem(&pf_table, &key);
	} else {
		struct pf_table_key6 key = {.prefixlen = 160, .table = table};

		__builtin_memcpy(key.addr, addr, 16);
		return bpf_map_lookup_elem(&pf_table6, &key);
	}
}

inline_always bool pf_entry_matches(const __u32 *entry)
{
	return entry && !(*entry & PF_ENTRY_NOT);
}

/* pf_table_match: the longest prefix of a table that holds an address says yes or no. */
inline_always bool pf_table_match(__be32 table, const __u8 *addr, __u8 af)
{
	return pf_entry_matches(pf_table_entry(table, addr, af));
}

/* pf_table_evaluated: a rule asked a table. Not in line, to keep the stack of its caller short. */
static __noinline int pf_table_evaluated(__be32 table, __u32 match)
{
	struct pf_table_counters *c = bpf_map_lookup_elem(&pf_table_counts, &table);

	if (!c)
		return 0;
	if (match)
		c->match++;
	else
		c->nomatch++;
	return 0;
}

inline_always struct pf_state_tables *pf_state_tables_get(__u32 slot)
{
	return bpf_map_lookup_elem(&pf_state_tables, &slot);
}

/* pf_counted_tables: the tables of a rule that decides. */
inline_always void pf_counted_tables(struct pf_state_tables *t, const struct pf_rule *r)
{
	t->number[0] = (r->flags & PFR_SRC_TABLE) && bpf_ntohl(r->saddr) < PF_TABLE_NOROUTE ? r->saddr : 0;
	t->number[1] = (r->flags & PFR_DST_TABLE) && bpf_ntohl(r->daddr) < PF_TABLE_NOROUTE ? r->daddr : 0;
	t->flags = r->flags & (PFR_SRC_NOT | PFR_DST_NOT);
}

/* pf_entry_add: a packet counts for an address of a table, whose counters begin with the first. */
static __noinline int pf_entry_add(__u32 entry, __u32 bytes, __u32 n, __u32 way)
{
	struct pf_entry_counters *c = bpf_map_lookup_elem(&pf_entry_counts, &entry);

	if (!c) {
		struct pf_entry_counters zero = {};

		bpf_map_update_elem(&pf_entry_counts, &entry, &zero, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&pf_entry_counts, &entry);
		if (!c)
			return 0;
	}
	c->packets[way & 3] += n;
	c->bytes[way & 3] += bytes;
	return 0;
}

/*
 * pf_table_add: a packet of an address counts for a table that a rule names,
 * and for the address if it is still in it.
 */
static __noinline int pf_table_add(__be32 table, const struct pf_pdesc *pd, __u32 bytes, __u32 n, __u32 how)
{
	struct pf_table_counters *c = bpf_map_lookup_elem(&pf_table_counts, &table);
	const __u8 *addr = how & PF_COUNT_DST ? pd->counted[1] : pd->counted[0];
	__u32 op = how & PF_COUNT_PASS ? PF_TABLE_PASS : PF_TABLE_BLOCK, *entry, number;

	if (!c)
		return 0; /* without counters */
	entry = pf_table_entry(table, addr, pd->af);
	number = entry ? *entry & ~PF_ENTRY_NOT : 0;
	if (pf_entry_matches(entry) == !!(how & PF_COUNT_NOT))
		op = PF_TABLE_XPASS;
	else if (number)
		pf_entry_add(number, bytes, n, (pd->dir & 1) * 2 + op);
	c->packets[pd->dir & 1][op] += n;
	c->bytes[pd->dir & 1][op] += bytes;
	return 0;
}

/* pf_tables_add: a packet counts for the tables of a rule, by the addresses in pd->counted. */
inline_always void pf_tables_add(const struct pf_state_tables *t, const struct pf_pdesc *pd, __u32 bytes, __u32 n, bool pass)
{
	__u32 how = pass ? PF_COUNT_PASS : 0;

	if (t->number[0])
		pf_table_add(t->number[0], pd, bytes, n, how | (t->flags & PFR_SRC_NOT ? PF_COUNT_NOT : 0));
	if (t->number[1])
		pf_table_add(t->number[1], pd, bytes, n, how | PF_COUNT_DST | (t->flags & PFR_DST_NOT ? PF_COUNT_NOT : 0));
}

/*
 * pf_tables_account: a packet of a state counts for the tables of its rule, by
 * the addresses of who made it and of the other, as they are behind a
 * translation.
 */
__noinline int pf_tables_account(struct pf_pdesc *pd, __u32 slot, __u32 bytes, __u32 n)
{
	const struct pf_state *s = pf_state_slot(slot), *far;
	const struct pf_state_tables *t = pf_state_tables_get(slot);
	__u32 source;

	if (!pd || !s || !t)
		return 0;
	far = s->peer == slot ? s : pf_state_slot(s->peer);
	if (!far)
		return 0;
	source = s->direction == PFIL_IN ? 0 : 1;
	__builtin_memcpy(pd->counted[0], far->addr[source & 1], 16);
	__builtin_memcpy(pd->counted[1], far->addr[(1 - source) & 1], 16);
	pf_tables_add(t, pd, bytes, n, true);
	return 0;
}

/* pf_tables_decided: a packet without a state counts for the tables of the rule that decided. */
__noinline int pf_tables_decided(struct pf_pdesc *pd, __u32 pass, __u32 bytes, __u32 n)
{
	__u32 source;

	if (!pd)
		return 0;
	source = pd->dir == PFIL_IN ? 0 : 1;
	/* As the rules saw it. */
	__builtin_memcpy(pd->counted[0], pd->nat >= PF_NAT_TRANSLATED ? pd->naddr[source & 1] : pd->addr[source & 1], 16);
	__builtin_memcpy(pd->counted[1], pd->nat >= PF_NAT_TRANSLATED ? pd->naddr[(1 - source) & 1] : pd->addr[(1 - source) & 1], 16);
	pf_tables_add(&pd->tables, pd, bytes, n, pass);
	return 0;
}

#endif
