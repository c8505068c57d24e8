/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* ICMP errors about packets of states: found by what they quote, translated inside and outside. */
#ifndef BSDNET_PF_ICMP_H
#define BSDNET_PF_ICMP_H

#include "pf_actions.h"
#include "pf_log.h"
#include "pf_table.h"
#include "pf_translate.h"

#define INNER_OFF_MAX	(L4_OFF_MAX + 8 + 60)
#define INNER_OFF_MASK	1023
_Static_assert(INNER_OFF_MAX <= INNER_OFF_MASK, "offsets fit their mask");

/* Where the parts of a quoted packet are. */
struct pf_quoted {
	__u32 l3_off;
	__u32 l4_off;
	__u32 seq;		/* TCP, host order */
	__u8 proto;
	__u8 icmp_way;		/* enum pf_icmp_way */
};

/* pf_account: the packet counts for a state and for the rules that made it. */
inline_always void pf_account(ctx_t *ctx, struct pf_state *s, const struct mbuf *m, const struct pf_pdesc *pd)
{
	__u32 bytes = m->ip_len, n = packets(ctx), dir = pd->dir & 1;
	__u32 way = pd->dir == s->direction ? 0 : 1;
	struct pf_rule_counters *counters;

	way &= 1;
	s->packets[way] += n;
	s->bytes[way] += bytes;
	counters = bpf_map_lookup_elem(&pf_rule_counts, &s->rule);
	if (counters) {
		counters->packets[dir] += n;
		counters->bytes[dir] += bytes;
	}
	if (!s->translation)
		return;
	counters = bpf_map_lookup_elem(&pf_rule_counts, &s->translation);
	if (counters) {
		counters->packets[dir] += n;
		counters->bytes[dir] += bytes;
	}
}

/* pf_state_lets: the packet gets the state's tag; false: it has options that the state does not allow. */
inline_always bool pf_state_lets(const struct pf_state *s, struct mbuf *m, const struct pf_pdesc *pd)
{
	if (pd->options && !(s->flags & PF_STATE_ALLOWOPTS)) {
		pf_counted(ip_option);
		return false;
	}
	if (s->packet_tag)
		m->pf_tag = s->packet_tag;
	return true;
}

/* pf_at: len bytes at an offset, writable; NULL if not there. */
inline_always void *pf_at(ctx_t *ctx, __u64 off, __u32 len)
{
	void *p;

	pull(ctx, off + len);
	opaque(off);
	if (off > INNER_OFF_MAX)
		return NULL;
	opaque(off);
	off &= INNER_OFF_MASK; /* older verifiers forget the bound of what was spilled */
	p = frame(ctx) + off;
	opaque(p);
	if (p + len > frame_end(ctx))
		return NULL;
	return p;
}

/*
 * pf_quoted_upper: the protocol of the upper layer behind the extension headers
 * of a quoted IPv6 packet, from an offset on, and above it where that begins;
 * 0: out of reach, or of a later fragment. The verifier walks it once.
 */
__noinline __u32 pf_quoted_upper(ctx_t *ctx, __u32 from, __u32 next)
{
	__u64 off = from;

	for (int i = 0; i < IP6_EXTENSIONS; i++) {
		__u8 *ext;

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
			break;
		default:
			return (__u32)off << 8 | next;
		}
		ext = pf_at(ctx, off, sizeof(struct ip6_fragment));
		if (!ext)
			return 0;
		if (next == IPPROTO_FRAGMENT) {
			if (((struct ip6_fragment *)ext)->offset & bpf_htons(0xfff8))
				return 0;
			off += sizeof(struct ip6_fragment);
		} else {
			off += ((__u32)ext[1] + 1) * 8;
		}
		next = ext[0];
	}
	return 0;
}

/*
 * pf_quoted: reads the packet that an ICMP error quotes. Its key goes into
 * naddr and nport as that of a packet of this one's way: what is quoted went
 * the other way, so its source is where the error's destination is.
 */
