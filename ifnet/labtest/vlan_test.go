package labtest

import (
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// Tags of both kinds and one on the other, between sockets of two hosts and
// through forwarding, in both families; tcpdump reads what is on the wire.
func TestVlan(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for n, h := range map[int]*lab.Host{2: s.Left, 1: s.Router} {
			if got := s.ifconfig(h, "vlan create vlan 5 vlandev em0 vlanpcp 3 10.0.5.%d/24", n); got != "vlan0\n" {
				t.Errorf("create printed %q", got)
			}
			s.ifconfig(h, "vlan7 create vlan 7 vlandev em0 vlanproto 802.1ad 10.0.7.%d/24", n)
			s.ifconfig(h, "vlan7.9 create inet 10.0.9.%d/24 mtu 1400", n)
			for _, v := range []string{"0", "7", "7.9"} {
				s.ifconfig(h, "vlan%s inet6 2001:db8:%s::%d prefixlen 64", v, strings.ReplaceAll(v, ".", ""), n)
			}
		}
		time.Sleep(2 * time.Second) // duplicate address detection
		wire := s.capture(s.Left, "em0", "", func() {
			for _, to := range []string{"10.0.5.1", "10.0.7.1", "10.0.9.1", "2001:db8:0::1", "2001:db8:7::1", "2001:db8:79::1"} {
				s.ping(s.Left, to)
			}
		})
		for _, want := range []string{
			"802.1Q (0x8100), length 102: vlan 5, p 3, ethertype IPv4",
			"802.1Q-QinQ (0x88a8), length 102: vlan 7, p 0, ethertype IPv4",
			"802.1Q-QinQ (0x88a8), length 106: vlan 7, p 0, ethertype 802.1Q (0x8100), vlan 9, p 0, ethertype IPv4",
			"vlan 9, p 0, ethertype IPv6",
		} {
			if !strings.Contains(wire, want) {
				t.Errorf("not on the wire: %s\n%s", want, wire)
			}
		}
		// Link-local, and groups.
		s.ping(s.Left, "ff02::1%vlan0")
		// Through the router: from a tag to a plain interface and back.
		s.must(s.Router, "sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
		s.ip(s.Left, "route", "replace", "198.51.100.0/24", "via", "10.0.9.1")
		s.ip(s.Left, "route", "replace", "2001:db8:1::/64", "via", "2001:db8:79::1")
		s.ping(s.Left, "-s", "1300", "198.51.100.2")
		s.ping(s.Left, "2001:db8:1::2")
		s.tcp(s.Left, s.Router, "10.0.5.1")
		s.tcp(s.Left, s.Right, "198.51.100.2")
		if out := s.must(s.Router, "netstat", "-s"); !strings.Contains(out, "forwarded") || strings.Contains(out, "\t0 forwarded\n") {
			t.Errorf("nothing was forwarded:\n%s", out)
		}
	})
}

