/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Source nodes: what is remembered of a source address under a rule. The ones
 * that a packet's state will hold are in pd->src_node, their hash as the tag.
 */
#ifndef BSDNET_PF_SRC_NODE_H
#define BSDNET_PF_SRC_NODE_H

#include "pf_state.h"

#define PF_SRC_NODE_PLACES	(2 * PF_BUCKET_ENTRIES)
#define PF_SRC_NODE_TRIES	16	/* when CPUs meet at a node */
#define PF_SRC_NODE_ONE		(1ULL << PF_SRC_NODE_STATES)

inline_always struct pf_src_node *pf_src_node_at(__u32 slot)
{
	return bpf_map_lookup_elem(&pf_src_nodes, &slot);
}

/* pf_src_node_place: one of the slots where a node with a hash may be. */
inline_always __u32 pf_src_node_place(__u32 hash, __u32 i)
{
	__u32 bucket = i < PF_BUCKET_ENTRIES ? hash >> 1 : hash * 0x9e3779b1 >> 7;

	return (bucket * PF_BUCKET_ENTRIES + i % PF_BUCKET_ENTRIES) & (PF_SRC_NODES - 1);
}

inline_always __u64 pf_src_node_tag_of(__u64 kind, __u32 hash)
{
	return kind << PF_SRC_NODE_KIND | hash;
}

/* pf_src_node_held: a state holds a node with this tag. */
inline_always bool pf_src_node_held(__u64 tag)
{
	return tag << 4 >> 4 >= PF_SRC_NODE_ONE;
}

inline_always bool pf_src_node_over(const struct pf_src_node *n, __u32 now)
{
	return (__s32)(now - *(volatile __u32 *)&n->expire) >= 0;
}

inline_always bool pf_src_node_equal(const struct pf_src_node *n, const struct pf_src_node *wanted)
{
	return n->rule == wanted->rule && n->af == wanted->af && n->type == wanted->type &&
	       pf_addr_equal(n->addr, wanted->addr);
}

/*
 * pf_src_node_find: the slot of the live node like the one in pd; PF_NOSLOT:
 * there is none. The verifier walks it once.
 */
__noinline __u32 pf_src_node_find(const struct pf_pdesc *pd, __u32 type)
{
	__u32 now = bpf_jiffies64(), hash;
	const struct pf_src_node *wanted;

	if (!pd)
		return PF_NOSLOT;
	wanted = &pd->src_node[type % PF_SN_MAX];
	hash = wanted->tag;
	for (__u32 i = 0; i < PF_SRC_NODE_PLACES; i++) {
		__u32 slot = pf_src_node_place(hash, i);
		struct pf_src_node *n = pf_src_node_at(slot);
		__u64 tag;

		if (!n)
			return PF_NOSLOT;
		tag = *(volatile __u64 *)&n->tag;
		if ((__u32)tag == hash && tag >> PF_SRC_NODE_KIND == PF_SRC_NODE_LIVE && pf_src_node_equal(n, wanted) &&
		    (pf_src_node_held(tag) || !pf_src_node_over(n, now)))
			return slot;
	}
	return PF_NOSLOT;
}

/*
 * pf_src_node_want: the packet's state will hold a node of its source under a
 * rule. True: there is one, and its address is that of the end of the packet
 * that changes. The verifier walks it once.
 */
__noinline int pf_src_node_want(struct pf_pdesc *pd, __u32 type, __u32 rule, __u32 change)
{
	const struct pf_state_head *head = pf_state_head_get();
	struct pf_src_node *wanted, *n;
	__u32 slot;

	if (!pd || !head)
		return false;
	wanted = &pd->src_node[type % PF_SN_MAX];
	__builtin_memcpy(wanted->addr, pd->source, 16);
	wanted->rule = rule;
	wanted->af = pd->af;
	wanted->type = type;
	wanted->tag = (__u32)pf_mix(pf_mix(pf_mix(head->seed, ((const __u64 *)wanted->addr)[0]), ((const __u64 *)wanted->addr)[1]),
				    (__u64)rule << 32 | (__u32)wanted->af << 8 | (type & 0xff));
	pf_counted(src_node_searches);
	slot = pf_src_node_find(pd, type);
	if (slot == PF_NOSLOT)
		return false;
	n = pf_src_node_at(slot);
	if (!n)
		return false;
	__builtin_memcpy(pd->addr[change & 1], n->raddr, 16);
	return true;
}

/* pf_src_node_chosen: the address that the end of the packet got is the node's. */
inline_always void pf_src_node_chosen(struct pf_pdesc *pd, __u32 type, __u32 change)
{
	__builtin_memcpy(pd->src_node[type % PF_SN_MAX].raddr, pd->addr[change & 1], 16);
	pd->sticky |= 1 << type;
}

/* pf_src_node_hold: one more state holds a node with a hash, unless it is just going. */
__noinline int pf_src_node_hold(__u32 slot, __u32 hash)
{
	struct pf_src_node *n = pf_src_node_at(slot);

	if (!n)
		return false;
	for (__u32 i = 0; i < PF_SRC_NODE_TRIES; i++) {
		__u64 tag = *(volatile __u64 *)&n->tag;

		if ((__u32)tag != hash || tag >> PF_SRC_NODE_KIND != PF_SRC_NODE_LIVE)
			return false;
		if (__sync_val_compare_and_swap(&n->tag, tag, tag + PF_SRC_NODE_ONE) == tag)
			return true;
	}
	return false;
}

/*
 * pf_src_node_insert: the slot of a new node like the one in pd, which one
 * state holds; PF_NOSLOT: there is no room. With full, only the place of
 * another that is over will do.
 */
