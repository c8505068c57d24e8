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
	ABI_VERSION = 6,
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
	TUNNEL_NESTING = 1,	/* tunnels that a packet may be put into: max_nesting */
	TUNNEL_KEYS = 2 * IFNET_SLOTS,
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
	PROTO_TUNNEL_INPUT,	/* for this host, by a protocol of tunnels */
	PROTO_TUNNEL_OUTPUT,	/* on a tunnel */
	PROTO_TUNNEL_DELIVER,	/* came out of a tunnel, for the host's sockets */
	PROTO_HOOK = 16,
	PROTO_HOOK_LAST = 47,
	PROTO_GRE_INPUT,
	PROTO_GRE_OUTPUT,
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
	REASON_NETISR_REASSEMBLE, /* fragments to be reassembled */
	REASON_NETISR_REFRAGMENT, /* reassembled, to be fragmented again */
	REASON_NETISR_TUNNEL,	 /* of a tunnel, in fragments */
	REASON_NETISR_TUNNEL_ERROR, /* ICMP errors about packets of tunnels */
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
	REASON_PF_BLOCK,	 /* blocked by a rule of pf */
	REASON_PF_STATE,	 /* out of its pf state */
	REASON_PF_LIMIT,	 /* no room for a pf state */
	REASON_PF_SHORT,	 /* too short for pf */
	REASON_PF_NORMALIZE,	 /* refused by pf's normalisation */
	REASON_PF_FRAGMENT,	 /* fragment refused by pf */
	REASON_PF_TRANSLATE,	 /* no address or port to translate to */
	REASON_ARP_UNRESOLVED,	 /* next hop did not answer */
	REASON_TUNNEL_DOWN,	 /* on a tunnel that is down or without ends */
	REASON_TUNNEL_HEADER,	 /* with a bad tunnel header */
	REASON_TUNNEL_SOURCE,	 /* from a tunnel's far end by the wrong interface */
	REASON_TUNNEL_ECN,	 /* congestion marked where it cannot be told */
	REASON_TUNNEL_ROUTE,	 /* no way to a tunnel's far end */
	REASON_GRE_BADSUM,	 /* bad GRE checksum */
	REASON_GRE_KEY,		 /* with a GRE key that no tunnel of their ends has */
	REASON_GRE_SEQUENCE,	 /* older than a GRE packet before them */
	REASON_NETISR_HEADER,	 /* bad header from netisr */
	REASON_MAX,
};

/* What an ifnet entry says of its interface. */
enum ifnet_flags {
	IFNET_OWNED = 1 << 0,	   /* input and output are bsdnet's */
	IFNET_UP = 1 << 1,
	IFNET_PROMISC = 1 << 2,	   /* someone on the host listens to all */
	IFNET_MONITOR = 1 << 3,	   /* all is dropped; not IFNET_UP, so that nothing is sent */
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
	IFNET_PFSKIP = 1 << 15,	   /* set skip on */
	IFNET_FUNNEL = 1 << 14,	   /* the daemon's end of the netisr veth */
	IFNET_DHCP = 1 << 16,	   /* a DHCP client runs here: no filter sees its packets */
	IFNET_TUNNEL = 1 << 17,	   /* logical: packets in packets, see struct tunnel */
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
	CONFIG_GREUDP = 1 << 5,		/* UDP may be GRE's */
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
	__u32 pf_ruleset;	/* slot of pf_rulesets */
	__u32 pf_flags;		/* enum pf_flags */
	__u64 spare[13];
};

/*
 * The configurations and which one rules. A packet reads active once, at
 * ether_input or if_output, and keeps to it.
 */
struct configuration {
	__u64 active;
	__u64 fib_generation;	/* grows with every change of routes and neighbours */
	__u64 spare[6];
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
	__u32 prefixlen;	/* 32 and the bits of the prefix */
	__be32 fib;
	__u8 dst[4];
};

struct rt_key6 {
	__u32 prefixlen;	/* 32 and the bits of the prefix */
	__be32 fib;
	__u8 dst[16];
};

enum fib_limits {
	FIBS = 256,		/* routing tables */
	FIB_TABLES = 64,	/* compiled ones that there can be at a time */
	FIB_BLOCK_WORDS = 8192,	/* words in a value of a compiled table */
};

/*
 * How the routes of one family in one routing table are looked up. All but the
 * trie are compiled into words of 32 bits, in an array of their own: numbers of
 * next hops, 0 where there is only the default route, or, with FIB_POINTER, the
 * place of the words for the next bits of the address.
 */
enum fib_algo {
	FIB_LPM_TRIE,		/* rt_inet or rt_inet6 */
	FIB_DXR,		/* 20 bits by index, the rest by binary search in ranges */
	FIB_DIR24_8,		/* 24 bits by index, 8 bits by index */
	FIB_DXR6,		/* 16, 8 and 8 bits by index, then 32 at a time in ranges */
	FIB_MTRIE6,		/* 16 bits by index, then 8 at a time */
};

enum fib_word {
	FIB_POINTER = 1U << 31,
};

