package labtest

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

const natToRules = `
match out on em1 inet from 192.0.2.0/24 to any nat-to (em1:0)
match out on em1 inet6 from 2001:db8::/64 to any nat-to (em1:0)
pass
pass in on em1 inet proto tcp from any to 198.51.100.1 port 8080 rdr-to 192.0.2.2 port 80
pass in on em1 inet6 proto tcp from any to 2001:db8:1::1 port 8080 rdr-to 2001:db8::2 port 80
pass out on em1 inet proto tcp from any to 198.51.100.77 port 7100 rdr-to 198.51.100.2 port 7000
block out on em1 inet from 192.0.2.0/24
block out on em1 inet6 from 2001:db8::/64
`

// TestNatTo sends streams through nat-to of match rules, which later rules
// see, and rdr-to of pass rules.
func TestNatTo(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.pfctl("-e -f " + s.file(natToRules))
		for family, e := range families {
			t.Run(family, func(t *testing.T) {
				if peer := stream(t, s.Left, s.Right, net.JoinHostPort(e.right, "7000"), net.JoinHostPort(e.right, "7000")); peer.String() != e.routerRight {
					t.Errorf("right saw %v, want %s", peer, e.routerRight)
				}
				if peer := stream(t, s.Right, s.Left, net.JoinHostPort(e.routerRight, "8080"), net.JoinHostPort(e.left, "80")); peer.String() != e.right {
					t.Errorf("left saw %v, want %s", peer, e.right)
				}
				refused(t, s.Left, net.JoinHostPort(e.right, "7001"))
				s.mustPing(e.right, true, "through nat-to")
				if out, err := s.Left.Run("traceroute", "-n", "-q", "1", "-w", "2", "-m", "4", e.right); err != nil || !strings.Contains(out, " 2  "+e.right+" ") {
					t.Errorf("traceroute: %v\n%s", err, out)
				}
			})
		}
		// Two translations of one packet: its source by the match rule, its
		// destination by the rule that decides.
		if peer := peerSeen(t, s.Left, s.Right, "198.51.100.77:7100", "198.51.100.2:7000"); peer.String() != "198.51.100.1" {
			t.Errorf("right saw %v", peer)
		}
		states := s.pfctl("-ss")
		for _, shown := range []string{"tcp 198.51.100.1:", " (192.0.2.2:", "198.51.100.2:7000 (198.51.100.77:7100)", " <- 198.51.100.2:", "192.0.2.2:80 (198.51.100.1:8080) <- "} {
			if !strings.Contains(states, shown) {
				t.Errorf("-ss shows no %q:\n%s", shown, states)
			}
		}
		s.Router.MustRun(t, "ip", "addr", "add", "198.51.100.7/24", "dev", "em1")
		s.Router.MustRun(t, "ip", "addr", "del", "198.51.100.1/24", "dev", "em1")
		s.Router.MustRun(t, "ip", "addr", "replace", "198.51.100.7/24", "dev", "em1")
		eventually(t, "new address of em1", func() bool {
			return peerSeen(t, s.Left, s.Right, "198.51.100.2:7000", "198.51.100.2:7000").String() == "198.51.100.7"
		})
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%s: not in time", what)
			return
		}
	}
}

// peerSeen connects one host to a listener on another and returns whom that
// saw; not valid: nobody came.
func peerSeen(t *testing.T, from, on *lab.Host, to, listen string) netip.Addr {
	t.Helper()
	var listener net.Listener
	err := on.Do(func() (err error) { listener, err = net.Listen("tcp", listen); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	peer := make(chan netip.Addr, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			peer <- netip.Addr{}
			return
		}
		defer conn.Close()
		peer <- conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	}()
	var conn net.Conn
	err = from.Do(func() (err error) { conn, err = net.DialTimeout("tcp", to, 2*time.Second); return err })
	if err != nil {
		t.Logf("%s: %v", to, err)
		return netip.Addr{}
	}
	defer conn.Close()
	return <-peer
}

// TestPools looks at which addresses of a pool are taken.
func TestPools(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.Right.MustRun(t, "ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.1")
		s.Right.MustRun(t, "ip", "-6", "route", "add", "2001:db8:f::/64", "via", "2001:db8:1::1")
		seen := func(e ends, n int) map[string]int {
			t.Helper()
			peers := make(map[string]int)
			for range n {
				peers[peerSeen(t, s.Left, s.Right, net.JoinHostPort(e.right, "7000"), net.JoinHostPort(e.right, "7000")).String()]++
			}
			return peers
		}
		inet, inet6 := families["inet"], families["inet6"]
		s.pfctl("-e -f " + s.file("nat on em1 inet from 192.0.2.0/24 to any -> { 203.0.113.10, 203.0.113.20 }\n"+
			"nat on em1 inet6 from 2001:db8::/64 to any -> 2001:db8:f::10/127\npass\n"))
		if got := seen(inet, 6); got["203.0.113.10"] != 3 || got["203.0.113.20"] != 3 {
			t.Errorf("round-robin of a list: %v", got)
		}
		if got := seen(inet6, 6); got["2001:db8:f::10"] != 3 || got["2001:db8:f::11"] != 3 {
			t.Errorf("round-robin of a network: %v", got)
		}
		s.pfctl("-f " + s.file("table <pool> persist { 203.0.113.32/30, ! 203.0.113.33 }\n"+
			"match out on em1 inet from 192.0.2.0/24 to any nat-to <pool>\n"+
			"match out on em1 inet6 from 2001:db8::/64 to any nat-to 2001:db8:f::/64 source-hash 0x0123456789abcdef0123456789abcdef\npass\n"))
		if got := seen(inet, 6); got["203.0.113.32"] != 2 || got["203.0.113.34"] != 2 || got["203.0.113.35"] != 2 {
			t.Errorf("round-robin of a table: %v", got)
		}
		got := seen(inet6, 4)
		for peer, n := range got {
			if n != 4 || !netip.MustParsePrefix("2001:db8:f::/64").Contains(netip.MustParseAddr(peer)) {
				t.Errorf("source-hash: %v", got)
			}
		}
		s.pfctl("-t pool -T replace 203.0.113.99")
		if got := seen(inet, 2); got["203.0.113.99"] != 2 {
			t.Errorf("after a change of the table: %v", got)
		}
		s.restart()
		s.pfctl("-t pool -T add 203.0.113.98")
		if got := seen(inet, 4); got["203.0.113.98"] != 2 || got["203.0.113.99"] != 2 {
			t.Errorf("after a restart and a change of the table: %v", got)
		}
		s.pfctl("-f " + s.file("match out on em1 inet from 192.0.2.0/24 to any nat-to 203.0.113.128/25 random\npass\n"))
		if got := seen(inet, 12); len(got) < 4 {
			t.Errorf("random among 128 gave %v", got)
		}
	})
}

