/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* GRE: RFC 2784 with keys and sequence numbers (RFC 2890), in UDP (RFC 8086). */
#ifndef BSDNET_GRE_H
#define BSDNET_GRE_H

#include <linux/udp.h>
#include "tunnel.h"

#define GRE_CSUM	0x8000
#define GRE_KEY		0x2000
#define GRE_SEQ		0x1000
#define GRE_WORDS_MAX	4	/* flags and protocol, checksum, key, sequence number */
#define GRE_HEADER_MAX	(sizeof(struct udphdr) + GRE_WORDS_MAX * 4)
#define GRE_WCCP	0x883e
#define GRE_BLOCK	64
#define UDP_HIFIRST	49152	/* ports of the source: 14 bits tell flows apart */

/* The words of a header, in network order; which come behind the first is for their flags to say. */
struct gre_header {
	__be16 flags;
	__be16 proto;
	__be32 words[GRE_WORDS_MAX - 1];
};

inline_always long frame_load(ctx_t *ctx, __u32 off, void *to, __u32 len)
{
#ifdef BUILD_XDP
	return bpf_xdp_load_bytes(ctx, off, to, len);
#else
	return bpf_skb_load_bytes(ctx, off, to, len);
#endif
}

inline_always long frame_store(ctx_t *ctx, __u32 off, void *from, __u32 len)
{
#ifdef BUILD_XDP
	return bpf_xdp_store_bytes(ctx, off, from, len);
#else
	return bpf_skb_store_bytes(ctx, off, from, len, 0);
#endif
}

/* gre_word: the nth of the words behind the first; by constant offsets, which the verifier wants. */
inline_always __be32 gre_word(const struct gre_header *gre, __u32 n)
{
	__be32 zero = gre->words[0], one = gre->words[1], two = gre->words[2];

	opaque(zero);
	opaque(one);
	opaque(two);
	return n == 0 ? zero : n == 1 ? one : two;
}

inline_always void gre_set_word(struct gre_header *gre, __u32 n, __be32 word)
{
	__be32 zero = n == 0 ? word : gre->words[0], one = n == 1 ? word : gre->words[1],
	       two = n == 2 ? word : gre->words[2];

	opaque(zero);
	opaque(one);
	opaque(two);
	gre->words[0] = zero;
	gre->words[1] = one;
	gre->words[2] = two;
}

/*
 * gre_sum: the checksum of len bytes of the frame from off on and of what seed
 * is the sum of; -1: they are not there. A function of its own, whose loop the
 * verifier walks once.
 */
