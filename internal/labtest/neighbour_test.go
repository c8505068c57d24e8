package labtest

import (
	"strings"
	"testing"
	"time"
)

// The first packet to a neighbour whose link address is not known waits for
// it and is not lost.
func TestFirstPacketHeld(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, f := range families {
			for range 5 {
				s.Router.MustRun(t, "ip", "neigh", "flush", "dev", "em1")
				mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
			}
		}
		if s.reasons()["netisr_arp"] == 0 {
			t.Error("no packet was held: the test tests nothing")
		}
	})
}

// A host that is not there is reported unreachable, by the router.
func TestNeighbourDead(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, c := range []struct{ absent, router string }{
			{"198.51.100.77", inet.routerLeft}, {"2001:db8:1::77", inet6.routerLeft},
		} {
			p := ping(t, s.Left, "-c", "2", "-i", "4", "-W", "8", c.absent)
			if !strings.Contains(p.text, "From "+c.router+" ") || !strings.Contains(strings.ToLower(p.text), "unreachable") {
				t.Errorf("no host unreachable: %s", p.text)
			}
		}
	})
}

// A host that gets another link address says so, and its traffic follows.
func TestNeighbourMoves(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
		}
		s.Right.MustRun(t, "sysctl", "-qw", "net.ipv4.conf.em0.arp_notify=1", "net.ipv6.conf.em0.ndisc_notify=1")
		four := startPing(t, s.Left, "-i", "0.02", "-c", "100", "-W", "1", inet.right)
		six := startPing(t, s.Left, "-i", "0.02", "-c", "100", "-W", "1", inet6.right)
		time.Sleep(500 * time.Millisecond)
		s.Right.MustRun(t, "ip", "link", "set", "em0", "address", "02:00:00:00:00:77")
		for _, host := range []string{inet.right, inet6.right} {
			// What a host does that takes over an address.
			announce(t, s, host)
		}
		for _, p := range []pings{four.wait(t), six.wait(t)} {
			if lost := p.sent - p.received; lost > 25 {
				t.Errorf("%d of %d lost when the neighbour moved: %s", lost, p.sent, tail(p.text, 500))
			}
		}
		mustPing(t, s.Left, "-c", "3", "-i", "0.02", "-W", "1", inet.right)
		mustPing(t, s.Left, "-c", "3", "-i", "0.02", "-W", "1", inet6.right)
	})
}

// announce makes the right host speak from its new link address, as the
// kernel's own notice comes with an address added or a link that comes up.
func announce(t *testing.T, s *site, addr string) {
	t.Helper()
	router := inet.routerRight
	if strings.Contains(addr, ":") {
		router = inet6.routerRight
	}
	s.Right.MustRun(t, "ip", "neigh", "flush", "dev", "em0")
	_ = ping(t, s.Right, "-c", "1", "-W", "1", router)
}

// Neighbours that vanish under traffic cost nothing: packets wait for the
// answer. Of a fast stream only a few can wait; it goes on.
func TestNeighbourFlushedUnderTraffic(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		flush := func() {
			for range 8 {
				time.Sleep(200 * time.Millisecond)
				s.Router.MustRun(t, "ip", "neigh", "flush", "dev", "em1")
			}
		}
		var running []*pingProcess
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
			running = append(running, startPing(t, s.Left, "-i", "0.01", "-c", "200", "-W", "2", f.right))
		}
		flush()
		for _, p := range running {
			if p := p.wait(t); p.received < p.sent {
				t.Errorf("%d of %d pings lost", p.sent-p.received, p.sent)
			}
		}
		port := serveIperf(t, s.Right)
		for _, f := range families {
			stream := startIperf(t, s.Left, f.right, port, "-t", "2")
			flush()
			if _, err := stream.wait(); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
		}
	})
}
