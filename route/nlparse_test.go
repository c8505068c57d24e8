package route

import (
	"encoding/binary"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// payload returns what follows the header of a request.
func payload(req *nl.NetlinkRequest) []byte { return req.Serialize()[unix.SizeofNlMsghdr:] }

func routePayload(r linuxRoute) []byte {
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, 0)
	addRoute(req, r, r.scope)
	return payload(req)
}

func sampleRoutes() []linuxRoute {
	hop := func(gateway string, index, weight int) linuxHop {
		return linuxHop{ifindex: index, gateway: mustAddr(gateway), weight: weight}
	}
	return []linuxRoute{
		{dst: mustPrefix("0.0.0.0/0"), table: 254, protocol: 3, kind: unix.RTN_UNICAST, hops: []linuxHop{hop("192.0.2.2", 2, 1)}},
		{dst: mustPrefix("10.1.0.0/16"), table: 254, protocol: Protocol, kind: unix.RTN_UNICAST, priority: 7, mtu: 1400,
			prefsrc: mustAddr("192.0.2.1"), hops: []linuxHop{hop("2001:db8::1", 3, 1)}},
		{dst: mustPrefix("10.2.0.0/16"), table: 254, protocol: 4, kind: unix.RTN_BLACKHOLE},
		{dst: mustPrefix("2001:db8::/32"), table: 254, protocol: 186, kind: unix.RTN_UNICAST,
			hops: []linuxHop{hop("fe80::1", 2, 3), hop("fe80::2", 3, 1)}},
		{dst: mustPrefix("192.0.2.0/24"), table: 254, protocol: 2, scope: unix.RT_SCOPE_LINK, kind: unix.RTN_UNICAST,
			hops: []linuxHop{hop("", 2, 1)}},
	}
}

// What is sent to the kernel reads back as the same.
func TestRouteRoundTrip(t *testing.T) {
	for _, want := range sampleRoutes() {
		got, err := parseRoute(routePayload(want))
		if err != nil {
			t.Errorf("%s: %v", want.dst, err)
			continue
		}
		if got.dst != want.dst || got.priority != want.priority || got.mtu != want.mtu || got.prefsrc != want.prefsrc ||
			got.kind != want.kind || got.protocol != want.protocol || got.scope != want.scope || len(got.hops) != len(want.hops) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for i := range got.hops {
			if got.hops[i] != want.hops[i] {
				t.Errorf("hop %+v, want %+v", got.hops[i], want.hops[i])
			}
		}
	}
}

func neighbourPayload(n linuxNeighbour) []byte {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, 0)
	addNeighbour(req, n)
	return payload(req)
}

func TestNeighbourRoundTrip(t *testing.T) {
	for _, addr := range []string{"192.0.2.9", "2001:db8::9"} {
		want := linuxNeighbour{ifindex: 7, addr: mustAddr(addr), lladdr: []byte{2, 0, 0, 0, 0, 9}, state: unix.NUD_STALE,
			flags: unix.NTF_ROUTER, flagsExt: ntfExtManaged}
		got, err := parseNeighbour(neighbourPayload(want))
		if err != nil || !sameNeighbour(got, want) || got.addr != want.addr || got.ifindex != want.ifindex {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// Every prefix of a message is refused or read, never believed beyond its end.
func TestTruncatedMessages(t *testing.T) {
	for _, r := range sampleRoutes() {
		b := routePayload(r)
		for n := range len(b) {
			_, _ = parseRoute(b[:n:n])
		}
		lie := append([]byte(nil), b...)
		if len(lie) > unix.SizeofRtMsg+4 {
			binary.NativeEndian.PutUint16(lie[unix.SizeofRtMsg:], 0xffff)
			if _, err := parseRoute(lie); err == nil {
				t.Errorf("%s: a length beyond the end was believed", r.dst)
			}
		}
	}
}

func FuzzParseRoute(f *testing.F) {
	for _, r := range sampleRoutes() {
		f.Add(routePayload(r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRoute(b)
		if err != nil {
			return
		}
		if !r.dst.IsValid() || r.dst != r.dst.Masked() {
			t.Fatalf("destination %v", r.dst)
		}
		if p, ok := importPath(r); ok {
			rib := newRib()
			rib.importRoute(r.dst, p, false)
			again, _ := importPath(r)
			rib.importRoute(r.dst, again, false)
			if n := len(rib.nodes[r.dst].paths); n != 1 {
				t.Fatalf("%d paths of one route", n)
			}
			rib.withdraw(r.dst, again)
			if n := len(rib.nodes[r.dst].paths); n != 0 && p.owner != ownerBSD {
				t.Fatalf("%d paths after the withdrawal", n)
			}
		}
	})
}

func FuzzParseNeighbour(f *testing.F) {
	f.Add(neighbourPayload(linuxNeighbour{ifindex: 2, addr: mustAddr("192.0.2.9"), lladdr: []byte{2, 0, 0, 0, 0, 9}}))
	f.Add(neighbourPayload(linuxNeighbour{ifindex: 2, addr: mustAddr("2001:db8::9"), flagsExt: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNeighbour(b)
		if err == nil && !n.addr.IsValid() {
			t.Fatal("no address")
		}
		n.llentry()
	})
}