// binat-to of OpenBSD, of a network and of a host.
func TestBinatTo(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.Right.MustRun(t, "ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.1")
		s.Right.MustRun(t, "ip", "-6", "route", "add", "2001:db8:f::/64", "via", "2001:db8:1::1")
		s.bsdnet("load", "-f", s.file("pf_dialect=\"openbsd\"\nnetwork_interfaces=\"em0 em1\"\ngateway_enable=\"YES\"\nipv6_gateway_enable=\"YES\"\n"), "--mode", s.mode)
		s.pfctl("-e -f " + s.file("pass\nmatch on em1 inet from 192.0.2.0/24 to any binat-to 203.0.113.0/24\n"+
			"pass on em1 inet6 from 2001:db8::2 to any binat-to 2001:db8:f::9\n"))
		for family, outside := range map[string]string{"inet": "203.0.113.2", "inet6": "2001:db8:f::9"} {
			e := families[family]
			if peer := peerSeen(t, s.Left, s.Right, net.JoinHostPort(e.right, "7000"), net.JoinHostPort(e.right, "7000")); peer.String() != outside {
				t.Errorf("right saw %v, want %s", peer, outside)
			}
			if peer := peerSeen(t, s.Right, s.Left, net.JoinHostPort(outside, "2222"), net.JoinHostPort(e.left, "2222")); peer.String() != e.right {
				t.Errorf("left saw %v, want %s", peer, e.right)
			}
			if _, err := s.Right.Run("ping", "-c", "1", "-W", "2", outside); err != nil {
				t.Errorf("from outside: %v", err)
			}
		}
	})
}

// Rules that ask where a packet came in and what the routing table says.
func TestRouteConditions(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.pfctl("-e -f " + s.file("pass no state\nblock drop out on em1 proto { icmp icmp6 } received-on em0\n"))
		s.mustPing(right, false, "received-on em0")
		s.mustPing(right6, false, "received-on em0")
		for _, to := range []string{right, right6} {
			if _, err := s.Router.Run("ping", "-c", "1", "-W", "2", to); err != nil {
				t.Errorf("the router's own ping to %s: %v", to, err)
			}
		}

		const noRoute, noRoute6 = "203.0.113.99", "2001:db8:99::1"
		s.pfctl("-f " + s.file("pass no state\n"))
		for _, to := range []string{noRoute, noRoute6} {
			if out, _ := s.Left.Run("ping", "-c", "1", "-W", "2", to); !strings.Contains(out, "nreachable") && !strings.Contains(out, "No route") {
				t.Errorf("%s without a rule: %s", to, out)
			}
		}
		s.pfctl("-f " + s.file("pass no state\nblock drop in on em0 to no-route\n"))
		for _, to := range []string{noRoute, noRoute6} {
			if out, _ := s.Left.Run("ping", "-c", "1", "-W", "1", to); !strings.Contains(out, "100% packet loss") || strings.Contains(out, "nreachable") {
				t.Errorf("%s is to no-route: %s", to, out)
			}
		}
		s.mustPing(right, true, "to no-route")

		s.pfctl("-f " + s.file("pass no state\nblock drop in from urpf-failed\n"))
		for _, c := range []struct{ bits, address, to, gateway, back string }{
			{"/32", "10.99.0.1", right, "192.0.2.2", "198.51.100.1"}, {"/128", "2001:db8:77::1", right6, "2001:db8::2", "2001:db8:1::1"},
		} {
			s.Left.MustRun(t, "ip", "addr", "add", c.address+c.bits, "dev", "lo")
			s.Right.MustRun(t, "ip", "route", "add", c.address, "via", c.back)
			ping := func() error { _, err := s.Left.Run("ping", "-c", "1", "-W", "1", "-I", c.address, c.to); return err }
			s.Router.MustRun(t, "ip", "route", "add", c.address, "via", map[string]string{right: "198.51.100.2", right6: "2001:db8:1::2"}[c.to])
			time.Sleep(200 * time.Millisecond)
			if ping() == nil {
				t.Errorf("%s came in where its route does not lead", c.address)
			}
			s.Router.MustRun(t, "ip", "route", "replace", c.address, "via", c.gateway)
			eventually(t, "route to "+c.address, func() bool { return ping() == nil })
			s.mustPing(c.to, true, "urpf-failed")
		}
	})
}
