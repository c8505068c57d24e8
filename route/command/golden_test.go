package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The golden files hold command lines and what they do:
//
//	$ route add default 192.0.2.2       the command line
//	> add {"destination": ...}          the request it makes
//	add net default: gateway 192.0.2.2  standard output
//	! route: ...                        standard error
//	[1]                                 the exit code, if it is not 0
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				switch {
				case strings.HasPrefix(line, "# "), line == "\n" && strings.HasSuffix(got.String(), "\n\n"):
					got.WriteString(line)
				case strings.HasPrefix(line, "$ "):
					if s := got.String(); s != "" && !strings.HasPrefix(lastLine(s), "# ") {
						got.WriteString("\n")
					}
					got.WriteString(line)
					got.WriteString(runLine(t, strings.TrimSpace(line[2:])))
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != string(want) {
				t.Errorf("%s differs; run go test -update and look at the difference\n%s", file, difference(string(want), got.String()))
			}
		})
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	return lines[len(lines)-1]
}

// difference shows the first lines that differ.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := 0; i < len(w) && i < len(g); i++ {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d:\nwant %q\ngot  %q", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// runLine runs one command line against the fake backend.
func runLine(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	var out strings.Builder
	backend := &fakeBackend{log: &out}
	var stderr bytes.Buffer
	root := true
	if words[0] == "user" {
		root, words = false, words[1:]
	}
	env := &Env{
		Backend:     backend,
		Stdout:      &out,
		Stderr:      prefixWriter{&stderr},
		Root:        root,
		Resolver:    fakeResolver{},
		Domain:      "example.org",
		Now:         func() time.Time { return fakeNow },
		Socket:      func(context.Context) (io.ReadCloser, error) { return &fakeSocket{packets: fakePackets(t)}, nil },
		IndexToName: func(index int) (string, bool) { return "em0", index == 2 },
		Open: func(name string) (io.ReadCloser, error) {
			if name != "/etc/ethers" {
				return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("No such file or directory")}
			}
			return io.NopCloser(strings.NewReader("# comment\nbox 02:0:0:0:0:11 temp\n192.0.2.12\n192.0.2.13 02:00:00:00:00:13 # static\n")), nil
		},
	}
	run := map[string]func(context.Context, *Env, []string) int{
		"route": Route, "netstat": NetstatRoutes, "arp": Arp, "ndp": Ndp,
	}[words[0]]
	if run == nil {
		t.Fatalf("no command %q", words[0])
	}
	env.Stderr = prefixWriter{&out}
	code := run(context.Background(), env, words[1:])
	if code != 0 {
		fmt.Fprintf(&out, "[%d]\n", code)
	}
	return out.String()
}

// prefixWriter marks the lines of standard error.
type prefixWriter struct{ w io.Writer }

func (p prefixWriter) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		io.WriteString(p.w, "! "+line)
	}
	return len(b), nil
}

var fakeNow = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

type fakeResolver struct{}

func (fakeResolver) Host(name string) ([]netip.Addr, error) {
	switch name {
	case "box":
		return []netip.Addr{addr("192.0.2.11")}, nil
	case "pair":
		return []netip.Addr{addr("172.31.0.1"), addr("192.0.2.2")}, nil
	case "box6":
		return []netip.Addr{addr("2001:db8:1::11")}, nil
	}
	return nil, errors.New("no such host")
}

func (fakeResolver) Addr(a netip.Addr) (string, bool) {
	switch a.WithZone("") {
	case addr("192.0.2.2"):
		return "gw.example.org", true
	case addr("198.51.100.7"):
		return "a-very-long-name.example.net", true
	}
	return "", false
}