// What parents do to their vlans, and what is refused.
func TestVlanParent(t *testing.T) {
	s := newSite(t, "tc")
	r := s.Router
	s.ifconfig(r, "vlan0 create vlan 5 vlandev em0")
	s.refused(r, "interface vlan already exists", "vlan create vlan 5 vlandev em0")
	s.refused(r, "SIOCIFCREATE2 (vlan1): Device not configured", "vlan1 create vlan 6 vlandev em9")
	s.refused(r, "SIOCIFCREATE2 (vlan1): Protocol not supported", "vlan1 create vlan 6 vlandev lo0")
	s.refused(r, "SIOCIFCREATE2 (vlan1): Invalid argument", "vlan1 create vlan 4095 vlandev em0")
	s.refused(r, "value for vlan out of range", "vlan1 create vlan 65536 vlandev em0")
	s.refused(r, "invalid value for vlan", "vlan1 create vlan x vlandev em0")
	s.refused(r, "both vlan and vlandev must be specified", "vlan1 create vlan 6")
	s.refused(r, "SIOCIFCREATE2 (vlan01): Invalid argument", "vlan01 create")
	s.refused(r, "SIOCIFCREATE2 (vlan32768): Device not configured", "vlan32768 create")
	s.refused(r, "a2345678901234567: interface name too long", "a2345678901234567 create")
	s.refused(r, "SIOCIFDESTROY: Invalid argument", "em0 destroy")
	s.ifconfig(r, "vlan0.6 create")
	s.refused(r, "SIOCSETVLAN: Invalid argument", "vlan0 -vlandev vlan 5 vlandev vlan0.6")
	s.ifconfig(r, "vlan0 vlan 5 vlandev em0")
	s.refused(r, "SIOCSETVLAN: Device busy", "vlan0 vlan 5 vlandev em1")
	s.refused(r, "ioctl SIOCSIFMTU (set mtu): Invalid argument", "vlan0 mtu 1501")

	has := func(name, text string) {
		t.Helper()
		var out string
		for range 100 {
			if out = s.ifconfig(r, "%s", name); strings.Contains(out, text) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("%s does not come to %q:\n%s", name, text, out)
	}
	has("vlan0.6", "mtu 1496")
	s.ifconfig(r, "em0 ether 02:00:5e:00:53:07")
	has("vlan0.6", "ether 02:00:5e:00:53:07")
	s.ifconfig(r, "em0 mtu 1300")
	has("vlan0", "mtu 1300")
	has("vlan0.6", "mtu 1296")
	s.ifconfig(r, "vlan0 up")
	s.ifconfig(r, "vlan0.6 up")
	has("vlan0.6", "status: active")
	s.ifconfig(r, "vlan0.6 ether 02:00:5e:00:53:08")
	has("em0", "PROMISC")
	s.ifconfig(r, "em0 down")
	has("vlan0.6", "status: no carrier")
	s.ifconfig(r, "em0 up")
	has("vlan0.6", "status: active")
	// A parent vanishes: the children stay.
	s.ifconfig(r, "vlan0 destroy")
	has("vlan0.6", "vlan: 0 vlanproto: 802.1q vlanpcp: 0 parent interface: <none>")
	s.ifconfig(r, "vlan0.6 vlan 8 vlandev em1")
	s.ip(r, "link", "del", "em1")
	has("vlan0.6", "parent interface: <none>")
	s.ifconfig(r, "vlan0.6 destroy")
	has("em0", "mtu 1300")
	if out := s.ifconfig(r, "em0"); strings.Contains(out, "PROMISC") || strings.Contains(out, "ALLMULTI") {
		t.Errorf("em0 kept what its vlans wanted:\n%s", out)
	}
}

// The daemon is killed and started again: vlans carry on meanwhile and after,
// and can be destroyed by the new one.
func TestVlanOutlivesDaemon(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.ifconfig(s.Left, "vlan0 create vlan 5 vlandev em0 10.0.5.2/24")
		s.ifconfig(s.Router, "vlan0 create vlan 5 vlandev em0 10.0.5.1/24 description uplink group lan name up0")
		s.ping(s.Left, "10.0.5.1")
		s.kill(s.Router)
		s.ping(s.Left, "10.0.5.1")
		before := s.ip(s.Router, "-o", "addr", "show", "up0")
		s.must(s.Router, "load")
		s.ping(s.Left, "10.0.5.1")
		if after := s.ip(s.Router, "-o", "addr", "show", "up0"); after != before {
			t.Errorf("before %s\nafter %s", before, after)
		}
		out := s.ifconfig(s.Router, "up0")
		for _, want := range []string{"description: uplink", "groups: vlan lan", "vlan: 5 vlanproto: 802.1q vlanpcp: 0 parent interface: em0"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
		s.ifconfig(s.Router, "up0 destroy")
		s.refused(s.Router, "interface up0 does not exist", "up0")
	})
}
