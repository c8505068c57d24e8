/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Decision trees over the filter rules. A rule is in every leaf whose box it
 * meets, so that looking at one leaf of each tree is looking at all rules that
 * can match; the one of the lowest rank decides.
 */
#ifndef BSDNET_PF_TREE_H
#define BSDNET_PF_TREE_H

#include "pf_rules.h"

#define PF_NORANK	0xffffffff

struct pf_walk {
	const struct pf_pdesc *pd;
	__u32 ruleset;
	__u32 node;
	__u32 first;	/* of the leaf's rules */
	__u32 count;
};

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

/* pf_walk_node: the node to go on with, or a leaf's rules; true at a leaf. */
inline_always bool pf_walk_node(struct pf_walk *w, const struct pf_tree_node *node)
{
	if (node->word == PF_TREE_LEAF) {
		w->first = node->threshold;
		w->count = node->left;
		return true;
	}
	w->node = w->pd->words[node->word % PF_TREE_WORDS] <= node->threshold ? node->left : node->right;
	return false;
}

/* pf_walk_step: two levels down, for a line holds a node and its children; 1 at a leaf. */
static long pf_walk_step(__u32 index, void *context)
{
	struct pf_walk *w = context;
	const struct pf_tree_node *line = pf_line_at(w->ruleset, w->node / 4);

	if (!line || pf_walk_node(w, line))
		return 1;
	return pf_walk_node(w, line + w->node % 4);
}

/* pf_classify: sets e->found to the rule that decides. */
inline_always void pf_classify(struct pf_evaluation *e)
{
	const struct pf_roots *roots = pf_line_at(e->ruleset, PF_TREE_ROOTS);
	const struct pf_roots *ranks = pf_line_at(e->ruleset, PF_TREE_ROOTS + 1);
	__u32 row = (e->pd->af == 6) << 1 | (e->pd->dir & 1), rank = PF_NORANK, found = 0;
	const __u32 *root, *best;
	struct pf_walk w = {.pd = e->pd, .ruleset = e->ruleset};

	if (!roots || !ranks)
		return;
	/* The verifier of Linux 6.1 knows no bounds of what was put together by OR. */
	opaque(row);
	row &= 3;
	root = roots->root[0][0] + row * PF_TREE_PARTS;
	best = ranks->root[0][0] + row * PF_TREE_PARTS;
	e->first = 1;
	for (__u32 part = 0; part < PF_TREE_PARTS; part++) {
		const struct pf_rule *r;

		w.node = root[part];
		if (!w.node || best[part] >= rank)
			continue;
		w.count = 0;
		bpf_loop(PF_TREE_DEPTH, pf_walk_step, &w, 0);
		if (!w.count)
			continue;
		pf_evaluate(e, w.first, w.count);
		if (!e->found)
			continue;
		r = pf_line_at(e->ruleset, e->found);
		if (r && r->skip < rank) {
			rank = r->skip;
			found = e->found;
		}
	}
	e->first = 0;
	e->found = found;
}

/* pf_filter: the filter rules, by the trees where there are some. */
inline_always void pf_filter(struct pf_evaluation *e, const struct pf_ruleset *rs)
{
	if (rs->flags & PF_TREES) {
		pf_words(e->pd);
		pf_classify(e);
	} else {
		pf_evaluate(e, rs->filter, rs->filter_count);
	}
}

#endif
