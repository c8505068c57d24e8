/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The maps, pinned under these names. Shared by both builds unless named for one. */
#ifndef BSDNET_MAPS_H
#define BSDNET_MAPS_H

#include "build.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct configuration);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, IFNET_SLOTS);
	__type(key, __u32);
	__type(value, struct ifnet);
} ifnet SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, IFNET_SLOTS);
	__type(key, __u32);
	__type(value, struct if_data);
} if_data SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_MAX);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 21);
	__type(key, struct rt_key);
	__type(value, __u32);
} rt_inet SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct rt_key6);
	__type(value, __u32);
} rt_inet6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FIBS);
	__type(key, __u32);
	__type(value, struct fib);
} fibs SEC(".maps");

/* Compiled routing tables. Each is as long as its routes need. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, FIB_TABLES);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
		__uint(max_entries, 1);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct fib_block));
	});
} fib_tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, IPFLOWS);
	__type(key, __u32);
	__type(value, struct ipflow);
} ipflow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NEXTHOPS);
	__type(key, __u32);
	__type(value, struct nexthop);
} nexthop SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NEIGHBOURS);
	__type(key, struct arp_key);
	__type(value, struct llentry);
} arp SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NEIGHBOURS);
	__type(key, struct nd6_key);
	__type(value, struct llentry);
} nd6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, VLANS);
	__type(key, struct vlan_key);
	__type(value, __u32);
} vlan SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, IFNET_SLOTS);
	__type(key, __u32);
	__type(value, struct tunnel);
} tunnel SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TUNNEL_KEYS);
	__type(key, struct tunnel_key);
	__type(value, __u32);
} tunnel_key SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TUNNEL_FLOWS);
	__type(key, __u32);
	__type(value, struct tunnel_flow);
} tunnel_flow SEC(".maps");

/* Where XDP sends frames to, by slot of the interface. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, IFNET_SLOTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} tx_port SEC(".maps");

#ifdef BUILD_XDP
#define protosw protosw_xdp
#define mbuf_map mbuf_xdp

/* The daemon's sockets, by receive queue of its end of the netisr veth. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, NETISR_QUEUES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} xsk SEC(".maps");
#else
#define protosw protosw_tc
#define mbuf_map mbuf_tc
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PROTO_MAX);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} protosw SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mbuf);
} mbuf_map SEC(".maps");

#endif
