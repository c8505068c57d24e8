package labtest

import (
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// Every shape of the header, over both families, between sockets and through
// forwarding; tcpdump reads what is on the wire.
func TestGre(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for _, c := range []struct{ family, words, wire, show string }{
			{"inet", "", "192.0.2.2 > 192.0.2.1: GREv0, Flags [none], proto IPv4 (0x0800), length 88", "mtu 1476"},
			{"inet6", "grekey 7", "2001:db8::2 > 2001:db8::1: GREv0, Flags [key present], key=0x7, proto IPv4 (0x0800), length 92", "\tgrekey: 0x7 (7)\n"},
			{"inet", "enable_csum enable_seq grekey 0x1234", "GREv0, Flags [checksum present, key present, sequence# present]", "\toptions=3<ENABLE_CSUM,ENABLE_SEQ>\n"},
			{"inet6", "udpencap", ".4754: [udp sum ok] UDP", "\tudpport: 4754\n"},
		} {
			s.tunnel("gre0", c.words, c.family)
			if out := s.ifconfig(s.Router, "gre0"); !strings.Contains(out, c.show) {
				t.Errorf("%s: no %q in:\n%s", c.words, c.show, out)
			}
			wire := s.capture(s.Left, "em0", "-v", func() {
				s.ping(s.Left, "198.51.100.2")
			})
			// tcpdump does not see what XDP sends.
			if flat := strings.Join(strings.Fields(wire), " "); s.mode == "tc" && !strings.Contains(flat, c.wire) {
				t.Errorf("%s: not on the wire: %s\n%.600s", c.words, c.wire, wire)
			}
			s.ping(s.Left, "-s", "1300", "2001:db8:1::2")
			s.ping(s.Left, "10.0.0.1")
			s.tcp(s.Left, s.Right, "198.51.100.2")
			s.tcp(s.Right, s.Left, "10.0.0.2")
			// Another key is another tunnel's.
			if strings.Contains(c.words, "key") {
				s.ifconfig(s.Left, "gre0 grekey 9")
				if out, err := s.Left.Run("ping", "-n", "-c", "1", "-W", "1", "10.0.0.1"); err == nil {
					t.Errorf("a wrong key is let in: %s", out)
				}
				if out := s.must(s.Router, "netstat", "-s"); strings.Contains(out, "\t0 with a GRE key that no tunnel of their ends has") {
					t.Errorf("not counted:\n%s", out)
				}
			}
			for _, h := range []*lab.Host{s.Left, s.Router} {
				s.ifconfig(h, "gre0 destroy")
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}
