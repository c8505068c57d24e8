package rtsock

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

func needRoot(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
}

func netMessage(typ api.MessageType, seq int32, dst, gateway string) (rtm.Message, map[int]rtm.Sockaddr) {
	p := prefix(dst)
	addrs := map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(p.Addr(), 0)}
	flags := api.Up | api.Static
	if p.IsSingleIP() {
		flags |= api.Host
	} else {
		addrs[rtm.Netmask] = rtm.RouteMask(rtm.FreeBSD, p)
	}
	if gateway != "" {
		flags |= api.Gateway
		addrs[rtm.Gateway] = rtm.IP(addr(gateway), 2)
	}
	return rtm.Message{Type: typ, Seq: seq, Flags: uint32(flags)}, addrs
}

// Both who writes and who listens are told what was done, in the form of their
// own system.
func TestAddIsEchoed(t *testing.T) {
	needRoot(t)
	for _, v := range []rtm.Version{rtm.FreeBSD, rtm.DragonFly} {
		t.Run(v.String(), func(t *testing.T) {
			r := newRig(t)
			writer, free, fly := r.open(v), r.open(rtm.FreeBSD), r.open(rtm.DragonFly)
			m, addrs := netMessage(api.RTMAdd, 7, "10.1.0.0/16", "192.0.2.2")
			m.Inits, m.Metrics = uint64(api.RTVMtu), rtm.Metrics{Mtu: 1400, Locks: uint64(api.RTVMtu)}
			m.Pid = 1 // overwritten with the real one
			writer.write(m, addrs)
			for _, p := range []*program{writer, free, fly} {
				got := p.read()
				want := rtm.Message{
					Version: p.v, Type: api.RTMAdd, Index: 2, Flags: uint32(api.Up | api.Gateway | api.Static | api.Done), Pid: int32(os.Getpid()), Seq: 7,
					Inits: uint64(api.RTVMtu), Metrics: rtm.Metrics{Mtu: 1400, Locks: uint64(api.RTVMtu)},
				}
				want.Addrs = [11]rtm.Sockaddr{rtm.Dst: addrs[rtm.Dst], rtm.Gateway: addrs[rtm.Gateway], rtm.Netmask: rtm.RouteMask(p.v, prefix("10.1.0.0/16"))}
				if p.v == rtm.FreeBSD {
					want.Metrics.Weight = 1
				}
				if fmt.Sprint(*got) != fmt.Sprint(want) {
					t.Errorf("%s is told\n%+v\nwant\n%+v", p.v, *got, want)
				}
				p.silent()
			}
		})
	}
}

