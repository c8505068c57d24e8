package labtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// peerCase is a tunnel to the guest: what ifconfig of the router is told, and
// ip(8) of the guest, which makes t4 for IPv4 and t6 for IPv6, or tb for both.
type peerCase struct {
	name, words, guest string
	wrong              string // makes the guest's tunnel one that the router must not take; "" for none
}

const (
	ends4 = "local 10.77.0.2 remote 10.77.0.1"
	ends6 = "local 2001:db8:77::2 remote 2001:db8:77::1"
	gif4  = "tunnel 10.77.0.1 10.77.0.2"
	gif6  = "tunnel 2001:db8:77::1 2001:db8:77::2"
)

var peerCases = []peerCase{
	{"gif", gif4, "ip link add t4 type ipip " + ends4 + "\nip link add t6 type sit " + ends4, "ip link set t4 type ipip local 10.77.0.3 remote 10.77.0.1"},
	{"gif", gif6, "ip link add tb type ip6tnl mode any encaplimit none " + ends6, "ip link set tb type ip6tnl local 2001:db8:77::3 remote 2001:db8:77::1"},
	{"gif", gif6, "ip link add tb type ip6tnl mode any " + ends6, ""},
	{"gre", gif4, "ip link add tb type gre " + ends4, "ip link set tb type gre key 3"},
	{"gre", "grekey 7 " + gif4, "ip link add tb type gre key 7 " + ends4, "ip link set tb type gre key 8"},
	{"gre", "enable_csum enable_seq grekey 9 " + gif4, "ip link add tb type gre key 9 icsum ocsum iseq oseq " + ends4, "ip link set tb type gre key 10"},
	{"gre", "grekey 7 " + gif6, "ip link add tb type ip6gre key 7 encaplimit none " + ends6, "ip link set tb type ip6gre key 8"},
	{"gre", "enable_csum " + gif6, "ip link add tb type ip6gre icsum ocsum encaplimit none " + ends6, ""},
}

// configure gives the guest's tunnel its addresses; n tells the cases apart.
func (c peerCase) configure(n int) string {
	script := c.guest
	for family, device := range map[int]string{4: "t4", 6: "t6"} {
		if !strings.Contains(c.guest, "add t4") {
			device = "tb"
		}
		if family == 4 {
			script += fmt.Sprintf("\nip link set %s up mtu 1280\nip addr add 10.88.%d.2/24 dev %[1]s\nip route replace 198.51.100.0/24 via 10.88.%[2]d.1", device, n)
		} else {
			script += fmt.Sprintf("\nip link set %s up mtu 1280\nip addr add 2001:db8:88:%d::2/64 dev %[1]s nodad\nip -6 route replace 2001:db8:1::/64 dev %[1]s", device, n)
		}
	}
	return "set -e\n" + script
}

const dropTunnels = "for t in tb t4 t6; do ip link del $t 2>/dev/null; done; true"

// Every shape of a tunnel to the tunnels of another kernel: both families in
// both, traffic started by either side, forwarded and not, and what is not for
// the tunnel refused.
func TestPeer(t *testing.T) {
	router, right := lab.MustHost(t, "tunnel-router"), lab.MustHost(t, "tunnel-right")
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
	for host, addresses := range map[*lab.Host][]string{
		router: {"198.51.100.1/24 em0", "2001:db8:1::1/64 em0", "10.77.0.1/24 uml0", "2001:db8:77::1/64 uml0"},
		right:  {"198.51.100.2/24 em0", "2001:db8:1::2/64 em0"},
	} {
		for _, words := range addresses {
			address, device, _ := strings.Cut(words, " ")
			s.ip(host, "addr", "add", address, "dev", device)
		}
		for name, on := range map[string]bool{"tx": false, "gro": true} {
			if err := host.Offloads("em0", on, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.ip(right, "route", "add", "default", "via", "198.51.100.1")
	s.ip(right, "route", "add", "default", "via", "2001:db8:1::1")
	inGuest := func(script string) (string, error) { return guest.Run(script) }
	// One by one: a busy machine is slow to start it.
	for _, script := range []string{"true", "modprobe -d /run/modules -a ipip sit ip6_tunnel", "modprobe -d /run/modules -a ip_gre ip6_gre"} {
		if out, err := inGuest(script); err != nil {
			t.Fatal(err, out)
		}
	}
	if out, err := inGuest(`set -e
ip addr add 10.77.0.2/24 dev vec0
ip addr add 10.77.0.3/24 dev vec0
ip addr add 2001:db8:77::2/64 dev vec0 nodad
ip addr add 2001:db8:77::3/64 dev vec0 nodad
iperf3 -s -D`); err != nil {
		t.Fatal(err, out)
	}
	for _, mode := range []string{"tc", "xdp"} {
		s.must(router, "load", "-i", "em0", "-i", "uml0", "--mode", mode)
		s.must(router, "sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
		for n, c := range peerCases {
			// What the guest sends has no checksums yet, which XDP cannot know;
			// and half of the rest will do.
			if mode == "xdp" && (strings.Contains(c.words, "enable_csum") || n%2 == 1) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s %s", mode, c.name, c.words), func(t *testing.T) {
				s := &site{t: t}
				name := s.must(router, append([]string{"ifconfig", c.name, "create"}, strings.Fields(c.words)...)...)
				name = strings.TrimSpace(name)
				defer s.ifconfig(router, "%s destroy", name)
				s.ifconfig(router, "%s mtu 1280 inet 10.88.%d.1 10.88.%[2]d.2 netmask 255.255.255.255", name, n)
				s.ifconfig(router, "%s inet6 2001:db8:88:%d::1 prefixlen 64", name, n)
				defer inGuest(dropTunnels)
				if out, err := inGuest(c.configure(n)); err != nil {
					t.Fatal(err, out)
				}
				for _, address := range []string{"10.88.%d.", "2001:db8:88:%d::"} {
					s.ping(router, "-s", "1200", fmt.Sprintf(address, n)+"2")
				}
				pings := "set -e"
				for _, to := range []string{fmt.Sprintf("10.88.%d.1", n), "198.51.100.2", "2001:db8:1::2"} {
					pings += "; ping -n -c 2 -i 0.2 -W 5 -s 1200 " + to
				}
				if out, err := inGuest(pings); err != nil {
					t.Error(err, out, s.must(router, "netstat", "-s"))
				}
				s.transfer(right, fmt.Sprintf("10.88.%d.2", n))
				if n%2 == 0 {
					s.transfer(right, fmt.Sprintf("2001:db8:88:%d::2", n), "-R")
				}
				if c.wrong == "" {
					return
				}
				if out, err := inGuest(c.wrong); err != nil {
					t.Fatal(err, out)
				}
				if out, err := inGuest(fmt.Sprintf("ping -n -c 1 -W 1 10.88.%d.1", n)); err == nil {
					t.Errorf("let in: %s", out)
				}
			})
		}
		s.must(router, "unload")
	}
}

// transfer sends a megabyte by TCP to a server that is there, or from it with -R.
func (s *site) transfer(from *lab.Host, to string, args ...string) {
	s.t.Helper()
	args = append([]string{"-n", "300K", "--connect-timeout", "5000", "-c", to}, args...)
	out, err := from.Run("iperf3", args...)
	if err != nil { // the server may be at work on the end of the one before
		time.Sleep(time.Second)
		out, err = from.Run("iperf3", args...)
	}
	if err != nil {
		s.t.Errorf("TCP to %s: %v: %s", to, err, out)
	}
}
