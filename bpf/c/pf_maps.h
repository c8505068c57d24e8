/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The maps of pf. Shared by both builds unless named for one. */
#ifndef BSDNET_PF_MAPS_H
#define BSDNET_PF_MAPS_H

#include "maps.h"

/* Rulesets of the two configurations. Arrays of any length can be put in. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CONFIG_SLOTS);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(map_flags, BPF_F_INNER_MAP);
		__uint(max_entries, 1);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct pf_rule));
	});
} pf_rulesets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_STATES);
	__type(key, __u32);
	__type(value, struct pf_state);
} pf_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_STATES / PF_BUCKET_ENTRIES);
	__type(key, __u32);
	__type(value, struct pf_state_bucket);
} pf_state_index SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pf_state_head);
} pf_state_count SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PF_RULES);
	__type(key, __u32);
	__type(value, struct pf_rule_counters);
} pf_rule_counts SEC(".maps");

/* How often each rule was looked at. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PF_RULES);
	__type(key, __u32);
	__type(value, __u64);
} pf_rule_evals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_POOLS);
	__type(key, __u32);
	__type(value, struct pf_pool);
} pf_pools SEC(".maps");

/* The addresses of all pools. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_RANGES);
	__type(key, __u32);
	__type(value, struct pf_range);
} pf_ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_SETTINGS_MAX);
	__type(key, __u32);
	__type(value, struct pf_settings);
} pf_set SEC(".maps");

/* What is done to the packets of states, by slot; of those with PF_STATE_ACTIONS. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_STATES);
	__type(key, __u32);
	__type(value, struct pf_actions);
} pf_state_actions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_SRC_NODES);
	__type(key, __u32);
	__type(value, struct pf_src_node);
} pf_src_nodes SEC(".maps");

/* The source nodes that states hold, by slot; of those with PF_STATE_SRC_NODE. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_STATES);
	__type(key, __u32);
	__type(value, struct pf_state_nodes);
} pf_state_nodes SEC(".maps");

/* How many states each rule has now. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PF_RULES);
	__type(key, __u32);
	__type(value, __u64);
} pf_rule_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pf_status);
} pf_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, IFNET_SLOTS);
	__type(key, __u32);
	__type(value, struct pf_if_counters);
} pf_if_counts SEC(".maps");

/* All tables in one trie a family, told apart by their number. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PF_TABLE_ENTRIES);
	__type(key, struct pf_table_key);
	__type(value, __u32);
} pf_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PF_TABLE_ENTRIES);
	__type(key, struct pf_table_key6);
	__type(value, __u32);
} pf_table6 SEC(".maps");

/* Of tables with counters, by their number in network order. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PF_TABLES);
	__type(key, __be32);
	__type(value, struct pf_table_counters);
} pf_table_counts SEC(".maps");

/* Of their addresses, by the number in the table. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PF_TABLE_ENTRIES);
	__type(key, __u32);
	__type(value, struct pf_entry_counters);
} pf_entry_counts SEC(".maps");

/* By the slots of states; of those with PFA_TABLES. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PF_STATES);
	__type(key, __u32);
	__type(value, struct pf_state_tables);
} pf_state_tables SEC(".maps");

/* Logged packets. What the daemon does not take in time is lost and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
} pf_log SEC(".maps");

#ifdef BUILD_XDP
#define pf_pd_map pf_pd_xdp
#else
#define pf_pd_map pf_pd_tc
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pf_pdesc);
} pf_pd_map SEC(".maps");

inline_always struct pf_pdesc *pf_pd(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&pf_pd_map, &zero);
}

inline_always struct pf_settings *pf_settings_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&pf_set, &zero);
}

inline_always struct pf_status *pf_status_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&pf_stats, &zero);
}

inline_always struct pf_state_head *pf_state_head_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&pf_state_count, &zero);
}

#define pf_counted(field)                                                      \
	do {                                                                   \
		struct pf_status *pf_st = pf_status_get();                     \
		if (pf_st)                                                     \
			pf_st->field++;                                        \
	} while (0)

#endif