// What a write(2) would fail with comes back in the message, and the message to
// everybody. The order of the checks is that of the kernels.
func TestErrors(t *testing.T) {
	needRoot(t)
	long := rtm.Raw(append([]byte{20, 200}, make([]byte, 18)...))
	for _, c := range []struct {
		name  string
		typ   api.MessageType
		addrs map[int]rtm.Sockaddr
		want  errno.Errno
	}{
		{"nothing", api.RTMAdd, nil, errno.EINVAL},
		{"no destination", api.RTMAdd, map[int]rtm.Sockaddr{rtm.Gateway: rtm.IP(addr("192.0.2.2"), 0)}, errno.EINVAL},
		{"a family that does not exist", api.RTMGet, map[int]rtm.Sockaddr{rtm.Dst: long}, errno.EINVAL},
		{"a gateway of such a family", api.RTMAdd, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0), rtm.Gateway: long}, errno.EINVAL},
		{"IDP", api.RTMAdd, map[int]rtm.Sockaddr{rtm.Dst: rtm.IPX{NS: true}, rtm.Gateway: rtm.IPX{NS: true}}, errno.EAFNOSUPPORT},
		{"ISO", api.RTMGet, map[int]rtm.Sockaddr{rtm.Dst: rtm.Raw{8, rtm.AFISO, 0, 0, 0, 1, 0x47, 0}}, errno.EAFNOSUPPORT},
		{"CCITT", api.RTMGet, map[int]rtm.Sockaddr{rtm.Dst: rtm.Raw{8, rtm.AFCCITT, 0, 0, 0, 0, 0, 0}}, errno.EAFNOSUPPORT},
		{"a short sockaddr_in6", api.RTMGet, map[int]rtm.Sockaddr{rtm.Dst: rtm.Raw{8, rtm.AFInet6, 0, 0, 0, 0, 0, 0}}, errno.EINVAL},
		{"add without a gateway", api.RTMAdd, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0)}, errno.EINVAL},
		{"a mask with a hole", api.RTMAdd, map[int]rtm.Sockaddr{
			rtm.Dst: rtm.IP(addr("10.0.0.0"), 0), rtm.Gateway: rtm.IP(addr("192.0.2.2"), 0), rtm.Netmask: rtm.IP(addr("255.0.255.0"), 0)}, errno.EINVAL},
		{"a gateway of IDP", api.RTMAdd, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0), rtm.Gateway: rtm.IPX{NS: true}}, errno.EINVAL},
		{"delete what is not there", api.RTMDelete, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0)}, errno.ESRCH},
		{"get", api.RTMGet, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0)}, errno.ESRCH},
		{"change", api.RTMChange, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0)}, errno.ESRCH},
		{"lock", api.RTMLock, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0)}, errno.ESRCH},
		{"a type that only the kernel sends", api.RTMMiss, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0)}, errno.EOPNOTSUPP},
		{"losing", api.RTMLosing, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.0.0.1"), 0)}, errno.EOPNOTSUPP},
		{"a gateway that is its own way", api.RTMAdd, map[int]rtm.Sockaddr{
			rtm.Dst: rtm.IP(addr("10.255.0.1"), 0), rtm.Gateway: rtm.IP(addr("10.255.0.1"), 0)}, errno.EADDRINUSE},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			writer, listener, fly := r.open(rtm.FreeBSD), r.open(rtm.FreeBSD), r.open(rtm.DragonFly)
			writer.write(rtm.Message{Type: c.typ, Seq: 5, Flags: uint32(api.Gateway)}, c.addrs)
			for _, p := range []*program{writer, listener, fly} {
				m := p.read()
				if m.Errno != int32(c.want.Number()) || m.Seq != 5 || m.Pid != int32(os.Getpid()) || m.Type != c.typ || m.Flags&uint32(api.Done) != 0 {
					t.Errorf("%s: %+v, want errno %d", p.v, m, c.want.Number())
				}
			}
			// The same from a program of DragonFly.
			want := c.want
			if want == errno.EADDRINUSE {
				want = errno.EDQUOT
			}
			fly.write(rtm.Message{Type: c.typ, Seq: 6, Flags: uint32(api.Gateway)}, c.addrs)
			if m := fly.read(); m.Errno != int32(want.Number()) || m.Seq != 6 {
				t.Errorf("DragonFly: %+v, want errno %d", m, want.Number())
			}
		})
	}
}

