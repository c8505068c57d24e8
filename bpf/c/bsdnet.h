/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The whole ABI between the data path (C) and the controller (Go): constants,
 * reasons, structures, map names. bpf2go generates the Go side from here.
 *
 * Byte order: fields that hold a piece of a packet are in network order and
 * say so; everything else is in host order.
 */
#ifndef BSDNET_H
#define BSDNET_H

/*
 * Version of the layout of pinned maps. A daemon that finds another version
 * pinned converts or refuses; it never guesses.
 */
enum abi {
	ABI_VERSION = 1,
};

enum limits {
	IFNET_SLOTS = 16384,	 /* interfaces, a power of two */
	IFNET_PROBES = 4,	 /* open addressing: slots tried for an index */
	NEXTHOPS = 65536,
	NEIGHBOURS = 65536,	 /* entries each of arp and nd6 */
	VLANS = 16384,
	PFIL_HOOKS = 7,		 /* hooks on one head in one direction */
	CONFIG_SLOTS = 2,
	ENCAP_MAX = 4,		 /* vlan tags and tunnels nested in one packet */
	NETISR_QUEUES = 64,
};

/*
 * Slots of the protocol switch, one program array for each build. The order
 * is ABI: hooks of packet filters live from PROTO_HOOK on.
 */
enum proto {
	PROTO_ETHER_INPUT,
	PROTO_VLAN_INPUT,
	PROTO_ETHER_DEMUX,
	PROTO_IP_INPUT,
	PROTO_IP6_INPUT,
	PROTO_IP_FORWARD,
	PROTO_IP6_FORWARD,
	PROTO_IP_OUTPUT,
	PROTO_IP6_OUTPUT,
	PROTO_ETHER_OUTPUT,
	PROTO_IF_TRANSMIT,	/* onto the wire */
	PROTO_IF_START,		/* end of the host's own output: let the device have it */
	PROTO_NETISR,		/* to the daemon */
	PROTO_HOOK = 16,
	PROTO_HOOK_LAST = 47,
	PROTO_MAX = 64,
};

/*
 * Why a packet left the data path. Every exit counts exactly one of these;
 * the comment is the text that netstat -s prints.
 */
enum reason {
	REASON_UNSET,		 /* left without a reason (a defect) */
	/* left the right way */
	REASON_FORWARD,		 /* forwarded */
	REASON_FORWARD6,	 /* forwarded (IPv6) */
	REASON_OUTPUT,		 /* sent by the host */
	REASON_LOCAL,		 /* for this host */
	REASON_BROADCAST,	 /* broadcast for this host */
	REASON_MULTICAST,	 /* multicast for this host */
	REASON_ARP,		 /* address resolution, to the host */
	REASON_NOPROTO,		 /* not handled here, to the host */
	REASON_UPPER,		 /* interface belongs to another device of the host */
	REASON_UNOWNED,		 /* leaves by an interface of the host */
	REASON_OTHERHOST_TAP,	 /* for another station, seen by a promiscuous host */
	REASON_INJECTED,	 /* returned from netisr to the host */
	/* to netisr */
	REASON_NETISR_ARP,	 /* held for address resolution */
	REASON_NETISR_TTL,	 /* time to live exceeded */
	REASON_NETISR_NOROUTE,	 /* no route to destination */
	REASON_NETISR_REJECT,	 /* rejected by route */
	REASON_NETISR_FRAGMENT,	 /* to be fragmented */
	REASON_NETISR_TOOBIG,	 /* too big and not to be fragmented */
	REASON_NETISR_OPTIONS,	 /* with IP options or hop-by-hop header */
	REASON_NETISR_PARAMPROB, /* with a bad header field */
	REASON_NETISR_REDIRECT,	 /* better sent directly */
	REASON_NETISR_SCOPE,	 /* beyond scope of source address */
	REASON_NETISR_HOOK,	 /* for a packet filter in the daemon */
	/* dropped */
	REASON_NETISR_DOWN,	 /* daemon not running */
	REASON_NETISR_FULL,	 /* could not be queued for the daemon */
	REASON_PROTOSW,		 /* stage missing */
	REASON_MBUF,		 /* no packet context */
	REASON_CONFIG,		 /* no configuration */
	REASON_NESTING,		 /* nested too deeply */
	REASON_ADJUST,		 /* no room for a header */
	REASON_ETHER_RUNT,	 /* shorter than an Ethernet header */
	REASON_ETHER_OTHERHOST,	 /* for another station */
	REASON_ETHER_BADSRC,	 /* with a group address as source */
	REASON_ETHER_VLAN,	 /* truncated vlan header */
	REASON_IF_DOWN,		 /* interface down */
	REASON_IF_MONITOR,	 /* interface in monitor mode */
	REASON_IF_NOXMIT,	 /* no way to transmit on interface */
	REASON_IP_TOOSHORT,	 /* with size smaller than minimum */
	REASON_IP_BADVERS,	 /* with incorrect version number */
	REASON_IP_BADHLEN,	 /* with header length < data size */
	REASON_IP_BADLEN,	 /* with data length < header length */
	REASON_IP_TRUNCATED,	 /* with data size < data length */
	REASON_IP_BADSUM,	 /* bad header checksum */
	REASON_IP_BADADDR,	 /* with bad source or destination address */
	REASON_IP_CANTFORWARD,	 /* not forwardable */
	REASON_IP_FORWARDING,	 /* not for this host and forwarding is off */
	REASON_IP_BLACKHOLE,	 /* into a blackhole route */
	REASON_IP_LOOP,		 /* back to the sender on a point-to-point link */
	REASON_IP6_TOOSHORT,	 /* with size smaller than minimum (IPv6) */
	REASON_IP6_BADVERS,	 /* with incorrect version number (IPv6) */
	REASON_IP6_TRUNCATED,	 /* with data size < data length (IPv6) */
	REASON_IP6_BADADDR,	 /* with bad source or destination address (IPv6) */
	REASON_IP6_CANTFORWARD,	 /* not forwardable (IPv6) */
	REASON_IP6_FORWARDING,	 /* not for this host and forwarding is off (IPv6) */
	REASON_IP6_BLACKHOLE,	 /* into a blackhole route (IPv6) */
	REASON_PFIL,		 /* dropped by a packet filter */
	REASON_ARP_UNRESOLVED,	 /* next hop did not answer */
	REASON_NETISR_HEADER,	 /* bad header from netisr */
	REASON_MAX,
};

