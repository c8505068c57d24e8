package labtest

import (
	"bufio"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// routingSocket is a program that knows a socket's path and the structures.
type routingSocket struct {
	t    testing.TB
	v    rtm.Version
	conn *net.UnixConn
}

func (s *site) routingSocket(v rtm.Version) *routingSocket {
	s.t.Helper()
	path := control.Instance{Name: s.Router.Name}.RouteSocket(v)
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	r := &routingSocket{s.t, v, conn}
	// With the answer to a request, it hears what happens from then on.
	r.write(rtm.Message{Type: api.RTMGet, Seq: 99}, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(netip.MustParseAddr("192.0.2.2"), 0)})
	r.await("first answer", func(m *rtm.Message) bool { return m.Seq == 99 })
	return r
}

// await reads until a message comes that is wanted.
func (r *routingSocket) await(what string, wanted func(m *rtm.Message) bool) *rtm.Message {
	r.t.Helper()
	if err := r.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	b := make([]byte, rtm.MaxLen)
	for {
		n, err := r.conn.Read(b)
		if err != nil {
			r.t.Fatalf("%s: no %s: %v", r.v, what, err)
		}
		m, err := rtm.Decode(b[:n])
		if err != nil {
			r.t.Fatalf("%s: %v: % x", r.v, err, b[:n])
		}
		if wanted(m) {
			return m
		}
	}
}

