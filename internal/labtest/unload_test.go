package labtest

import (
	"strings"
	"testing"
	"time"
)

// Load and unload under load break no connection to the router itself, and
// traffic through it comes back with Linux or with bsdnet.
func TestSessionSurvives(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		for _, f := range families {
			administrator := openSession(t, s.Left, s.Router, f.routerLeft)
			s.load()
			time.Sleep(300 * time.Millisecond)
			s.kill()
			time.Sleep(300 * time.Millisecond)
			s.load()
			time.Sleep(300 * time.Millisecond)
			s.bsdnet("unload")
			time.Sleep(300 * time.Millisecond)
			administrator.end(t)
			if slowest := time.Duration(administrator.longest.Load()); slowest > 2*time.Second {
				t.Errorf("%s: the session stood still for %v", f.name, slowest)
			}
		}
	})
}

// Unload under load, with the daemon alive and dead: what is left is shown by
// the residue check of each test.
func TestUnloadUnderLoad(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		before := s.footprint()
		port := serveIperf(t, s.Right)
		for _, dead := range []bool{false, true} {
			s.load()
			s.forward()
			mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
			mustPing(t, s.Left, "-c", "1", "-W", "3", inet6.right)
			flood := startPing(t, s.Left, "-i", "0.002", "-c", "500", "-W", "1", inet.right)
			stream := startIperf(t, s.Left, inet6.right, port, "-t", "1")
			time.Sleep(400 * time.Millisecond)
			if dead {
				s.kill()
			}
			s.checkResidue(before)
			flood.wait(t)
			_ = stream.cmd.Process.Kill()
			_, _ = stream.wait() // cut off by unload
		}
		if _, _, status := s.try("unload"); status != 4 {
			t.Errorf("unload without an instance: status %d, want 4", status)
		}
	})
}

// Linux that forwards itself takes over when bsdnet goes.
func TestUnloadToLinux(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		s.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		t.Cleanup(func() {
			s.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
		})
		s.load()
		s.forward()
		mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
		p := startPing(t, s.Left, "-i", "0.002", "-c", "800", "-W", "1", inet.right)
		time.Sleep(400 * time.Millisecond)
		s.bsdnet("unload")
		if p := p.wait(t); p.sent-p.received > 20 {
			t.Errorf("%d of %d lost on the way back to Linux", p.sent-p.received, p.sent)
		}
	})
}

// Gateways that the kernel was asked to keep confirmed are ordinary
// neighbours again after unload, with the daemon alive or dead.
func TestGatewaysReleased(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		for _, dead := range []bool{false, true} {
			s.load()
			s.bsdnet("route", "add", "100.64.0.0/24", inet.right)
			s.bsdnet("route", "add", "-inet6", "2001:db8:f::/64", inet6.right)
			managed := func() int {
				return strings.Count(s.Router.MustRun(t, "ip", "neigh", "show", "dev", "em1"), "managed")
			}
			eventually(t, 3*time.Second, "gateways managed", func() bool { return managed() == 2 })
			if dead {
				s.kill()
			}
			s.unload()
			if n := managed(); n > 0 {
				t.Errorf("%d gateways are still managed after unload (daemon dead: %v)", n, dead)
			}
			for _, network := range []string{"100.64.0.0/24", "2001:db8:f::/64"} {
				s.Router.MustRun(t, "ip", "route", "del", network)
			}
		}
	})
}
