/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The look-up of routes, the only place that knows how they are kept. It reads
 * the head of a routing table once and then words that are each written at
 * once, so a packet meets a change whole or not at all; what is taken out of
 * use is not written to before every packet is through that may read it.
 */
#ifndef BSDNET_FIB_H
#define BSDNET_FIB_H

#include "maps.h"

/* in6: an IPv6 address, in network order. */
struct in6 {
	__u8 addr[16];
};

#define FIB_DXR_BITS		12	/* of an address, behind the index */
#define FIB_RANGE_STEPS		12	/* 1 << 12 ranges at most */
#define FIB_RANGE6_STEPS	20
#define FIB_RANGE6_LEVELS	3
#define FIB_MTRIE6_LEVELS	14

/* fib_word: one word of a compiled table. index is room on the stack, of which there is little. */
inline_always __u32 fib_word(void *table, __u32 at, __u32 *index)
{
	const struct fib_block *block;

	opaque(at); /* its bounds follow from the remainder alone */
	*index = at / FIB_BLOCK_WORDS;
	block = bpf_map_lookup_elem(table, index);
	return block ? block->word[at % FIB_BLOCK_WORDS] : 0;
}

/*
 * fib_range: the last range that begins at or before key. A list of ranges is
 * their number and a word for each, its beginning in the high half and the
 * next hop in the low one; it is within one block.
 */
inline_always __u32 fib_range(void *table, __u32 at, __u32 key, __u32 *index)
{
	__u32 first = at % FIB_BLOCK_WORDS + 1, n;
	const struct fib_block *block;

	*index = at / FIB_BLOCK_WORDS;
	block = bpf_map_lookup_elem(table, index);
	if (!block)
		return 0;
	n = block->word[at % FIB_BLOCK_WORDS];
	key = key << 16 | 0xffff;
	for (int i = 0; i < FIB_RANGE_STEPS && n > 1; i++) {
		__u32 half = n / 2;
		__u64 less = (__u64)key - block->word[(first + half) % FIB_BLOCK_WORDS];

		/* Without a branch, which would be guessed wrong half the time. */
		first += half & ~(__u32)(less >> 32);
		n -= half;
	}
	return block->word[first % FIB_BLOCK_WORDS] & 0xffff;
}

/*
 * fib_range6: likewise; each range has two words, where it begins and what it
 * leads to.
 */
inline_always __u32 fib_range6(void *table, __u32 at, __u32 key, __u32 *index)
{
	__u32 n = fib_word(table, at, index), first = at + 1;

	for (int i = 0; i < FIB_RANGE6_STEPS && n > 1; i++) {
		__u32 half = n / 2;
		__u64 less = (__u64)key - fib_word(table, first + 2 * half, index);

		first += 2 * (half & ~(__u32)(less >> 32));
		n -= half;
	}
	return fib_word(table, first + 1, index);
}

/*
 * rt_lookup: number of the next hop of an address, network order, in a routing
 * table; 0: no route. The verifier walks it once.
 */
__noinline __u32 rt_lookup(__u32 fib, __be32 addr)
{
	__u32 dst = bpf_ntohl(addr), word = 0, slot, algo;
	const struct fib *f;
	void *table;
	__u64 head;

	f = bpf_map_lookup_elem(&fibs, &fib);
	if (!f)
		return 0;
	head = *(volatile const __u64 *)&f->inet;
	algo = head & FIB_ALGO_MASK;
	if (algo == FIB_LPM_TRIE) {
		struct rt_key key = { .prefixlen = 64, .fib = bpf_htonl(fib) };
		__u32 *number;

		__builtin_memcpy(key.dst, &addr, sizeof(key.dst));
		number = bpf_map_lookup_elem(&rt_inet, &key);
		return number ? *number : 0;
	}
	slot = head >> FIB_SLOT_SHIFT & FIB_SLOT_MASK;
	table = bpf_map_lookup_elem(&fib_tables, &slot);
	if (!table)
		return 0;
	if (algo == FIB_DXR) {
		word = fib_word(table, dst >> FIB_DXR_BITS, &slot);
		if (word & FIB_POINTER)
			word = fib_range(table, word & ~FIB_POINTER,
					 dst & ((1 << FIB_DXR_BITS) - 1), &slot);
	} else {
		word = fib_word(table, dst >> 8, &slot);
		if (word & FIB_POINTER)
			word = fib_word(table, (word & ~FIB_POINTER) + (dst & 0xff), &slot);
	}
	return word ? word : head >> FIB_DEFAULT_SHIFT;
}

/* rt6_compiled: an IPv6 address in a compiled table. */
inline_always __u32 rt6_compiled(void *table, __u32 algo, const __u8 *dst, __u32 *index)
{
	__u32 word = fib_word(table, (__u32)dst[0] << 8 | dst[1], index);

	if (algo == FIB_MTRIE6) {
		for (int i = 0; i < FIB_MTRIE6_LEVELS && (word & FIB_POINTER); i++)
			word = fib_word(table, (word & ~FIB_POINTER) + dst[2 + i], index);
		return word;
	}
	if (word & FIB_POINTER)
		word = fib_word(table, (word & ~FIB_POINTER) + dst[2], index);
	if (word & FIB_POINTER)
		word = fib_word(table, (word & ~FIB_POINTER) + dst[3], index);
	for (int i = 0; i < FIB_RANGE6_LEVELS && (word & FIB_POINTER); i++) {
		__u32 bits = bpf_ntohl(*(const __u32 *)(dst + 4 + 4 * i));

		word = fib_range6(table, word & ~FIB_POINTER, bits, index);
	}
	return word;
}

/* rt6_lookup: likewise for IPv6. */
__noinline __u32 rt6_lookup(__u32 fib, const struct in6 *addr)
{
	/* A key of a map comes from the stack: Linux 6.1 takes no other memory. */
	union {
		struct rt_key6 key;
		__u32 index;
	} scratch;
	const struct fib *f;
	void *table;
	__u32 word;
	__u64 head;

	scratch.index = fib;
	f = bpf_map_lookup_elem(&fibs, &scratch.index);
	if (!f || !addr)
		return 0;
	head = *(volatile const __u64 *)&f->inet6;
	if ((head & FIB_ALGO_MASK) == FIB_LPM_TRIE) {
		__u32 *number;

		scratch.key.prefixlen = 160;
		scratch.key.fib = bpf_htonl(fib);
		__builtin_memcpy(scratch.key.dst, addr->addr, sizeof(scratch.key.dst));
		number = bpf_map_lookup_elem(&rt_inet6, &scratch.key);
		return number ? *number : 0;
	}
	scratch.index = head >> FIB_SLOT_SHIFT & FIB_SLOT_MASK;
	table = bpf_map_lookup_elem(&fib_tables, &scratch.index);
	if (!table)
		return 0;
	word = rt6_compiled(table, head & FIB_ALGO_MASK, addr->addr, &scratch.index);
	return word ? word : head >> FIB_DEFAULT_SHIFT;
}

#endif
