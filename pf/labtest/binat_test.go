package labtest

import (
	"net"
	"strings"
	"testing"
	"time"
)

// A host behind binat has an address of its own outside, both ways.
func TestBinat(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.Right.MustRun(t, "ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.1")
		s.Right.MustRun(t, "ip", "-6", "route", "add", "2001:db8:f::/64", "via", "2001:db8:1::1")
		s.pfctl("-e -f " + s.file("binat on em1 inet from 192.0.2.0/24 to any -> 203.0.113.0/24\n"+
			"binat on em1 inet6 from 2001:db8::2 to any -> 2001:db8:f::9\npass\n"))
		s.mustPing(right, true, "from inside")
		s.mustPing(right6, true, "from inside")
		for _, outside := range []string{"203.0.113.2", "2001:db8:f::9"} {
			if _, err := s.Right.Run("ping", "-c", "1", "-W", "2", outside); err != nil {
				t.Errorf("from outside: %v", err)
			}
			var listener net.Listener
			err := s.Left.Do(func() (err error) {
				listener, err = net.Listen("tcp", ":2222")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Right.Do(func() error {
				client, err := net.DialTimeout("tcp", net.JoinHostPort(outside, "2222"), 3*time.Second)
				if err == nil {
					client.Close()
				}
				return err
			})
			if err != nil {
				t.Errorf("from outside: %v", err)
			}
			listener.Close()
		}
		if shown := s.pfctl("-ss"); !strings.Contains(shown, "203.0.113.2") || !strings.Contains(shown, "2001:db8:f::9") {
			t.Errorf("states: %s", shown)
		}
		if shown := s.pfctl("-v -sn"); !strings.HasPrefix(shown, "binat on em1 inet from 192.0.2.0/24 to any -> 203.0.113.0/24") {
			t.Errorf("-sn: %s", shown)
		}
	})
}

// binat in an anchor, and what no binat takes out.
func TestBinatAnchor(t *testing.T) {
	s := newSite(t, "tc")
	s.Right.MustRun(t, "ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.1")
	s.pfctl("-e -f " + s.file("no binat on em1 inet proto tcp from 192.0.2.2 to any\nbinat-anchor foo\npass\n"))
	s.pfctlIn("binat on em1 inet from 192.0.2.2 to any -> 203.0.113.2\n", "-a foo -f -")
	if peer := peerSeen(t, s.Left, s.Right, right+":7000", right+":7000"); peer.String() != "192.0.2.2" {
		t.Errorf("no binat: right saw %v", peer)
	}
	if _, err := s.Right.Run("ping", "-c", "1", "-W", "2", "203.0.113.2"); err != nil {
		t.Errorf("from outside: %v", err)
	}
	s.mustPing(right, true, "from inside")
	if states := s.pfctl("-ss"); !strings.Contains(states, "icmp 203.0.113.2:") {
		t.Errorf("-ss: %s", states)
	}
}
