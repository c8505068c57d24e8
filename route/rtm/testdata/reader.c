// Reads one message from standard input as a program of FREEBSD or DRAGONFLY
// would, and prints it. With an argument, the message is one of NET_RT_IFLISTL.
// Every offset is checked by the compiler.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #type "." #field)
#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)

typedef unsigned long u_long;
_Static_assert(sizeof(u_long) == 8, "u_long");

struct timeval64 { int64_t tv_sec, tv_usec; };

#ifdef FREEBSD
struct rt_metrics {
	u_long locks, mtu, hopcount, expire, recvpipe, sendpipe, ssthresh, rtt, rttvar, pksent, weight, nhidx, filler[2];
};
struct if_data {
	uint8_t type, physical, addrlen, hdrlen, link_state, vhid;
	uint16_t datalen;
	uint32_t mtu, metric;
	uint64_t baudrate, ipackets, ierrors, opackets, oerrors, collisions, ibytes, obytes, imcasts, omcasts, iqdrops,
	    oqdrops, noproto, hwassist;
	uint64_t epoch;
	struct timeval64 lastchange;
};
struct if_msghdr {
	uint16_t msglen;
	uint8_t version, type;
	int32_t addrs, flags;
	uint16_t index, spare1;
	struct if_data data;
};
struct if_msghdrl {
	uint16_t msglen;
	uint8_t version, type;
	int32_t addrs, flags;
	uint16_t index, spare1, len, data_off;
	int32_t spare2;
	struct if_data data;
};
struct ifa_msghdr {
	uint16_t msglen;
	uint8_t version, type;
	int32_t addrs, flags;
	uint16_t index, spare1;
	int32_t metric;
};
struct ifa_msghdrl {
	uint16_t msglen;
	uint8_t version, type;
	int32_t addrs, flags;
	uint16_t index, spare1, len, data_off;
	int32_t metric;
	struct if_data data;
};
struct ifma_msghdr {
	uint16_t msglen;
	uint8_t version, type;
	int32_t addrs, flags;
	uint16_t index, spare1;
};
AT(rt_metrics, hopcount, 16); AT(rt_metrics, pksent, 72); AT(rt_metrics, weight, 80); AT(rt_metrics, nhidx, 88);
AT(if_data, link_state, 4); AT(if_data, datalen, 6); AT(if_data, mtu, 8); AT(if_data, baudrate, 16);
AT(if_data, ipackets, 24); AT(if_data, iqdrops, 96); AT(if_data, oqdrops, 104); AT(if_data, noproto, 112);
AT(if_data, epoch, 128); AT(if_data, lastchange, 136); SIZE(if_data, 152);
AT(if_msghdr, addrs, 4); AT(if_msghdr, index, 12); AT(if_msghdr, data, 16); SIZE(if_msghdr, 168);
AT(if_msghdrl, data, 24); SIZE(if_msghdrl, 176); AT(ifa_msghdrl, metric, 20); AT(ifa_msghdrl, data, 24); SIZE(ifa_msghdrl, 176);
AT(ifa_msghdr, metric, 16); SIZE(ifa_msghdr, 20); SIZE(ifma_msghdr, 16);
#else
struct rt_metrics {
	u_long locks, mtu, pksent, expire, sendpipe, ssthresh, rtt, rttvar, recvpipe, hopcount;
	uint16_t mssopt, pad;
	u_long msl, iwmaxsegs, iwcapsegs;
};
struct if_data {
	uint8_t type, physical, addrlen, hdrlen, recvquota, xmitquota;
	u_long mtu, metric, link_state;
	uint64_t baudrate;
	u_long ipackets, ierrors, opackets, oerrors, collisions, ibytes, obytes, imcasts, omcasts, iqdrops, noproto,
	    hwassist, oqdrops;
	struct timeval64 lastchange;
};
struct if_msghdr {
	uint16_t msglen;
	uint8_t version, type;
	uint16_t index;
	int32_t flags, addrs;
	struct if_data data;
};
struct ifa_msghdr {
	uint16_t msglen;
	uint8_t version, type;
	uint16_t index;
	int32_t flags, addrs, addrflags, metric;
};
struct ifma_msghdr {
	uint16_t msglen;
	uint8_t version, type;
	uint16_t index;
	int32_t flags, addrs;
};
AT(rt_metrics, hopcount, 72); AT(rt_metrics, pksent, 16); AT(rt_metrics, mssopt, 80); AT(rt_metrics, msl, 88);
AT(if_data, mtu, 8); AT(if_data, link_state, 24); AT(if_data, baudrate, 32); AT(if_data, ipackets, 40);
AT(if_data, noproto, 120); AT(if_data, oqdrops, 136); AT(if_data, lastchange, 144); SIZE(if_data, 160);
AT(if_msghdr, index, 4); AT(if_msghdr, addrs, 12); AT(if_msghdr, data, 16); SIZE(if_msghdr, 176);
AT(ifa_msghdr, addrflags, 16); AT(ifa_msghdr, metric, 20); SIZE(ifa_msghdr, 24); SIZE(ifma_msghdr, 16);
#endif