func addr(s string) netip.Addr        { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix    { return netip.MustParsePrefix(s) }
func linkTo(i int, n string) api.Link { return api.Link{Index: i, Name: n} }

// fakeBackend answers from fixed tables and logs what it is asked to change.
type fakeBackend struct{ log io.Writer }

func (b *fakeBackend) note(what string, v any) {
	text, _ := json.Marshal(v)
	fmt.Fprintf(b.log, "> %s %s\n", what, text)
}

var fakeRoutes = []api.Rtentry{
	{Dst: prefix("0.0.0.0/0"), Gateway: addr("192.0.2.2"), Flags: api.Up | api.Gateway | api.Static,
		Interface: linkTo(2, "em0"), Nexthop: 5, Metrics: api.Metrics{Mtu: 1500}, Origin: "dhcp", Priority: 100, Mirrored: true},
	{Dst: prefix("10.1.0.0/16"), Gateway: addr("198.51.100.7"), Flags: api.Up | api.Gateway | api.Static | api.Proto1,
		Interface: linkTo(3, "em1"), Nexthop: 6, Metrics: api.Metrics{Mtu: 1400, Expire: fakeNow.Unix() + 90}, Origin: "bsdnet", Mirrored: true},
	{Dst: prefix("10.2.0.0/16"), Gateway: addr("127.0.0.1"), Flags: api.Up | api.Gateway | api.Static | api.Blackhole,
		Interface: linkTo(1, "lo0"), Nexthop: 7, Metrics: api.Metrics{Mtu: 65536}, Origin: "bsdnet", Mirrored: true},
	{Dst: prefix("127.0.0.1/32"), Flags: api.Up | api.Host | api.Pinned, Interface: linkTo(1, "lo0"), Nexthop: 1,
		Metrics: api.Metrics{Mtu: 65536}, Origin: "interface", Mirrored: true},
	{Dst: prefix("192.0.2.0/24"), Flags: api.Up | api.Pinned, Interface: linkTo(2, "em0"), Nexthop: 3,
		Metrics: api.Metrics{Mtu: 1500}, Origin: "kernel", Mirrored: true},
	{Dst: prefix("192.0.2.1/32"), Flags: api.Up | api.Host | api.Static | api.Pinned, Interface: api.Link{Index: 2, Name: "lo0"}, Nexthop: 2,
		Metrics: api.Metrics{Mtu: 65536}, Origin: "interface", Mirrored: true},
	{Dst: prefix("::/0"), Gateway: addr("fe80::1"), Flags: api.Up | api.Gateway, Interface: linkTo(2, "em0"), Nexthop: 9,
		Metrics: api.Metrics{Mtu: 1500}, Origin: "ra", Priority: 1024, Mirrored: true},
	{Dst: prefix("2001:db8:1::/64"), Flags: api.Up | api.Pinned, Interface: linkTo(2, "em0"), Nexthop: 3,
		Metrics: api.Metrics{Mtu: 1500}, Origin: "kernel", Mirrored: true},
	{Dst: prefix("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128"), Gateway: addr("2001:db8:1::2"), Flags: api.Up | api.Gateway | api.Host | api.Static,
		Interface: linkTo(4, "averylongname0"), Nexthop: 10, Metrics: api.Metrics{Mtu: 1500}, Origin: "bsdnet"},
	{Dst: prefix("fe80::/64"), Flags: api.Up | api.Pinned, Interface: linkTo(2, "em0"), Nexthop: 3,
		Metrics: api.Metrics{Mtu: 1500}, Origin: "kernel", Mirrored: true},
}

func (b *fakeBackend) alter(what string, req api.RouteRequest) (api.Rtentry, error) {
	b.note(what, req)
	switch {
	case req.Fib != 0:
		return api.Rtentry{}, api.Errorf(api.EINVAL, "")
	case req.Interface == "nosuch0" || req.Ifp == "nosuch0":
		return api.Rtentry{}, api.Errorf(api.ENXIO, "interface 'nosuch0' does not exist")
	case req.Gateway == addr("172.31.0.1"):
		return api.Rtentry{}, &api.Error{Errno: api.ENETUNREACH}
	case req.Dst == prefix("10.8.0.0/16"):
		return api.Rtentry{}, errors.New("dial unix /run/bsdnet/control.sock: no such file or directory")
	case req.Dst.Addr() == req.Gateway:
		return api.Rtentry{}, &api.Error{Errno: api.EADDRINUSE}
	case req.Dst == prefix("10.7.0.0/16"):
		return api.Rtentry{}, &api.Error{Errno: api.ENOBUFS}
	case what == "add" && req.Dst == prefix("10.1.0.0/16"):
		return api.Rtentry{}, &api.Error{Errno: api.EEXIST}
	case what != "add" && req.Dst == prefix("10.9.0.0/16"):
		return api.Rtentry{}, &api.Error{Errno: api.ESRCH}
	}
	return api.Rtentry{}, nil
}

func (b *fakeBackend) RouteAdd(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	return b.alter("add", req)
}

func (b *fakeBackend) RouteChange(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	return b.alter("change", req)
}

func (b *fakeBackend) RouteDelete(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	return b.alter("delete", req)
}

func (b *fakeBackend) RouteGet(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	b.note("get", req)
	var best *api.Rtentry
	for i, e := range fakeRoutes {
		if req.Exact && e.Dst == req.Dst || !req.Exact && e.Dst.Contains(req.Dst.Addr()) && (best == nil || e.Dst.Bits() > best.Dst.Bits()) {
			best = &fakeRoutes[i]
		}
	}
	if best == nil || req.Dst.Addr() == addr("203.0.113.1") {
		return api.Rtentry{}, &api.Error{Errno: api.ESRCH}
	}
	return *best, nil
}

func (b *fakeBackend) RouteFlush(_ context.Context, filter api.RouteFilter) ([]api.Rtentry, error) {
	b.note("flush", filter)
	var flushed []api.Rtentry
	for _, e := range fakeRoutes {
		if e.Flags&api.Gateway != 0 && filter.Family.Has(e.Dst.Addr()) {
			flushed = append(flushed, e)
		}
	}
	return flushed, nil
}

func (b *fakeBackend) Routes(_ context.Context, filter api.RouteFilter) ([]api.Rtentry, error) {
	var entries []api.Rtentry
	for _, e := range fakeRoutes {
		if filter.Family.Has(e.Dst.Addr()) {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

var fakeMessages = []api.Message{
	{Type: api.RTMIfannounce, Link: linkTo(5, "vlan5")},
	{Type: api.RTMIfinfo, Link: api.Link{Index: 2, Name: "em0", Lladdr: "02:00:5e:00:53:01"}, LinkState: api.LinkUp,
		Ifflags: api.IffUp | api.IffBroadcast | api.IffRunning | api.IffSimplex | api.IffMulticast},
	{Type: api.RTMNewaddr, Link: api.Link{Index: 2, Name: "em0", Lladdr: "02:00:5e:00:53:01"},
		Addr: prefix("192.0.2.1/24"), Brd: addr("192.0.2.255")},
	{Type: api.RTMAdd, Pid: 4711, Seq: 1, Flags: api.Up | api.Gateway | api.Done | api.Static,
		Dst: prefix("10.1.0.0/16"), Gateway: addr("192.0.2.2"), Metrics: api.Metrics{Mtu: 1400}, Inits: api.RTVMtu},
	{Type: api.RTMAdd, Flags: api.Up | api.Host | api.Done | api.Llinfo, Dst: prefix("192.0.2.9/32"),
		Link: api.Link{Index: 2, Name: "em0", Lladdr: "02:00:00:00:00:09"}},
	{Type: api.RTMChange, Flags: api.Up | api.Done, Dst: prefix("2001:db8:1::/64"), Link: linkTo(2, "em0")},
	{Type: api.RTMMiss, Flags: api.Done, Dst: prefix("203.0.113.1/32")},
	{Type: api.RTMRedirect, Flags: api.Up | api.Gateway | api.Host | api.Dynamic | api.Done, Dst: prefix("203.0.113.1/32"),
		Gateway: addr("192.0.2.3"), Author: addr("192.0.2.2")},
	{Type: api.RTMRedirect, Errno: api.ENETUNREACH, Dst: prefix("203.0.113.1/32"), Gateway: addr("198.51.100.3"), Author: addr("192.0.2.2")},
	{Type: api.RTMDelete, Flags: api.Up | api.Gateway | api.Done, Dst: prefix("::/0"), Gateway: addr("fe80::1"), Link: linkTo(2, "em0")},
	{Type: api.RTMDeladdr, Link: linkTo(2, "em0"), Addr: prefix("2001:db8:1::1/64")},
	{Type: api.RTMIfannounce, Link: linkTo(5, "vlan5"), Departure: true},
	{Type: 0x55},
}

func (b *fakeBackend) Monitor(_ context.Context, notify func(api.Message) error) error {
	for _, m := range fakeMessages {
		m.Time = fakeNow
		if err := notify(m); err != nil {
			return err
		}
	}
	return nil
}

// fakeSocket is a routing socket that gives what it holds and ends.
type fakeSocket struct{ packets [][]byte }

func (s *fakeSocket) Read(b []byte) (int, error) {
	if len(s.packets) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.packets[0])
	s.packets = s.packets[1:]
	return n, nil
}

func (s *fakeSocket) Close() error { return nil }

// fakePackets are messages of every kind, as the kernel of FreeBSD sends them.
func fakePackets(t testing.TB) [][]byte {
	t.Helper()
	em0 := rtm.Link{Index: 2, Type: 6, Name: "em0", Addr: "\x02\x00\x5e\x00\x53\x01"}
	ip := func(s string) rtm.Sockaddr { return rtm.IP(addr(s), 2) }
	mask := func(s string) rtm.Sockaddr { return rtm.RouteMask(rtm.FreeBSD, prefix(s)) }
	link := rtm.Link{Index: 2, Len: rtm.ShortLink}
	route := func(typ api.MessageType, flags api.Flags) rtm.Message {
		return rtm.Message{Type: typ, Index: 2, Flags: uint32(flags)}
	}
	echo := route(api.RTMAdd, api.Up|api.Gateway|api.Done|api.Static)
	echo.Pid, echo.Seq, echo.Inits = 4711, 1, uint64(api.RTVMtu|api.RTVExpire)
	echo.Metrics = rtm.Metrics{Mtu: 1400, Locks: uint64(api.RTVMtu)}
	failed := route(api.RTMDelete, api.Up|api.Gateway|api.Pinned)
	failed.Pid, failed.Seq, failed.Errno = 4712, 2, 3
	refused := route(api.RTMRedirect, 0)
	refused.Errno = 51
	var packets [][]byte
	for _, c := range []struct {
		m     rtm.Message
		addrs map[int]rtm.Sockaddr
	}{
		{rtm.Message{Type: api.RTMIfannounce, Index: 5, Name: "vlan5"}, nil},
		{rtm.Message{Type: api.RTMIfinfo, Index: 2, Flags: 0x8843 | 0x200, Data: rtm.IfData{LinkState: 2}}, nil},
		{rtm.Message{Type: api.RTMIfinfo, Index: 2, Flags: 0x8802, Data: rtm.IfData{LinkState: 1}}, map[int]rtm.Sockaddr{rtm.Ifp: em0}},
		{rtm.Message{Type: api.RTMNewaddr, Index: 2, Flags: 1}, map[int]rtm.Sockaddr{rtm.Netmask: mask("192.0.2.0/24"), rtm.Ifp: em0, rtm.Ifa: ip("192.0.2.1"), rtm.Brd: ip("192.0.2.255")}},
		{echo, map[int]rtm.Sockaddr{rtm.Dst: ip("10.1.0.0"), rtm.Gateway: ip("192.0.2.2"), rtm.Netmask: mask("10.1.0.0/16")}},
		{failed, map[int]rtm.Sockaddr{rtm.Dst: ip("10.9.0.0"), rtm.Netmask: mask("10.9.0.0/16")}},
		{route(api.RTMAdd, api.Up|api.Host|api.Done|api.Llinfo), map[int]rtm.Sockaddr{rtm.Dst: ip("192.0.2.9"), rtm.Gateway: rtm.Link{Index: 2, Type: 6, Addr: "\x02\x00\x00\x00\x00\x09", Len: rtm.NullLink}}},
		{route(api.RTMChange, api.Up|api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("2001:db8:1::"), rtm.Gateway: link, rtm.Netmask: mask("2001:db8:1::/64")}},
		{route(api.RTMGet, api.Up|api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("192.0.2.0"), rtm.Gateway: link, rtm.Netmask: mask("192.0.2.0/24"), rtm.Ifp: em0, rtm.Ifa: ip("192.0.2.1")}},
		{route(api.RTMLosing, api.Up|api.Gateway|api.Dynamic|api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("203.0.113.1"), rtm.Gateway: ip("192.0.2.2")}},
		{route(api.RTMRedirect, api.Up|api.Gateway|api.Host|api.Dynamic|api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("203.0.113.1"), rtm.Gateway: ip("192.0.2.3"), rtm.Author: ip("192.0.2.2")}},
		{refused, map[int]rtm.Sockaddr{rtm.Dst: ip("203.0.113.1"), rtm.Gateway: ip("198.51.100.3"), rtm.Author: ip("192.0.2.2")}},
		{route(api.RTMMiss, api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("203.0.113.1")}},
		{route(api.RTMLock, api.Up|api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("10.1.0.0"), rtm.Gateway: ip("192.0.2.2"), rtm.Netmask: mask("10.1.0.0/16")}},
		{route(api.RTMResolve, api.Up|api.Host|api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("203.0.113.2")}},
		{route(api.RTMDelete, api.Up|api.Gateway|api.Done), map[int]rtm.Sockaddr{rtm.Dst: ip("::"), rtm.Gateway: ip("fe80::1"), rtm.Netmask: mask("::/0")}},
		{rtm.Message{Type: api.RTMDeladdr, Index: 2}, map[int]rtm.Sockaddr{rtm.Netmask: mask("2001:db8:1::/64"), rtm.Ifp: em0, rtm.Ifa: ip("2001:db8:1::1")}},
		{rtm.Message{Type: api.RTMNewmaddr, Index: 2}, map[int]rtm.Sockaddr{rtm.Gateway: rtm.Link{Index: 2, Type: 6, Addr: "\x01\x00\x5e\x00\x00\xfb", Len: rtm.NullLink}, rtm.Ifp: em0, rtm.Ifa: ip("224.0.0.251")}},
		{rtm.Message{Type: api.RTMDelmaddr, Index: 2}, map[int]rtm.Sockaddr{rtm.Ifp: em0, rtm.Ifa: ip("ff02::fb")}},
		{rtm.Message{Type: api.RTMIfannounce, Index: 5, Name: "vlan5", What: rtm.Departure}, nil},
		{rtm.Message{Type: api.RTMIeee80211, Index: 3, Name: "wlan0", What: 101, Event: []byte{1, 2, 3, 4, 5, 6}}, nil},
		{route(api.RTMAdd, 0), map[int]rtm.Sockaddr{rtm.Dst: rtm.IPX{Net: 0x01020304, Port: 5}, rtm.Netmask: rtm.Raw{}}},
		{route(api.RTMMiss, 0), nil},
	} {
		c.m.Version = rtm.FreeBSD
		for i, sa := range c.addrs {
			c.m.Addrs[i] = sa
		}
		b, err := c.m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, b)
	}
	return append(packets,
		[]byte{8, 0, 9, 1, 0, 0, 0, 0}, []byte{8, 0, 5, 0x55, 0, 0, 0, 0}, []byte{8, 0, 5, 1, 0, 0, 0, 0},
		[]byte{24, 0, 5, 0xf2, 0, 0, 0, 0, 55, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0})
}

var fakeNeighbours = []api.Neighbour{
	{Addr: addr("192.0.2.1"), Lladdr: "02:00:5e:00:53:01", Interface: linkTo(2, "em0"), Iftype: "ethernet", State: api.Reachable, Permanent: true, Local: true},
	{Addr: addr("192.0.2.2"), Lladdr: "02:00:00:00:00:02", Interface: linkTo(2, "em0"), Iftype: "ethernet", State: api.Reachable, Expire: 1190},
	{Addr: addr("192.0.2.9"), Interface: linkTo(2, "em0"), Iftype: "ethernet", State: api.Incomplete},
	{Addr: addr("192.0.2.50"), Lladdr: "02:00:5e:00:53:01", Interface: linkTo(5, "vlan5"), Iftype: "vlan", State: api.Reachable, Permanent: true, Published: true},
	{Addr: addr("2001:db8:1::2"), Lladdr: "02:00:00:00:00:02", Interface: linkTo(2, "em0"), Iftype: "ethernet", State: api.Stale, Expire: 90061, Router: true},
	{Addr: addr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), Lladdr: "02:00:00:00:00:03", Interface: linkTo(2, "em0"), Iftype: "ethernet", State: api.Reachable, Expire: 59},
	{Addr: addr("fe80::1"), Interface: linkTo(2, "em0"), Iftype: "ethernet", State: api.Failed},
	{Addr: addr("fe80::2"), Lladdr: "02:00:5e:00:53:01", Interface: linkTo(2, "em0"), Iftype: "ethernet", State: api.Reachable, Permanent: true, Local: true},
}

func (b *fakeBackend) Neighbours(_ context.Context, filter api.NeighbourFilter) ([]api.Neighbour, error) {
	if filter.Interface == "nosuch0" {
		return nil, api.Errorf(api.ENXIO, "interface nosuch0 does not exist")
	}
	var list []api.Neighbour
	for _, n := range fakeNeighbours {
		if filter.Family.Has(n.Addr) && (filter.Interface == "" || n.Interface.Name == filter.Interface) &&
			(!filter.Addr.IsValid() || filter.Addr.WithZone("") == n.Addr) {
			list = append(list, n)
		}
	}
	return list, nil
}

func (b *fakeBackend) NeighbourSet(_ context.Context, req api.NeighbourRequest) error {
	b.note("set", req)
	if !prefix("192.0.2.0/24").Contains(req.Addr) && !req.Addr.Is6() {
		return &api.Error{Errno: api.ENETUNREACH}
	}
	return nil
}

func (b *fakeBackend) NeighbourDelete(_ context.Context, filter api.NeighbourFilter) error {
	b.note("delete", filter)
	if filter.Addr == addr("192.0.2.99") || filter.Addr == addr("2001:db8::99") {
		return &api.Error{Errno: api.ENOENT}
	}
	return nil
}

func (b *fakeBackend) Nd6Routers(context.Context) ([]api.Nd6Router, error) {
	return []api.Nd6Router{{Addr: addr("fe80::1"), Interface: "em0", Expire: 1800}}, nil
}

func (b *fakeBackend) Nd6Prefixes(context.Context) ([]api.Nd6Prefix, error) {
	return []api.Nd6Prefix{
		{Prefix: prefix("2001:db8:1::/64"), Interface: "em0", Advertised: true, Expire: 7200},
		{Prefix: prefix("fe80::/64"), Interface: "em0"},
	}, nil
}
