/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The state table of pf: look-up, insertion, tracking. */
#ifndef BSDNET_PF_STATE_H
#define BSDNET_PF_STATE_H

#include "pf_pdesc.h"

#define PF_NOSLOT	0xffffffff
#define MAXACKWINDOW	(0xffff + 1500)

#define SEQ_GEQ(a, b)	((__s32)((a) - (b)) >= 0)
#define SEQ_GT(a, b)	((__s32)((a) - (b)) > 0)

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

/* pf_slot_is: a slot holds, or is to hold, what pf_find looks for. */
inline_always bool pf_slot_is(const struct pf_pdesc *pd, __u32 slot, __u32 flags, __u32 dir, __u32 proto, __u32 hash)
{
	__u8 side = dir == PFIL_IN ? PF_STATE_WIRE : PF_STATE_STACK;
	const __u8 (*addr)[16] = pd->addr;
	const __be16 *port = pd->port;
	const struct pf_state *s = pf_state_slot(slot);
	__u64 tag;

	if (!s)
		return false;
	if (flags & PF_FIND_TRANSLATED) {
		addr = pd->naddr;
		port = pd->nport;
	}
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

			if (entry >> 32 == hash && pf_slot_is(pd, entry & PF_STATE_SLOT, flags, dir, proto, hash))
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
	if (!link || !pf_slot_is(pd, link - 1, PF_FIND_ANYHASH, pd->dir, pd->proto, 0))
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

/* pf_index_add: an entry into the emptier of its buckets; false: both are full. A barrier, too. */
__noinline int pf_index_add(__u32 hash, __u32 slot)
{
	const struct pf_state_head *head = pf_state_head_get();
	__u32 used = 0, first;

	if (!head)
		return false;
	/* Look-ups begin with the first, so it gets more. */
	for (__u32 i = 0; i < 2 * PF_BUCKET_ENTRIES; i++) {
		struct pf_state_bucket *b = pf_bucket_at(pf_bucket(head, hash, i / PF_BUCKET_ENTRIES));

		if (b && *(volatile __u64 *)&b->entry[i % PF_BUCKET_ENTRIES])
			used += i < PF_BUCKET_ENTRIES ? 1 : 1 << 8;
	}
	first = (used & 0xff) > PF_BUCKET_ENTRIES / 2 && (used & 0xff) > used >> 8;
	for (__u32 i = 0; i < 2 * PF_BUCKET_ENTRIES; i++) {
		struct pf_state_bucket *b = pf_bucket_at(pf_bucket(head, hash, first ^ (i / PF_BUCKET_ENTRIES)));
		__u64 *entry;

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

/* pf_first: the state's first packet, by which its timers and windows begin. */
inline_always void pf_first(struct pf_state *s, const struct pf_pdesc *pd)
{
	s->packets[0] = 0;
	s->packets[1] = 0;
	s->bytes[0] = 0;
	s->bytes[1] = 0;
	s->seqlo[0] = s->seqlo[1] = 0;
	s->seqhi[0] = s->seqhi[1] = 0;
	s->win[0] = s->win[1] = 0;
	s->wscale[0] = s->wscale[1] = 0;
	s->peers[1] = 0;
	s->link_low = s->link_high = 0;
	switch (pd->proto) {
	case IPPROTO_TCP: {
		__u32 win = pd->win ? pd->win : 1;

		s->seqlo[0] = pd->seq;
		s->seqhi[0] = pd->seq + pd->data_len + 1;
		if (pd->tcp_flags & TH_SYN) {
			s->seqhi[0]++;
			s->wscale[0] = pd->wscale;
			if (pd->wscale & PF_WSCALE_MASK) {
				__u32 shift = pd->wscale & PF_WSCALE_MASK;

				win = (win + (1 << shift) - 1) >> shift;
			}
		}
		if (pd->tcp_flags & TH_FIN)
			s->seqhi[0]++;
		s->win[0] = win;
		s->seqhi[1] = 1;
		s->win[1] = 1;
		s->peers[0] = PF_TCPS_SYN_SENT;
		s->timeout = PFTM_TCP_FIRST_PACKET;
		break;
	}
	case IPPROTO_UDP:
		s->peers[0] = PFS_SINGLE;
		s->timeout = PFTM_UDP_FIRST_PACKET;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		s->peers[0] = 0;
		s->timeout = PFTM_ICMP_FIRST_PACKET;
		break;
	default:
		s->peers[0] = PFS_SINGLE;
		s->timeout = PFTM_OTHER_FIRST_PACKET;
	}
}

/* pf_track_other: UDP, ICMP and all the rest. p sent, q is the other. */
inline_always void pf_track_other(struct pf_state *s, const struct pf_pdesc *pd, __u32 p, __u32 q)
{
	if (pd->proto == IPPROTO_ICMP || pd->proto == IPPROTO_ICMPV6) {
		s->timeout = PFTM_ICMP_ERROR_REPLY;
		return;
	}
	if (s->peers[p] < PFS_SINGLE)
		s->peers[p] = PFS_SINGLE;
	if (s->peers[q] == PFS_SINGLE)
		s->peers[q] = PFS_MULTIPLE;
	if (s->peers[p] == PFS_MULTIPLE && s->peers[q] == PFS_MULTIPLE)
		s->timeout = pd->proto == IPPROTO_UDP ? PFTM_UDP_MULTIPLE : PFTM_OTHER_MULTIPLE;
	else
		s->timeout = pd->proto == IPPROTO_UDP ? PFTM_UDP_SINGLE : PFTM_OTHER_SINGLE;
}

/* pf_tcp_timeout: the timer that the two peers' states ask for. */
inline_always __u32 pf_tcp_timeout(__u8 a, __u8 b)
{
	if (a >= PF_TCPS_FIN_WAIT_2 && b >= PF_TCPS_FIN_WAIT_2)
		return PFTM_TCP_CLOSED;
	if (a >= PF_TCPS_CLOSING && b >= PF_TCPS_CLOSING)
		return PFTM_TCP_FIN_WAIT;
	if (a < PF_TCPS_ESTABLISHED || b < PF_TCPS_ESTABLISHED)
		return PFTM_TCP_OPENING;
	if (a >= PF_TCPS_CLOSING || b >= PF_TCPS_CLOSING)
		return PFTM_TCP_CLOSING;
	return PFTM_TCP_ESTABLISHED;
}

/* pf_track_sloppy: by the flags alone, for those who see half of a connection. */
inline_always void pf_track_sloppy(struct pf_state *s, const struct pf_pdesc *pd, __u32 p, __u32 q)
{
	__u8 flags = pd->tcp_flags;

	if ((flags & TH_SYN) && s->peers[p] < PF_TCPS_SYN_SENT)
		s->peers[p] = PF_TCPS_SYN_SENT;
	if ((flags & TH_FIN) && s->peers[p] < PF_TCPS_CLOSING)
		s->peers[p] = PF_TCPS_CLOSING;
	if (flags & TH_ACK) {
		if (s->peers[q] == PF_TCPS_SYN_SENT)
			s->peers[q] = PF_TCPS_ESTABLISHED;
		else if (s->peers[q] == PF_TCPS_CLOSING)
			s->peers[q] = PF_TCPS_FIN_WAIT_2;
		else if (s->peers[p] == PF_TCPS_SYN_SENT && s->peers[q] < PF_TCPS_SYN_SENT) {
			/* The other side is never seen. */
			s->peers[p] = PF_TCPS_ESTABLISHED;
			s->peers[q] = PF_TCPS_ESTABLISHED;
		} else if (s->peers[p] == PF_TCPS_CLOSING && s->peers[q] == PF_TCPS_ESTABLISHED &&
			   s->seqlo[q & 1] == 0) {
			/* Likewise, at its end. */
			s->peers[q] = PF_TCPS_CLOSING;
		}
	}
	if (flags & TH_RST)
		s->peers[p] = s->peers[q] = PF_TCPS_TIME_WAIT;
	s->timeout = pf_tcp_timeout(s->peers[p], s->peers[q]);
}

/* What a state says of a packet that has its key. */
enum pf_tracked {
	PF_TRACK_MISMATCH,
	PF_TRACK_LOOSE,	/* let it pass, but it does not keep the state alive */
	PF_TRACK_OK,
};

/*
 * pf_reset_exact: a reset has the next sequence number, give or take one; or
 * acknowledges exactly what the other sent and is not older than a window.
 */
inline_always bool pf_reset_exact(const struct pf_state *s, const struct pf_pdesc *pd, __u32 p, __u32 q,
				  __u8 dws, __s32 skew)
{
	__u32 next;

	p &= 1;
	q &= 1;
	next = s->seqlo[p];
	if (pd->seq == next || pd->seq == next + 1 || pd->seq + 1 == next)
		return true;
	return (pd->tcp_flags & TH_ACK) && skew == 0 && SEQ_GEQ(pd->seq, next - ((__u32)s->win[q] << dws)) &&
	       SEQ_GEQ(next + 1, pd->seq);
}

/*
 * pf_track_tcp: sequence numbers within the windows that both sides opened,
 * after Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter".
 * p sent the packet, q is the other.
 */
inline_always enum pf_tracked pf_track_tcp(struct pf_state *s, const struct pf_pdesc *pd, __u32 p, __u32 q)
{
	__u8 flags = pd->tcp_flags, sws = 0, dws = 0;
	__u32 seq = pd->seq, ack = pd->ack, win = pd->win, end, data_end;
	__s32 skew;

	p &= 1;
	q &= 1;
	if (s->wscale[p] && s->wscale[q] && !(flags & TH_SYN)) {
		sws = s->wscale[p] & PF_WSCALE_MASK;
		dws = s->wscale[q] & PF_WSCALE_MASK;
	}
	end = seq + pd->data_len;
	if (flags & TH_SYN)
		end++;
	data_end = end;
	if (flags & TH_FIN)
		end++; /* not counted in the window */
	if (s->seqlo[p] == 0) {
		/* The first packet of this side. */
		if ((flags & TH_SYN) && (s->wscale[q] & PF_WSCALE_FLAG)) {
			s->wscale[p] = pd->wscale;
			if (pd->wscale & PF_WSCALE_FLAG) {
				sws = pd->wscale & PF_WSCALE_MASK;
				win = (win + (1 << sws) - 1) >> sws;
				dws = s->wscale[q] & PF_WSCALE_MASK;
			} else {
				__u32 other = (__u32)s->win[q] << (s->wscale[q] & PF_WSCALE_MASK);

				s->win[q] = other > 0xffff ? 0xffff : other;
				s->wscale[q] = 0;
			}
		}
		s->seqlo[p] = seq;
		if (s->peers[p] < PF_TCPS_SYN_SENT)
			s->peers[p] = PF_TCPS_SYN_SENT;
		{
			__u32 room = (__u32)s->win[q] << dws;
			__u32 limit = end + (room > 1 ? room : 1);

			if (s->seqhi[p] == 1 || SEQ_GEQ(limit, s->seqhi[p]))
				s->seqhi[p] = limit;
		}
		if (win > s->win[p])
			s->win[p] = win;
	}
	if (!(flags & TH_ACK) ||
	    (ack == 0 && (flags & (TH_ACK | TH_RST)) == (TH_ACK | TH_RST)) ||
	    s->peers[q] < PF_TCPS_SYN_SENT)
		ack = s->seqlo[q];
	if (seq == end)
		seq = end = data_end = s->seqlo[p]; /* no data: be lenient */
	skew = s->seqlo[q] - ack;

	if (SEQ_GEQ(s->seqhi[p], data_end) && SEQ_GEQ(seq, s->seqlo[p] - ((__u32)s->win[q] << dws)) &&
	    skew >= -MAXACKWINDOW && skew <= (MAXACKWINDOW << sws) &&
	    (!(flags & TH_RST) || pf_reset_exact(s, pd, p, q, dws, skew))) {
		__u32 opened = win << sws;

		if (s->win[p] < win)
			s->win[p] = win;
		if (SEQ_GT(end, s->seqlo[p]))
			s->seqlo[p] = end;
		if (SEQ_GEQ(ack + opened, s->seqhi[q]))
			s->seqhi[q] = ack + (opened ? opened : 1);
		if ((flags & TH_SYN) && s->peers[p] < PF_TCPS_SYN_SENT)
			s->peers[p] = PF_TCPS_SYN_SENT;
		if ((flags & TH_FIN) && s->peers[p] < PF_TCPS_CLOSING)
			s->peers[p] = PF_TCPS_CLOSING;
		if (flags & TH_ACK) {
			if (s->peers[q] == PF_TCPS_SYN_SENT)
				s->peers[q] = PF_TCPS_ESTABLISHED;
			else if (s->peers[q] == PF_TCPS_CLOSING)
				s->peers[q] = PF_TCPS_FIN_WAIT_2;
		}
		if (flags & TH_RST)
			s->peers[p] = s->peers[q] = PF_TCPS_TIME_WAIT;
		s->timeout = pf_tcp_timeout(s->peers[p], s->peers[q]);
		return PF_TRACK_OK;
	}
	if ((s->peers[q] < PF_TCPS_SYN_SENT || s->peers[q] >= PF_TCPS_FIN_WAIT_2 ||
	     s->peers[p] >= PF_TCPS_FIN_WAIT_2) &&
	    SEQ_GEQ(s->seqhi[p] + MAXACKWINDOW, data_end) &&
	    SEQ_GEQ(seq, s->seqlo[p] - MAXACKWINDOW)) {
		/* A connection taken up in the middle, or at its end. */
		__u32 opened = win << sws;

		if (s->win[p] < win)
			s->win[p] = win;
		if (SEQ_GT(end, s->seqlo[p]))
			s->seqlo[p] = end;
		if (SEQ_GEQ(ack + opened, s->seqhi[q]))
			s->seqhi[q] = ack + (opened ? opened : 1);
		if ((flags & TH_FIN) && s->peers[p] < PF_TCPS_CLOSING)
			s->peers[p] = PF_TCPS_CLOSING;
		if (flags & TH_RST)
			s->peers[p] = s->peers[q] = PF_TCPS_TIME_WAIT;
		return PF_TRACK_LOOSE;
	}
	if (s->peers[p] == PF_TCPS_SYN_SENT && s->peers[q] == PF_TCPS_SYN_SENT) {
		/* Both still open: begin anew with the next one. */
		s->seqlo[p] = 0;
		s->seqhi[p] = 1;
		s->win[p] = 1;
	}
	return PF_TRACK_MISMATCH;
}

#endif