/* What an ifnet entry says of its interface. */
enum ifnet_flags {
	IFNET_OWNED = 1 << 0,	   /* input and output are bsdnet's */
	IFNET_UP = 1 << 1,
	IFNET_PROMISC = 1 << 2,	   /* someone on the host listens to all */
	IFNET_MONITOR = 1 << 3,
	IFNET_LOOPBACK = 1 << 4,
	IFNET_POINTOPOINT = 1 << 5,
	IFNET_NOARP = 1 << 6,
	IFNET_UPPER = 1 << 7,	   /* has a master or an upper device: all to the host */
	IFNET_RAWIP = 1 << 8,	   /* frames have no Ethernet header (tun, ppp ...) */
	IFNET_XDP_XMIT = 1 << 9,   /* takes frames redirected by XDP */
	IFNET_TC = 1 << 10,	   /* input runs the TC build */
	IFNET_VLAN = 1 << 11,	   /* logical: a tag on its parent */
	IFNET_CLONE = 1 << 12,	   /* logical: local input goes to input_ifindex */
	IFNET_NETISR = 1 << 13,	   /* the host's end of the netisr veth */
	IFNET_FUNNEL = 1 << 14,	   /* the daemon's end of the netisr veth */
};

/*
 * One interface. Go allocates the slot by open addressing: the first free of
 * (index + i) % IFNET_SLOTS, i < IFNET_PROBES. Entries are written in place,
 * 64-bit word by word.
 */
struct ifnet {
	__u32 if_index;		/* Linux interface index; 0: slot free */
	__u32 if_flags;		/* enum ifnet_flags */
	__u32 if_mtu;		/* bytes of IP packet */
	__u32 parent;		/* slot of the carrier of a logical interface, else own slot */
	__u8 lladdr[6];
	__u16 vlan_tci;		/* host order; IFNET_VLAN */
	__be16 vlan_proto;	/* network order; IFNET_VLAN */
	__u16 l2_len;		/* bytes of link header including tags: 0, 14, 18, 22 */
	__u32 tx_port;		/* slot in tx_port of the device that carries the frames */
	__u32 tx_ifindex;	/* index of that device */
	__u32 input_ifindex;	/* IFNET_CLONE: device that gets local input, TC build */
	__u32 input_port;	/* IFNET_CLONE: slot in tx_port of its peer, XDP build */
	__u32 redirect_jiffies; /* written by the data path: last packet sent to be redirected */
	__u32 groups;		/* bit set of interface groups, maintained by Go */
	__u64 pfil_in;		/* Ethernet hooks on this interface; 0: those of the configuration */
	__u64 pfil_out;
	__u64 spare[7];
};

