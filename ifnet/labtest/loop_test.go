package labtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A further loopback interface: its addresses are the host's for everybody, in
// both families; pf judges what is routed into it; rc.conf makes one, and a pair.
func TestLoopback(t *testing.T) {
	s := newSite(t, "tc")
	if got := s.ifconfig(s.Router, "lo create"); got != "lo1\n" {
		t.Errorf("create printed %q", got)
	}
	s.refused(s.Router, "interface lo0 already exists", "lo0 create")
	s.refused(s.Router, "SIOCIFDESTROY: Invalid argument", "lo0 destroy")
	s.ifconfig(s.Router, "lo1 inet 10.1.1.1/32")
	s.ifconfig(s.Router, "lo1 inet6 2001:db8:11::1/128")
	out := s.ifconfig(s.Router, "lo1")
	if !strings.HasPrefix(out, "lo1: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> metric 0 mtu 16384\n") || strings.Contains(out, "ether ") || strings.Contains(out, "fe80") || !strings.Contains(out, "groups: lo\n") {
		t.Errorf("lo1:\n%s", out)
	}
	s.must(s.Router, "sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
	reached := func() {
		t.Helper()
		for _, address := range []string{"10.1.1.1", "2001:db8:11::1"} {
			s.ping(s.Router, address)
			s.ping(s.Left, address)
			s.ping(s.Right, address)
		}
	}
	reached()
	rules := filepath.Join(t.TempDir(), "pf.conf")
	if err := os.WriteFile(rules, []byte("pass\nblock drop out on lo1 to 10.9.0.0/16\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must(s.Router, "pfctl", "-e", "-f", rules)
	s.must(s.Router, "route", "add", "-net", "10.9.0.0/16", "-interface", "lo1")
	if _, err := s.Left.Run("ping", "-c", "2", "-i", "0.2", "-W", "1", "10.9.1.1"); err == nil {
		t.Error("an answer out of lo1")
	}
	if out := s.must(s.Router, "pfctl", "-vsr"); !regexp.MustCompile(`block drop out on lo1 .*\n.*Packets: 2 `).MatchString(out) {
		t.Errorf("pf did not judge what left by lo1:\n%s", out)
	}
	s.kill(s.Router)
	reached()
	s.must(s.Router, "load")
	reached()
	if after := s.ifconfig(s.Router, "lo1"); after != out {
		t.Errorf("lo1 after a restart:\n%s", after)
	}
	s.ifconfig(s.Router, "lo1 destroy")

	file := filepath.Join(t.TempDir(), "rc.conf")
	if err := os.WriteFile(file, []byte("cloned_interfaces=\"lo1 epair0\"\nifconfig_epair0a=\"inet 10.7.0.1/24\"\nifconfig_lo1=\"inet 10.1.1.2/32\"\nifconfig_lo1_alias0=\"inet 10.1.1.3/32\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must(s.Router, "rc", "start", "-f", file)
	s.ping(s.Left, "10.1.1.3")
	if out := s.must(s.Router, "rc", "reload", "-f", file); out != "" {
		t.Errorf("reload of the same changed %q", out)
	}
	s.must(s.Router, "rc", "stop")
	if out := s.ifconfig(s.Router, "-l"); strings.Contains(out, "lo1") || strings.Contains(out, "epair") {
		t.Errorf("left: %s", out)
	}
}
