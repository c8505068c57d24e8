package labtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// second gives the router a second way to the right host, over em2, and the
// right host an address that is reached by routes alone.
func (s *site) second() {
	s.t.Helper()
	lab.MustJoin(s.t, s.Router, "em2", s.Right, "em1")
	s.t.Cleanup(func() {
		if _, err := s.Router.Run("ip", "link", "del", "em2"); err != nil {
			s.t.Error(err)
		}
	})
	for _, c := range []struct {
		host *lab.Host
		args string
	}{
		{s.Router, "addr add 203.0.113.1/24 dev em2"}, {s.Right, "addr add 203.0.113.2/24 dev em1"},
		{s.Router, "addr add 2001:db8:2::1/64 dev em2 nodad"}, {s.Right, "addr add 2001:db8:2::2/64 dev em1 nodad"},
		{s.Right, "addr add 100.64.0.1/32 dev lo"}, {s.Right, "addr add 2001:db8:f::1/128 dev lo"},
	} {
		c.host.MustRun(s.t, "ip", strings.Fields(c.args)...)
	}
	if s.mode == "xdp" {
		prepareXDP(s.t, s.Right, "em1")
	}
	s.settle()
}

// routeChange is a command of either kind that changes a route.
type routeChange struct {
	name             string
	add, change, del func(s *site, f family, hop int)
}

// hop is the gateway over em1 (0) or em2 (1).
func (f family) hop(n int) string {
	if f.name == "inet" {
		return []string{"198.51.100.2", "203.0.113.2"}[n]
	}
	return []string{"2001:db8:1::2", "2001:db8:2::2"}[n]
}

// beyond is the address that is reached by routes alone, and its network.
func (f family) beyond() (host, network string) {
	if f.name == "inet" {
		return "100.64.0.1", "100.64.0.0/24"
	}
	return "2001:db8:f::1", "2001:db8:f::/64"
}

func bsdRoute(command string) func(s *site, f family, hop int) {
	return func(s *site, f family, hop int) {
		_, network := f.beyond()
		args := []string{"route", "-n", command, "-" + f.name, network}
		if command != "delete" {
			args = append(args, f.hop(hop))
		}
		s.bsdnet(args...)
	}
}

func ipRoute(command string) func(s *site, f family, hop int) {
	return func(s *site, f family, hop int) {
		_, network := f.beyond()
		s.Router.MustRun(s.t, "ip", "route", command, network, "via", f.hop(hop))
	}
}

var routeChanges = []routeChange{
	{"bsdnet-route", bsdRoute("add"), bsdRoute("change"), bsdRoute("delete")},
	{"ip-route", ipRoute("add"), ipRoute("replace"), func(s *site, f family, hop int) {
		_, network := f.beyond()
		s.Router.MustRun(s.t, "ip", "route", "del", network)
	}},
}

// opackets is how many packets left by an interface of the router.
func (s *site) opackets(name string) uint64 {
	s.t.Helper()
	var interfaces []struct {
		Name string `json:"name"`
		Data struct{ Opackets uint64 }
	}
	s.json(&interfaces, "netstat", "-i", "--json")
	for _, i := range interfaces {
		if i.Name == name {
			return i.Data.Opackets
		}
	}
	s.t.Fatalf("netstat -i does not know %s", name)
	return 0
}

// Routes come, change and go under load: a change loses nothing, and all
// takes effect within 100 ms.
func TestRoutesUnderLoad(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		s.second()
		s.load("-i", "em2")
		s.forward()
		for _, f := range families {
			host, _ := f.beyond()
			for hop := range 2 { // so that no neighbour is new in what follows
				mustPing(t, s.Router, "-c", "1", "-W", "3", f.hop(hop))
			}
			for _, kind := range routeChanges {
				kind.add(s, f, 0)
				time.Sleep(100 * time.Millisecond)
				mustPing(t, s.Left, "-c", "1", "-W", "1", host)

				p := startPing(t, s.Left, "-i", "0.002", "-c", "600", "-W", "1", host)
				for n := range 8 {
					kind.change(s, f, (n+1)%2)
					time.Sleep(100 * time.Millisecond)
				}
				if p := p.wait(t); p.received < p.sent {
					t.Errorf("%s %s: %d of %d lost by changes", kind.name, f.name, p.sent-p.received, p.sent)
				}

				kind.change(s, f, 1)
				time.Sleep(100 * time.Millisecond)
				before := s.opackets("em2")
				mustPing(t, s.Left, "-c", "10", "-i", "0.01", "-W", "1", host)
				if sent := s.opackets("em2") - before; sent < 10 {
					t.Errorf("%s %s: %d of 10 went the changed way after 100 ms", kind.name, f.name, sent)
				}
				kind.del(s, f, 1)
				time.Sleep(100 * time.Millisecond)
				if p := ping(t, s.Left, "-c", "1", "-W", "0.5", host); p.received > 0 {
					t.Errorf("%s %s: still reached 100 ms after the route went", kind.name, f.name)
				}
			}
		}
	})
}