inline_always bool pf_quoted(ctx_t *ctx, const struct mbuf *m, struct pf_pdesc *pd, struct pf_quoted *q)
{
	__u32 s = pd->dir == PFIL_IN ? 1 : 0;
	__be16 *ports;
	__u32 upper;
	__u8 query;

	__builtin_memset(pd->naddr, 0, sizeof(pd->naddr));
	*(__u32 *)pd->nport = 0;
	q->l3_off = m->l4_off + 8;
	if (pd->af == 4) {
		struct iphdr *ip = pf_at(ctx, q->l3_off, sizeof(*ip));

		if (!ip || ip->ihl < 5 || (ip->frag_off & bpf_htons(IP_MF | IP_OFFMASK)))
			return false;
		*(__u32 *)pd->naddr[s] = ip->saddr;
		*(__u32 *)pd->naddr[1 - s] = ip->daddr;
		q->proto = ip->protocol;
		q->l4_off = q->l3_off + ip->ihl * 4;
	} else {
		struct ipv6hdr *ip6 = pf_at(ctx, q->l3_off, sizeof(*ip6));

		if (!ip6)
			return false;
		__builtin_memcpy(pd->naddr[s], &ip6->saddr, 16);
		__builtin_memcpy(pd->naddr[1 - s], &ip6->daddr, 16);
		upper = pf_quoted_upper(ctx, q->l3_off + sizeof(*ip6), ip6->nexthdr);
		if (!upper)
			return false;
		q->proto = upper;
		q->l4_off = upper >> 8;
	}
	if (!pf_addr_equal(pd->naddr[s], pd->addr[s]))
		return false; /* not sent to whom it is about */
	pd->nport[0] = pd->nport[1] = 0;
	q->icmp_way = PF_ICMP_OTHER;
	if (q->proto != IPPROTO_TCP && q->proto != IPPROTO_UDP && q->proto != IPPROTO_ICMP && q->proto != IPPROTO_ICMPV6)
		return true;
	ports = pf_at(ctx, q->l4_off, 8);
	if (!ports)
		return false;
	if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP) {
		pd->nport[s] = ports[0];
		pd->nport[1 - s] = ports[1];
		q->seq = bpf_ntohl(*(__be32 *)(ports + 2));
		return true;
	}
	q->icmp_way = pf_icmp_way(pd->af, *(__u8 *)ports, &query);
	switch (q->icmp_way) {
	case PF_ICMP_QUERY:
		pd->nport[s] = ports[2];
		pd->nport[1 - s] = bpf_htons(query);
		break;
	case PF_ICMP_REPLY:
		pd->nport[s] = bpf_htons(query);
		pd->nport[1 - s] = ports[2];
		break;
	default:
		pd->nport[1 - s] = bpf_htons(query);
	}
	return true;
}

/* pf_quoted_sent: a quoted segment can have been sent; who guesses must know its sequence numbers. */
inline_always bool pf_quoted_sent(const struct pf_state *s, const struct pf_pdesc *pd, __u32 seq)
{
	__u32 p = pd->dir == s->direction ? 1 : 0, q;
	__u8 scale = 0;

	p &= 1;
	q = (1 - p) & 1;
	if (s->wscale[p] && s->wscale[q])
		scale = s->wscale[q] & PF_WSCALE_MASK;
	return SEQ_GEQ(s->seqhi[p], seq) && SEQ_GEQ(seq, s->seqlo[p] - ((__u32)s->win[q] << scale));
}

/*
 * pf_quoted_ports: writes the ports of key into what is quoted and mends its
 * checksum; returns by how much the sum over the quoted upper header grew.
 */
inline_always bool pf_quoted_ports(ctx_t *ctx, const struct pf_pdesc *pd, const struct pf_quoted *q, const __be16 port[2],
				   __u64 addr_diff, __u64 *grown)
{
	__u32 s = pd->dir == PFIL_IN ? 1 : 0;
	__u64 diff = 0, covered;
	__be16 *l4, old, *sum = NULL;

	if (q->proto != IPPROTO_TCP && q->proto != IPPROTO_UDP && q->proto != IPPROTO_ICMP && q->proto != IPPROTO_ICMPV6)
		return true;
	l4 = pf_at(ctx, q->l4_off, 8);
	if (!l4)
		return false;
	covered = addr_diff;
	if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP) {
		diff = (__u64)(__u16)~l4[0] + port[s] + (__u16)~l4[1] + port[1 - s];
		l4[0] = port[s];
		l4[1] = port[1 - s];
		if (q->proto == IPPROTO_UDP && l4[3])
			sum = l4 + 3;
	} else {
		__be16 id = q->icmp_way == PF_ICMP_QUERY ? port[s] : port[1 - s];

		if (q->icmp_way != PF_ICMP_OTHER) {
			diff = (__u64)(__u16)~l4[2] + id;
			l4[2] = id;
		}
		sum = l4 + 1;
		if (q->proto == IPPROTO_ICMP)
			covered = 0;
	}
	*grown += diff;
	if (!sum)
		return true;
	old = *sum;
	*sum = ~pf_fold((__u64)(__u16)~old + diff + covered);
	if (q->proto == IPPROTO_UDP && !*sum)
		*sum = 0xffff;
	*grown += (__u64)(__u16)~old + *sum;
	return true;
}

/*
 * pf_error_rewrite: turns an error about what one side saw into one about what
 * the other sent: the quoted ends, and who gets it. If the one whom the packet
 * was for tells of it himself, he is translated too.
 */
