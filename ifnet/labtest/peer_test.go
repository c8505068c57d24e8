package labtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// trunk configures the guest.
const trunk = `set -e
ip link add link vec0 name q5 type vlan id 5 egress-qos-map 0:3
ip link add link vec0 name s7 type vlan proto 802.1ad id 7
ip link add link s7 name q9 mtu 1496 type vlan id 9
for device in q5 s7 q9; do
	ip link set $device up
	ip addr add 10.0.${device#?}.2/24 dev $device
	ip addr add 2001:db8:${device#?}::2/64 dev $device nodad
done
ip route add 198.51.100.0/24 via 10.0.9.1
iperf3 -s -D`

// A trunk to the 8021q of another kernel: both kinds of tags and one on the
// other, both families, traffic started by either side, forwarded and not.
func TestVlanPeer(t *testing.T) {
	router, right := lab.MustHost(t, "peer-router"), lab.MustHost(t, "peer-right")
	lab.MustJoin(t, router, "em0", right, "em0")
	guest, err := lab.NewGuest(router, "uml0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guest.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t}
	s.ip(router, "addr", "add", "198.51.100.1/24", "dev", "em0")
	s.ip(right, "addr", "add", "198.51.100.2/24", "dev", "em0")
	s.ip(right, "route", "add", "default", "via", "198.51.100.1")
	for _, host := range []*lab.Host{router, right} {
		for name, on := range map[string]bool{"tx": false, "txvlan": false, "gro": true} {
			if err := host.Offloads("em0", on, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	inGuest := func(script string) string {
		t.Helper()
		out, err := guest.Run(script)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	for n, mode := range []string{"tc", "xdp"} {
		s.must(router, "load", "-i", "em0", "-i", "uml0", "--mode", mode)
		if n == 0 {
			inGuest(trunk)
		}
		s.must(router, "sysctl", "net.inet.ip.forwarding=1")
		s.ifconfig(router, "vlan5 create vlan 5 vlandev uml0 10.0.5.1/24")
		s.ifconfig(router, "vlan7 create vlan 7 vlandev uml0 vlanproto 802.1ad 10.0.7.1/24")
		s.ifconfig(router, "vlan7.9 create 10.0.9.1/24")
		var pings []string
		for _, n := range []string{"5", "7", "9"} {
			name := strings.Replace("vlan"+n, "vlan9", "vlan7.9", 1)
			s.ifconfig(router, "%s inet6 2001:db8:%s::1 prefixlen 64", name, n)
			for _, address := range []string{"10.0.%s.", "2001:db8:%s::"} {
				address = fmt.Sprintf(address, n)
				s.ping(router, address+"2")
				pings = append(pings, "ping -n -c 2 -i 0.2 -W 5 -s 1400 "+address+"1")
			}
		}
		inGuest("set -e; " + strings.Join(append(pings, "ping -n -c 2 -i 0.2 -W 5 198.51.100.2"), "; "))
		s.ping(right, "-s", "1400", "10.0.9.2")
		for _, args := range [][]string{{"10.0.5.2"}, {"2001:db8:9::2"}, {"2001:db8:9::2", "-R"}, {"10.0.7.2", "-R"}} {
			s.transfer(router, mode, args...)
		}
		s.transfer(right, mode, "10.0.9.2")
		s.transfer(right, mode, "10.0.9.2", "-R")
		s.must(router, "unload")
	}
}

// transfer sends some megabytes by TCP to a server that is there, or from it
// with -R.
func (s *site) transfer(from *lab.Host, what string, args ...string) {
	s.t.Helper()
	args = append([]string{"-n", "2M", "--connect-timeout", "5000", "-c"}, args...)
	if out, err := from.Run("iperf3", args...); err != nil {
		s.t.Errorf("%s: TCP: %v: %s", what, err, out)
	}
}
