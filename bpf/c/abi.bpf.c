//go:build ignore
// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* Carries the types of bsdnet.h into BTF, from which the Go side is generated. */
#include <linux/bpf.h>
#include <linux/types.h>
#include "bsdnet.h"

struct {
	enum abi abi;
	enum limits limits;
	enum proto proto;
	enum reason reason;
	enum ifnet_flags ifnet_flags;
	enum config_flags config_flags;
	enum pfil_head pfil_head;
	enum pfil_dir pfil_dir;
	enum nexthop_flags nexthop_flags;
	enum ipflow_limits ipflow_limits;
	struct ipflow ipflow;
	enum neighbour_state neighbour_state;
	enum mbuf_flags mbuf_flags;
	enum netisr_resume netisr_resume;
	enum netisr_header_const netisr_header_const;
	struct ifnet ifnet;
	struct if_data if_data;
	struct config config;
	struct configuration configuration;
	struct nexthop nexthop;
	struct rt_key rt_key;
	struct rt_key6 rt_key6;
	struct arp_key arp_key;
	struct nd6_key nd6_key;
	struct llentry llentry;
	struct vlan_key vlan_key;
	struct mbuf mbuf;
	struct netisr_header netisr_header;
	struct netisr_meta netisr_meta;
	enum pf_limits pf_limits;
	enum pf_hook pf_hook;
	enum pf_action pf_action;
	enum pf_rule_flags pf_rule_flags;
	struct pf_rule pf_rule;
	struct pf_rule_ext pf_rule_ext;
	enum pf_answer pf_answer;
	struct pf_ruleset pf_ruleset;
	enum pf_ruleset_flags pf_ruleset_flags;
	enum pf_tree_limits pf_tree_limits;
	enum pf_tree_word pf_tree_word;
	struct pf_roots pf_roots;
	enum pf_tree_child pf_tree_child;
	struct pf_cuts pf_cuts;
	struct pf_leaf pf_leaf;
	enum pf_tree_rank pf_tree_rank;
	enum pf_actions_flags pf_actions_flags;
	struct pf_actions pf_actions;
	struct pf_rule_actions pf_rule_actions;
	enum pf_settings_flags pf_settings_flags;
	struct pf_logged pf_logged;
	struct pf_rule_counters pf_rule_counters;
	struct pf_pool pf_pool;
	enum pf_pool_type pf_pool_type;
	enum pf_pool_flags pf_pool_flags;
	struct pf_range pf_range;
	struct pf_choice pf_choice;
	enum pf_table_route pf_table_route;
	enum pf_timeout pf_timeout;
	enum pf_peer_state pf_peer_state;
	enum pf_state_tag pf_state_tag;
	struct pf_state pf_state;
	struct pf_state_bucket pf_state_bucket;
	enum pf_state_flags pf_state_flags;
	struct pf_settings pf_settings;
	struct pf_status pf_status;
	struct pf_log_counters pf_log_counters;
	struct pf_table_key pf_table_key;
	struct pf_table_key6 pf_table_key6;
	struct pf_pdesc pf_pdesc;
	enum pf_icmp_way pf_icmp_way;
	enum pf_nat pf_nat;
	enum pf_log_limits pf_log_limits;
	struct pf_log_record pf_log_record;
	enum pf_log_reason pf_log_reason;
	enum pf_src_node_type pf_src_node_type;
	enum pf_src_node_tag pf_src_node_tag;
	struct pf_src_node pf_src_node;
	struct pf_state_nodes pf_state_nodes;
	struct pf_state_head pf_state_head;
	enum tc_mark tc_mark;
} abi_types;