inline_always bool pf_error_rewrite(ctx_t *ctx, struct mbuf *m, struct pf_pdesc *pd, const struct pf_quoted *q,
				    const struct pf_state *to)
{
	__u32 s = pd->dir == PFIL_IN ? 1 : 0, d = 1 - s;
	__u64 inner = pf_sum(to->addr[0], pd->af) + pf_sum(to->addr[1], pd->af) + pf_sum_not(pd->naddr[0], pd->af) +
		      pf_sum_not(pd->naddr[1], pd->af);
	__u64 outer = pf_sum(to->addr[s], pd->af) + pf_sum_not(pd->addr[s], pd->af);
	bool himself = pf_addr_equal(pd->addr[d], pd->naddr[d]);
	struct icmp_header *ih;
	__u64 grown = 0;

	if (himself)
		outer += pf_sum(to->addr[d], pd->af) + pf_sum_not(pd->addr[d], pd->af);
	if (!pf_quoted_ports(ctx, pd, q, to->port, inner, &grown))
		return false;
	if (pd->af == 4) {
		struct iphdr *ip = pf_at(ctx, q->l3_off, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, to->addr[s], 4);
		__builtin_memcpy(&ip->daddr, to->addr[d], 4);
		ip->check = ~pf_fold((__u64)(__u16)~ip->check + inner);
		ip = pf_at(ctx, m->l3_off, sizeof(*ip));
		if (!ip)
			return false;
		__builtin_memcpy(&ip->daddr, to->addr[s], 4);
		if (himself)
			__builtin_memcpy(&ip->saddr, to->addr[d], 4);
		ip->check = ~pf_fold((__u64)(__u16)~ip->check + outer);
	} else {
		struct ipv6hdr *ip6 = pf_at(ctx, q->l3_off, sizeof(*ip6));

		if (!ip6)
			return false;
		__builtin_memcpy(&ip6->saddr, to->addr[s], 16);
		__builtin_memcpy(&ip6->daddr, to->addr[d], 16);
		ip6 = pf_at(ctx, m->l3_off, sizeof(*ip6));
		if (!ip6)
			return false;
		__builtin_memcpy(&ip6->daddr, to->addr[s], 16);
		if (himself)
			__builtin_memcpy(&ip6->saddr, to->addr[d], 16);
		grown += inner + outer;
	}
	ih = pf_l4(ctx, m, sizeof(*ih));
	if (!ih)
		return false;
	ih->sum = ~pf_fold((__u64)(__u16)~ih->sum + grown);
	return true;
}

/*
 * pf_error: an ICMP error passes if it is about a packet of a state; what is
 * about none goes to the rules.
 */
STAGE(pf_error)
{
	struct pf_state_head *head = pf_state_head_get();
	struct pf_settings *set = pf_settings_get();
	struct pf_state *s, *primary, *other;
	struct pf_pdesc *pd = pf_pd();
	struct pf_quoted q = {};
	struct mbuf *m = mget();
	__u32 slot, first;
	__u64 states;

	if (!m || !pd || !set || !head)
		return drop(REASON_MBUF);
	if (!pf_quoted(ctx, m, pd, &q))
		stage(ctx, PF_HOOK_RULES);
	pf_counted(searches);
	slot = pf_find(pd, PF_FIND_TRANSLATED, pd->dir, q.proto, pf_hash(pd->naddr, pd->nport, q.proto, pd->af, head->seed));
	s = slot == PF_NOSLOT ? NULL : pf_state_slot(slot);
	if (!s)
		stage(ctx, PF_HOOK_RULES);
	primary = pf_primary(s, slot, &first);
	if (!primary)
		stage(ctx, PF_HOOK_RULES);
	states = head->count;
	set = pf_state_settings(primary, first, pd, set, &states);
	if ((__u32)bpf_jiffies64() - primary->expire > pf_timeout_of(set, states, primary->timeout)) {
		pd->act = (struct pf_actions){};
		stage(ctx, PF_HOOK_RULES);
	}
	if (q.proto == IPPROTO_TCP && !(primary->flags & PF_STATE_SLOPPY) && !pf_quoted_sent(primary, pd, q.seq)) {
		pf_counted(state_mismatch);
		return pf_drop(ctx, m, REASON_PF_STATE);
	}
	pf_account(ctx, primary, m, pd);
	if (pd->act.flags & PFA_TABLES)
		pf_tables_account(pd, first, m->ip_len, packets(ctx));
	if (!pf_state_lets(primary, m, pd))
		return pf_drop(ctx, m, REASON_PF_BLOCK);
	if (s->peer != slot) {
		other = pf_state_slot(s->peer);
		if (!other)
			return drop(REASON_MBUF);
		if (!pf_error_rewrite(ctx, m, pd, &q, other))
			return pf_drop(ctx, m, REASON_PF_TRANSLATE);
	}
	if (pd->act.flags & PFA_SCRUB)
		stage(ctx, PF_HOOK_SCRUB);
	pf_log_passed(ctx, m);
	pfil_continue(ctx, m);
}

#endif
