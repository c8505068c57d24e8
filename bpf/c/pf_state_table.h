/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The state table of pf: look-up and insertion. */
#ifndef BSDNET_PF_STATE_TABLE_H
#define BSDNET_PF_STATE_TABLE_H

#include "pf_pdesc.h"

#define PF_NOSLOT	0xffffffff

inline_always struct pf_state *pf_state_slot(__u32 slot)
{
	return bpf_map_lookup_elem(&pf_states, &slot);
}

/* pf_bucket: one of the two buckets of a hash. */
inline_always __u32 pf_bucket(const struct pf_state_head *head, __u32 hash, __u32 which)
{
	if (which)
		hash = hash * 0x9e3779b1 >> 7;
	else
		hash >>= 1;
	return hash & head->buckets;
}

/* pf_bucket_at: a bucket of the index. */
inline_always struct pf_state_bucket *pf_bucket_at(__u32 bucket)
{
	return bpf_map_lookup_elem(&pf_state_index, &bucket);
}

inline_always bool pf_addr_equal(const __u8 *a, const __u8 *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

inline_always __u32 pf_timeout_of(const struct pf_settings *set, __u64 states, __u32 timeout)
{
	__u32 value = set->timeout[timeout % PFTM_MAX];
	__u32 start = set->timeout[PFTM_ADAPTIVE_START];
	__u32 end = set->timeout[PFTM_ADAPTIVE_END];

	if (!end || states <= start || start >= end)
		return value;
	if (states >= end)
		return 0;
	return (__u64)value * (end - states) / (end - start);
}

/* Which of the keys in pd pf_find looks for, and on which interfaces. */
enum pf_find_flags {
	PF_FIND_TRANSLATED = 1 << 0,	/* naddr and nport */
	PF_FIND_ANYIF = 1 << 1,
	PF_FIND_BUSY = 1 << 2,		/* states that others are making, too */
	PF_FIND_ANYHASH = 1 << 3,	/* the hash of the key is not known */
};

/* pf_wanted: which of the keys in pd is looked for, in one argument. */
inline_always __u32 pf_wanted(__u32 flags, __u32 dir, __u32 proto)
{
	return flags | dir << 8 | proto << 16;
}

/*
 * pf_slot_is: a slot holds, or is to hold, what pf_find looks for. The verifier
 * walks it once, and not for every entry of a bucket.
 */
__noinline int pf_slot_is(const struct pf_pdesc *pd, __u32 slot, __u32 wanted, __u32 hash)
{
	__u32 flags = wanted & 0xff, proto = wanted >> 16;
	__u8 side = (wanted >> 8 & 0xff) == PFIL_IN ? PF_STATE_WIRE : PF_STATE_STACK;
	const __u8 (*addr)[16];
	const __be16 *port;
	const struct pf_state *s = pf_state_slot(slot);
	__u64 tag;

	if (!pd || !s)
		return false;
	addr = flags & PF_FIND_TRANSLATED ? pd->naddr : pd->addr;
	port = flags & PF_FIND_TRANSLATED ? pd->nport : pd->port;
	tag = *(volatile __u64 *)&s->tag;
	if ((__u32)tag != hash && !(flags & PF_FIND_ANYHASH))
		return false;
	if (tag >> 32 < PF_STATE_LIVE)
		return (flags & PF_FIND_BUSY) && slot != pd->claimed[0] && slot != pd->claimed[1];
	if (*(__u32 *)s->port != *(__u32 *)port || s->proto != proto || s->af != pd->af || !(s->flags & side) ||
	    !pf_addr_equal(s->addr[0], addr[0]) || !pf_addr_equal(s->addr[1], addr[1]))
		return false;
	return s->ifslot == IFNET_SLOTS || s->ifslot == pd->ifslot || (flags & PF_FIND_ANYIF);
}

/*
 * pf_find: the slot of the state, expired or not, that packets of a direction
 * with a key of pd belong to; PF_NOSLOT if there is none. A function of its
 * own, so that the verifier walks it once.
 */
__noinline __u32 pf_find(const struct pf_pdesc *pd, __u32 flags, __u32 dir, __u32 proto, __u32 hash)
{
	const struct pf_state_head *head = pf_state_head_get();

	if (!pd || !head)
		return PF_NOSLOT;
	for (__u32 which = 0; which < 2; which++) {
		struct pf_state_bucket *b = pf_bucket_at(pf_bucket(head, hash, which));

		if (!b)
			return PF_NOSLOT;
		for (__u32 i = 0; i < PF_BUCKET_ENTRIES; i++) {
			__u64 entry = *(volatile __u64 *)&b->entry[i];

			if (entry >> 32 == hash && pf_slot_is(pd, entry & PF_STATE_SLOT, pf_wanted(flags, dir, proto), hash))
				return entry & PF_STATE_SLOT;
		}
	}
	return PF_NOSLOT;
}

/*
 * pf_linked: the slot in which an earlier packet of the state was found on its
 * way out, if this one belongs there, too; else PF_NOSLOT.
 */
inline_always __u32 pf_linked(const struct pf_pdesc *pd, __u32 in_slot)
{
	const struct pf_state *in = pf_state_slot(in_slot);
	__u32 link;

	if (!in)
		return PF_NOSLOT;
	link = (__u32)in->link_high << 16 | in->link_low;
	if (!link || !pf_slot_is(pd, link - 1, pf_wanted(PF_FIND_ANYHASH, pd->dir, pd->proto), 0))
		return PF_NOSLOT;
	return link - 1;
}

/* pf_link: remembers a slot for pf_linked, which believes nothing that is torn or out of date. */
inline_always void pf_link(__u32 in_slot, __u32 slot)
{
	struct pf_state *in = pf_state_slot(in_slot);

	if (!in || slot >= 0xffffff)
		return;
	in->link_low = slot + 1;
	in->link_high = (slot + 1) >> 16;
}

#define PF_SLOT_TRIES	64	/* when CPUs meet at the free slots */

/*
 * pf_slot_take: a free slot; PF_NOSLOT: there is none. Slots are used again
 * before fresh ones, so that states lie close together.
 */
__noinline __u32 pf_slot_take(void)
{
	struct pf_state_head *head = pf_state_head_get();
	__u64 fresh;

	if (!head)
		return PF_NOSLOT;
	for (__u32 i = 0; i < PF_SLOT_TRIES; i++) {
		__u64 old = *(volatile __u64 *)&head->free;
		struct pf_state *s;

		if (!(__u32)old)
			break;
		s = pf_state_slot((__u32)old - 1);
		if (!s)
			break;
		if (__sync_val_compare_and_swap(&head->free, old, ((old >> 32) + 1) << 32 | *(volatile __u32 *)&s->peer) == old)
			return (__u32)old - 1;
	}
	if (*(volatile __u64 *)&head->fresh >= head->slots)
		return PF_NOSLOT;
	fresh = __sync_fetch_and_add(&head->fresh, 1);
	if (fresh < head->slots)
		return fresh;
	__sync_fetch_and_add(&head->fresh, -1);
	return PF_NOSLOT;
}

/* pf_slot_give: a slot is free. */
__noinline int pf_slot_give(__u32 slot)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_state *s = pf_state_slot(slot);

	if (!head || !s)
		return 0;
	*(volatile __u64 *)&s->tag = 0;
	for (__u32 i = 0; i < PF_SLOT_TRIES; i++) {
		__u64 old = *(volatile __u64 *)&head->free;

		*(volatile __u32 *)&s->peer = old;
		if (__sync_val_compare_and_swap(&head->free, old, ((old >> 32) + 1) << 32 | (slot + 1)) == old)
			break;
	}
	return 0;
}