__noinline __u32 pf_src_node_insert(const struct pf_pdesc *pd, __u32 type, __u32 full)
{
	struct pf_state_head *head = pf_state_head_get();
	__u32 now = bpf_jiffies64(), hash;
	const struct pf_src_node *wanted;

	if (!pd || !head)
		return PF_NOSLOT;
	wanted = &pd->src_node[type % PF_SN_MAX];
	hash = wanted->tag;
	for (__u32 i = 0; i < PF_SRC_NODE_PLACES; i++) {
		__u32 slot = pf_src_node_place(hash, i);
		struct pf_src_node *n = pf_src_node_at(slot);
		__u64 tag;
		bool live;

		if (!n)
			return PF_NOSLOT;
		tag = *(volatile __u64 *)&n->tag;
		live = tag >> PF_SRC_NODE_KIND == PF_SRC_NODE_LIVE;
		if (pf_src_node_held(tag) || tag >> PF_SRC_NODE_KIND == PF_SRC_NODE_BUSY ||
		    (live ? !pf_src_node_over(n, now) : full))
			continue;
		if (__sync_val_compare_and_swap(&n->tag, tag, pf_src_node_tag_of(PF_SRC_NODE_BUSY, hash)) != tag)
			continue;
		if (live)
			__sync_fetch_and_add(&head->src_nodes, -1);
		__builtin_memcpy(n->addr, wanted->addr, 16);
		__builtin_memcpy(n->raddr, wanted->raddr, 16);
		n->rule = wanted->rule;
		n->af = wanted->af;
		n->type = wanted->type;
		n->creation = n->expire = now;
		n->packets[0] = n->packets[1] = n->bytes[0] = n->bytes[1] = 0;
		/* An exchange, for the barrier that it is. */
		__sync_lock_test_and_set(&n->tag, pf_src_node_tag_of(PF_SRC_NODE_LIVE, hash) + PF_SRC_NODE_ONE);
		return slot;
	}
	return PF_NOSLOT;
}

/* pf_src_node_get: the slot of a node that one more state holds, or PF_NOSLOT. */
inline_always __u32 pf_src_node_get(struct pf_pdesc *pd, __u32 type)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_settings *set = pf_settings_get();
	__u32 slot = pf_src_node_find(pd, type);
	bool full;

	if (slot != PF_NOSLOT && pf_src_node_hold(slot, pd->src_node[type % PF_SN_MAX].tag))
		return slot;
	if (!head || !set)
		return PF_NOSLOT;
	full = __sync_fetch_and_add(&head->src_nodes, 1) >= set->src_nodes_limit;
	slot = pf_src_node_insert(pd, type, full);
	if (slot == PF_NOSLOT) {
		__sync_fetch_and_add(&head->src_nodes, -1);
		pf_counted(src_limit);
		return PF_NOSLOT;
	}
	pf_counted(src_node_inserts);
	return slot;
}

/*
 * pf_src_node_drop: a state that is over no longer holds a node, which lives on
 * for its timeout.
 */
__noinline int pf_src_node_drop(__u32 node, __u32 state)
{
	struct pf_src_node *n = pf_src_node_at(node);
	const struct pf_state *s = pf_state_slot(state);
	struct pf_actions *act = bpf_map_lookup_elem(&pf_state_actions, &state);
	struct pf_settings *set;
	__u32 number = 0;

	if (!n || !s || !act)
		return 0;
	if (s->flags & PF_STATE_ACTIONS)
		number = act->timeouts;
	set = bpf_map_lookup_elem(&pf_set, &number);
	if (!set)
		return 0;
	for (int i = 0; i < 2; i++) {
		__sync_fetch_and_add(&n->packets[i], s->packets[i]);
		__sync_fetch_and_add(&n->bytes[i], s->bytes[i]);
	}
	*(volatile __u32 *)&n->expire = bpf_jiffies64() + set->src_track;
	__sync_fetch_and_add(&n->tag, -PF_SRC_NODE_ONE);
	return 0;
}

/* pf_src_nodes_drop: a state that is over no longer holds nodes; 0: it held none. */
__noinline int pf_src_nodes_drop(__u32 state)
{
	struct pf_state_nodes *held = bpf_map_lookup_elem(&pf_state_nodes, &state);

	if (!held)
		return 0;
	for (__u32 type = 0; type < PF_SN_MAX; type++) {
		__u32 node = __sync_lock_test_and_set(&held->node[type], 0);

		if (node)
			pf_src_node_drop(node - 1, state);
	}
	return 0;
}

/*
 * pf_src_nodes_get: the state in a slot that is being made holds the nodes in
 * pd. False: there is no room for one, and it holds none. The verifier walks
 * it once.
 */
__noinline int pf_src_nodes_get(struct pf_pdesc *pd, __u32 state)
{
	struct pf_state_nodes *held = bpf_map_lookup_elem(&pf_state_nodes, &state);

	if (!pd || !held)
		return false;
	for (__u32 type = 0; type < PF_SN_MAX; type++) {
		__u32 node;

		if (!(pd->sticky & 1 << type)) {
			held->node[type] = 0;
			continue;
		}
		node = pf_src_node_get(pd, type);
		if (node == PF_NOSLOT) {
			struct pf_src_node *other = type && held->node[0] ? pf_src_node_at(held->node[0] - 1) : NULL;

			if (other)
				__sync_fetch_and_add(&other->tag, -PF_SRC_NODE_ONE);
			return false;
		}
		held->node[type] = node + 1;
	}
	return true;
}

#endif
