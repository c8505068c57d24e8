package labtest

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// narrow makes the link between router and right host take 1280 bytes only,
// on the router's side: the left host does not know.
func (s *site) narrow() {
	s.t.Helper()
	s.Router.MustRun(s.t, "ip", "link", "set", "em1", "mtu", "1280")
	s.Right.MustRun(s.t, "ip", "link", "set", "em0", "mtu", "1280")
	s.t.Cleanup(func() {
		s.Router.MustRun(s.t, "ip", "link", "set", "em1", "mtu", "1500")
	})
}

func TestFragmentationNeeded(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		s.narrow()
		p := ping(t, s.Left, "-M", "do", "-s", "1400", "-c", "1", "-W", "2", inet.right)
		if !strings.Contains(p.text, "From "+inet.routerLeft) || !strings.Contains(p.text, "mtu = 1280") && !strings.Contains(p.text, "mtu=1280") {
			t.Errorf("no fragmentation needed with the MTU: %s", p.text)
		}
		// Whatever may be fragmented arrives whole, also what Linux would cut.
		s.Left.MustRun(t, "ip", "route", "flush", "cache")
		mustPing(t, s.Left, "-M", "dont", "-s", "1400", "-c", "3", "-i", "0.05", "-W", "2", inet.right)
		mustPing(t, s.Left, "-M", "dont", "-s", "8000", "-c", "3", "-i", "0.05", "-W", "2", inet.right)
		n := s.reasons()
		if n["netisr_toobig"] == 0 || n["netisr_fragment"] == 0 {
			t.Errorf("not counted: %v", n)
		}
		p = ping(t, s.Left, "-M", "do", "-s", "1400", "-c", "1", "-W", "2", inet6.right)
		if !strings.Contains(p.text, "From "+inet6.routerLeft) || !strings.Contains(p.text, "mtu=1280") && !strings.Contains(p.text, "mtu = 1280") {
			t.Errorf("no packet too big with the MTU: %s", p.text)
		}
		mustPing(t, s.Left, "-s", "1400", "-c", "3", "-i", "0.05", "-W", "2", inet6.right)
	})
}

// TCP finds the MTU of the path by itself.
func TestPathMTUDiscovery(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		port := serveIperf(t, s.Right)
		// The far end must not give the narrow link away by its MSS.
		s.narrow()
		s.Right.MustRun(t, "ip", "link", "set", "em0", "mtu", "1500")
		for _, f := range families {
			r := iperf(t, s.Left, f.right, port, "-n", "20M")
			t.Logf("%s: %.0f Mbit/s", f.name, r.End.SumReceived.BitsPerSecond/1e6)
			if r.End.SumReceived.BitsPerSecond < 50e6 {
				t.Errorf("%s: %.1f Mbit/s after discovery", f.name, r.End.SumReceived.BitsPerSecond/1e6)
			}
		}
		if s.reasons()["netisr_toobig"] == 0 {
			t.Error("nothing was too big: the test tests nothing")
		}
	})
}

func TestJumboFrames(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		for _, end := range []struct {
			host   *lab.Host
			device string
		}{{s.Left, "em0"}, {s.Router, "em0"}, {s.Router, "em1"}, {s.Right, "em0"}} {
			end.host.MustRun(t, "ip", "link", "set", end.device, "mtu", "9000")
		}
		t.Cleanup(func() {
			s.Router.MustRun(t, "ip", "link", "set", "em0", "mtu", "1500")
			s.Router.MustRun(t, "ip", "link", "set", "em1", "mtu", "1500")
		})
		s.load()
		s.forward()
		port := serveIperf(t, s.Right)
		for _, f := range families {
			header := 28
			if f.name == "inet6" {
				header = 48
			}
			// The first of them waits for the neighbour.
			s.Router.MustRun(t, "ip", "neigh", "flush", "dev", "em1")
			mustPing(t, s.Left, "-M", "do", "-s", itoa(9000-header), "-c", "5", "-i", "0.05", "-W", "3", f.right)
			mustPing(t, s.Right, "-M", "do", "-s", itoa(9000-header), "-c", "5", "-i", "0.05", "-W", "3", f.left)
			mustPing(t, s.Left, "-M", "do", "-s", itoa(9000-header), "-c", "2", "-i", "0.05", "-W", "3", f.routerLeft)
			for _, direction := range [][]string{nil, {"-R"}} {
				r := iperf(t, s.Left, f.right, port, append([]string{"-t", "1"}, direction...)...)
				if r.End.SumReceived.BitsPerSecond < 50e6 {
					t.Errorf("%s %v: %.0f Mbit/s", f.name, direction, r.End.SumReceived.BitsPerSecond/1e6)
				}
			}
		}
		// A jumbo frame into a narrow link is reported, with little of it.
		s.Router.MustRun(t, "ip", "link", "set", "em1", "mtu", "1500")
		for _, f := range families {
			p := ping(t, s.Left, "-M", "do", "-s", "8900", "-c", "1", "-W", "2", f.right)
			if !strings.Contains(p.text, "From "+f.routerLeft) || !strings.Contains(p.text, "1500") {
				t.Errorf("%s: jumbo frame into a narrow link not reported: %s", f.name, p.text)
			}
		}
		s.Right.MustRun(t, "ip", "link", "set", "em0", "mtu", "1500")
		mustPing(t, s.Left, "-M", "dont", "-s", "8900", "-c", "2", "-i", "0.05", "-W", "2", inet.right)
	})
}

// The first segments of a connection are cut by the device, if at all: the
// error about them comes at once, not after a retransmission.
func TestPathMTUDiscoveryIsQuick(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		s.narrow()
		s.Right.MustRun(t, "ip", "link", "set", "em0", "mtu", "1500")
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
			if took := s.send(t, f.right, 200_000); took > 100*time.Millisecond {
				t.Errorf("%s: 200 kB took %v", f.name, took)
			} else {
				t.Logf("%s: 200 kB took %v", f.name, took)
			}
		}
	})
}

// send sends bytes from the left to the right host by TCP and returns how long
// that took after the connection was there.
func (s *site) send(t *testing.T, to string, bytes int64) time.Duration {
	t.Helper()
	var listener net.Listener
	if err := s.Right.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(to, "0"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	arrived := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
			_, err = io.CopyN(io.Discard, conn, bytes)
		}
		arrived <- err
	}()
	var conn net.Conn
	if err := s.Left.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	if _, err := conn.Write(make([]byte, bytes)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-arrived:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("did not arrive")
	}
	return time.Since(start)
}
