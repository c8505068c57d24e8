/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * What differs between the XDP and the TC build of the stages. Everything
 * else is written once against these names.
 */
#ifndef BSDNET_BUILD_H
#define BSDNET_BUILD_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "bsdnet.h"

#define inline_always static __always_inline

#if defined(BUILD_XDP)
typedef struct xdp_md ctx_t;
#elif defined(BUILD_TC)
typedef struct __sk_buff ctx_t;
#else
#error "define BUILD_XDP or BUILD_TC"
#endif

/*
 * ctx_pointer: reads a packet pointer of the context. In plain C the field is
 * a 32-bit integer, and a compiler that keeps it in half a register loses the
 * verifier's knowledge that it is a pointer.
 */
#define ctx_pointer(ctx, field)                                                \
	({                                                                     \
		void *ptr;                                                     \
		asm volatile("%[ptr] = *(u32 *)(%[base] + %[off])"             \
			     : [ptr] "=r"(ptr)                                 \
			     : [base] "r"(ctx),                                \
			       [off] "i"(__builtin_offsetof(ctx_t, field)),    \
			       "m"(*(ctx)));                                   \
		ptr;                                                           \
	})

inline_always void *frame(ctx_t *ctx)
{
	return ctx_pointer(ctx, data);
}

inline_always void *frame_end(ctx_t *ctx)
{
	return ctx_pointer(ctx, data_end);
}

inline_always void *frame_meta(ctx_t *ctx)
{
	return ctx_pointer(ctx, data_meta);
}

#ifdef BUILD_XDP

#define STAGE(name)	SEC("xdp.frags") int name(ctx_t *ctx)
#define VERDICT_PASS	XDP_PASS
#define VERDICT_DROP	XDP_DROP

/* input_ifindex: the interface that received the frame. */
inline_always __u32 input_ifindex(ctx_t *ctx)
{
	return ctx->ingress_ifindex;
}

/* frame_len: bytes of the whole frame, all buffers. */
inline_always __u32 frame_len(ctx_t *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

/* pull: makes the first len bytes readable through data pointers. XDP drivers already did. */
inline_always void pull(ctx_t *ctx, __u32 len)
{
}

/* packets: how many packets of the wire the frame stands for. */
inline_always __u32 packets(ctx_t *ctx)
{
	return 1;
}

#else

#define STAGE(name)	SEC("tc") int name(ctx_t *ctx)
#define VERDICT_PASS	TC_ACT_UNSPEC
#define VERDICT_DROP	TC_ACT_SHOT

inline_always __u32 input_ifindex(ctx_t *ctx)
{
	return ctx->ifindex;
}

inline_always __u32 frame_len(ctx_t *ctx)
{
	return ctx->len;
}

inline_always void pull(ctx_t *ctx, __u32 len)
{
	if (frame(ctx) + len > frame_end(ctx) && len <= ctx->len)
		bpf_skb_pull_data(ctx, len);
}

inline_always __u32 packets(ctx_t *ctx)
{
	__u32 segments = ctx->gso_segs;

	return segments ? segments : 1;
}

#endif

/*
 * opaque: keeps the compiler from folding a constant into an offset. The
 * verifier only accepts packet accesses at or after the offset it checked.
 */
#define opaque(var)	asm volatile("" : "+r"(var))

#endif