func (r *routingSocket) write(m rtm.Message, addrs map[int]rtm.Sockaddr) {
	r.t.Helper()
	m.Version = r.v
	for i, sa := range addrs {
		m.Addrs[i] = sa
	}
	b, err := m.Append(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func routeMessage(typ api.MessageType, dst string) func(m *rtm.Message) bool {
	p := netip.MustParsePrefix(dst)
	return func(m *rtm.Message) bool {
		a, _, ok := rtm.AddrOf(m.Addrs[rtm.Dst])
		if m.Type != typ || !ok || a != p.Addr() {
			return false
		}
		if m.Addrs[rtm.Netmask] == nil {
			return p.IsSingleIP()
		}
		bits, err := rtm.MaskBits(m.Addrs[rtm.Dst].Family(), m.Addrs[rtm.Netmask])
		return err == nil && bits == p.Bits()
	}
}

func interfaceMessage(typ api.MessageType, name string) func(m *rtm.Message) bool {
	return func(m *rtm.Message) bool {
		link, _ := m.Addrs[rtm.Ifp].(rtm.Link)
		return m.Type == typ && (link.Name == name || m.Name == name)
	}
}

// Two programs, one of each system, see what ip(8) does and what they ask for
// themselves; Linux has what they add.
func TestRoutingSockets(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	s.load()
	free, fly := s.routingSocket(rtm.FreeBSD), s.routingSocket(rtm.DragonFly)
	both := func(what string, wanted func(m *rtm.Message) bool) *rtm.Message {
		t.Helper()
		fly.await(what, wanted)
		return free.await(what, wanted)
	}
	ip := func(args string) string { t.Helper(); return s.Router.MustRun(t, "ip", strings.Fields(args)...) }

	fly.write(rtm.Message{Type: api.RTMGet, Seq: 1}, map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(netip.MustParseAddr("192.0.2.2"), 0), rtm.Ifp: rtm.Link{Len: rtm.NullLink}})
	m := both("answer to a get", func(m *rtm.Message) bool { return m.Seq == 1 && routeMessage(api.RTMGet, "192.0.2.0/24")(m) })
	if link, _ := m.Addrs[rtm.Ifp].(rtm.Link); link.Name != "em0" || m.Seq != 1 || m.Pid != int32(os.Getpid()) || m.Addrs[rtm.Ifa] != rtm.IP(netip.MustParseAddr("192.0.2.1"), 0) {
		t.Errorf("get: %+v", m)
	}

	ip("route add 10.9.0.0/16 via 198.51.100.2")
	m = both("route of ip(8)", routeMessage(api.RTMAdd, "10.9.0.0/16"))
	if m.Addrs[rtm.Gateway] != rtm.IP(netip.MustParseAddr("198.51.100.2"), 0) || m.Flags&uint32(api.Gateway|api.Done) != uint32(api.Gateway|api.Done) || m.Pid != 0 {
		t.Errorf("%+v", m)
	}
	ip("route del 10.9.0.0/16")
	both("deleted route of ip(8)", routeMessage(api.RTMDelete, "10.9.0.0/16"))

	dst := netip.MustParsePrefix("10.8.0.0/16")
	add := rtm.Message{Type: api.RTMAdd, Seq: 2, Flags: uint32(api.Up | api.Gateway | api.Static), Inits: uint64(api.RTVMtu), Metrics: rtm.Metrics{Mtu: 1300}}
	addrs := map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(dst.Addr(), 0), rtm.Gateway: rtm.IP(netip.MustParseAddr("198.51.100.2"), 0), rtm.Netmask: rtm.RouteMask(rtm.FreeBSD, dst)}
	free.write(add, addrs)
	m = both("own route", routeMessage(api.RTMAdd, dst.String()))
	if m.Errno != 0 || m.Seq != 2 || m.Metrics.Mtu != 1300 || m.Index == 0 {
		t.Errorf("%+v", m)
	}
	if out := ip("route show 10.8.0.0/16"); !strings.Contains(out, "via 198.51.100.2 dev em1") || !strings.Contains(out, "mtu 1300") {
		t.Errorf("Linux has %q", out)
	}
	free.write(add, addrs)
	if m := both("refusal", routeMessage(api.RTMAdd, dst.String())); m.Errno != int32(errno.EEXIST.Number()) || m.Flags&uint32(api.Done) != 0 {
		t.Errorf("%+v", m)
	}
	// The same mask as DragonFly's radix tree has it, and a change that changes
	// nothing that the data path sees.
	addrs[rtm.Netmask] = rtm.RouteMask(rtm.DragonFly, dst)
	fly.write(rtm.Message{Type: api.RTMChange, Seq: 3, Inits: uint64(api.RTVHopcount), Metrics: rtm.Metrics{Hopcount: 7}}, map[int]rtm.Sockaddr{rtm.Dst: addrs[rtm.Dst], rtm.Netmask: addrs[rtm.Netmask]})
	if m := both("change", routeMessage(api.RTMChange, dst.String())); m.Errno != 0 || m.Seq != 3 || m.Metrics.Hopcount != 7 || m.Metrics.Mtu != 1300 {
		t.Errorf("%+v", m)
	}
	fly.write(rtm.Message{Type: api.RTMDelete, Seq: 4}, map[int]rtm.Sockaddr{rtm.Dst: addrs[rtm.Dst], rtm.Netmask: addrs[rtm.Netmask]})
	both("deletion", routeMessage(api.RTMDelete, dst.String()))
	if out := ip("route show 10.8.0.0/16"); out != "" {
		t.Errorf("Linux still has %q", out)
	}

	ip("addr add 203.0.113.1/24 brd + dev em1")
	m = both("address", interfaceMessage(api.RTMNewaddr, "em1"))
	if m.Addrs[rtm.Ifa] != rtm.IP(netip.MustParseAddr("203.0.113.1"), 0) || m.Addrs[rtm.Brd] != rtm.IP(netip.MustParseAddr("203.0.113.255"), 0) {
		t.Errorf("%+v", m)
	}
	ip("addr del 203.0.113.1/24 dev em1")
	both("address that goes", interfaceMessage(api.RTMDeladdr, "em1"))

	var group *net.UDPConn
	if err := s.Router.Do(func() error {
		device, err := net.InterfaceByName("em1")
		if err != nil {
			return err
		}
		group, err = net.ListenMulticastUDP("udp4", device, &net.UDPAddr{IP: net.IPv4(239, 1, 2, 3), Port: 4711})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	joined := func(typ api.MessageType) func(m *rtm.Message) bool {
		return func(m *rtm.Message) bool {
			return m.Type == typ && m.Addrs[rtm.Ifa] == rtm.IP(netip.MustParseAddr("239.1.2.3"), 0)
		}
	}
	both("group", joined(api.RTMNewmaddr))
	group.Close()
	both("group that is left", joined(api.RTMDelmaddr))

	ip("link set em1 down")
	m = both("link that is down", func(m *rtm.Message) bool { return m.Type == api.RTMIfinfo && m.Flags&1 == 0 })
	if m.Data.Mtu != 1500 || m.Data.Type != 6 {
		t.Errorf("%+v", m)
	}
	ip("link set em1 up")
	both("link that is up", func(m *rtm.Message) bool { return m.Type == api.RTMIfinfo && m.Flags&1 != 0 })
	ip("addr add 2001:db8:1::1/64 dev em1 nodad") // which Linux took when it went down
	s.bsdnet("ifconfig", "em1.5", "create")
	both("clone", interfaceMessage(api.RTMIfannounce, "em1.5"))
	s.bsdnet("ifconfig", "em1.5", "destroy")
	both("clone that goes", func(m *rtm.Message) bool { return m.Type == api.RTMIfannounce && m.What == rtm.Departure })

	s.unprivileged()
}

// unprivileged opens a routing socket as nobody: it may ask, and not change.
func (s *site) unprivileged() {
	s.t.Helper()
	const nobody = 65534
	result := make(chan *routingSocket)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its user
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
			s.t.Error(e)
			result <- nil
			return
		}
		path := control.Instance{Name: s.Router.Name}.RouteSocket(rtm.FreeBSD)
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		if err != nil {
			s.t.Error(err)
			result <- nil
			return
		}
		file := os.NewFile(uintptr(fd), filepath.Base(path))
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			s.t.Error(err)
			result <- nil
			return
		}
		result <- &routingSocket{s.t, rtm.FreeBSD, conn.(*net.UnixConn)}
	}()
	r := <-result
	if r == nil {
		s.t.FailNow()
	}
	defer r.conn.Close()
	dst := map[int]rtm.Sockaddr{rtm.Dst: rtm.IP(netip.MustParseAddr("192.0.2.2"), 0)}
	r.write(rtm.Message{Type: api.RTMDelete, Seq: 1}, dst)
	b := make([]byte, rtm.MaxLen)
	if _, err := r.conn.Read(b); err != nil || binary.LittleEndian.Uint32(b[24:]) != uint32(errno.EPERM.Number()) {
		s.t.Errorf("nobody deletes: %v, errno %d", err, binary.LittleEndian.Uint32(b[24:]))
	}
	r.write(rtm.Message{Type: api.RTMGet, Seq: 2}, dst)
	r.await("answer for nobody", func(m *rtm.Message) bool { return m.Seq == 2 && m.Errno == 0 })
}

