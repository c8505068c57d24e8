/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* pflog(4): packets that a rule logs. */
#ifndef BSDNET_PF_LOG_H
#define BSDNET_PF_LOG_H

#include "pf_pdesc.h"

/*
 * pf_if_count: a packet passes, or is blocked, at an interface of this CPU's
 * counters.
 */
inline_always void pf_if_count(ctx_t *ctx, const struct mbuf *m, __u32 blocked)
{
	__u32 slot = m->dir == PFIL_IN ? m->rcvif : m->ifp;
	struct pf_if_counters *c = bpf_map_lookup_elem(&pf_if_counts, &slot);
	__u64 i = (m->af == 6) << 2 | (m->dir & 1) << 1 | blocked;

	opaque(i); /* older verifiers want to see its bound */
	i &= 7;
	if (!c)
		return;
	c->packets[i] += packets(ctx);
	c->bytes[i] += m->ip_len;
}

/* pf_log_passed: a packet passes. */
inline_always void pf_log_passed(ctx_t *ctx, const struct mbuf *m)
{
	pf_if_count(ctx, m, 0);
}

/* pf_drop: a packet is blocked. A function of its own, as that is rare. */
static __noinline int pf_drop(ctx_t *ctx, const struct mbuf *m, __u32 reason)
{
	pf_if_count(ctx, m, 1);
	return drop(reason);
}

/* pf_log_how: why a packet is logged, to which pflogN, and whether its socket's owner is asked for. */
inline_always __u32 pf_log_how(__u32 reason, __u32 log_if, bool user)
{
	return reason | log_if << 8 | (__u32)user << 16;
}

/*
 * pf_log_packet: hands a copy of the packet to the daemon; how is made by
 * pf_log_how. The verifier walks it once.
 */
__noinline int pf_log_packet(ctx_t *ctx, __u32 rule, __u32 action, __u32 how)
{
	const struct mbuf *m = mget();
	struct pf_log_record *record;
	__u32 off;
	__u64 len;
	long error;

	if (!m)
		return 0;
	record = bpf_ringbuf_reserve(&pf_log, sizeof(*record), 0);
	if (!record) {
		pf_counted(log_lost);
		return 0;
	}
	len = m->ip_len;
	off = m->l3_off;
	record->time = bpf_ktime_get_boot_ns();
	record->rule = rule;
	record->ifslot = m->dir == PFIL_IN ? m->rcvif : m->ifp;
	record->len = len;
	record->action = action;
	record->reason = how;
	record->log_if = how >> 8;
	record->user = how >> 16 & 1;
	record->dir = m->dir;
	record->af = m->af;
	record->spare = 0;
	if (len > PF_LOG_BYTES)
		len = PF_LOG_BYTES;
	/* Older verifiers do not learn from a comparison with zero that there is a byte. */
	len--;
	opaque(len);
	if (len >= PF_LOG_BYTES) {
		bpf_ringbuf_discard(record, 0);
		return 0;
	}
	len++;
#ifdef BUILD_XDP
	error = bpf_xdp_load_bytes(ctx, off, record->data, len);
#else
	error = bpf_skb_load_bytes(ctx, off, record->data, len);
#endif
	record->caplen = error ? 0 : len;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* pf_log_audit: a copy for PF_AUDIT, which leaves half of the room to what rules log. */
inline_always void pf_log_audit(ctx_t *ctx, __u32 rule, bool blocked)
{
	if (bpf_ringbuf_query(&pf_log, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(&pf_log, BPF_RB_RING_SIZE) / 2) {
		pf_counted(log_lost);
		return;
	}
	pf_log_packet(ctx, rule, blocked ? PF_DROP : PF_PASS, PFRES_AUDIT);
}

#endif
