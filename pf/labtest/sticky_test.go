package labtest

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
)

// talk sends a datagram from a source on the left to port 7000 of a host on the
// right, which answers; it returns who was seen to send it, not valid: nobody.
func (s *site) talk(source, to string) netip.Addr {
	s.t.Helper()
	var listener *net.UDPConn
	err := s.Right.Do(func() (err error) {
		listener, err = net.ListenUDP("udp", &net.UDPAddr{Port: 7000})
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer listener.Close()
	var conn *net.UDPConn
	err = s.Left.Do(func() (err error) {
		conn, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(source)}, &net.UDPAddr{IP: net.ParseIP(to), Port: 7000})
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		s.t.Fatal(err)
	}
	buffer := make([]byte, 16)
	if err := listener.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		s.t.Fatal(err)
	}
	_, peer, err := listener.ReadFromUDPAddrPort(buffer)
	if err != nil {
		return netip.Addr{}
	}
	if _, err := listener.WriteToUDPAddrPort([]byte("y"), peer); err != nil {
		s.t.Fatal(err)
	}
	return peer.Addr().Unmap()
}

// TestSticky looks at which address a source keeps, and at the source nodes.
func TestSticky(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.Right.MustRun(t, "ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.1")
		s.Right.MustRun(t, "ip", "-6", "route", "add", "2001:db8:f::/64", "via", "2001:db8:1::1")
		s.Left.MustRun(t, "ip", "addr", "add", "192.0.2.3/24", "dev", "em0")
		s.Left.MustRun(t, "ip", "addr", "add", "192.0.2.4/24", "dev", "em0")
		s.mustPing(right, true, "neighbours found")
		s.mustPing(right6, true, "neighbours found")
		rules := "set timeout { udp.first 2, udp.single 2, udp.multiple 2, icmp.first 1, icmp.error 1, interval 1, src.track %d }\nset limit src-nodes 2\n" +
			"table <pool> persist { 203.0.113.10, 203.0.113.20, 203.0.113.30 }\n" +
			"nat on em1 inet from 192.0.2.0/24 to any -> <pool> round-robin sticky-address\n" +
			"nat on em1 inet6 from 2001:db8::/64 to any -> 2001:db8:f::/64 random sticky-address\npass\n"
		s.pfctl("-e -f " + s.file(fmt.Sprintf(rules, 60)))
		seen := func(source, to string) string {
			t.Helper()
			return s.talk(source, to).String()
		}
		first := seen("192.0.2.2", right)
		for range 4 {
			if got := seen("192.0.2.2", right); got != first {
				t.Errorf("192.0.2.2 was %s, then %s", first, got)
			}
		}
		second := seen("192.0.2.3", right)
		if second == first || !strings.HasPrefix(second, "203.0.113.") {
			t.Errorf("192.0.2.3 is %s, 192.0.2.2 is %s: not in turn", second, first)
		}
		want := fmt.Sprintf("192.0.2.2 -> %s ( states 5, connections 0, rate 0.0/0s )\n192.0.2.3 -> %s ( states 1, connections 0, rate 0.0/0s )\n", first, second)
		s.expect("-sS", want, 0)
		if shown := s.pfctl("-vsS"); !regexp.MustCompile(`192\.0\.2\.2 -> .*\n   age 00:00:0\d, 10 pkts, 290 bytes, nat rule 0\n`).MatchString(shown) {
			t.Errorf("-vsS: %s", shown)
		}
		// A third has no room, and is counted.
		if got := seen("192.0.2.4", right); got != "invalid IP" {
			t.Errorf("192.0.2.4 beyond set limit src-nodes was %s", got)
		}
		if info := s.pfctl("-vsi"); !regexp.MustCompile(`Source Tracking Table\n  current entries +2 +\n`).MatchString(info) ||
			!regexp.MustCompile(`  inserts +2 `).MatchString(info) || !regexp.MustCompile(`  src-limit +1 `).MatchString(info) {
			t.Errorf("-vsi: %s", info)
		}
		if limits := s.pfctl("-sm"); !strings.Contains(limits, "src-nodes     hard limit        2\n") {
			t.Errorf("-sm: %s", limits)
		}
		// The nodes outlive their states and the daemon.
		eventually(t, "states end", func() bool { return strings.Count(s.pfctl("-sS"), "states 0,") == 2 })
		s.restart()
		if shown := s.pfctl("-vsS"); !regexp.MustCompile(`192\.0\.2\.2 -> .*states 0.*\n   age 00:00:\d\d, expires in 00:00:\d\d, 10 pkts`).MatchString(shown) {
			t.Errorf("-vsS without states: %s", shown)
		}
		if got := seen("192.0.2.2", right); got != first {
			t.Errorf("192.0.2.2 was %s, after a restart %s", first, got)
		}
		s.expect("-K 192.0.2.9", "killed 0 src nodes from 1 sources and 0 destinations\n", 0)
		s.expect("-K 0/0 -K "+first, "killed 1 src nodes from 2 sources and 1 destinations\n", 0)
		if shown := s.pfctl("-sS"); strings.Contains(shown, "192.0.2.2") || !strings.Contains(shown, "192.0.2.3") {
			t.Errorf("-sS after the node of 192.0.2.2 was killed: %s", shown)
		}
		seen("192.0.2.2", right)
		// An address that the pool has no longer is nobody's.
		s.pfctl("-t pool -T replace 203.0.113.77")
		s.expect("-sS", "", 0)
		for _, source := range []string{"192.0.2.2", "192.0.2.3"} {
			if got := seen(source, right); got != "203.0.113.77" {
				t.Errorf("%s is %s after a change of the table", source, got)
			}
		}
		s.expect("-F Sources", "source tracking entries cleared\n", 0)
		s.expect("-sS", "", 0)

		six := seen("2001:db8::2", right6)
		for range 3 {
			if got := seen("2001:db8::2", right6); got != six {
				t.Errorf("2001:db8::2 was %s, then %s", six, got)
			}
		}
		// Without src.track a node ends with its last state.
		s.pfctl("-F Sources")
		s.pfctl("-F states")
		s.pfctl("-f " + s.file(fmt.Sprintf(rules, 0)))
		seen("192.0.2.2", right)
		if n := s.count("-sS"); n != 1 {
			t.Errorf("%d source nodes: %s", n, s.pfctl("-sS"))
		}
		s.pfctl("-F states")
		s.expect("-sS", "", 0)
		eventually(t, "place of the node is free", func() bool {
			return seen("192.0.2.3", right) != "invalid IP" && seen("192.0.2.4", right) != "invalid IP"
		})
	})
}

// A source meets the same of several servers.
func TestStickyRedirect(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.Right.MustRun(t, "ip", "addr", "add", "198.51.100.3/24", "dev", "em0")
		s.Left.MustRun(t, "ip", "addr", "add", "192.0.2.3/24", "dev", "em0")
		s.mustPing(right, true, "neighbours found")
		s.pfctl("-e -f " + s.file("set timeout src.track 60\ntable <web> { 198.51.100.2, 198.51.100.3 }\n"+
			"pass in on em0 inet proto udp to 203.0.113.1 rdr-to <web> round-robin sticky-address\npass out\n"))
		for range 3 {
			for _, source := range []string{"192.0.2.2", "192.0.2.3"} {
				if from := s.talk(source, "203.0.113.1"); from.String() != source {
					t.Errorf("right saw %v, want %s", from, source)
				}
			}
		}
		shown := s.pfctl("-sS")
		for _, line := range []string{"192.0.2.2 -> 198.51.100.2 ( states 3,", "192.0.2.3 -> 198.51.100.3 ( states 3,"} {
			if !strings.Contains(shown, line) {
				t.Errorf("-sS shows no %q:\n%s", line, shown)
			}
		}
	})
}