__noinline int gre_sum(ctx_t *ctx, __u32 off, __u32 len, __u32 seed)
{
	__u32 block[GRE_BLOCK / 4], sum = seed;

	for (int i = 0; i < 0x10000 / GRE_BLOCK; i++) {
		if (len < GRE_BLOCK)
			break;
		if (frame_load(ctx, off, block, GRE_BLOCK))
			return -1;
		sum = bpf_csum_diff(NULL, 0, block, GRE_BLOCK, sum);
		off += GRE_BLOCK;
		len -= GRE_BLOCK;
	}
	len &= GRE_BLOCK - 1;
	if (len) {
		__builtin_memset(block, 0, sizeof(block));
		/* The same number, in terms that Linux 6.1 follows. */
		len--;
		opaque(len);
		len = (len & (GRE_BLOCK - 1)) + 1;
		if (frame_load(ctx, off, block, len))
			return -1;
		sum = bpf_csum_diff(NULL, 0, block, GRE_BLOCK, sum);
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* gre_udp: the UDP header in front of GRE; over IPv6 it has a checksum. */
inline_always bool gre_udp(ctx_t *ctx, const struct mbuf *m, const struct tunnel *t, __u32 off, __u32 len, __u32 entropy)
{
	struct udphdr udp = {
		.source = bpf_htons(UDP_HIFIRST | (entropy & 0x3fff)),
		.dest = t->port,
		.len = bpf_htons(len),
	};
	__u32 pseudo[10];
	int sum;

	if (frame_store(ctx, off, &udp, sizeof(udp)))
		return false;
	if (t->af == 4)
		return true;
	__builtin_memcpy(pseudo, t->src, 16);
	__builtin_memcpy(pseudo + 4, t->dst, 16);
	pseudo[8] = bpf_htonl(len);
	pseudo[9] = bpf_htonl(IPPROTO_UDP);
	sum = gre_sum(ctx, off, len, bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0));
	if (sum < 0)
		return false;
	udp.check = sum ? sum : 0xffff;
	return !frame_store(ctx, off, &udp, sizeof(udp));
}

/* gre_entropy: tells flows apart, by addresses and ports. */
inline_always __u32 gre_entropy(ctx_t *ctx, const struct mbuf *m)
{
	__u32 words[10] = {}, hash = m->proto;
	__u32 ports = 0;

	if (m->af == 4)
		frame_load(ctx, m->l3_off + 12, words, 8);
	else
		frame_load(ctx, m->l3_off + 8, words, 32);
	if (m->l4_off && !(m->flags & M_FRAG) && (m->proto == IPPROTO_TCP || m->proto == IPPROTO_UDP))
		frame_load(ctx, m->l4_off, &ports, 4);
#pragma unroll
	for (int i = 0; i < 8; i++)
		hash = (hash ^ words[i]) * 0x9e3779b1;
	hash = (hash ^ ports) * 0x85ebca6b;
	return hash >> 16;
}

/* gre_write: a header of len bytes, a multiple of 4. */
inline_always bool gre_write(ctx_t *ctx, __u32 off, struct gre_header *gre, __u32 len)
{
	struct gre_header *at;

	if (len > 4) {
		len -= 4;
		opaque(len);
		len = (len & 12) + 4; /* the same, in terms that Linux 6.1 follows */
		return !frame_store(ctx, off, gre, len);
	}
	opaque(off);
	if (off > L4_OFF_MAX)
		return false;
	at = frame(ctx) + off;
	if ((void *)at + 4 > frame_end(ctx))
		return false;
	at->flags = 0;
	at->proto = gre->proto;
	return true;
}

/* gre_output: into the GRE tunnel that m->ifp is; tunnel_output has looked whether it may be. */
STAGE(gre_output)
{
	struct gre_header gre = {};
	struct mbuf *m = mget();
	__u32 slot, len, outer, off, words = 0, entropy = 0, at = 0;
	__be16 flags = 0;
	struct tunnel *t;
	__u8 proto = IPPROTO_GRE, tos;
	int sum;

	if (!m)
		return drop(REASON_MBUF);
	slot = m->ifp;
	t = bpf_map_lookup_elem(&tunnel, &slot);
	if (!t)
		return drop(REASON_MBUF);
#ifdef BUILD_TC
	/* Checksums that the device would fill in later, and packets that it would cut, are in the way. */
	if (t->flags & (TUNNEL_CSUM | TUNNEL_SEQ | TUNNEL_UDP))
		return tunnel_bounce(ctx, m, RESUME_TUNNEL_OUTPUT);
#endif
	gre.proto = af_type(m);
	if (t->flags & TUNNEL_CSUM) {
		flags |= bpf_htons(GRE_CSUM);
		words++;
	}
	if (t->flags & TUNNEL_KEYED) {
		flags |= bpf_htons(GRE_KEY);
		gre_set_word(&gre, words++, t->key);
	}
	if (t->flags & TUNNEL_SEQ) {
		flags |= bpf_htons(GRE_SEQ);
		gre_set_word(&gre, words++, bpf_htonl(__sync_fetch_and_add(&t->oseq, 1)));
	}
	gre.flags = flags;
	words = (words & 3) * 4 + 4;
	outer = t->af == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	if (t->flags & TUNNEL_UDP) {
		entropy = gre_entropy(ctx, m);
		at = sizeof(struct udphdr);
		proto = IPPROTO_UDP;
	}
	tos = m->tos;
	len = packet_len(ctx, m);
#ifdef BUILD_TC
	if (ctx->gso_size)
		m->wire_len = wire_len(ctx, m) + outer + words;
#endif
	if (!tunnel_push(ctx, m, t, outer + at + words, BPF_F_ADJ_ROOM_ENCAP_L4_GRE)) {
#ifdef BUILD_TC
		return tunnel_bounce(ctx, m, RESUME_TUNNEL_OUTPUT);
#else
		return drop(REASON_ADJUST);
#endif
	}
	tunnel_count(ctx, m, len);
	len += outer + at + words;
	if (!(t->af == 4 ? tunnel_write4(ctx, m, t, len, proto, tos) : tunnel_write6(ctx, m, t, len, proto, tos)))
		return drop(REASON_ADJUST);
	off = m->l4_off + at;
	if (!gre_write(ctx, off, &gre, words))
		return drop(REASON_ADJUST);
	if (t->flags & TUNNEL_CSUM) {
		sum = gre_sum(ctx, off, len - outer - at, 0);
		if (sum < 0)
			return drop(REASON_ADJUST);
		gre.words[0] = sum; /* the second half is reserved */
		if (frame_store(ctx, off + 4, gre.words, 4))
			return drop(REASON_ADJUST);
	}
	if (at && !gre_udp(ctx, m, t, m->l4_off, len - outer, entropy))
		return drop(REASON_ADJUST);
	return tunnel_send(ctx, m, t, len, proto, tos);
}

/* gre_read: the header at off; of words that the packet does not have nothing. False: not even flags. */
inline_always bool gre_read(ctx_t *ctx, __u32 off, struct gre_header *gre)
{
	struct gre_header *at;

	pull(ctx, off + 4);
	opaque(off);
	if (off > L4_OFF_MAX)
		return false;
	at = frame(ctx) + off;
	if ((void *)at + 4 > frame_end(ctx))
		return false;
	gre->flags = at->flags;
	gre->proto = at->proto;
	if (gre->flags)
		frame_load(ctx, off + 4, gre->words, sizeof(gre->words));
	return true;
}

/* gre_in_order: the number is not below the one that is due, after which the next is due. */
inline_always bool gre_in_order(struct tunnel *t, __u32 seq)
{
	if (t->iseq && (__s32)(seq - t->iseq) < 0)
		return false;
	t->iseq = seq + 1;
	return true;
}

/* gre_input: GRE for this host, or UDP that may hold it. */
STAGE(gre_input)
{
	struct tunnel_key key = {.kind = TUNNEL_GRE};
	struct gre_header gre = {};
	struct mbuf *m = mget();
	__u32 *slot, off, len, at = 0, word = 0, seq = 0;
	struct tunnel *t;
	struct tunnel_flow *f;
	struct ifnet *ifp;
	__u64 generation;
	__u8 af, first;
	__u16 flags;
	bool known;

	if (!m)
		return drop(REASON_MBUF);
	if (!tunnel_key_of(ctx, m, &key))
		return drop_input(m->rcvif, REASON_IP_TOOSHORT);
	if ((m->flags & (M_FRAG | M_REASSEMBLED)) || !m->l4_off) {
		key.kind = TUNNEL_GREENDS;
		if (!bpf_map_lookup_elem(&tunnel_key, &key))
			return deliver(ctx, m, REASON_LOCAL);
		key.kind = TUNNEL_GRE;
		tunnel_whole(ctx, m);
	}
	off = m->l4_off;
	len = m->l3_off + m->ip_len;
	if (m->proto == IPPROTO_UDP) {
		struct udphdr udp;

		key.kind = TUNNEL_GREUDP;
		if (frame_load(ctx, off, &udp, sizeof(udp)))
			return deliver(ctx, m, REASON_LOCAL);
		at = sizeof(udp);
		key.key = udp.dest;
	}
	off += at;
	if (len < off + 4 || !gre_read(ctx, off, &gre))
		return deliver(ctx, m, REASON_LOCAL);
	flags = bpf_ntohs(gre.flags);
	if (flags & GRE_CSUM)
		word++;
	if (flags & GRE_KEY) {
		if (!at)
			key.key = gre_word(&gre, word);
		word++;
	}
	if (flags & GRE_SEQ)
		seq = bpf_ntohl(gre_word(&gre, word++));
	generation = fib_generation();
	f = at ? NULL : tunnel_flow_get(m, &key);
	known = tunnel_flow_is(m, f, &key);
	slot = known ? &f->slot : bpf_map_lookup_elem(&tunnel_key, &key);
	if (!slot) {
		if (at)
			return deliver(ctx, m, REASON_LOCAL);
		key.kind = TUNNEL_GREENDS;
		key.key = 0;
		if (bpf_map_lookup_elem(&tunnel_key, &key))
			return drop_input(m->rcvif, REASON_GRE_KEY);
		return deliver(ctx, m, REASON_LOCAL);
	}
	ifp = ifnet_slot(*slot);
	t = bpf_map_lookup_elem(&tunnel, slot);
	if (!ifp || !t || !(ifp->if_flags & IFNET_UP))
		return drop_input(*slot, REASON_TUNNEL_DOWN);
	if (at && (t->flags & TUNNEL_KEYED ? !(flags & GRE_KEY) || gre_word(&gre, !!(flags & GRE_CSUM)) != t->key
					 : flags & GRE_KEY))
		return drop_input(*slot, REASON_GRE_KEY);
	if ((flags & ~(GRE_CSUM | GRE_KEY | GRE_SEQ)) || len < off + 4 + word * 4)
		return drop_input(*slot, REASON_TUNNEL_HEADER);
	if (!known) {
		if (!tunnel_source(m, t, key.src))
			return drop_input(*slot, REASON_TUNNEL_SOURCE);
		tunnel_flow_set(m, f, &key, key.src, *slot, generation);
	}
#ifdef BUILD_TC
	/* A virtual device may have left the checksum to the next one. */
	if (flags & GRE_CSUM)
		return tunnel_bounce(ctx, m, RESUME_TUNNEL_INPUT);
#endif
	if ((flags & GRE_CSUM) &&
	    ((gre.words[0] & bpf_htonl(0xffff)) || gre_sum(ctx, off, len - off, 0)))
		return drop_input(*slot, REASON_GRE_BADSUM);
	if ((flags & GRE_SEQ) && (t->flags & TUNNEL_SEQ) && !gre_in_order(t, seq))
		return drop_input(*slot, REASON_GRE_SEQUENCE);
	off += 4 + word * 4;
	switch (gre.proto) {
	case bpf_htons(GRE_WCCP):
		/* Version 2 has a header of its own, which no IP header begins like. */
		if (!flags && !frame_load(ctx, off, &first, 1) && first >> 4 != 4)
			off += 4;
	case bpf_htons(ETH_P_IP):
		af = 4;
		break;
	case bpf_htons(ETH_P_IPV6):
		af = 6;
		break;
	default:
		return drop_input(*slot, REASON_TUNNEL_HEADER);
	}
	m->l4_off = off;
	return tunnel_enter(ctx, m, t, *slot, af);
}

#endif
