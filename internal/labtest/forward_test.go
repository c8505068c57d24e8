package labtest

import (
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// Nothing is forwarded before it is asked for, although everything is loaded;
// the router itself answers.
func TestForwardingOff(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		s.load()
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "2", f.routerLeft)
			if p := ping(t, s.Left, "-c", "3", "-i", "0.1", "-W", "0.5", f.right); p.received > 0 {
				t.Errorf("%s: forwarded although forwarding is off", f.name)
			}
		}
		if n := s.reasons(); n["ip_forwarding"] == 0 || n["ip6_forwarding"] == 0 {
			t.Errorf("not counted: %v", n)
		}
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, f := range families {
			for _, size := range []string{"0", "56", "1400"} {
				mustPing(t, s.Left, "-c", "5", "-i", "0.02", "-s", size, f.right)
				mustPing(t, s.Right, "-c", "5", "-i", "0.02", "-s", size, f.left)
			}
			mustPing(t, s.Left, "-c", "2", "-i", "0.02", f.routerRight)
			mustPing(t, s.Router, "-c", "2", "-i", "0.02", f.right)
		}
	})
}

func TestTCPAndUDP(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		port := serveIperf(t, s.Right)
		for _, f := range families {
			for _, direction := range [][]string{nil, {"-R"}} {
				r := iperf(t, s.Left, f.right, port, append([]string{"-t", "1"}, direction...)...)
				if r.End.SumReceived.BitsPerSecond < 50e6 {
					t.Errorf("%s %v: %.0f Mbit/s", f.name, direction, r.End.SumReceived.BitsPerSecond/1e6)
				}
				t.Logf("%s %v: %.1f Gbit/s", f.name, direction, r.End.SumReceived.BitsPerSecond/1e9)
				u := iperf(t, s.Left, f.right, port, append([]string{"-u", "-b", "4M", "-t", "1", "-l", "1200"}, direction...)...)
				if u.End.Sum.LostPackets > 0 || u.End.Sum.Packets == 0 {
					t.Errorf("%s %v: UDP lost %d of %d", f.name, direction, u.End.Sum.LostPackets, u.End.Sum.Packets)
				}
			}
		}
		if n := s.reasons(); n["forward"] == 0 || n["forward6"] == 0 {
			t.Errorf("not counted as forwarded: %v", n)
		}
	})
}

func TestTraceroute(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, f := range families {
			for _, from := range []struct {
				host          *lab.Host
				router, host2 string
			}{{s.Left, f.routerLeft, f.right}, {s.Right, f.routerRight, f.left}} {
				for _, kind := range []string{"-U", "-I"} {
					out := from.host.MustRun(t, "traceroute", "-n", kind, "-q", "1", "-w", "2", "-m", "4", from.host2)
					lines := strings.Split(strings.TrimSpace(out), "\n")
					if len(lines) != 3 || !strings.Contains(lines[1], " "+from.router+" ") || !strings.Contains(lines[2], " "+from.host2+" ") {
						t.Errorf("traceroute %s %s:\n%s", kind, from.host2, out)
					}
				}
			}
		}
	})
}
