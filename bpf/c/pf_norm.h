/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Normalisation: scrub options of rules and of states, and the older scrub rules. */
#ifndef BSDNET_PF_NORM_H
#define BSDNET_PF_NORM_H

#include "pf_log.h"
#include "pf_rules.h"
#include "pf_translate.h"

#define IPTOS_LOWDELAY	0x10
#define IPTOS_ECN_MASK	0x03

/* pf_scrubs: something is to be done to the packet; a largest MSS only matters to a SYN. */
inline_always bool pf_scrubs(const struct pf_pdesc *pd, const struct pf_actions *act)
{
	__u32 flags = act->flags & PFA_SCRUB;

	if (pd->proto != IPPROTO_TCP || !(pd->tcp_flags & TH_SYN))
		flags &= ~PFA_MAXMSS;
	return flags;
}

/* pf_continue: pf lets the packet go on; first what rules want done to it is done. */
#define pf_continue(ctx, m, pd)                                                \
	do {                                                                   \
		if (pf_scrubs(pd, &(pd)->act))                                 \
			stage(ctx, PF_HOOK_SCRUB);                             \
		pf_log_passed(ctx, m);                                         \
		pfil_continue(ctx, m);                                         \
	} while (0)

/* pf_scrub_ip: the IPv4 header; its checksum is mended word by word. */
inline_always bool pf_scrub_ip(ctx_t *ctx, struct mbuf *m, const struct pf_actions *act)
{
	struct iphdr *ip = ip_header(ctx, m);
	__u16 *word = (__u16 *)ip, tos, ttl;
	__u64 diff = 0;

	if (!ip)
		return false;
	if ((act->flags & PFA_NODF) && (ip->frag_off & bpf_htons(IP_DF))) {
		diff += (__u16)~ip->frag_off;
		ip->frag_off &= ~bpf_htons(IP_DF);
		diff += ip->frag_off;
		m->flags |= M_NODF;
	}
	ttl = word[4];
	if ((act->flags & PFA_MINTTL) && ip->ttl < act->min_ttl) {
		ip->ttl = act->min_ttl;
		diff += (__u16)~ttl + word[4];
	}
	tos = word[0];
	if (act->flags & PFA_SETTOS) {
		ip->tos = act->set_tos | (ip->tos & IPTOS_ECN_MASK);
		m->tos = ip->tos;
		diff += (__u16)~tos + word[0];
	}
	if ((act->flags & PFA_RANDOMID) && !(ip->frag_off & ~bpf_htons(IP_DF))) {
		diff += (__u16)~ip->id;
		ip->id = bpf_get_prandom_u32();
		ip->id |= !ip->id; /* never 0, as ip_randomid */
		diff += ip->id;
	}
	if (diff)
		ip->check = ~pf_fold((__u64)(__u16)~ip->check + diff);
	return true;
}

/* pf_scrub_ip6: the IPv6 header. */
inline_always bool pf_scrub_ip6(ctx_t *ctx, struct mbuf *m, const struct pf_actions *act)
{
	struct ipv6hdr *ip6 = ip6_header(ctx, m);

	if (!ip6)
		return false;
	if ((act->flags & PFA_MINTTL) && ip6->hop_limit < act->min_ttl)
		ip6->hop_limit = act->min_ttl;
	if (act->flags & PFA_SETTOS) {
		__u8 tos = act->set_tos | (m->tos & IPTOS_ECN_MASK);

		ip6->priority = tos >> 4;
		ip6->flow_lbl[0] = (ip6->flow_lbl[0] & 0x0f) | tos << 4;
		m->tos = tos;
	}
	return true;
}

/* pf_normalize_mss: an MSS that is larger than allowed becomes smaller. */
inline_always bool pf_normalize_mss(ctx_t *ctx, struct mbuf *m, const struct pf_pdesc *pd, __u16 most)
{
	__u64 option = pf_tcp_option(ctx, m->l4_off, pd->l4_len, TCPOPT_MAXSEG), at = option + 2;
	__be16 old, mss = bpf_htons(most);
	bool odd = (at - m->l4_off) & 1;

	if (!option)
		return true;
#ifdef BUILD_TC
	if (bpf_skb_load_bytes(ctx, at, &old, sizeof(old)))
		return false;
	if (bpf_ntohs(old) <= most)
		return true;
	if (bpf_skb_store_bytes(ctx, at, &mss, sizeof(mss), 0))
		return false;
	if (odd) {
		old = __builtin_bswap16(old);
		mss = __builtin_bswap16(mss);
	}
	return !bpf_l4_csum_replace(ctx, m->l4_off + __builtin_offsetof(struct tcp_header, sum), old, mss, 2);
#else
	struct tcp_header *th;
	__u8 *p;

	opaque(at);
	if (at > L4_OFF_MAX + 64)
		return false;
	p = frame(ctx) + at;
	opaque(p);
	if ((void *)(p + 2) > frame_end(ctx))
		return false;
	old = p[0] | p[1] << 8;
	if (bpf_ntohs(old) <= most)
		return true;
	p[0] = mss;
	p[1] = mss >> 8;
	if (odd) {
		old = __builtin_bswap16(old);
		mss = __builtin_bswap16(mss);
	}
	th = pf_l4(ctx, m, sizeof(*th));
	if (!th)
		return false;
	th->sum = ~pf_fold((__u64)(__u16)~th->sum + (__u16)~old + mss);
	return true;
#endif
}

