/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Decision trees over a run of rules. A rule is in every leaf whose box it
 * meets, so that looking at one leaf of each tree is looking at all rules that
 * can match; the one of the lowest rank decides.
 */
#ifndef BSDNET_PF_TREE_H
#define BSDNET_PF_TREE_H

#include "pf_rules.h"

#define PF_NORANK	0xffffffff

/* pf_words: the key by which the trees branch. */
inline_always void pf_words(struct pf_pdesc *pd)
{
	__u32 s = pd->dir == PFIL_IN ? 0 : 1;
	const __u32 *src = (const __u32 *)pd->addr[s & 1], *dst = (const __u32 *)pd->addr[(1 - s) & 1];

#pragma unroll
	for (int i = 0; i < 4; i++) {
		pd->words[PF_WORD_SRC + i] = bpf_ntohl(src[i]);
		pd->words[PF_WORD_DST + i] = bpf_ntohl(dst[i]);
	}
	pd->words[PF_WORD_SPORT] = bpf_ntohs(pd->port[s & 1]);
	pd->words[PF_WORD_DPORT] = bpf_ntohs(pd->port[(1 - s) & 1]);
	pd->words[PF_WORD_PROTO] = pd->proto;
}

/*
 * pf_cuts: the child that a packet's words lead to. Differences in place of
 * branches, which no CPU could foresee.
 */
inline_always __u32 pf_cuts(const struct pf_cuts *cuts, const __u32 *words)
{
	__u64 at = 0;

#pragma unroll
	for (int level = 0; level < 3; level++) {
		__u64 threshold = cuts->threshold[at];
		__u64 word = words[(cuts->words >> (4 * at)) % PF_TREE_WORDS];

		at = 2 * at + 1 + ((threshold - word) >> 63);
	}
	return cuts->child[at - PF_TREE_CUTS];
}

/*
 * pf_descend: from a root to a leaf. A function of its own, so that the
 * verifier walks it once.
 */
__noinline __u32 pf_descend(const struct pf_pdesc *pd, __u32 ruleset, __u32 child)
{
	void *lines = bpf_map_lookup_elem(&pf_rulesets, &ruleset);

	if (!pd || !lines)
		return PF_CHILD_LEAF;
	for (int i = 0; i < PF_TREE_LINES && !(child & PF_CHILD_LEAF); i++) {
		const struct pf_cuts *cuts = bpf_map_lookup_elem(lines, &child);

		if (!cuts)
			return PF_CHILD_LEAF;
		child = pf_cuts(cuts, pd->words);
	}
	return child;
}

/* A leaf in progress. */
struct pf_leaf_walk {
	const struct pf_pdesc *pd;
	__u32 ruleset;
	__u32 line;
	__u32 rank;	/* only rules before it are of interest */
	__u32 tag;
	__u32 found;
	__u32 spare;
};

/* pf_leaf_step: one rule of a leaf, which has them by rank; 1 ends it. */
static long pf_leaf_step(__u32 index, void *context)
{
	struct pf_leaf_walk *w = context;
	const struct pf_rule *r = pf_line_at(w->ruleset, w->line);

	if (!r || r->skip >= w->rank)
		return 1;
	pf_evaluated(r);
	if (pf_rule_match(w->pd, r, w->ruleset, w->tag)) {
		w->found = w->line;
		w->rank = r->skip;
		return 1;
	}
	w->line++;
	return 0;
}

/* pf_search_leaf: finds the first rule of a leaf that matches, if its rank is below w's. */
inline_always void pf_search_leaf(struct pf_leaf_walk *w, __u32 leaf)
{
	__u32 count = leaf >> PF_CHILD_COUNT & PF_CHILD_COUNT_MASK;

	w->line = leaf & PF_CHILD_LINE;
	if (leaf & PF_CHILD_LONG) {
		const struct pf_leaf *head = pf_line_at(w->ruleset, w->line);

		if (!head)
			return;
		count = head->count;
		w->line++;
	}
	bpf_loop(count, pf_leaf_step, w, 0);
}

/*
 * pf_classify: the line of the rule of a run that decides about the packet in
 * pf_pd, 0 if none. Roots are the run's, at this line.
 */
__noinline __u32 pf_classify(__u32 ruleset, __u32 roots_line, __u32 tag)
{
	struct pf_pdesc *pd = pf_pd();
	struct pf_leaf_walk w = {.ruleset = ruleset, .tag = tag, .rank = PF_NORANK};
	const struct pf_roots *roots;

	if (!pd)
		return 0;
	w.pd = pd;
	roots = pf_line_at(ruleset, roots_line + 2 * (pd->af == 6) + (pd->dir & 1));
	if (!roots)
		return 0;
	pf_words(pd);
	for (__u32 part = 0; part < PF_TREE_PARTS; part++) {
		if (roots->root[part] && roots->rank[part] < w.rank)
			pf_search_leaf(&w, pf_descend(pd, ruleset, roots->root[part]));
	}
	return w.found;
}

#endif
