// Package bpf holds the data path's programs and the Go side of their ABI.
//
// The types and constants are generated from c/bsdnet.h, which documents
// them; this package gives them the names that the rest of bsdnet uses.
package bpf

//go:generate go tool bpf2go -go-package gen -output-dir gen -target bpfel -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -Ic" -no-global-types -type abi -type limits -type proto -type reason -type ifnet_flags -type config_flags -type pfil_head -type pfil_dir -type nexthop_flags -type ipflow_limits -type ipflow -type neighbour_state -type mbuf_flags -type netisr_resume -type netisr_header_const -type ifnet -type if_data -type config -type configuration -type nexthop -type rt_key -type rt_key6 -type arp_key -type nd6_key -type llentry -type vlan_key -type mbuf -type netisr_header -type netisr_meta -type tc_mark -type pf_limits -type pf_hook -type pf_action -type pf_rule_flags -type pf_rule -type pf_rule_ext -type pf_answer -type pf_ruleset -type pf_ruleset_flags -type pf_tree_limits -type pf_tree_word -type pf_roots -type pf_tree_child -type pf_cuts -type pf_leaf -type pf_tree_rank -type pf_rule_counters -type pf_pool -type pf_timeout -type pf_peer_state -type pf_state_tag -type pf_state -type pf_state_bucket -type pf_state_flags -type pf_settings -type pf_status -type pf_table_key -type pf_table_key6 -type pf_pdesc -type pf_icmp_way -type pf_nat -type pf_log_limits -type pf_log_record -type pf_log_reason -type pf_state_head Abi c/abi.bpf.c
//go:generate go tool bpf2go -go-package gen -output-dir gen -target bpfel -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -Ic" -no-global-types Xdp c/bsdnet_xdp.bpf.c
//go:generate go tool bpf2go -go-package gen -output-dir gen -target bpfel -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -Ic" -no-global-types Tc c/bsdnet_tc.bpf.c
//go:generate go run ./internal/abigen c/bsdnet.h abi_gen.go