/* pf_bucket_used: how many entries a bucket has. Without branches, of whose ways the verifier would walk every one. */
inline_always __u32 pf_bucket_used(const struct pf_state_bucket *b)
{
	__u64 used = 0;

#pragma unroll
	for (__u32 i = 0; i < PF_BUCKET_ENTRIES; i++) {
		__u64 entry = *(const volatile __u64 *)&b->entry[i];

		used += (entry | -entry) >> 63;
	}
	return used;
}

/* pf_index_add: an entry into the emptier of its buckets; false: both are full. A barrier, too. */
__noinline int pf_index_add(__u32 hash, __u32 slot)
{
	const struct pf_state_head *head = pf_state_head_get();
	struct pf_state_bucket *b;
	__u32 used, first;

	if (!head)
		return false;
	b = pf_bucket_at(pf_bucket(head, hash, 0));
	if (!b)
		return false;
	used = pf_bucket_used(b);
	b = pf_bucket_at(pf_bucket(head, hash, 1));
	if (!b)
		return false;
	/* Look-ups begin with the first, so it gets more. */
	first = used > PF_BUCKET_ENTRIES / 2 && used > pf_bucket_used(b);
	for (__u32 i = 0; i < 2 * PF_BUCKET_ENTRIES; i++) {
		__u64 *entry;

		b = pf_bucket_at(pf_bucket(head, hash, first ^ (i / PF_BUCKET_ENTRIES)));
		if (!b)
			return false;
		entry = &b->entry[i % PF_BUCKET_ENTRIES];
		if (!*(volatile __u64 *)entry && __sync_val_compare_and_swap(entry, 0, (__u64)hash << 32 | slot) == 0)
			return true;
	}
	return false;
}