struct rt_msghdr {
	uint16_t msglen;
	uint8_t version, type;
	uint16_t index, spare1;
	int32_t flags, addrs, pid, seq, error, use; // use: fmask of FreeBSD
	u_long inits;
	struct rt_metrics rmx;
};
struct if_announcemsghdr {
	uint16_t msglen;
	uint8_t version, type;
	uint16_t index;
	char name[16];
	uint16_t what;
};
struct sockaddr_dl { uint8_t len, family; uint16_t index; uint8_t type, nlen, alen, slen; char data[46]; };
SIZE(rt_metrics, 112);
AT(rt_msghdr, flags, 8); AT(rt_msghdr, error, 24); AT(rt_msghdr, inits, 32); AT(rt_msghdr, rmx, 40); SIZE(rt_msghdr, 152);
AT(if_announcemsghdr, name, 6); AT(if_announcemsghdr, what, 22); SIZE(if_announcemsghdr, 24);
AT(sockaddr_dl, data, 8);

static void hex(const uint8_t *p, size_t n) { for (size_t i = 0; i < n; i++) printf("%02x", p[i]); }
static unsigned be16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static unsigned be32(const uint8_t *p) { return be16(p) << 16 | be16(p + 2); }

static void print_sockaddr(int i, const uint8_t *sa) {
	size_t len = sa[0];
	int mask = i == 2 || i == 3;
	printf("addr %d ", i);
	if (len == 16 && sa[1] == 2) {
		printf("in "); hex(sa + 4, 4); printf(" port %u\n", be16(sa + 2));
	} else if (len == 28 && sa[1] == 28) {
		uint32_t scope;
		memcpy(&scope, sa + 24, 4);
		printf("in6 "); hex(sa + 8, 16); printf(" port %u scope %u\n", be16(sa + 2), scope);
	} else if (len >= 8 && sa[1] == 18 && !mask) {
		struct sockaddr_dl dl;
		memset(&dl, 0, sizeof dl);
		memcpy(&dl, sa, len < sizeof dl ? len : sizeof dl);
		printf("dl index %u type %u name %.*s addr ", dl.index, dl.type, dl.nlen, dl.data);
		hex((uint8_t *)dl.data + dl.nlen, dl.alen);
		printf("\n");
	} else if (len == 16 && sa[1] == 34) {
		uint16_t op;
		memcpy(&op, sa + 2, 2);
		printf("mpls op %u label %u\n", op, be32(sa + 4));
	} else if (len == 16 && (sa[1] == 23 || sa[1] == 6)) {
		printf("ipx family %u net %x host ", sa[1], be32(sa + 2)); hex(sa + 6, 6); printf(" port %x\n", be16(sa + 12));
	} else if (len == 16 && sa[1] == 16) {
		printf("at net %u node %u port %u\n", be16(sa + 4), sa[6], sa[2]);
	} else if (len >= 2 && sa[1] == 1 && !mask) {
		printf("un %.*s\n", (int)len - 2, sa + 2);
	} else {
		printf("raw "); hex(sa, len); printf("\n");
	}
}

static void print_addrs(const uint8_t *p, const uint8_t *end, unsigned addrs) {
	for (int i = 0; i < 11; i++) {
		if (!(addrs & 1u << i) || p >= end)
			continue;
		print_sockaddr(i, p);
		p += *p ? (*p + 7u) & ~7u : 8;
	}
}

