package labtest

import (
	"strings"
	"testing"
	"time"
)

// A link of the router that goes down takes its routes with it: senders are
// told, and all is well when it is up again.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
		}
		s.Router.MustRun(t, "ip", "link", "set", "em1", "down")
		time.Sleep(100 * time.Millisecond)
		for _, f := range families {
			p := ping(t, s.Left, "-c", "1", "-W", "2", f.right)
			if p.received > 0 || !containsFold(p.text, "unreachable") || !strings.Contains(p.text, "From "+f.routerLeft+" ") {
				t.Errorf("%s with the link down: %s", f.name, p.text)
			}
		}
		if out, _, status := s.try("status"); status != 0 || !strings.Contains(out, "em1: down") {
			t.Errorf("status %d with a link down: %s", status, out)
		}
		s.Router.MustRun(t, "ip", "link", "set", "em1", "up")
		// Linux took the IPv6 address away with the link.
		s.Router.MustRun(t, "ip", "addr", "replace", "2001:db8:1::1/64", "dev", "em1", "nodad")
		for _, f := range families {
			eventually(t, 5*time.Second, f.name+" is back", func() bool {
				return ping(t, s.Left, "-c", "1", "-W", "0.5", f.right).received == 1
			})
		}
		s.settle()
	})
}

// Two networks more, found by routes that other programs put into Linux: one
// with two next hops, one of the other family's gateway.
func TestForeignRoutes(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, addr := range []string{"100.64.0.1/32", "100.64.1.1/32", "100.64.2.1/32"} {
			s.Right.MustRun(t, "ip", "addr", "add", addr, "dev", "lo")
		}
		s.Right.MustRun(t, "ip", "addr", "add", "198.51.100.3/24", "dev", "em0")
		routes := []string{
			"100.64.0.0/24 nexthop via 198.51.100.2 dev em1 nexthop via 198.51.100.3 dev em1",
			"100.64.1.0/24 via inet6 2001:db8:1::2 dev em1",
			"100.64.2.0/24 via 198.51.100.2 dev em1 proto bird metric 32",
		}
		for _, r := range routes {
			s.Router.MustRun(t, "ip", append([]string{"route", "add"}, strings.Fields(r)...)...)
		}
		t.Cleanup(func() {
			for _, r := range routes {
				s.Router.MustRun(t, "ip", "route", "del", strings.Fields(r)[0])
			}
		})
		time.Sleep(100 * time.Millisecond)
		for _, host := range []string{"100.64.0.1", "100.64.1.1", "100.64.2.1"} {
			mustPing(t, s.Left, "-c", "3", "-i", "0.05", "-W", "3", host)
		}
	})
}

// A route with an MTU of its own narrows the path.
func TestRouteMTU(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		s.Router.MustRun(t, "ip", "route", "add", "100.64.0.0/24", "via", inet.right, "mtu", "1000")
		t.Cleanup(func() { s.Router.MustRun(t, "ip", "route", "del", "100.64.0.0/24") })
		s.Right.MustRun(t, "ip", "addr", "add", "100.64.0.1/32", "dev", "lo")
		time.Sleep(100 * time.Millisecond)
		p := ping(t, s.Left, "-M", "do", "-s", "1200", "-c", "1", "-W", "2", "100.64.0.1")
		if !strings.Contains(p.text, "1000") || !strings.Contains(p.text, "From "+inet.routerLeft) {
			t.Errorf("no fragmentation needed: %s", p.text)
		}
		mustPing(t, s.Left, "-M", "dont", "-s", "1200", "-c", "2", "-i", "0.05", "-W", "2", "100.64.0.1")
	})
}