/* pf_index_remove: takes an entry out. A barrier, too. */
__noinline int pf_index_remove(__u32 hash, __u32 slot)
{
	const struct pf_state_head *head = pf_state_head_get();
	__u64 want = (__u64)hash << 32 | slot;

	if (!head)
		return false;
	for (__u32 i = 0; i < 2 * PF_BUCKET_ENTRIES; i++) {
		struct pf_state_bucket *b = pf_bucket_at(pf_bucket(head, hash, i / PF_BUCKET_ENTRIES));
		__u64 *entry;

		if (!b)
			return false;
		entry = &b->entry[i % PF_BUCKET_ENTRIES];
		if (*(volatile __u64 *)entry == want && __sync_val_compare_and_swap(entry, want, 0) == want)
			return true;
	}
	return false;
}

/*
 * pf_claim: takes a slot for a hash; it is busy until its tag is published.
 * PF_NOSLOT: there is no room.
 */
inline_always __u32 pf_claim(__u32 hash)
{
	__u32 slot = pf_slot_take();
	struct pf_state *s = slot == PF_NOSLOT ? NULL : pf_state_slot(slot);

	if (!s)
		return PF_NOSLOT;
	*(volatile __u64 *)&s->tag = (__u64)PF_STATE_BUSY << 32 | hash;
	if (pf_index_add(hash, slot))
		return slot;
	pf_slot_give(slot);
	return PF_NOSLOT;
}

/* pf_unclaim: gives a slot back that nobody else gives back. */
inline_always void pf_unclaim(struct pf_state *s, __u32 slot)
{
	pf_index_remove(*(volatile __u64 *)&s->tag, slot);
	pf_slot_give(slot);
}

/*
 * pf_primary: the state behind a slot that pf_find found; NULL if it is being
 * made or was freed meanwhile.
 */
inline_always struct pf_state *pf_primary(struct pf_state *s, __u32 slot, __u32 *first)
{
	struct pf_state *primary;

	*first = slot;
	if (*(volatile __u64 *)&s->tag >> 32 == PF_STATE_LIVE)
		return s;
	*first = s->peer;
	primary = pf_state_slot(*first);
	if (!primary || *(volatile __u64 *)&primary->tag >> 32 != PF_STATE_LIVE || primary->peer != slot)
		return NULL;
	return primary;
}

inline_always void pf_publish(struct pf_state *s, __u32 hash, __u64 kind)
{
	/* An exchange, for the barrier that it is. */
	__sync_lock_test_and_set(&s->tag, kind << 32 | hash);
}

/* pf_key_store: writes a key into a claimed slot. */
inline_always void pf_key_store(struct pf_state *s, const __u8 addr[2][16], const __be16 port[2],
				const struct pf_pdesc *pd, __u8 flags, __u32 peer)
{
	__builtin_memcpy(s->addr, addr, 32);
	*(__u32 *)s->port = *(__u32 *)port;
	s->proto = pd->proto;
	s->af = pd->af;
	s->direction = pd->dir;
	s->flags = flags;
	s->peer = peer;
}

#endif