/*
 * A routing table. A word says all of one family, so that it changes as a
 * whole: enum fib_algo in the lowest 8 bits, from FIB_SLOT_SHIFT on the slot in
 * fib_tables, and in the high half the next hop of the default route, both
 * where the routes are compiled.
 */
enum fib_head {
	FIB_ALGO_MASK = 0xff,
	FIB_SLOT_SHIFT = 8,
	FIB_SLOT_MASK = 0xff,
	FIB_DEFAULT_SHIFT = 32,
};

struct fib {
	__u64 inet;
	__u64 inet6;
	__u64 spare[6];
};

struct fib_block {
	__u32 word[FIB_BLOCK_WORDS];
};

enum ipflow_limits {
	IPFLOWS = 1024,
};

/*
 * What was found for a destination last, on one CPU. It holds as long as no
 * route and no neighbour has changed.
 */
struct ipflow {
	__u64 generation;
	__u8 dst[16];
	__u64 lladdr;		/* struct llentry of the destination, 0: not asked for */
	__u32 nexthop;		/* 0: no route */
	__u8 af;
	__u8 spare[3];
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

enum tunnel_kind {
	TUNNEL_NONE,
	TUNNEL_GIF = 1,		/* RFC 2003, 4213, 2473 */
	TUNNEL_GRE = 2,		/* RFC 2784, 2890 */
	TUNNEL_STF = 3,		/* RFC 3056, 5969 */
	TUNNEL_GREUDP = 4,	/* keys: GRE in UDP, RFC 8086 */
	TUNNEL_GREENDS = 5,	/* keys: any GRE between the ends */
};

enum tunnel_flags {
	TUNNEL_ECN = 1 << 0,	/* link1: congestion marks are carried over (RFC 3168) */
	TUNNEL_ANYIF = 1 << 1,	/* link2: packets may come by any interface */
	TUNNEL_CSUM = 1 << 2,	/* GRE: with checksums */
	TUNNEL_KEYED = 1 << 3,	/* GRE: with the key */
	TUNNEL_SEQ = 1 << 4,	/* GRE: with sequence numbers */
	TUNNEL_UDP = 1 << 5,	/* GRE: in UDP */
};

/*
 * A tunnel, by the slot of its interface. The first word is written first and
 * last, so that nobody acts on half an entry. Addresses in network order, IPv4
 * in the first four bytes.
 */
struct tunnel {
	__u16 kind;		/* enum tunnel_kind; TUNNEL_NONE: has no ends */
	__u8 af;		/* of the outer packet: 4 or 6 */
	__u8 ttl;		/* of the outer packet */
	__u32 flags;		/* enum tunnel_flags */
	__u8 src[16];		/* outer source */
	__u8 dst[16];		/* outer destination */
	__u32 key;		/* TUNNEL_KEYED: network order */
	__u16 port;		/* TUNNEL_UDP: of the far end, network order */
	__u16 id;		/* written by the data path: identification of the last outer packet */
	__u32 oseq;		/* TUNNEL_SEQ: written by the data path: number of the next packet */
	__u32 iseq;		/* likewise: least number of the next packet received */
	__u64 spare[9];
};

/* What leads from an outer packet to the slot of a tunnel's interface. */
struct tunnel_key {
	__u8 src[16];		/* zero: any */
	__u8 dst[16];
	__u32 key;		/* network order */
	__u16 kind;		/* enum tunnel_kind */
	__u8 af;
	__u8 spare;
};

enum tunnel_flow_limits {
	TUNNEL_FLOWS = 256,
};

/*
 * Outer packets over IPv4 that were found to be a tunnel's last, on one CPU. It
 * holds as long as no route and no tunnel has changed.
 */
struct tunnel_flow {
	__u64 generation;	/* fib_generation */
	__u32 src;		/* network order, as dst and key */
	__u32 dst;
	__u32 key;
	__u32 rcvif;		/* slot that they come in by */
	__u32 slot;		/* of the tunnel's interface */
	__u32 proto;		/* of the outer packet */
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
	M_REASSEMBLED = 1 << 12, /* stands for a packet whose rest the daemon holds */
	M_NORMALIZED = 1 << 13,	/* pf's scrub rules have seen it */
	M_ATOMIC = 1 << 14,	/* IPv6, with a fragment header and yet whole */
	M_PFDESC = 1 << 15,	/* pf_pd still describes it, as it came in */
	M_PFFLOW = 1 << 16,	/* and its state wants nothing but to let it pass */
	M_PFNEW = 1 << 17,	/* no state was found for it as it came in */
	M_TUNNEL = 1 << 18,	/* the outer packet of a tunnel of this host */
};

/* The scrub rule that matched a packet. */
struct pf_scrubbed {
	__u32 rule;		/* slot of its counters, 0: none */
	__u32 line;		/* of its struct pf_rule_actions, 0: none */
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
	__u16 flow;		/* entry of ipflow */
	__u32 frame_len;	/* bytes of the frame as it was received */
	__u32 hook;		/* for REASON_NETISR_HOOK: enum pf_answer and codes */
	__u32 redirect;		/* where the last redirect went: slot, for tests */
	__u32 pf_tag;		/* number of pf's tag on it, 0: none */
	__u32 reassembly;	/* M_REASSEMBLED: by what number the daemon knows it */
	__u32 prio;		/* 1 and the priority that it was given, 0: none */
	__u32 pf_slot;		/* M_PFDESC: of the state that it matched on its way in */
	__u32 pf_key;		/* M_PFFLOW: slot of the key that it came in with */
	struct pf_scrubbed scrub[2];	/* by scrub rules; in, out */
	__u16 nesting;		/* tunnels that it was put into */
	__u16 unnesting;	/* tunnels that it came out of */
	__u32 spare;
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
	RESUME_PFIL_IN,		/* input hooks, as if it had just arrived on rcvif */
	RESUME_PFIL_OUT,	/* output hooks, on its way to ifp */
	RESUME_TUNNEL_OUTPUT,	/* into the tunnel ifp */
	RESUME_TUNNEL_INPUT,	/* out of the tunnel that it is for */
};

/* What hook says with REASON_NETISR_REFRAGMENT. */
enum refragment {
	REFRAGMENT_SEND,
	REFRAGMENT_LOCAL,	/* for the host's sockets */
	REFRAGMENT_TUNNEL,	/* for a tunnel, whole */
};

enum netisr_header_const {
	NETISR_MAGIC = 0xb5d1,
	NETISR_ETHERTYPE = 0x88b5,	/* IEEE 802 local experimental */
	NETISR_HEADER_LEN = 64,
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
	__u32 hook;		/* of the mbuf */
	__u32 reassembly;	/* of the mbuf */
	__u32 prio;		/* of the mbuf */
};

/*
 * pf. A ruleset is an array of lines of 64 bytes, made by the daemon and put
 * in force with a configuration; states are slots of 256 bytes in a table that
 * the daemon maps.
 */
enum pf_limits {
	PF_RULESET_LINES = 1 << 20,
	PF_STATES = 1 << 18,	/* slots of the state table unless load asks for more; a power of two */
	PF_BUCKET_ENTRIES = 8,
	PF_STATE_SLOT = 0xffffff,	/* bits of an index entry that are the slot */
	PF_RULES = 1 << 17,	/* counters of rules */
	PF_TABLE_ENTRIES = 1 << 20,
	PF_TABLES = 1 << 16,	/* that have counters */
	PF_POOLS = 4096,
	PF_RANGES = 1 << 17,	/* of addresses in pools */
	PF_POOL_TRIES = 8,	/* addresses tried for a port that is free */
	PF_CHOICES = 16,		/* translations remembered */
	PF_TAGS = 1024,
	PF_EVALUATE_MAX = 1 << 17,
	PF_SETTINGS_MAX = 1024,	/* different timeouts of rules, and those of all */
	PF_PACKET_LOGS = 8,	/* rules that log one packet while it is evaluated */
	PF_SRC_NODES = 1 << 17,	/* slots of source nodes; a power of two */
};

/* Slots of the protocol switch that pf takes. */
enum pf_hook {
	PF_HOOK_TEST = 16,	/* the hook that is linked, and flows */
	PF_HOOK_RULES,		/* evaluation */
	PF_HOOK_ERROR,		/* ICMP errors about packets of states */
	PF_HOOK_NAT,		/* translation rules */
	PF_HOOK_SCRUB,		/* what rules want done to a packet that passes */
	PF_HOOK_NORMALIZE,	/* scrub rules */
	PF_HOOK_STATE,		/* states */
};

enum pf_action {
	PF_PASS,
	PF_DROP,
	PF_MATCH,
	PF_NAT,
	PF_RDR,
	PF_BINAT,
	PF_NO,			/* no nat, no rdr, no binat */
	PF_ANCHOR,		/* rules up to skip are its own */
	PF_ANCHOR_END,
	PF_TREE,		/* the rules up to skip by decision trees, their roots from line ext on */
	PF_SCRUB,
};

enum pf_rule_flags {
	PFR_QUICK = 1 << 0,
	PFR_IN = 1 << 1,
	PFR_OUT = 1 << 2,
	PFR_SRC_NOT = 1 << 3,
	PFR_DST_NOT = 1 << 4,
	PFR_SPORT_NOT = 1 << 5,	/* matches outside of the range */
	PFR_DPORT_NOT = 1 << 6,
	PFR_IF_NOT = 1 << 7,
	PFR_SRC_TABLE = 1 << 8,	/* saddr is the number of a table */
	PFR_DST_TABLE = 1 << 9,
	PFR_FRAGMENT = 1 << 10,
	PFR_TAGGED_NOT = 1 << 11,
	PFR_KEEP_STATE = 1 << 12,
	PFR_SLOPPY = 1 << 13,
	PFR_IFBOUND = 1 << 14,
	PFR_ALLOWOPTS = 1 << 15,
	PFR_LOG = 1 << 16,	/* the packet that the rule decides about */
	PFR_SPORT = 1 << 17,	/* has a port, so takes only TCP and UDP with a whole header */
	PFR_DPORT = 1 << 18,
	PFR_ICMP_TYPE = 1 << 19,
	PFR_ICMP_CODE = 1 << 20,
	PFR_RETURN_RST = 1 << 21,
	PFR_RETURN_ICMP = 1 << 22,
	PFR_IF_GROUP = 1 << 23,	/* ifslot is a bit of ifnet.groups */
	PFR_NATPASS = 1 << 24,
	PFR_RECEIVED = 1 << 25,	/* ifslot is where the packet came in */
	PFR_LOG_ALL = 1 << 27,	/* and all packets of its state */
	PFR_IF_ANY = 1 << 26,	/* every interface but loopback */
	PFR_COUNTERS = 1 << 28,	/* names a table with counters */
	PFR_ACTIONS = 1 << 30,	/* struct pf_rule_actions is in the line behind ext */
};

/*
 * One rule, one line. Addresses and masks of IPv4 are in it, those of IPv6 in
 * the line of number ext; all in network order. Ports are in host order.
 */
struct pf_rule {
	__be32 saddr;		/* or number of a table */
	__be32 smask;
	__be32 daddr;
	__be32 dmask;
	__u16 sport[2];		/* first and last */
	__u16 dport[2];
	__u8 action;		/* enum pf_action */
	__u8 af;		/* 4, 6, 0: any */
	__u8 proto;		/* 0: any */
	__u8 tos;		/* 0: any */
	__u32 flags;		/* enum pf_rule_flags */
	__u8 tcp_flags;
	__u8 tcp_flagset;
	__u8 icmp_type;
	__u8 icmp_code;
	__u32 ifslot;		/* IFNET_SLOTS: any interface */
	__u16 tag;		/* set on match, 0: none */
	__u16 tagged;		/* asked for, 0: none */
	__u32 probability;	/* of 2^32, 0: always */
	__u32 number;		/* slot of its counters */
	__u32 ext;		/* line of the IPv6 addresses, 0: none */
	__u16 pool;		/* translation, 0: none */
	__u8 return_code;	/* ICMP code of the answer */
	__u8 return_code6;	/* ICMPv6 code */
	__u32 skip;		/* PF_ANCHOR, PF_TREE: first line behind it; in a leaf: rank, see pf_tree_rank */
};

enum pf_flags {
	PF_AUDIT = 1 << 0,	/* the daemon gets a copy of every packet that the rules decide about */
};

/* How a blocked packet is answered: low byte of the mbuf's hook; then the codes. */
enum pf_answer {
	PF_ANSWER_RST = 1 << 0,
	PF_ANSWER_ICMP = 1 << 1,
	PF_ANSWER_OUT = 1 << 2,	/* it was on its way out */
};

struct pf_rule_ext {
	__u8 saddr[16];
	__u8 smask[16];
	__u8 daddr[16];
	__u8 dmask[16];
};

/* Where evaluation begins; line 0 of a ruleset. */
struct pf_ruleset {
	__u32 filter;		/* first line of each list, and how many rules */
	__u32 filter_count;
	__u32 nat;
	__u32 nat_count;
	__u32 rdr;
	__u32 rdr_count;
	__u32 flags;		/* enum pf_ruleset_flags */
	__u32 scrub;
	__u32 scrub_count;
	__u32 spare[7];
};

enum pf_ruleset_flags {
	PF_BLOCK_RETURN = 1 << 0,
	PF_STATE_IFBOUND = 1 << 1,
};

enum pf_tree_limits {
	PF_TREE_PARTS = 4,	/* trees of one family and direction */
	PF_TREE_WORDS = 16,	/* of a packet's key */
	PF_TREE_CUTS = 7,	/* of a line: three levels */
	PF_TREE_LINES = 24,	/* from a root to a leaf at most */
	PF_LEAF_RULES = 16,	/* of a short leaf */
};

/*
 * Words of a packet's key, in host order: addresses by 32-bit words, the most
 * significant first.
 */
enum pf_tree_word {
	PF_WORD_SRC = 0,
	PF_WORD_DST = 4,
	PF_WORD_SPORT = 8,
	PF_WORD_DPORT = 9,
	PF_WORD_PROTO = 10,
};

/*
 * Where the trees of a family and direction begin, with the best rank in each.
 * Four lines of them, at [IPv6 * 2 + direction]. A root is like a child.
 */
struct pf_roots {
	__u32 root[PF_TREE_PARTS];
	__u32 rank[PF_TREE_PARTS];
	__u32 spare[8];
};

/* How a child of a line is told: a line of cuts, or rules. */
enum pf_tree_child {
	PF_CHILD_LEAF = 1 << 30,
	PF_CHILD_LONG = 1 << 29,	/* a leaf whose rules follow a struct pf_leaf */
	PF_CHILD_COUNT = 24,		/* shift of the number of rules of a short leaf */
	PF_CHILD_COUNT_MASK = 0x1f,
	PF_CHILD_LINE = 0xffffff,	/* of the cuts, or of the first rule */
};

/*
 * Three levels of cuts, as a heap: cut i goes on to 2i + 1 where its word is at
 * most the threshold, else to 2i + 2; from 7 on they are children.
 */
struct pf_cuts {
	__u32 threshold[PF_TREE_CUTS];
	__u32 words;		/* enum pf_tree_word of each cut, four bits each */
	__u32 child[PF_TREE_CUTS + 1];
};

/* Before the rules of a long leaf. */
struct pf_leaf {
	__u32 count;
	__u32 spare[15];
};

/*
 * Ranks order the rules of a run: quick ones come first, in the order of their
 * lines, which are their ranks; the others behind them the other way round.
 */
enum pf_tree_rank {
	PF_RANK_LAST = 0xfffffff,	/* rank of a rule that is not quick: this, less its line */
	PF_RANK_QUICK = 0x7ffffff,	/* the last rank of quick rules */
};

enum pf_actions_flags {
	PFA_NODF = 1 << 0,
	PFA_RANDOMID = 1 << 1,
	PFA_MINTTL = 1 << 2,
	PFA_SETTOS = 1 << 3,
	PFA_MAXMSS = 1 << 4,
	PFA_SETPRIO = 1 << 5,
	PFA_SCRUB = 0x3f,	/* any of those above: the packet changes */
	PFA_LOG_USER = 1 << 6,
	PFA_LOG_MATCHES = 1 << 7,	/* and what matches behind it */
	PFA_LOG_MATCH = 1 << 8,	/* match_rule logs all packets of the state */
	PFA_NOREASSEMBLE = 1 << 9,	/* scrub fragment no reassemble */
	PFA_TABLES = 1 << 10,	/* counts for the tables in pf_state_tables */
};

/*
 * What is to be done to a packet: by one rule, or by all that matched; and to
 * all packets of a state.
 */
struct pf_actions {
	__u16 flags;		/* enum pf_actions_flags */
	__u16 max_mss;		/* host order */
	__u8 min_ttl;
	__u8 set_tos;
	__u8 set_prio[2];	/* and of empty acknowledgements and low delay */
	__u16 timeouts;		/* entry of pf_set with the timeouts of the rule, 0: those of all */
	__u8 log_if;		/* the N of pflogN */
	__u8 match_log_if;
	__u32 match_rule;	/* slot of the counters of a match rule with log (all) */
};

/* Options that few rules have, one line. */
struct pf_rule_actions {
	struct pf_actions act;
	__u32 max_states;	/* 0: no limit */
	__u32 spare[11];
};

/* Evaluations are counted in a map of their own, since they are many. */
struct pf_rule_counters {
	__u64 packets[2];	/* in, out */
	__u64 bytes[2];
	__u64 states;		/* ever made */
};

/* How an address of a pool is chosen. */
enum pf_pool_type {
	PF_POOL_ROUNDROBIN,	/* also of a single address */
	PF_POOL_BITMASK,
	PF_POOL_RANDOM,
	PF_POOL_SRCHASH,
};

enum pf_pool_flags {
	PF_POOL_SOURCE = 1 << 0,	/* nat: the source changes, else the destination */
	PF_POOL_STICKY = 1 << 1,	/* a source keeps the address it got */
};

/*
 * The addresses and ports that a translation takes; followed by the daemon as
 * interfaces and tables change.
 */
struct pf_pool {
	__u64 ranges[2];	/* IPv4, IPv6: first in pf_ranges, how many in the high half; 0: no address now */
	__u64 position;		/* of round-robin: addresses given out, of all CPUs */
	__u64 key[2];		/* of source-hash */
	__u16 port[2];		/* first and last; 0: keep */
	__u8 type;		/* enum pf_pool_type */
	__u8 flags;		/* enum pf_pool_flags */
	__u16 next;		/* the rule's other pool, 0: none */
	__u16 dport;		/* rdr: the first destination port that the rule names */
	__u16 spare;
	__u32 rule;		/* slot of the rule's counters */
	__u32 spare2[2];
};

/* Addresses of a pool that follow each other. */
struct pf_range {
	__u8 addr[16];		/* the first; network order, IPv4 in the first four bytes */
	__u64 end;		/* how many addresses the pool has up to the last of these */
	__u32 bits;		/* of addr that count with bitmask */
	__u32 spare;
};

/* What a translation chose. */
struct pf_choice {
	__u8 addr[16];
	__be16 port;
	__u16 spare;
};

enum pf_timeout {
	PFTM_TCP_FIRST_PACKET,
	PFTM_TCP_OPENING,
	PFTM_TCP_ESTABLISHED,
	PFTM_TCP_CLOSING,
	PFTM_TCP_FIN_WAIT,
	PFTM_TCP_CLOSED,
	PFTM_UDP_FIRST_PACKET,
	PFTM_UDP_SINGLE,
	PFTM_UDP_MULTIPLE,
	PFTM_ICMP_FIRST_PACKET,
	PFTM_ICMP_ERROR_REPLY,
	PFTM_OTHER_FIRST_PACKET,
	PFTM_OTHER_SINGLE,
	PFTM_OTHER_MULTIPLE,
	PFTM_ADAPTIVE_START,
	PFTM_ADAPTIVE_END,
	PFTM_MAX,
};

/* States of a peer, as tcp_fsm.h numbers them, and of the other protocols. */
enum pf_peer_state {
	PF_TCPS_CLOSED = 0,
	PF_TCPS_LISTEN = 1,
	PF_TCPS_SYN_SENT = 2,
	PF_TCPS_SYN_RECEIVED = 3,
	PF_TCPS_ESTABLISHED = 4,
	PF_TCPS_CLOSE_WAIT = 5,
	PF_TCPS_FIN_WAIT_1 = 6,
	PF_TCPS_CLOSING = 7,
	PF_TCPS_LAST_ACK = 8,
	PF_TCPS_FIN_WAIT_2 = 9,
	PF_TCPS_TIME_WAIT = 10,
	PFS_NO_TRAFFIC = 0,
	PFS_SINGLE = 1,
	PFS_MULTIPLE = 2,
};

enum pf_state_tag {
	PF_STATE_FREEING = 0,	/* with a hash: about to be free */
	PF_STATE_BUSY = 1,	/* being written; in the high half of the tag */
	PF_STATE_LIVE = 2,
	PF_STATE_ALIAS = 3,	/* the other key of the state in slot peer */
};

/*
 * The index of the state table: entries lead from the hash of a key, in their
 * high half, to its slot, in their low 24 bits; 0: none. A key is in one of the
 * two buckets of its hash. Changed by 64-bit atomics.
 */
struct pf_state_bucket {
	__u64 entry[PF_BUCKET_ENTRIES];
};

/*
 * The way of packets that came in with the key of a slot, both times by states
 * that let them pass: found once, it is gone again as long as everything that
 * it was made of is still there. Written by one CPU at a time, read by all.
 */
struct pf_flow {
	__u64 lladdr;		/* struct llentry of the destination, if it is on the link */
	__u32 version;		/* odd: being written; 0: never written */
	__u32 id;		/* of the slot */
	__u32 rcvif;		/* slot of the interface by which they came in */
	__u32 config;		/* low half of the generation of the configuration */
	__u32 fib;		/* low half of fib_generation */
	__u32 in;		/* slots of the states, and their ids */
	__u32 in_id;
	__u32 out;
	__u32 out_id;
	__u32 nexthop;
	__u8 naddr[2][16];	/* source and destination as they go out; with PF_STATE_NAT */
	__be16 nport[2];
	struct pf_scrubbed scrub[2];	/* by scrub rules; in, out */
	__u8 spare[12];
};

/*
 * A key and, unless it is an alias, the state behind it. The tag is claimed
 * and published with 64-bit atomics; the daemon frees a slot by a compare and
 * swap of it. Addresses and ports in network order, sequence numbers in host
 * order. What every packet touches is in the first two lines of the cache, and
 * with a flow in the third.
 */
struct pf_state {
	__u64 tag;		/* 0: free; low half: hash of the key */
	__u32 expire;		/* jiffies of the last packet */
	__u32 id;		/* another one each time that a slot is taken */
	__u32 seqlo[2];		/* of the one who made it, and of the other */
	__u32 seqhi[2];
	__u16 win[2];
	__u8 wscale[2];
	__u8 peers[2];		/* enum pf_peer_state */
	__u8 timeout;		/* enum pf_timeout */
	__u8 flags;		/* enum pf_state_flags */
	__u8 direction;		/* of the packet that made it: enum pfil_dir */
	__u8 proto;
	__u8 af;
	__u8 link_high;		/* and low: 1 and the slot in which its packets were found on their way out */
	__u16 link_low;
	__be16 port[2];
	__u32 ifslot;		/* IFNET_SLOTS: floating */
	__u32 peer;		/* slot of the other key, or its own */
	__u32 rule;		/* slot of its counters */

