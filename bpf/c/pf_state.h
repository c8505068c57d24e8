/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* States follow their packets: sequence windows, peers, timers. */
#ifndef BSDNET_PF_STATE_H
#define BSDNET_PF_STATE_H

#include "pf_state_table.h"

#define MAXACKWINDOW	(0xffff + 1500)

#define SEQ_GEQ(a, b)	((__s32)((a) - (b)) >= 0)
#define SEQ_GT(a, b)	((__s32)((a) - (b)) > 0)

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

/* pf_window_holds: a segment up to end lies in the window that q opened, and acknowledges what q may have sent. */
inline_always bool pf_window_holds(const struct pf_state *s, __u32 p, __u32 q, __u32 seq, __u32 end, __s32 skew,
				   __u8 sws, __u8 dws)
{
	return SEQ_GEQ(s->seqhi[p], end) && SEQ_GEQ(seq, s->seqlo[p] - ((__u32)s->win[q] << dws)) &&
	       skew >= -MAXACKWINDOW && skew <= (MAXACKWINDOW << sws);
}

/* pf_window_move: p sent up to end, and opened a window behind what it acknowledges. */
inline_always void pf_window_move(struct pf_state *s, __u32 p, __u32 q, __u32 end, __u32 ack, __u32 win, __u8 sws)
{
	__u32 opened = win << sws;

	if (s->win[p] < win)
		s->win[p] = win;
	if (SEQ_GT(end, s->seqlo[p]))
		s->seqlo[p] = end;
	if (SEQ_GEQ(ack + opened, s->seqhi[q]))
		s->seqhi[q] = ack + (opened ? opened : 1);
}

/*
 * pf_track_established: what pf_track_tcp says and does of a plain segment of
 * a connection that is open on both sides; false: pf_track_tcp has to say.
 */
inline_always bool pf_track_established(struct pf_state *s, const struct pf_pdesc *pd, __u32 p, __u32 q)
{
	__u32 seq = pd->seq, end = seq + pd->data_len;
	__u8 sws = 0, dws = 0;

	p &= 1;
	q &= 1;
	if (s->peers[0] != PF_TCPS_ESTABLISHED || s->peers[1] != PF_TCPS_ESTABLISHED || !s->seqlo[p])
		return false;
	if (s->wscale[p] && s->wscale[q]) {
		sws = s->wscale[p] & PF_WSCALE_MASK;
		dws = s->wscale[q] & PF_WSCALE_MASK;
	}
	if (seq == end)
		seq = end = s->seqlo[p];
	if (!pf_window_holds(s, p, q, seq, end, s->seqlo[q] - pd->ack, sws, dws))
		return false;
	pf_window_move(s, p, q, end, pd->ack, pd->win, sws);
	return true;
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

	if (pf_window_holds(s, p, q, seq, data_end, skew, sws, dws) &&
	    (!(flags & TH_RST) || pf_reset_exact(s, pd, p, q, dws, skew))) {
		pf_window_move(s, p, q, end, ack, win, sws);
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
		pf_window_move(s, p, q, end, ack, win, sws);
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