/* Counters of one interface on one CPU, by slot. Bytes include the link header. */
struct if_data {
	__u64 ipackets;
	__u64 ibytes;
	__u64 opackets;
	__u64 obytes;
	__u64 imcasts;
	__u64 iqdrops;		/* dropped on input */
	__u64 noproto;		/* handed to the host for want of a handler */
	__u64 omcasts;
};

enum config_flags {
	CONFIG_IPFORWARDING = 1 << 0,	/* net.inet.ip.forwarding */
	CONFIG_IP6FORWARDING = 1 << 1,	/* net.inet6.ip6.forwarding */
	CONFIG_SENDREDIRECTS = 1 << 2,	/* net.inet.ip.redirect */
	CONFIG_SEND6REDIRECTS = 1 << 3, /* net.inet6.ip6.redirect */
	CONFIG_STEALTH = 1 << 4,	/* net.inet.ip.stealth: do not touch the TTL */
};

enum pfil_head {
	PFIL_INET,
	PFIL_INET6,
	PFIL_ETHER,
	PFIL_HEADS,
};

enum pfil_dir {
	PFIL_IN,
	PFIL_OUT,
	PFIL_DIRS,
};

/*
 * One configuration. A list of hooks is a 64-bit word: the lowest byte is the
 * protosw slot to run first, 0 ends the list.
 */
struct config {
	__u32 flags;		/* enum config_flags */
	__u32 netisr;		/* slot of the host's end of the netisr veth */
	__u32 funnel;		/* slot of its daemon's end */
	__u32 netisr_ifindex;	/* index of the host's end, for the TC build */
	__u64 pfil[PFIL_HEADS][PFIL_DIRS];
	__u64 generation;	/* grows by one a commit */
	__u64 spare[14];
};

/*
 * The configurations and which one rules. A packet reads active once, at
 * ether_input or if_output, and keeps to it.
 */
struct configuration {
	__u64 active;
	__u64 spare[7];
	struct config slot[CONFIG_SLOTS];
};

enum nexthop_flags {
	NEXTHOP_UP = 1 << 0,
	NEXTHOP_GATEWAY = 1 << 1,    /* else the destination itself is the neighbour */
	NEXTHOP_LOCAL = 1 << 2,	     /* an address of this host */
	NEXTHOP_BROADCAST = 1 << 3,
	NEXTHOP_REJECT = 1 << 4,
	NEXTHOP_BLACKHOLE = 1 << 5,
	NEXTHOP_UNOWNED = 1 << 6,    /* leaves by an interface of the host */
	NEXTHOP_GATEWAY6 = 1 << 7,   /* the gateway is an IPv6 address */
	NEXTHOP_MULTICAST = 1 << 8,
	NEXTHOP_DYNAMIC = 1 << 9,    /* made or modified by a redirect */
	NEXTHOP_DEFAULT = 1 << 10,   /* a default route: no redirects are sent for it */
};

/*
 * A next hop; routes hold its number. The link address and its state are one
 * 64-bit word, so that a neighbour change is one store.
 */
struct nexthop {
	__u32 flags;		/* enum nexthop_flags */
	__u32 ifslot;		/* slot of the interface */
	__u32 mtu;		/* bytes; 0: the interface's */
	__u32 fib;
	__u8 gateway[16];	/* network order; IPv4 in the first four bytes */
	__u8 lladdr[6];		/* of the gateway, valid with NEIGHBOUR_VALID */
	__u16 state;		/* enum neighbour_state */
	__u64 spare[3];
};

/* Longest prefix match keys. Addresses in network order. */
struct rt_key {
	__u32 prefixlen;
	__u8 dst[4];
};

struct rt_key6 {
	__u32 prefixlen;
	__u8 dst[16];
};

enum neighbour_state {
	NEIGHBOUR_NONE = 0,
	NEIGHBOUR_VALID = 1,	/* lladdr may be used */
	NEIGHBOUR_FAILED = 2,	/* did not answer */
};

struct arp_key {
	__u32 ifslot;
	__u8 addr[4];		/* network order */
};

struct nd6_key {
	__u32 ifslot;
	__u8 addr[16];		/* network order */
};

struct llentry {
	__u8 lladdr[6];
	__u16 state;		/* enum neighbour_state */
};

struct vlan_key {
	__u32 parent;		/* slot */
	__be16 proto;		/* network order: 0x8100 or 0x88a8 */
	__u16 vid;		/* host order */
};

