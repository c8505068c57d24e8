package labtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// silent wants no answer to a ping.
func (s *site) silent(host *lab.Host, args ...string) {
	s.t.Helper()
	if out, err := host.Run("ping", append([]string{"-n", "-c", "1", "-W", "1"}, args...)...); err == nil {
		s.t.Errorf("answered: %s", out)
	}
}

// counted wants a line of the router's counters not to be zero.
func (s *site) counted(text string) {
	s.t.Helper()
	out := s.must(s.Router, "netstat", "-s")
	if !strings.Contains(out, text) || strings.Contains(out, "\t0 "+text) {
		s.t.Errorf("not counted: %s\n%s", text, out)
	}
}

// Sizes: errors to the inner sender, fragments of inner and of outer packets.
func TestSizes(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for _, family := range []string{"inet", "inet6"} {
			s.tunnel("gif0", "", family)
			if out, _ := s.Right.Run("ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", "1400", "10.0.0.2"); !strings.Contains(out, "mtu = 1280") && !strings.Contains(out, "mtu=1280") {
				t.Errorf("%s: no word of the MTU: %s", family, out)
			}
			s.ping(s.Right, "-M", "dont", "-s", "3000", "10.0.0.2")
			for _, h := range []*lab.Host{s.Left, s.Router} {
				s.ifconfig(h, "gif0 mtu 4000")
			}
			s.ping(s.Left, "-s", "3900", "10.0.0.1")
			s.ping(s.Left, "-s", "3900", "2001:db8:ff::1")
			for _, h := range []*lab.Host{s.Left, s.Router} {
				s.ifconfig(h, "gif0 destroy")
			}
		}
	})
}

// Who may come in, by which way, and how deep; and the filter on both layers.
func TestRules(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.tunnel("gif0", "", "inet")
		s.ping(s.Left, "10.0.0.1")
		// The route to the far end leads elsewhere: it is not who it says.
		s.ip(s.Router, "route", "add", "192.0.2.2/32", "via", "198.51.100.2")
		s.silent(s.Left, "10.0.0.1")
		s.counted("from a tunnel's far end by the wrong interface")
		s.ip(s.Router, "route", "del", "192.0.2.2/32")
		s.ping(s.Left, "10.0.0.1")
		// One tunnel in another is one too many.
		s.ifconfig(s.Router, "gif1 create tunnel 10.0.0.1 10.0.0.2 10.0.1.1 10.0.1.2 netmask 255.255.255.255")
		s.silent(s.Router, "10.0.1.2")
		s.counted("nested too deeply")
		s.ifconfig(s.Router, "gif1 destroy")
		// pf sees the inner packet on gif0 and the outer one on em0.
		for _, rules := range []string{"pass\nblock in on gif0 proto icmp\n", "pass\nblock in on em0 proto ipencap\n", "pass no state\nblock out on em0 proto ipencap\n"} {
			path := filepath.Join(t.TempDir(), "pf.conf")
			if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
				t.Fatal(err)
			}
			s.must(s.Router, "pfctl", "-q", "-e", "-f", path)
			s.silent(s.Left, "10.0.0.1")
			s.must(s.Router, "pfctl", "-q", "-d")
			s.must(s.Router, "pfctl", "-q", "-F", "states")
		}
		s.ping(s.Left, "10.0.0.1")
		// Without its daemon it carries on, and the next one takes it over.
		s.kill(s.Router)
		s.ping(s.Left, "10.0.0.1")
		s.ping(s.Left, "198.51.100.2")
		s.must(s.Router, "load")
		s.ping(s.Left, "10.0.0.1")
		if out := s.ifconfig(s.Router, "gif0"); !strings.Contains(out, "RUNNING") || !strings.Contains(out, "tunnel inet 192.0.2.1 --> 192.0.2.2") {
			t.Errorf("taken over:\n%s", out)
		}
		// An end moves, and the tunnel with it.
		s.ip(s.Left, "addr", "add", "192.0.2.7/24", "dev", "em0")
		s.ifconfig(s.Left, "gif0 tunnel 192.0.2.7 192.0.2.1")
		s.silent(s.Left, "10.0.0.1")
		s.ifconfig(s.Router, "gif0 tunnel 192.0.2.1 192.0.2.7")
		s.ping(s.Left, "10.0.0.1")
		s.ifconfig(s.Router, "gif0 deletetunnel")
		s.silent(s.Left, "10.0.0.1")
		if out := s.ifconfig(s.Router, "gif0"); strings.Contains(out, "RUNNING") || strings.Contains(out, "tunnel inet") {
			t.Errorf("without ends:\n%s", out)
		}
	})
}

// What ifconfig refuses, with BSD's words.
func TestRefused(t *testing.T) {
	s := newSite(t, "tc")
	r := s.Router
	s.ifconfig(r, "gif0 create tunnel 192.0.2.1 192.0.2.2")
	s.ifconfig(r, "gre0 create tunnel 192.0.2.1 192.0.2.2 grekey 5")
	s.ifconfig(r, "gif1 create")
	s.ifconfig(r, "gre1 create")
	s.refused(r, "SIOCSIFPHYADDR: Can't assign requested address", "gif1 tunnel 192.0.2.1 192.0.2.2")
	s.refused(r, "SIOCSIFPHYADDR: Can't assign requested address", "gif1 tunnel 0.0.0.0 192.0.2.2")
	s.refused(r, "source and destination address families do not match", "gif1 tunnel 192.0.2.1 2001:db8::2")
	s.refused(r, "'tunnel' requires 2 arguments", "gif1 tunnel 192.0.2.1")
	s.refused(r, "ioctl SIOCSIFMTU (set mtu): Invalid argument", "gif0 mtu 1279")
	s.refused(r, "ioctl SIOCSIFMTU (set mtu): Invalid argument", "gif0 mtu 8193")
	s.refused(r, "ioctl (set grekey): Invalid argument", "gif0 grekey 5")
	s.refused(r, "SIOCSIFPHYADDR: Invalid argument", "em0 tunnel 192.0.2.1 192.0.2.2")
	s.ifconfig(r, "gre1 tunnel 192.0.2.1 192.0.2.2 grekey 6")
	s.refused(r, "ioctl (set grekey): File exists", "gre1 grekey 5")
	if out := s.ifconfig(r, "gre1"); !strings.Contains(out, "grekey: 0x6 (6)") || !strings.Contains(out, "mtu 1472") {
		t.Errorf("after what was refused:\n%s", out)
	}
	s.refused(r, "ioctl SIOCSIFMTU (set mtu): Invalid argument", "gre0 mtu 575")
}
