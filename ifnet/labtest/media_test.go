package labtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A monitored interface counts what comes and sends nothing; listeners see it,
// also where it would run in XDP. It stays so with the next daemon.
func TestMonitor(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.must(s.Router, "sysctl", "net.inet.ip.forwarding=1")
		s.ping(s.Left, "198.51.100.2")
		s.ifconfig(s.Router, "em0 monitor")
		if out := s.ifconfig(s.Router, "em0"); !strings.Contains(out, ",MONITOR>") {
			t.Errorf("em0:\n%s", out)
		}
		silent := func(when string) {
			t.Helper()
			before := s.ipackets("em0")
			seen := s.captureIn(func() { _, _ = s.Left.Run("ping", "-n", "-c", "5", "-i", "0.2", "-W", "1", "198.51.100.2") })
			if n := strings.Count(seen, "ICMP echo request"); n < 4 {
				t.Errorf("%s: tcpdump sees %d of 5 packets:\n%s", when, n, seen)
			}
			if got := s.ipackets("em0") - before; got < 5 {
				t.Errorf("%s: %d packets are counted", when, got)
			}
			if strings.Contains(seen, "echo reply") {
				t.Errorf("%s: it answers:\n%s", when, seen)
			}
			for _, to := range []string{"198.51.100.2", "192.0.2.1"} {
				if _, err := s.Left.Run("ping", "-n", "-c", "1", "-W", "1", to); err == nil {
					t.Errorf("%s: %s answers through a monitored interface", when, to)
				}
			}
		}
		time.Sleep(500 * time.Millisecond) // the change of the build
		silent("monitored")
		if _, err := s.Router.Run("ping", "-n", "-c", "1", "-W", "1", "192.0.2.2"); err == nil {
			t.Error("the host's own packets leave by a monitored interface")
		}
		s.kill(s.Router)
		s.must(s.Router, "load")
		time.Sleep(500 * time.Millisecond)
		silent("adopted")
		s.ifconfig(s.Router, "em0 -monitor")
		time.Sleep(500 * time.Millisecond)
		s.ping(s.Left, "198.51.100.2")
		if out := s.must(s.Router, "status"); !strings.Contains(out, fmt.Sprintf("em0: up, mtu 1500, input %s (asked for)", strings.ToUpper(s.mode))) {
			t.Errorf("the build is not what was asked for:\n%s", out)
		}
	})
}

// ipackets is what the router counts on an interface.
func (s *site) ipackets(name string) uint64 {
	s.t.Helper()
	return s.interfaceOf(name).Data.Ipackets
}

// captureIn shows what tcpdump sees on the router's em0, both ways.
func (s *site) captureIn(f func()) string {
	s.t.Helper()
	return s.captureBoth(s.Router, "em0", "icmp", f)
}

// The medium of a tap, which takes any; a veth has none to be set.
func TestMedia(t *testing.T) {
	s := newSite(t, "tc")
	s.ifconfig(s.Router, "tap0 create up")
	s.ifconfig(s.Router, "tap0 media 100baseTX mediaopt full-duplex")
	want := func(text string) {
		t.Helper()
		if out := s.ifconfig(s.Router, "tap0"); !strings.Contains(out, "\tmedia: "+text) {
			t.Errorf("want media: %s\n%s", text, out)
		}
	}
	want("Ethernet 100baseTX <full-duplex>")
	s.ifconfig(s.Router, "tap0 -mediaopt full-duplex")
	want("Ethernet 100baseTX <half-duplex>")
	s.ifconfig(s.Router, "tap0 media 1000baseT")
	want("Ethernet 1000baseT <full-duplex>")
	if out := s.Router.MustRun(t, "ethtool", "tap0"); !strings.Contains(out, "Speed: 1000Mb/s") || !strings.Contains(out, "Duplex: Full") {
		t.Errorf("ethtool sees:\n%s", out)
	}
	s.refused(s.Router, "SIOCSIFMEDIA (media): Invalid argument", "tap0 media 3baseT")
	s.refused(s.Router, "unknown Ethernet media subtype: coax", "tap0 media coax")
	s.refused(s.Router, "unknown Ethernet media option: loopback", "tap0 mediaopt loopback")
	s.refused(s.Router, "'media' requires argument", "tap0 media")
	s.refused(s.Router, "SIOCSIFMEDIA (media): Operation not supported", "em0 media 1000baseT")
	s.refused(s.Router, "SIOCSIFMEDIA (media): Operation not supported", "lo0 media 1000baseT")
	want("Ethernet 1000baseT <full-duplex>")
	s.refused(s.Router, "ioctl (SIOCSIFCAP): Invalid argument", "em0 wol")
	s.ifconfig(s.Router, "em0 -wol -polling")
}
