package labtest

import (
	"strings"
	"testing"
)

// TestHostSysctl has settings of the host's own stack under BSD's names: Linux
// does what they say, and they stay when the daemon begins anew.
func TestHostSysctl(t *testing.T) {
	s := newSite(t, "tc")
	s.load()
	linux := func(path string) string {
		return strings.TrimSpace(s.Router.MustRun(t, "cat", "/proc/sys/net/"+path))
	}
	s.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_broadcasts=0")
	if out := s.bsdnet("sysctl", "net.inet.icmp.bmcastecho"); strings.TrimSpace(out) != "net.inet.icmp.bmcastecho: 1" {
		t.Errorf("Linux answers broadcasts, and sysctl prints %q", out)
	}
	s.bsdnet("sysctl", "net.inet.icmp.bmcastecho=0", "net.inet.icmp.drop_redirect=1")
	for path, want := range map[string]string{"ipv4/icmp_echo_ignore_broadcasts": "1", "ipv4/conf/em1/accept_redirects": "0", "ipv4/conf/default/accept_redirects": "0"} {
		if got := linux(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	s.kill()
	s.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.conf.em1.accept_redirects=1")
	s.load()
	if got := linux("ipv4/conf/em1/accept_redirects"); got != "0" {
		t.Errorf("redirects are accepted again after a restart of the daemon: %s", got)
	}
	if _, errs, status := s.try("sysctl", "net.inet.ip.intr_queue_drops=1"); status == 0 || !strings.Contains(errs, "read only") {
		t.Errorf("a counter was set: status %d, %s", status, errs)
	}
	if out := s.bsdnet("netstat", "-s"); !strings.Contains(out, "input queue of the host's own stack") {
		t.Errorf("netstat -s says nothing of the input queue:\n%s", out)
	}
}