static void print_data(const struct if_data *d) {
	printf("if_data type %u physical %u addrlen %u hdrlen %u link_state %u", d->type, d->physical, d->addrlen, d->hdrlen,
	    (unsigned)d->link_state);
#ifdef FREEBSD
	printf(" vhid %u epoch %lu datalen %u", d->vhid, (u_long)d->epoch, d->datalen);
#else
	printf(" recvquota %u xmitquota %u", d->recvquota, d->xmitquota);
#endif
	printf(" mtu %lu metric %lu baudrate %lu\n", (u_long)d->mtu, (u_long)d->metric, (u_long)d->baudrate);
	printf("ip %lu ie %lu op %lu oe %lu colls %lu ib %lu ob %lu imc %lu omc %lu iqd %lu oqd %lu noproto %lu hwassist %lu "
	       "lastchange %ld.%ld\n", (u_long)d->ipackets, (u_long)d->ierrors, (u_long)d->opackets, (u_long)d->oerrors,
	    (u_long)d->collisions, (u_long)d->ibytes, (u_long)d->obytes, (u_long)d->imcasts, (u_long)d->omcasts,
	    (u_long)d->iqdrops, (u_long)d->oqdrops, (u_long)d->noproto, (u_long)d->hwassist, (long)d->lastchange.tv_sec,
	    (long)d->lastchange.tv_usec);
}

int main(int argc, char **argv) {
	static union { uint8_t b[65536]; struct rt_msghdr rtm; struct if_msghdr ifm; struct ifa_msghdr ifam;
		struct ifma_msghdr ifmam; struct if_announcemsghdr ifan; } u;
	size_t n = fread(u.b, 1, sizeof u.b, stdin);
	const uint8_t *end = u.b + u.rtm.msglen;
	(void)argv;
	if (n != u.rtm.msglen)
		return 1;
	switch (u.rtm.type) {
	case 0xc: case 0xd:
		printf("version %u type %u index %u\nflags 0x%x metric ", u.rtm.version, u.rtm.type, u.ifam.index, u.ifam.flags);
#ifdef FREEBSD
		if (argc > 1) {
			const struct ifa_msghdrl *l = (const void *)u.b;
			printf("%d\n", l->metric);
			print_data((const void *)(u.b + l->data_off));
			print_addrs(u.b + l->len, end, l->addrs);
			break;
		}
		printf("%d\n", u.ifam.metric);
#else
		printf("%d addrflags 0x%x\n", u.ifam.metric, u.ifam.addrflags);
#endif
		print_addrs(u.b + sizeof u.ifam, end, u.ifam.addrs);
		break;
	case 0xe:
		printf("version %u type %u index %u\nflags 0x%x\n", u.rtm.version, u.rtm.type, u.ifm.index, u.ifm.flags);
#ifdef FREEBSD
		if (argc > 1) {
			const struct if_msghdrl *l = (const void *)u.b;
			print_data((const void *)(u.b + l->data_off));
			print_addrs(u.b + l->len, end, l->addrs);
			break;
		}
#endif
		print_data(&u.ifm.data);
		print_addrs(u.b + sizeof u.ifm, end, u.ifm.addrs);
		break;
	case 0xf: case 0x10:
		printf("version %u type %u index %u\nflags 0x%x\n", u.rtm.version, u.rtm.type, u.ifmam.index, u.ifmam.flags);
		print_addrs(u.b + sizeof u.ifmam, end, u.ifmam.addrs);
		break;
	case 0x11: case 0x12:
		printf("version %u type %u index %u\nname %s what %u rest ", u.rtm.version, u.rtm.type, u.ifan.index, u.ifan.name, u.ifan.what);
		hex(u.b + sizeof u.ifan, n - sizeof u.ifan);
		printf("\n");
		break;
	default:
		printf("version %u type %u index %u\n", u.rtm.version, u.rtm.type, u.rtm.index);
		printf("flags 0x%x pid %d seq %d errno %d use %d inits 0x%lx\n", u.rtm.flags, u.rtm.pid, u.rtm.seq, u.rtm.error, u.rtm.use, u.rtm.inits);
		printf("locks 0x%lx mtu %lu hopcount %lu expire %lu recvpipe %lu sendpipe %lu ssthresh %lu rtt %lu rttvar %lu pksent %lu",
		    u.rtm.rmx.locks, u.rtm.rmx.mtu, u.rtm.rmx.hopcount, u.rtm.rmx.expire, u.rtm.rmx.recvpipe, u.rtm.rmx.sendpipe,
		    u.rtm.rmx.ssthresh, u.rtm.rmx.rtt, u.rtm.rmx.rttvar, u.rtm.rmx.pksent);
#ifdef FREEBSD
		printf(" weight %lu nhidx %lu\n", u.rtm.rmx.weight, u.rtm.rmx.nhidx);
#else
		printf(" mssopt %u msl %lu iwmaxsegs %lu iwcapsegs %lu\n", u.rtm.rmx.mssopt, u.rtm.rmx.msl, u.rtm.rmx.iwmaxsegs, u.rtm.rmx.iwcapsegs);
#endif
		print_addrs(u.b + sizeof u.rtm, end, u.rtm.addrs);
	}
	return 0;
}