	__u8 addr[2][16];
	__u64 packets[2];
	__u64 bytes[2];

	__u32 creation;		/* jiffies */
	__u32 translation;	/* slot of the counters of the nat or rdr rule, 0: none */
	__u16 packet_tag;	/* of its packets */
	__u16 spare[3];
	struct pf_flow flow;	/* of packets that come in with this key */
};

enum pf_state_flags {
	PF_STATE_SLOPPY = 1 << 0,
	PF_STATE_ALLOWOPTS = 1 << 1,
	PF_STATE_SRC_NODE = 1 << 2, /* has an entry in pf_state_nodes */
	PF_STATE_NAT = 1 << 3,
	PF_STATE_LOG = 1 << 4,
	PF_STATE_WIRE = 1 << 5,	 /* for packets that come in */
	PF_STATE_STACK = 1 << 6, /* for packets that go out */
	PF_STATE_ACTIONS = 1 << 7, /* has an entry in pf_state_actions */
};

/* How many states there are, and the secret of their hash. */
struct pf_state_head {
	__u64 count;
	__u64 seed;
	__u32 buckets;		/* of the index, less one */
	__u32 slots;		/* of the table */
	__u64 free;		/* 1 and the first free slot, whose peer leads on alike; high half: number of changes */
	__u64 fresh;		/* slots from here on have never been used */
	__u64 src_nodes;	/* how many live ones there are */
	__u64 ids;		/* given out to states */
	__u64 spare;
};

/* What a source node is for; a state holds at most one of each. */
enum pf_src_node_type {
	PF_SN_NAT,		/* the address that sticky-address of nat-to chose */
	PF_SN_RDR,
	PF_SN_MAX,
};

enum pf_src_node_tag {
	PF_SRC_NODE_BUSY = 1,	/* being written */
	PF_SRC_NODE_LIVE = 2,
	PF_SRC_NODE_DEAD = 3,	/* found and counted no more; states may still hold it */
	PF_SRC_NODE_STATES = 32,	/* shift of the number of states */
	PF_SRC_NODE_KIND = 60,	/* and of the kind */
};

/*
 * What is known of a source address under a rule. It is in one of the two
 * buckets of its hash. The tag is changed by 64-bit atomics; whoever makes it 0
 * frees the slot, which needs that no state holds it.
 */
struct pf_src_node {
	__u64 tag;		/* 0: free; hash of the key, number of states, kind */
	__u8 addr[16];		/* network order, as all addresses */
	__u8 raddr[16];		/* what it is translated to */
	__u32 rule;		/* slot of its counters */
	__u8 af;
	__u8 type;		/* enum pf_src_node_type */
	__u16 spare;
	__u32 creation;		/* jiffies */
	__u32 expire;		/* jiffies at which it ends unless a state holds it */
	__u64 packets[2];	/* of its states that are over: from the source, to it */
	__u64 bytes[2];
	__u64 spare2;
};

/* The source nodes that a state holds: their slots and one; 0: none. */
struct pf_state_nodes {
	__u32 node[PF_SN_MAX];
};

enum pf_settings_flags {
	PF_SET_NORMALIZE = 1 << 0,	/* there are scrub rules */
	PF_SET_REASSEMBLE = 1 << 1,	/* all fragments */
	PF_SET_REASSEMBLE_NODF = 1 << 2,
	PF_SET_ADAPTIVE_RULE = 1 << 3,	/* adaptive timeouts go by the states of the rule */
};

/*
 * Settings of pf, written in place by the daemon. Entry 0 is that of all; of
 * the others, which are those of rules, only timeouts and flags count.
 */
struct pf_settings {
	__u32 states_limit;
	__u32 flags;		/* enum pf_settings_flags */
	__u32 timeout[PFTM_MAX];	/* in jiffies; the adaptive ones in states */
	__u32 src_nodes_limit;
	__u32 src_track;	/* how long source nodes outlive their states, in jiffies */
	__u32 spare[12];
};

/* Counters of pf on one CPU. */
struct pf_status {
	__u64 match;
	__u64 bad_offset;
	__u64 fragment;
	__u64 too_short;
	__u64 normalize;
	__u64 memory;
	__u64 state_mismatch;
	__u64 state_insert;
	__u64 state_limit;
	__u64 proto_cksum;
	__u64 ip_option;
	__u64 searches;
	__u64 inserts;
	__u64 translate;	/* no port free */
	__u64 log_lost;		/* records that found no room */
	__u64 max_states;	/* max of a rule met */
	__u64 src_node_searches;
	__u64 src_node_inserts;
	__u64 src_limit;	/* no room for a source node */
	__u64 flows;		/* packets that went the short way, of struct pf_flow */
};

/*
 * What pf lets pass and blocks at an interface, on one CPU, by its slot: at
 * [IPv6 * 4 + direction * 2 + blocked]. Packets that are skipped do not count,
 * and fragments when the packet is whole.
 */
struct pf_if_counters {
	__u64 packets[8];
	__u64 bytes[8];
};

/* In place of the number of a table. */
enum pf_table_route {
	PF_TABLE_NOROUTE = 0xfffffffe,	/* addresses without a route */
	PF_TABLE_URPF = 0xffffffff,	/* and those whose route is another interface's */
};

struct pf_table_key {
	__u32 prefixlen;	/* 32 and the bits of the address */
	__be32 table;
	__u8 addr[4];
};

struct pf_table_key6 {
	__u32 prefixlen;
	__be32 table;
	__u8 addr[16];
};

enum pf_table_value {
	PF_ENTRY_NOT = 1U << 31,	/* negated; the rest is the number of its counters, 0: none */
};

/* What is counted for a table and, but for the last, for its addresses. */
enum pf_table_op {
	PF_TABLE_BLOCK,
	PF_TABLE_PASS,
	PF_TABLE_XPASS,		/* of a state whose address is no longer in the table */
	PF_TABLE_OPS,
};

/* How pf_table_add counts. */
enum pf_table_count {
	PF_COUNT_PASS = 1 << 0,
	PF_COUNT_DST = 1 << 1,
	PF_COUNT_NOT = 1 << 2,	/* the rule matches what is not in the table */
};

/* Counters of a table on one CPU, by enum pfil_dir. */
struct pf_table_counters {
	__u64 packets[2][PF_TABLE_OPS];
	__u64 bytes[2][PF_TABLE_OPS];
	__u64 match;		/* of its evaluations */
	__u64 nomatch;
};

/* Counters of an address on one CPU, at [enum pfil_dir * 2 + enum pf_table_op]. */
struct pf_entry_counters {
	__u64 packets[4];
	__u64 bytes[4];
};

/* The tables for which packets of a state count. */
struct pf_state_tables {
	__be32 number[2];	/* of the source and of the destination, 0: none */
	__u32 flags;		/* PFR_SRC_NOT, PFR_DST_NOT */
	__u32 spare;
};

enum pf_log_limits {
	PF_LOG_BYTES = 160,	/* of a packet in a record */
};

/* A logged packet, on the way to the daemon. */
struct pf_log_record {
	__u64 time;		/* ns since boot, CLOCK_BOOTTIME */
	__u32 rule;		/* slot of its counters */
	__u32 ifslot;
	__u32 len;		/* bytes of the IP packet */
	__u32 caplen;		/* bytes of it in data */
	__u8 action;		/* enum pf_action */
	__u8 reason;		/* enum pf_log_reason */
	__u8 dir;
	__u8 af;
	__u8 log_if;		/* the N of pflogN */
	__u8 user;		/* 1: the owner of the socket is asked for */
	__u16 spare;
	__u8 data[PF_LOG_BYTES];
};

/* PFRES_* of the BSDs, and one that is not for pflog(4). */
enum pf_log_reason {
	PFRES_MATCH = 0,
	PFRES_IPOPTION = 8,
	PFRES_AUDIT = 255,	/* PF_AUDIT wants it */
};

/* What the translation rules said. */
enum pf_nat {
	PF_NAT_UNKNOWN,		/* not asked yet */
	PF_NAT_NONE,
	PF_NAT_TRANSLATED,	/* naddr and nport hold what the packet is now */
	PF_NAT_PASS,		/* likewise, and no filter rule is asked */
	PF_NAT_MATCH,		/* likewise, by a match rule at last */
};

/* ICMP as a conversation. */
enum pf_icmp_way {
	PF_ICMP_OTHER,
	PF_ICMP_QUERY,
	PF_ICMP_REPLY,
};

/* A rule that logs the packet in hand. */
struct pf_logged {
	__u32 rule;		/* slot of its counters */
	__u8 action;
	__u8 log_if;
	__u8 user;
	__u8 spare;
};

/* What pf's programs tell each other of the packet in hand. */
struct pf_pdesc {
	__u8 addr[2][16];	/* key: of the packet's way, see pf_key_addrs */
	__be16 port[2];
	__u8 proto;
	__u8 af;
	__u8 dir;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 ttl;
	__u8 header;		/* 1: upper header is there whole */
	__u32 seq;
	__u32 ack;
	__u32 data_len;		/* bytes after the upper header */
	__u16 win;
	__u16 l4_off;
	__u16 l4_len;		/* bytes of the upper header */
	__u16 tag;
	__u32 hash;
	__u32 ifslot;
	__u32 rule;		/* line of the rule that decided, 0: default */
	__u32 translation;	/* slot of the counters of the nat or rdr rule */
	__u8 wscale;		/* of a SYN: 0x80 and the shift, 0: none */
	__u8 icmp_way;		/* enum pf_icmp_way */
	__u8 options;		/* 1: has IP options or extension headers */
	__u8 nat;		/* enum pf_nat */
	__u8 tos;
	__u8 fragment;		/* 1: not whole */
	__u8 spare3[2];
	__u32 claimed[2];	/* slots taken for a state in the making */
	__u32 logs;		/* how many of logged */
	struct pf_actions act;
	__u32 max_states;	/* of the rule that decided */
	__u8 matches;		/* 1: log (matches) is on, to matches_if */
	__u8 matches_if;
	__u8 matches_user;
	__u8 sticky;		/* bits of the source nodes in src_node that its state will hold */
	__u32 rcvif;		/* where the packet came in; IFNET_SLOTS: it is the host's own */
	/* From here on not cleared for a packet. */
	__u32 words[PF_TREE_WORDS];
	__u8 naddr[2][16];	/* the translated key; what the packet was, while rules see it as it is now; or what an ICMP error quotes */
	__be16 nport[2];
	__u8 source[16];	/* as it was before the rule that translates */
	__u32 low;		/* nat: the first port that it may get, and how many there are */
	__u32 span;
	struct pf_logged logged[PF_PACKET_LOGS];
	__u32 choices;		/* translations made; the last ones are in choice */
	struct pf_choice choice[PF_CHOICES];
	struct pf_src_node src_node[PF_SN_MAX];
	struct pf_state_tables tables;	/* of the rule that decided, if it has PFR_COUNTERS */
	__u8 counted[2][16];	/* source and destination for which they count */
};

#endif