// What leaves by an interface that bsdnet was not given is for Linux.
func TestRouteByUnownedInterface(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		s.second()
		s.load()
		s.forward()
		s.Router.MustRun(t, "ip", "route", "add", "100.64.0.0/24", "via", inet.hop(1))
		s.Router.MustRun(t, "ip", "route", "add", "2001:db8:f::/64", "via", inet6.hop(1))
		t.Cleanup(func() {
			s.Router.MustRun(t, "ip", "route", "del", "100.64.0.0/24")
			s.Router.MustRun(t, "ip", "route", "del", "2001:db8:f::/64")
		})
		time.Sleep(100 * time.Millisecond)
		for _, f := range families {
			host, _ := f.beyond()
			before := s.noproto("em0")
			if p := ping(t, s.Left, "-c", "2", "-i", "0.1", "-W", "0.5", host); p.received > 0 {
				t.Errorf("%s: forwarded although Linux does not forward", f.name)
			}
			if s.noproto("em0") < before+2 {
				t.Errorf("%s: not counted as noproto", f.name)
			}
		}
		s.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		t.Cleanup(func() {
			s.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
		})
		for _, f := range families {
			host, _ := f.beyond()
			mustPing(t, s.Left, "-c", "3", "-i", "0.05", "-W", "2", host)
		}
	})
}

// An interface that belongs to a Linux bridge passes everything to it; taken
// out, it is bsdnet's again.
func TestBridgeMember(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, c := range []string{
			"link add br0 type bridge", "link set br0 up", "link set em0 master br0", "link set em1 master br0",
		} {
			s.Router.MustRun(t, "ip", strings.Fields(c)...)
		}
		s.Left.MustRun(t, "ip", "addr", "add", "10.9.0.1/24", "dev", "em0")
		s.Right.MustRun(t, "ip", "addr", "add", "10.9.0.2/24", "dev", "em0")
		eventually(t, 5*time.Second, "the bridge forwards", func() bool {
			return ping(t, s.Left, "-c", "1", "-W", "0.2", "10.9.0.2").received == 1
		})
		mustPing(t, s.Left, "-c", "5", "-i", "0.02", "-W", "1", "10.9.0.2")
		if s.reasons()["upper"] < 5 {
			t.Errorf("not counted as upper: %v", s.reasons())
		}
		s.Router.MustRun(t, "ip", "link", "del", "br0")
		time.Sleep(100 * time.Millisecond)
		for _, f := range families {
			eventually(t, 5*time.Second, "routed again", func() bool {
				return ping(t, s.Left, "-c", "1", "-W", "0.5", f.right).received == 1
			})
		}
	})
}

// Addresses and links that change in Linux reach the data path within 100 ms.
func TestFollowsLinux(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, f := range []struct{ address, prefix string }{{"192.0.2.9", "/24"}, {"2001:db8::9", "/64"}} {
			args := []string{"addr", "add", f.address + f.prefix, "dev", "em0"}
			if strings.Contains(f.address, ":") {
				args = append(args, "nodad")
			}
			s.Router.MustRun(t, "ip", args...)
			time.Sleep(100 * time.Millisecond)
			mustPing(t, s.Right, "-c", "1", "-W", "2", f.address)
			before := s.reasons()["local"]
			mustPing(t, s.Right, "-c", "3", "-i", "0.02", "-W", "1", f.address)
			if got := s.reasons()["local"] - before; got < 3 {
				t.Errorf("%s: %d packets for it counted as local", f.address, got)
			}
			s.Router.MustRun(t, "ip", "addr", "del", f.address+f.prefix, "dev", "em0")
		}
		s.Right.MustRun(t, "ip", "link", "set", "em0", "down")
		s.Right.MustRun(t, "ip", "link", "set", "em0", "up")
		for _, a := range []string{"addr add 2001:db8:1::2/64 dev em0 nodad", "route add default via 198.51.100.1", "route add default via 2001:db8:1::1"} {
			_, _ = s.Right.Run("ip", strings.Fields(a)...) // what the link took with it
		}
		for _, f := range families {
			eventually(t, 5*time.Second, fmt.Sprintf("%s is back", f.name), func() bool {
				return ping(t, s.Left, "-c", "1", "-W", "0.5", f.right).received == 1
			})
		}
	})
}