// What is no message at all is answered to its writer alone.
func TestMalformed(t *testing.T) {
	r := newRig(t)
	writer, listener := r.open(rtm.FreeBSD), r.open(rtm.FreeBSD)
	good, err := (&rtm.Message{Version: rtm.FreeBSD, Type: api.RTMGet, Seq: 9}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	wrong := func(at int, value byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = value
		return b
	}
	for _, c := range []struct {
		name   string
		packet []byte
		want   errno.Errno
		seq    int32
	}{
		{"one byte", []byte{1}, errno.EINVAL, 0},
		{"a header without its end", good[:151], errno.EINVAL, 9},
		{"a length that is too long", wrong(0, 0x99), errno.EINVAL, 9},
		{"version 4", wrong(2, 4), errno.EPROTONOSUPPORT, 9},
		{"version 7 on the socket of 5", wrong(2, 7), errno.EPROTONOSUPPORT, 9},
		{"more than a message can be", make([]byte, 1<<16+8), errno.EINVAL, 0},
	} {
		writer.writeRaw(c.packet)
		b := writer.readRaw()
		if len(b) != 152 || int32(binary.LittleEndian.Uint32(b[24:])) != int32(c.want.Number()) || int32(binary.LittleEndian.Uint32(b[20:])) != c.seq || b[2] != 5 {
			t.Errorf("%s: % x, want errno %d", c.name, b, c.want.Number())
		}
	}
	listener.silent()
	if s := r.server.Stats(); s.Errors != 6 || s.Written != 6 {
		t.Errorf("%+v", s)
	}
}

func TestGet(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	r.table.routes[prefix("10.1.0.0/16")] = r.table.entry(api.RouteRequest{Dst: prefix("10.1.0.0/16"), Gateway: addr("192.0.2.2")})
	p, other := r.open(rtm.FreeBSD), r.open(rtm.FreeBSD)
	p.write(rtm.Message{Type: api.RTMGet, Seq: 1}, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.1.2.3"), 0)})
	m := p.read()
	if m.Addrs[rtm.Dst] != rtm.IP(addr("10.1.0.0"), 0) || m.Addrs[rtm.Netmask] != rtm.IP(addr("255.255.0.0"), 0) || m.Addrs[rtm.Ifp] != nil || m.Addrs[rtm.Ifa] != nil {
		t.Errorf("%+v", m)
	}
	if echo := other.read(); echo.Seq != 1 {
		t.Errorf("others see %+v", echo)
	}
	// Asked for the interface, it tells interface and own address.
	p.write(rtm.Message{Type: api.RTMGet, Seq: 2}, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.1.2.3"), 0), rtm.Ifp: rtm.Link{Len: rtm.NullLink}})
	m = p.read()
	ifp, _ := m.Addrs[rtm.Ifp].(rtm.Link)
	if ifp.Name != "em0" || ifp.Index != 2 || ifp.Addr != "\x02\x00\x5e\x00\x53\x01" || m.Addrs[rtm.Ifa] != rtm.IP(addr("192.0.2.1"), 0) || m.Index != 2 {
		t.Errorf("%+v", m)
	}
	// With a mask, the prefix itself is meant.
	p.write(rtm.Message{Type: api.RTMGet, Seq: 3}, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.1.2.0"), 0), rtm.Netmask: rtm.IP(addr("255.255.255.0"), 0)})
	if m := p.read(); m.Errno != int32(errno.ESRCH.Number()) {
		t.Errorf("%+v", m)
	}
}

// The requests that messages make.
func TestRequests(t *testing.T) {
	needRoot(t)
	dst := map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.1.0.0"), 0), rtm.Netmask: rtm.IP(addr("255.255.0.0"), 0)}
	plus := func(more map[int]rtm.Sockaddr) map[int]rtm.Sockaddr {
		all := make(map[int]rtm.Sockaddr)
		for i, sa := range dst {
			all[i] = sa
		}
		for i, sa := range more {
			all[i] = sa
		}
		return all
	}
	for _, c := range []struct {
		name  string
		m     rtm.Message
		addrs map[int]rtm.Sockaddr
		want  string
	}{
		{"gateway", rtm.Message{Type: api.RTMAdd, Flags: uint32(api.Gateway | api.Static)}, plus(map[int]rtm.Sockaddr{rtm.Gateway: rtm.IP(addr("192.0.2.2"), 0)}),
			"10.1.0.0/16 gateway 192.0.2.2 flags 0x800"},
		{"link-local gateway", rtm.Message{Type: api.RTMAdd, Flags: uint32(api.Gateway)}, map[int]rtm.Sockaddr{
			rtm.Dst: rtm.IP(addr("2001:db8::"), 0), rtm.Netmask: rtm.IP(addr("ffff:ffff::"), 0), rtm.Gateway: rtm.IP(addr("fe80::1"), 2)},
			"2001:db8::/32 gateway fe80::1%em0 flags 0x0"},
		{"interface by index", rtm.Message{Type: api.RTMAdd}, plus(map[int]rtm.Sockaddr{rtm.Gateway: rtm.Link{Index: 2, Len: rtm.ShortLink}}),
			"10.1.0.0/16 interface em0 flags 0x0"},
		{"interface by name", rtm.Message{Type: api.RTMAdd}, plus(map[int]rtm.Sockaddr{rtm.Gateway: rtm.Link{Name: "vlan5"}}),
			"10.1.0.0/16 interface vlan5 flags 0x0"},
		{"interface by own address", rtm.Message{Type: api.RTMAdd}, plus(map[int]rtm.Sockaddr{rtm.Gateway: rtm.IP(addr("192.0.2.1"), 0)}),
			"10.1.0.0/16 interface 192.0.2.1 flags 0x0"},
		{"ifp and ifa", rtm.Message{Type: api.RTMAdd, Flags: uint32(api.Gateway)}, plus(map[int]rtm.Sockaddr{
			rtm.Gateway: rtm.IP(addr("192.0.2.2"), 0), rtm.Ifp: rtm.Link{Name: "em0"}, rtm.Ifa: rtm.IP(addr("192.0.2.1"), 0)}),
			"10.1.0.0/16 gateway 192.0.2.2 ifp em0 ifa 192.0.2.1 flags 0x0"},
		{"a host whose mask is ignored", rtm.Message{Type: api.RTMDelete, Flags: uint32(api.Host)}, plus(nil), "10.1.0.0/32 flags 0x0"},
		{"blackhole", rtm.Message{Type: api.RTMAdd, Flags: uint32(api.Blackhole)}, plus(map[int]rtm.Sockaddr{rtm.Gateway: rtm.IP(addr("127.0.0.1"), 0)}),
			"10.1.0.0/16 gateway 127.0.0.1 flags 0x1000"},
		{"flags of a change", rtm.Message{Type: api.RTMChange, Flags: uint32(api.Proto1), Use: int32(api.Proto1 | api.Static | api.Host)}, plus(nil),
			"10.1.0.0/16 flags 0x8000 fmask 0x8800"},
		{"mask of a radix tree", rtm.Message{Type: api.RTMDelete}, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("10.1.0.0"), 0), rtm.Netmask: rtm.Raw{6, 0xff, 0xff, 0xff, 0xff, 0xff}},
			"10.1.0.0/16 flags 0x0"},
		{"default with an empty mask", rtm.Message{Type: api.RTMDelete}, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(addr("0.0.0.0"), 0), rtm.Netmask: rtm.Raw{}}, "0.0.0.0/0 flags 0x0"},
	} {
		r := newRig(t)
		p := r.open(rtm.FreeBSD)
		p.write(c.m, c.addrs)
		p.read()
		if len(r.table.requests) != 1 {
			t.Errorf("%s: %d requests", c.name, len(r.table.requests))
			continue
		}
		req := r.table.requests[0]
		got := req.Dst.String()
		for _, part := range []struct {
			name  string
			value any
			ok    bool
		}{{"gateway", req.Gateway, req.Gateway.IsValid()}, {"interface", req.Interface, req.Interface != ""}, {"ifp", req.Ifp, req.Ifp != ""}, {"ifa", req.Ifa, req.Ifa.IsValid()}} {
			if part.ok {
				got += fmt.Sprintf(" %s %v", part.name, part.value)
			}
		}
		got += fmt.Sprintf(" flags %#x", uint32(req.Flags))
		if req.Fmask != 0 {
			got += fmt.Sprintf(" fmask %#x", uint32(req.Fmask))
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Who is not root may ask and nothing else. There is no second user in a test:
// the socket is told that it is one's.
func TestUnprivileged(t *testing.T) {
	r := newRig(t)
	r.table.routes[prefix("10.1.0.0/16")] = r.table.entry(api.RouteRequest{Dst: prefix("10.1.0.0/16"), Gateway: addr("192.0.2.2")})
	p := r.open(rtm.FreeBSD)
	for _, sock := range r.server.all() {
		sock.uid = 1000
	}
	for _, typ := range []api.MessageType{api.RTMAdd, api.RTMDelete, api.RTMChange, api.RTMLock, api.RTMMiss, 0x50} {
		m, addrs := netMessage(typ, 1, "10.2.0.0/16", "192.0.2.2")
		p.write(m, addrs)
		if b := p.readRaw(); binary.LittleEndian.Uint32(b[24:]) != uint32(errno.EPERM.Number()) {
			t.Errorf("type %d: % x", typ, b)
		}
	}
	m, addrs := netMessage(api.RTMGet, 2, "10.1.0.0/16", "")
	p.write(m, addrs)
	if m := p.read(); m.Errno != 0 || m.Flags&uint32(api.Done) == 0 {
		t.Errorf("%+v", m)
	}
	if len(r.table.requests) != 1 {
		t.Errorf("%d requests reached the table", len(r.table.requests))
	}
}

func TestMetricsAndLocks(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	p := r.open(rtm.DragonFly)
	m, addrs := netMessage(api.RTMAdd, 1, "10.1.0.0/16", "192.0.2.2")
	m.Inits, m.Metrics = uint64(api.RTVMtu|api.RTVRtt|0x100), rtm.Metrics{Mtu: 1400, Rtt: 20000, Msl: 7}
	p.write(m, addrs)
	p.read()
	if req := r.table.requests[0]; req.Metrics.Mtu != 1400 || req.Metrics.Rtt != 20000 || req.Inits != api.RTVMtu|api.RTVRtt {
		t.Errorf("%+v", req) // msl of DragonFly is not weight of FreeBSD
	}
	m.Type, m.Inits, m.Metrics = api.RTMLock, uint64(api.RTVMtu), rtm.Metrics{Mtu: 9, Locks: uint64(api.RTVMtu)}
	p.write(m, addrs)
	if got := p.read(); got.Type != api.RTMLock || got.Metrics.Mtu != 1400 || got.Metrics.Locks != uint64(api.RTVMtu) {
		t.Errorf("%+v", got)
	}
}

func TestNeighbours(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	p := r.open(rtm.FreeBSD)
	m := rtm.Message{Type: api.RTMAdd, Seq: 1, Flags: uint32(api.Host | api.Static | api.Llinfo)}
	dst := rtm.IP(addr("192.0.2.9"), 0)
	p.write(m, map[int]rtm.Sockaddr{rtm.Dst: dst, rtm.Gateway: rtm.Link{Index: 2, Addr: "\x02\x00\x00\x00\x00\x09"}})
	if got := p.read(); got.Errno != 0 || got.Flags&uint32(api.Done) == 0 {
		t.Errorf("add: %+v", got)
	}
	m.Type = api.RTMGet
	p.write(m, map[int]rtm.Sockaddr{rtm.Dst: dst})
	if link, _ := p.read().Addrs[rtm.Gateway].(rtm.Link); link.Addr != "\x02\x00\x00\x00\x00\x09" || link.Index != 2 {
		t.Errorf("get: %+v", link)
	}
	m.Type = api.RTMDelete
	p.write(m, map[int]rtm.Sockaddr{rtm.Dst: dst})
	p.read()
	m.Type = api.RTMAdd
	p.write(m, map[int]rtm.Sockaddr{rtm.Dst: dst, rtm.Gateway: rtm.Link{Addr: "\x02\x00\x00\x00\x00\x09"}})
	if got := p.read(); got.Errno != int32(errno.EINVAL.Number()) {
		t.Errorf("a link without an index: %+v", got)
	}
	if len(r.table.neighbours) != 0 {
		t.Errorf("%+v", r.table.neighbours)
	}
}

// The events of interfaces, in both systems' form.
func TestEvents(t *testing.T) {
	r := newRig(t)
	free, fly := r.open(rtm.FreeBSD), r.open(rtm.DragonFly)
	for _, m := range []api.Message{
		{Type: api.RTMIfannounce, Link: api.Link{Index: 5, Name: "vlan5"}},
		{Type: api.RTMIfinfo, Link: em0},
		{Type: api.RTMNewaddr, Link: em0, Addr: prefix("192.0.2.1/24"), Brd: addr("192.0.2.255")},
		{Type: api.RTMNewmaddr, Link: em0, Addr: prefix("224.0.0.251/32")},
		{Type: api.RTMAdd, Flags: api.Up | api.Host | api.Llinfo | api.Done, Dst: prefix("192.0.2.9/32"), Link: api.Link{Index: 2, Name: "em0", Lladdr: "02:00:00:00:00:09"}},
		{Type: api.RTMMiss, Flags: api.Done, Dst: prefix("203.0.113.1/32")},
		{Type: api.RTMRedirect, Errno: api.ENETUNREACH, Dst: prefix("203.0.113.1/32"), Gateway: addr("198.51.100.3"), Author: addr("192.0.2.2")},
		{Type: api.RTMIfannounce, Link: api.Link{Index: 5, Name: "vlan5"}, Departure: true},
	} {
		r.table.hub.Publish(m)
	}
	for _, p := range []*program{free, fly} {
		if m := p.read(); m.Type != api.RTMIfannounce || m.Name != "vlan5" || m.Index != 5 || m.What != rtm.Arrival {
			t.Errorf("%s: %+v", p.v, m)
		}
		if m := p.read(); m.Type != api.RTMIfinfo || m.Data.Mtu != 1500 || m.Data.Ipackets != 11 || m.Data.LinkState != 2 || m.Flags != uint32(fakeInterface.Flags) {
			t.Errorf("%s: %+v", p.v, m)
		}
		m := p.read()
		if ifp, _ := m.Addrs[rtm.Ifp].(rtm.Link); m.Type != api.RTMNewaddr || ifp.Name != "em0" || m.Addrs[rtm.Ifa] != rtm.IP(addr("192.0.2.1"), 0) || m.Addrs[rtm.Brd] != rtm.IP(addr("192.0.2.255"), 0) {
			t.Errorf("%s: %+v", p.v, m)
		}
		if bits, err := rtm.MaskBits(rtm.AFInet, m.Addrs[rtm.Netmask]); bits != 24 || err != nil {
			t.Errorf("%s: mask /%d, %v", p.v, bits, err)
		}
		if m = p.read(); m.Type != api.RTMNewmaddr || m.Addrs[rtm.Gateway].(rtm.Link).Addr != "\x01\x00\x5e\x00\x00\xfb" {
			t.Errorf("%s: %+v", p.v, m)
		}
		if m = p.read(); m.Addrs[rtm.Gateway].(rtm.Link).Addr != "\x02\x00\x00\x00\x00\x09" {
			t.Errorf("%s: %+v", p.v, m)
		}
		if m = p.read(); m.Type != api.RTMMiss || m.Addrs[rtm.Gateway] != nil {
			t.Errorf("%s: %+v", p.v, m)
		}
		if m = p.read(); m.Errno != 51 || m.Addrs[rtm.Author] != rtm.IP(addr("192.0.2.2"), 0) {
			t.Errorf("%s: %+v", p.v, m)
		}
		if m = p.read(); m.What != rtm.Departure {
			t.Errorf("%s: %+v", p.v, m)
		}
	}
}

// setsockopt sets an option and returns the errno.
func (p *program) setsockopt(level, name uint32, value []byte) int {
	p.t.Helper()
	b := control(p.v, TypeSetsockopt, ctlHeader)
	le.PutUint32(b[ctlLevel:], level)
	le.PutUint32(b[ctlOptname:], name)
	le.PutUint32(b[ctlOptlen:], uint32(len(value)))
	b = append(b, value...)
	le.PutUint16(b, uint16(len(b)))
	p.writeRaw(b)
	return int(le.Uint32(p.readRaw()[ctlErrno:]))
}

func number(n uint32) []byte { return le.AppendUint32(nil, n) }

func TestOptions(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	p, other := r.open(rtm.FreeBSD), r.open(rtm.FreeBSD)
	if e := p.setsockopt(solSocket, soUseloopback, number(0)); e != 0 {
		t.Fatal(e)
	}
	m, addrs := netMessage(api.RTMAdd, 1, "10.1.0.0/16", "192.0.2.2")
	p.write(m, addrs)
	other.read()
	p.silent() // its own message
	p.write(m, addrs)
	other.read()
	if m := p.read(); m.Errno != int32(errno.EEXIST.Number()) {
		t.Errorf("a failure is told all the same: %+v", m)
	}
	if e := p.setsockopt(pfRoute, optProtocol, number(rtm.AFInet6)); e != 0 {
		t.Fatal(e)
	}
	r.table.hub.Publish(api.Message{Type: api.RTMMiss, Dst: prefix("203.0.113.1/32")})
	r.table.hub.Publish(api.Message{Type: api.RTMMiss, Dst: prefix("2001:db8::1/128")})
	if m := p.read(); m.Addrs[rtm.Dst] != rtm.IP(addr("2001:db8::1"), 0) {
		t.Errorf("filtered by family: %+v", m)
	}
	p.setsockopt(pfRoute, optProtocol, number(0))
	p.setsockopt(pfRoute, optMsgfilter, number(1<<api.RTMIfannounce|1<<api.RTMMiss))
	r.table.hub.Publish(api.Message{Type: api.RTMIfinfo, Link: em0})
	r.table.hub.Publish(api.Message{Type: api.RTMIfannounce, Link: em0})
	if m := p.read(); m.Type != api.RTMIfannounce {
		t.Errorf("filtered by type: %+v", m)
	}
	misses := append(must(rtm.AppendSockaddr(nil, rtm.IP(addr("203.0.113.7"), 0))), must(rtm.AppendSockaddr(nil, rtm.IP(addr("2001:db8::7"), 0)))...)
	if e := p.setsockopt(pfRoute, optMissfilter, misses); e != 0 {
		t.Fatal(e)
	}
	for _, dst := range []string{"203.0.113.6/32", "203.0.113.7/32", "2001:db8::6/128", "2001:db8::7/128"} {
		r.table.hub.Publish(api.Message{Type: api.RTMMiss, Dst: prefix(dst)})
	}
	for _, want := range []string{"203.0.113.7", "2001:db8::7"} {
		if m := p.read(); m.Addrs[rtm.Dst] != rtm.IP(addr(want), 0) {
			t.Errorf("filtered misses: %+v", m)
		}
	}
	for _, c := range []struct {
		level, name uint32
		value       []byte
		want        errno.Errno
	}{
		{solSocket, 0x4711, number(1), errno.ENOPROTOOPT},
		{9, 1, number(1), errno.ENOPROTOOPT},
		{solSocket, soUseloopback, []byte{1}, errno.EINVAL},
		{solSocket, soSetfib, number(1), errno.EINVAL},
		{pfRoute, optProtocol, number(200), errno.EAFNOSUPPORT},
		{pfRoute, optMissfilter, []byte{40, 2}, errno.EINVAL},
		{solSocket, soRcvbuf, number(1 << 30), errno.ENOBUFS},
	} {
		if e := p.setsockopt(c.level, c.name, c.value); e != c.want.Number() {
			t.Errorf("%#x %#x: %d, want %s", c.level, c.name, e, c.want)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A listener that does not read loses its own messages, is told how many, and
// takes nothing from the others.
func TestOverflow(t *testing.T) {
	r := newRig(t)
	slow, quick := r.open(rtm.FreeBSD), r.open(rtm.FreeBSD)
	const count = 20000
	read := make(chan int)
	go func() {
		n := 0
		for n < count {
			b := make([]byte, 4096)
			quick.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := quick.conn.Read(b); err != nil {
				break
			}
			n++
		}
		read <- n
	}()
	for i := range count {
		dst := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		r.table.hub.Publish(api.Message{Type: api.RTMMiss, Dst: netip.PrefixFrom(dst, 32)})
		if i%64 == 0 {
			time.Sleep(time.Millisecond) // one that reads keeps up
		}
	}
	if n := <-read; n != count {
		t.Errorf("the quick one has %d of %d", n, count)
	}
	stats := r.server.Stats()
	if stats.Lost == 0 || stats.Lost >= count {
		t.Fatalf("%+v", stats)
	}
	got, next := 0, 0
	for {
		b := slow.readRaw()
		if api.MessageType(b[3]) == TypeOverflow {
			if e, lost := le.Uint32(b[ctlErrno:]), le.Uint64(b[ctlLost:]); e != 55 || lost != stats.Lost || int(lost) != count-got {
				t.Errorf("errno %d, %d lost of %d, %d read; server says %d", e, lost, count, got, stats.Lost)
			}
			break
		}
		m, err := rtm.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		a, _, _ := rtm.AddrOf(m.Addrs[rtm.Dst])
		if o := a.As4(); int(o[1])<<16|int(o[2])<<8|int(o[3]) != next {
			t.Fatalf("message %d is %s", next, a)
		}
		next++
		got++
	}
	// It goes on from there.
	r.table.hub.Publish(api.Message{Type: api.RTMMiss, Dst: prefix("203.0.113.1/32")})
	if m := slow.read(); m.Addrs[rtm.Dst] != rtm.IP(addr("203.0.113.1"), 0) {
		t.Errorf("%+v", m)
	}
	for _, sock := range r.server.Sockets() {
		if want := map[bool]uint64{true: stats.Lost, false: 0}[sock.ID == 1]; sock.Lost != want {
			t.Errorf("%+v, want %d lost", sock, want)
		}
	}
}

// sysctl asks for a sysctl and returns what comes, its errno and its length.
func (p *program) sysctl(oldlen uint64, name ...int32) (old []byte, errnum int, length uint64) {
	p.t.Helper()
	b := control(p.v, TypeSysctl, ctlHeader+4*len(name))
	le.PutUint32(b[ctlSeq:], 77)
	le.PutUint32(b[ctlNamelen:], uint32(len(name)))
	le.PutUint64(b[ctlOldlen:], oldlen)
	for i, n := range name {
		le.PutUint32(b[ctlHeader+4*i:], uint32(n))
	}
	p.writeRaw(b)
	for {
		piece := p.readRaw()
		if api.MessageType(piece[3]) != TypeSysctl || le.Uint32(piece[ctlSeq:]) != 77 || int(le.Uint16(piece)) != len(piece) {
			p.t.Fatalf("% x", piece[:min(len(piece), 32)])
		}
		old = append(old, piece[ctlHeader:]...)
		if le.Uint32(piece[ctlNamelen:]) == 0 {
			return old, int(le.Uint32(piece[ctlErrno:])), le.Uint64(piece[ctlOldlen:])
		}
	}
}

const anyLength = NullOld - 1

func TestDumpRoutes(t *testing.T) {
	for _, v := range []rtm.Version{rtm.FreeBSD, rtm.DragonFly} {
		t.Run(v.String(), func(t *testing.T) {
			r := newRig(t)
			want := make(map[netip.Prefix]bool)
			for i := range map[rtm.Version]int{rtm.FreeBSD: 100000, rtm.DragonFly: 5000}[v] {
				dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i >> 12), byte(i >> 4), byte(i << 4), 0}), 20+i%5)
				if want[dst.Masked()] {
					continue
				}
				want[dst.Masked()] = true
				r.table.routes[dst.Masked()] = r.table.entry(api.RouteRequest{Dst: dst.Masked(), Gateway: addr("192.0.2.2")})
			}
			for _, dst := range []string{"0.0.0.0/0", "::/0", "2001:db8::/32", "198.51.100.1/32"} {
				want[prefix(dst)] = true
				r.table.routes[prefix(dst)] = r.table.entry(api.RouteRequest{Dst: prefix(dst)})
			}
			p := r.open(v)
			old, e, length := p.sysctl(anyLength, ctlNet, pfRoute, 0, 0, netRtDump, 0)
			if e != 0 || int(length) != len(old) {
				t.Fatalf("errno %d, length %d, %d bytes", e, length, len(old))
			}
			for len(old) > 0 {
				b, rest, err := rtm.Next(old)
				if err != nil {
					t.Fatal(err)
				}
				m, err := rtm.Decode(b)
				if err != nil || len(b)%8 != 0 || m.Type != api.RTMGet || m.Pid != 0 || m.Seq != 0 {
					t.Fatalf("%v %+v", err, m)
				}
				a, _, _ := rtm.AddrOf(m.Addrs[rtm.Dst])
				bits := a.BitLen()
				if mask := m.Addrs[rtm.Netmask]; mask != nil {
					if bits, err = rtm.MaskBits(m.Addrs[rtm.Dst].Family(), mask); err != nil {
						t.Fatal(err)
					}
				}
				dst := netip.PrefixFrom(a, bits)
				if !want[dst] {
					t.Fatalf("%s twice, or not in the table", dst)
				}
				delete(want, dst)
				old = rest
			}
			if len(want) != 0 {
				t.Errorf("%d routes are missing", len(want))
			}
			// The length alone, with room for what comes meanwhile; too little room.
			if old, e, estimate := p.sysctl(NullOld, ctlNet, pfRoute, 0, 0, netRtDump, 0); e != 0 || len(old) != 0 || estimate <= length {
				t.Errorf("errno %d, %d bytes, length %d of %d", e, len(old), estimate, length)
			}
			if old, e, _ := p.sysctl(length-1, ctlNet, pfRoute, 0, 0, netRtDump, 0); e != errno.ENOMEM.Number() || len(old) != 0 {
				t.Errorf("errno %d, %d bytes", e, len(old))
			}
			if old, e, _ := p.sysctl(anyLength, ctlNet, pfRoute, 0, rtm.AFInet6, netRtFlags, int32(api.Up)); e != 0 || countMessages(t, old) != 2 {
				t.Errorf("IPv6 by flags: errno %d, %d messages", e, countMessages(t, old))
			}
		})
	}
}

func countMessages(t *testing.T, b []byte) (n int) {
	t.Helper()
	for len(b) > 0 {
		var err error
		if _, b, err = rtm.Next(b); err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestDumpOthers(t *testing.T) {
	r := newRig(t)
	r.table.neighbours = []api.Neighbour{
		{Addr: addr("192.0.2.9"), Lladdr: "02:00:00:00:00:09", Interface: em0},
		{Addr: addr("192.0.2.10"), Interface: em0},
		{Addr: addr("2001:db8:1::9"), Lladdr: "02:00:00:00:00:09", Interface: em0},
	}
	free, fly := r.open(rtm.FreeBSD), r.open(rtm.DragonFly)
	for _, c := range []struct {
		name  string
		p     *program
		mib   []int32
		errno errno.Errno
		n     int
	}{
		{"ARP", free, []int32{ctlNet, pfRoute, 0, rtm.AFInet, netRtFlags, int32(api.Llinfo)}, "", 1},
		{"ARP of DragonFly", fly, []int32{ctlNet, pfRoute, 0, rtm.AFInet, netRtFlags, int32(api.Llinfo)}, "", 1},
		{"neighbours of no family", free, []int32{ctlNet, pfRoute, 0, 0, netRtFlags, int32(api.Llinfo)}, errno.EINVAL, 0},
		{"interfaces", free, []int32{ctlNet, pfRoute, 0, 0, netRtIflist, 0}, "", 3},
		{"interfaces, IPv4", fly, []int32{ctlNet, pfRoute, 0, rtm.AFInet, netRtIflist, 0}, "", 2},
		{"interface 2", free, []int32{ctlNet, pfRoute, 0, 0, netRtIflist, 2}, "", 3},
		{"interface 3", free, []int32{ctlNet, pfRoute, 0, 0, netRtIflist, 3}, "", 0},
		{"interfaces, l", free, []int32{ctlNet, pfRoute, 0, 0, netRtIflistl, 0}, "", 3},
		{"interfaces, l, of DragonFly", fly, []int32{ctlNet, pfRoute, 0, 0, netRtIflistl, 0}, errno.EINVAL, 0},
		{"no operation", free, []int32{ctlNet, pfRoute, 0, 0, 99, 0}, errno.EINVAL, 0},
		{"a short name", free, []int32{ctlNet, pfRoute, 0, 0, netRtDump}, errno.EISDIR, 0},
		{"a long name", free, []int32{ctlNet, pfRoute, 0, 0, netRtIflist, 0, 0}, errno.ENOTDIR, 0},
		{"another table", free, []int32{ctlNet, pfRoute, 0, 0, netRtDump, 0, 1}, errno.EINVAL, 0},
		{"the first table", free, []int32{ctlNet, pfRoute, 0, 0, netRtDump, 0, 0}, "", 0},
		{"IDP", free, []int32{ctlNet, pfRoute, 0, rtm.AFNS, netRtDump, 0}, errno.EAFNOSUPPORT, 0},
		{"a family that does not exist", free, []int32{ctlNet, pfRoute, 0, 99, netRtDump, 0}, errno.EINVAL, 0},
		{"another sysctl", free, []int32{1, 1, 0, 0, 0, 0}, errno.EINVAL, 0},
	} {
		old, e, _ := c.p.sysctl(anyLength, c.mib...)
		if e != c.errno.Number() || countMessages(t, old) != c.n {
			t.Errorf("%s: errno %d, %d messages; want %d, %d", c.name, e, countMessages(t, old), c.errno.Number(), c.n)
		}
	}
	old, _, _ := free.sysctl(anyLength, ctlNet, pfRoute, 0, 0, netRtIflistl, 0)
	b, _, _ := rtm.Next(old)
	if m, err := rtm.DecodeL(b); err != nil || m.Data.Ipackets != 11 || m.Addrs[rtm.Ifp].(rtm.Link).Name != "em0" {
		t.Errorf("%v %+v", err, m)
	}
}
