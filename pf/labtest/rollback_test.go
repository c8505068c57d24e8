package labtest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// counters change by themselves, as does what IPv6 is about to settle.
var settling = regexp.MustCompile(`(?m)^\s+inet6 fe80:.*\n| tentative|^\s+status: .*\n|options=.*|ether .*`)

// ifconfig is what ifconfig says of some interfaces, without what may differ.
func (s *site) ifconfig(names ...string) string {
	s.t.Helper()
	var text strings.Builder
	for _, name := range names {
		out, errs, _ := s.run("", "ifconfig", name)
		text.WriteString(settling.ReplaceAllString(out+errs, ""))
	}
	return text.String()
}

// Clones, tags and MTUs are taken back, also by a daemon that came after the
// change.
func TestRollbackInterfaces(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		os.Unsetenv("SSH_CONNECTION")
		for _, words := range []string{
			"vlan5 create vlan 5 vlandev em1", "vlan5 inet 10.5.0.1/24 mtu 1400", "em1.6 create", "em1.6 inet 10.6.0.1/24",
			"tap5 create", "tap5 inet 10.7.0.1/24 up", "epair5 create", "epair5a inet 10.8.0.1/24 up", "epair5b mtu 1300 up",
		} {
			s.bsdnet(append([]string{"ifconfig"}, strings.Fields(words)...)...)
		}
		all := []string{"em1", "vlan5", "em1.6", "tap5", "epair5a", "epair5b", "vlan9", "epair9a"}
		before := s.ifconfig(all...)
		for _, test := range []struct {
			words   string
			restart bool
		}{
			{words: "em1 mtu 1400"}, {words: "em1 mtu 1400", restart: true},
			{words: "vlan5 destroy"}, {words: "vlan5 destroy", restart: true},
			{words: "vlan5 vlan 7 vlandev em1"}, {words: "vlan5 -vlandev"}, {words: "vlan5 mtu 1300"},
			{words: "em1.6 destroy"}, {words: "tap5 destroy"}, {words: "epair5a destroy"}, {words: "epair5b destroy", restart: true},
			{words: "tap5 down"}, {words: "tap5 inet 10.7.0.1/24 delete"},
			{words: "vlan9 create vlan 9 vlandev em1 inet 10.9.0.1/24"}, {words: "epair9 create"},
		} {
			s.bsdnet(append([]string{"commit", "--confirm", "600", "--", "ifconfig"}, strings.Fields(test.words)...)...)
			if s.ifconfig(all...) == before {
				t.Errorf("%s changed nothing", test.words)
			}
			if test.restart {
				s.restart()
			}
			if out, errs, status := s.run("", "rollback"); status != 0 {
				t.Errorf("%s: rollback: status %d: %s%s", test.words, status, out, errs)
			}
			if now := s.ifconfig(all...); now != before {
				t.Fatalf("%s, restart %v: after rollback\n%swant\n%s", test.words, test.restart, now, before)
			}
		}
	})
}