/*
 * pf_reassemble: the daemon holds the fragment until the packet is whole. One
 * that must not have been fragmented is refused, unless that does not matter.
 */
inline_always int pf_reassemble(ctx_t *ctx, struct mbuf *m, bool nodf)
{
	if (!nodf && pf_fragment_df(ctx, m)) {
		pf_counted(fragment);
		return pf_drop(ctx, m, REASON_PF_FRAGMENT);
	}
	m->hook = m->dir;
	to_netisr(ctx, m, REASON_NETISR_REASSEMBLE);
}

/* pf_scrub_on: does to the packet what rules want done. False: it could not be written. */
inline_always bool pf_scrub_on(ctx_t *ctx, struct mbuf *m, const struct pf_pdesc *pd, const struct pf_actions *act)
{
	if (act->flags & PFA_SETPRIO) {
		bool fast = (m->tos & IPTOS_LOWDELAY) || (pd->proto == IPPROTO_TCP && pd->header &&
							  (pd->tcp_flags & TH_ACK) && !pd->data_len);

		m->prio = 1 + act->set_prio[fast];
#ifdef BUILD_TC
		ctx->priority = act->set_prio[fast];
#endif
	}
	if (!(m->af == 4 ? pf_scrub_ip(ctx, m, act) : pf_scrub_ip6(ctx, m, act)))
		return false;
	if ((act->flags & PFA_MAXMSS) && pd->proto == IPPROTO_TCP && pd->header && (pd->tcp_flags & TH_SYN))
		return pf_normalize_mss(ctx, m, pd, act->max_mss);
	return true;
}

/* pf_scrub: the last stage of packets that rules change. */
STAGE(pf_scrub)
{
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();

	if (!m || !pd)
		return drop(REASON_MBUF);
	if (!pf_scrub_on(ctx, m, pd, &pd->act)) {
		pf_counted(memory);
		return pf_drop(ctx, m, REASON_PF_NORMALIZE);
	}
	pf_log_passed(ctx, m);
	pfil_continue(ctx, m);
}

/*
 * pf_normalize: the older scrub rules, of which the first that matches counts.
 * They come before all others and hold for each packet by itself.
 */
STAGE(pf_normalize)
{
	struct pf_evaluation e = {.first = 1};
	struct pf_rule_counters *counters;
	const struct pf_rule_actions *actions;
	const struct pf_ruleset *rs;
	struct pf_scrubbed *scrubbed;
	struct mbuf *m = mget();
	struct pf_pdesc *pd = pf_pd();
	const struct pf_rule *r;
	__u32 number;

	if (!m || !pd)
		return drop(REASON_MBUF);
	m->flags |= M_NORMALIZED;
	scrubbed = &m->scrub[m->dir & 1];
	scrubbed->rule = 0;
	rs = pf_evaluation_begin(&e, m, pd);
	if (!rs)
		return drop(REASON_CONFIG);
	pf_evaluate(&e, rs->scrub, rs->scrub_count);
	if (!e.found || e.found_action != PF_SCRUB)
		stage(ctx, PF_HOOK_STATE);
	r = pf_line_at(e.ruleset, e.found);
	if (!r)
		return drop(REASON_CONFIG);
	number = r->number;
	scrubbed->rule = number;
	scrubbed->line = r->flags & PFR_ACTIONS ? r->ext + 1 : 0;
	counters = bpf_map_lookup_elem(&pf_rule_counts, &number);
	if (counters) {
		counters->packets[pd->dir & 1] += packets(ctx);
		counters->bytes[pd->dir & 1] += m->ip_len;
	}
	if (r->flags & PFR_ACTIONS) {
		actions = pf_line_at(e.ruleset, r->ext + 1);
		if (!actions)
			return drop(REASON_CONFIG);
		pd->act = actions->act;
		if (!pf_scrub_on(ctx, m, pd, &pd->act)) {
			pf_counted(memory);
			return pf_drop(ctx, m, REASON_PF_NORMALIZE);
		}
	}
	if ((m->flags & M_FRAG) && !(pd->act.flags & PFA_NOREASSEMBLE))
		return pf_reassemble(ctx, m, false);
	if ((m->flags & M_FRAG) && pf_fragment_df(ctx, m)) {
		pf_counted(fragment);
		return pf_drop(ctx, m, REASON_PF_FRAGMENT);
	}
	stage(ctx, PF_HOOK_STATE);
}

#endif
