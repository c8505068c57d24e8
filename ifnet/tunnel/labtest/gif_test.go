package labtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// combinations are the outer families with the ends of Left and Router.
var outer = map[string][2]string{
	"inet":  {"192.0.2.2", "192.0.2.1"},
	"inet6": {"2001:db8::2", "2001:db8::1"},
}

// tunnel makes an interface on Left and on the router that are each other's
// far end, with addresses of both families, and routes to the right host.
func (s *site) tunnel(name, words, family string) {
	s.t.Helper()
	for n, h := range []*lab.Host{s.Left, s.Router} {
		here, there := outer[family][n], outer[family][1-n]
		s.ifconfig(h, "%s create %s tunnel %s %s", name, words, here, there)
		s.ifconfig(h, "%s inet 10.0.0.%d 10.0.0.%d netmask 255.255.255.255", name, 2-n, 1+n)
		s.ifconfig(h, "%s inet6 2001:db8:ff::%d prefixlen 64", name, 2-n)
	}
	s.must(s.Router, "sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
	s.ip(s.Left, "route", "replace", "198.51.100.0/24", "dev", name)
	s.ip(s.Left, "route", "replace", "2001:db8:1::/64", "dev", name)
	s.ip(s.Right, "route", "replace", "10.0.0.0/24", "via", "198.51.100.1")
	time.Sleep(300 * time.Millisecond)
}

// IPv4 and IPv6 in either, between sockets and through forwarding.
func TestGif(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for family, wants := range map[string][]string{
			"inet":  {"192.0.2.2 > 192.0.2.1: 10.0.0.2 > 10.0.0.1: ICMP echo", "192.0.2.2 > 192.0.2.1: 2001:db8:ff::2 > 2001:db8:1::2: ICMP6, echo"},
			"inet6": {"2001:db8::2 > 2001:db8::1: 10.0.0.2 > 198.51.100.2: ICMP echo", "2001:db8::2 > 2001:db8::1: 2001:db8:ff::2 > 2001:db8:ff::1: ICMP6, echo"},
		} {
			s.tunnel("gif0", "", family)
			out := s.ifconfig(s.Router, "gif0")
			for _, want := range []string{
				"gif0: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> metric 0 mtu 1280\n",
				fmt.Sprintf("\ttunnel %s %s --> %s\n\tinet 10.0.0.1 --> 10.0.0.2 netmask 0xffffffff\n", family, outer[family][1], outer[family][0]),
				"\tgroups: gif\n",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			wire := s.capture(s.Left, "em0", "", func() {
				for _, to := range []string{"10.0.0.1", "2001:db8:ff::1", "198.51.100.2", "2001:db8:1::2"} {
					s.ping(s.Left, "-s", "1200", to)
				}
			})
			for _, want := range wants {
				if !strings.Contains(wire, want) {
					t.Errorf("not on the wire: %s\n%s", want, wire)
				}
			}
			s.tcp(s.Left, s.Router, "10.0.0.1")
			s.tcp(s.Left, s.Right, "2001:db8:1::2")
			s.tcp(s.Right, s.Left, "10.0.0.2")
			for _, h := range []*lab.Host{s.Left, s.Router} {
				s.ifconfig(h, "gif0 destroy")
			}
		}
	})
}