/* mbuf flags */
enum mbuf_flags {
	M_BCAST = 1 << 0,	/* to the link broadcast address */
	M_MCAST = 1 << 1,	/* to a link group address */
	M_PROMISC = 1 << 2,	/* not to the interface's address */
	M_VLANTAG = 1 << 3,	/* arrived with a tag that a logical interface claimed */
	M_FRAG = 1 << 4,	/* a fragment */
	M_FRAG_NOTFIRST = 1 << 5,
	M_HOST = 1 << 6,	/* sent by the host, not forwarded */
	M_RESUMED = 1 << 7,	/* came back from netisr */
	M_REDIRECT = 1 << 8,	/* its sender should be told a better gateway */
	M_HWTAG = 1 << 9,	/* TC: the outermost tag is in the descriptor, not in the data */
	M_NODF = 1 << 10,	/* IPv4 without don't fragment */
	M_ETHER_DONE = 1 << 11,	/* Ethernet output hooks have run */
};

/*
 * What the stages tell each other about the packet in hand; one for each CPU
 * and build. Offsets count from the start of the frame.
 */
struct mbuf {
	__u64 pfil;		/* hooks still to run */
	__u32 config;		/* slot of the configuration it is judged by */
	__u32 rcvif;		/* slot of the receiving interface (logical) */
	__u32 ifp;		/* slot of the sending interface (logical) */
	__u32 nexthop;
	__u32 flags;		/* enum mbuf_flags */
	__u32 reason;		/* for PROTO_NETISR: REASON_NETISR_* */
	__u16 l3_off;
	__u16 l4_off;		/* 0: not known */
	__u16 ip_len;		/* total length of the IP packet */
	__u16 vlan_tci;		/* outermost tag claimed, host order */
	__u8 af;		/* 4, 6, or 0 */
	__u8 proto;		/* IP protocol of the upper layer */
	__u8 next;		/* protosw slot after the last hook */
	__u8 encaps;		/* headers taken off so far */
	__u8 dir;		/* enum pfil_dir */
	__u8 tos;
	__u16 wire_len;		/* largest IP packet that this becomes on the wire (GSO) */
	__u8 dmac[6];		/* link address of the next hop */
	__u16 spare;
	__u32 frame_len;	/* bytes of the frame as it was received */
	__u32 spare2;
	__u32 redirect;		/* where the last redirect went: slot, for tests */
};

/*
 * Where a packet that comes back from netisr goes on.
 */
enum netisr_resume {
	RESUME_NONE,
	RESUME_FORWARD,		/* ip_forward: route look-up and all after it */
	RESUME_OUTPUT,		/* ip_output: next hop is set, filters are passed */
	RESUME_ETHER_OUTPUT,	/* transmit as it is on ifp, next hop's link address */
	RESUME_LOCAL,		/* input of rcvif for the host's sockets */
	RESUME_TRANSMIT,	/* frame is complete: put it on ifp */
};

enum netisr_header_const {
	NETISR_MAGIC = 0xb5d1,
	NETISR_ETHERTYPE = 0x88b5,	/* IEEE 802 local experimental */
	NETISR_HEADER_LEN = 56,
};

/*
 * What the XDP program of the netisr veth tells its TC program, in the
 * frame's metadata: which device shall have the frame, and on which side.
 */
struct netisr_meta {
	__u32 ifindex;
	__u32 input;		/* 1: as its input, 0: to be sent */
};

/*
 * skb->tc_index of frames that the TC build redirected, so that if_output and
 * ether_input of the target do not judge them again.
 */
enum tc_mark {
	TC_MARK_OUTPUT = 0xb5d2,
	TC_MARK_INPUT = 0xb5d3,
};

/*
 * Precedes a frame on the netisr veth, in both directions. Its first 14 bytes
 * read as an Ethernet header, so that a capture there stays legible.
 */
struct netisr_header {
	__u8 ether_dhost[6];
	__u8 ether_shost[6];
	__be16 ether_type;	/* NETISR_ETHERTYPE, network order */
	__u16 magic;		/* NETISR_MAGIC */
	__u32 reason;		/* to the daemon: REASON_NETISR_* */
	__u32 rcvif;		/* slot */
	__u32 ifp;		/* slot */
	__u32 nexthop;
	__u32 flags;		/* enum mbuf_flags */
	__u32 config;		/* low half of the generation it was judged by */
	__u16 l3_off;		/* within the frame that follows */
	__u16 ip_len;
	__u8 af;
	__u8 resume;		/* to the data path: enum netisr_resume */
	__u8 proto;		/* IP protocol */
	__u8 encaps;
	__u32 queue;		/* CPU that sent it */
	__u32 spare;
};

#endif