// route monitor beside ip(8): what it prints is what FreeBSD's would.
func TestRouteMonitor(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	s.load()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	monitor := s.Router.Command(ctx, program, "route", "-n", "monitor")
	out, err := monitor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	ip := func(args string) { t.Helper(); s.Router.MustRun(t, "ip", strings.Fields(args)...) }
	// await waits for the lines of one message.
	await := func(want ...string) {
		t.Helper()
		timeout := time.After(10 * time.Second)
		for at := 0; at < len(want); {
			select {
			case line, ok := <-lines:
				switch {
				case !ok:
					t.Fatalf("the monitor ended before %q", want[at])
				case strings.HasPrefix(line, want[at]):
					at++
				case at > 0:
					at = 0
				}
			case <-timeout:
				t.Fatalf("no %q", want)
			}
		}
	}
	heard := false
	for end := time.Now().Add(10 * time.Second); !heard && time.Now().Before(end); {
		ip("route replace blackhole 10.99.0.0/16")
		ip("route del 10.99.0.0/16")
		select {
		case <-lines:
			heard = true
		case <-time.After(200 * time.Millisecond):
		}
	}
	if !heard {
		t.Fatal("the monitor hears nothing")
	}
	ip("route add 10.9.0.0/16 via 198.51.100.2")
	await("RTM_ADD: Add Route: len 200, pid: 0, seq 0, errno 0, flags:<UP,GATEWAY,DONE,STATIC>", "locks:  inits: ",
		"sockaddrs: <DST,GATEWAY,NETMASK>", " 10.9.0.0 198.51.100.2 255.255.0.0")
	ip("route del 10.9.0.0/16")
	await("RTM_DELETE: Delete Route: len 200, pid: 0, seq 0, errno 0, flags:<UP,GATEWAY,DONE,STATIC>", "locks:  inits: ",
		"sockaddrs: <DST,GATEWAY,NETMASK>", " 10.9.0.0 198.51.100.2 255.255.0.0")
	ip("addr add 203.0.113.1/24 brd + dev em1")
	await("RTM_NEWADDR: address being added to iface: len 124, metric 0, flags:<UP>", "sockaddrs: <NETMASK,IFP,IFA,BRD>",
		" 255.255.255.0 em1:") // and its link address
	ip("addr del 203.0.113.1/24 dev em1")
	await("RTM_DELADDR: address being removed from iface: len 124, metric 0, flags:", "sockaddrs: <NETMASK,IFP,IFA,BRD>")
	ip("link set em1 down")
	await("RTM_IFINFO: iface status change: len 168, if# ")
	ip("link set em1 up")
	ip("addr add 2001:db8:1::1/64 dev em1 nodad") // which Linux took when it went down
	await("RTM_IFINFO: iface status change: len 168, if# ")
	cancel()
	_ = monitor.Wait()
}
