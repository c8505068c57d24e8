//go:build ignore
// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* For benchmarks alone: look-ups each of which waits for the one before. */
#define BUILD_XDP
#include "fib.h"

#define BENCH_LOOKUPS	64	/* in a run */
#define BENCH_ADDRS	(1 << 16)

enum bench_way {
	BENCH_NONE,		/* what the rest of the loop costs */
	BENCH_INET,
	BENCH_INET6,
	BENCH_LINUX,		/* bpf_fib_lookup */
	BENCH_LINUX6,
};

struct bench {
	__u64 x;	/* of a linear congruential generator */
	__u64 found;
	__u32 way;
	__u32 ifindex;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench);
} bench SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_ADDRS);
	__type(key, __u32);
	__type(value, struct in6);
} bench_addrs SEC(".maps");

inline_always __u32 bench_linux(ctx_t *ctx, const struct bench *b, __be32 dst, const struct in6 *dst6)
{
	struct bpf_fib_lookup p = { .ifindex = b->ifindex };

	if (b->way == BENCH_LINUX) {
		p.family = 2;
		p.ipv4_dst = dst;
	} else {
		p.family = 10;
		__builtin_memcpy(p.ipv6_dst, dst6, sizeof(p.ipv6_dst));
	}
	/* Without a neighbour it has found the route all the same. */
	bpf_fib_lookup(ctx, &p, sizeof(p), 0);
	return p.ifindex;
}

SEC("xdp")
int fib_bench(ctx_t *ctx)
{
	__u32 zero = 0;
	struct bench *b = bpf_map_lookup_elem(&bench, &zero);

	if (!b)
		return XDP_ABORTED;
	for (int i = 0; i < BENCH_LOOKUPS; i++) {
		__u32 number = 0, at;
		struct in6 *dst6;
		__be32 dst;

		b->x = b->x * 6364136223846793005ULL + 1442695040888963407ULL;
		dst = bpf_htonl((1 << 24) + (__u32)(b->x >> 32) % (222U << 24));
		at = (__u32)(b->x >> 40) % BENCH_ADDRS;
		dst6 = bpf_map_lookup_elem(&bench_addrs, &at);
		if (!dst6)
			return XDP_ABORTED;
		switch (b->way) {
		case BENCH_INET:
			number = rt_lookup(0, dst);
			break;
		case BENCH_INET6:
			number = rt6_lookup(0, dst6);
			break;
		case BENCH_LINUX:
		case BENCH_LINUX6:
			number = bench_linux(ctx, b, dst, dst6);
			break;
		default:
			number = dst6->addr[0];
		}
		b->x += number;
		b->found += number != 0;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
