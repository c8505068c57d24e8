package labtest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// gateway is a router as FreeBSD's handbook has it. pf passes nothing of DHCP.
func (s *site) gateway(more string) string {
	rules := s.write("pf.conf", "nat on em0 inet from 192.0.2.0/24 to any -> (em0)\nblock log all\n"+
		"pass in on em1 inet\npass out on em0 inet proto icmp\npass inet6 proto icmp6\n")
	return s.write("rc.conf", `
ifconfig_wan_name="em0"
ifconfig_lan_name="em1"
ifconfig_em0="SYNCDHCP"
ifconfig_em0_ipv6="inet6 accept_rtadv"
ifconfig_em1="inet 192.0.2.1/24"
ifconfig_em1_ipv6="inet6 2001:db8:2::1/64"
gateway_enable="YES"
ipv6_gateway_enable="YES"
pf_enable="YES"
pf_rules="`+rules+`"
`+more)
}

// One rc.conf makes a router out of a host with nothing configured, by DHCP
// and router advertisements, with pf blocking all that it was not told; the
// lease is renewed, outlives the daemon, and is given back.
func TestGateway(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		s.serve("--dhcp-option=option:T1,4", "--dhcp-option=option:T2,60",
			"--dhcp-option=121,0.0.0.0/0,198.51.100.1,10.99.0.0/16,198.51.100.7", "--dhcp-option=option:mtu,1400")
		file := s.gateway("")
		s.rc("start", file)
		address := s.lease("em0")
		if !strings.HasPrefix(address, "198.51.100.1") || !strings.HasSuffix(address, "/24") {
			t.Fatalf("lease %q", address)
		}
		if !s.pings(s.host, "198.51.100.1") {
			t.Error("no answer through the router and its nat")
		}
		routes := s.bsdnet("netstat", "-rn")
		for _, want := range []string{"default            198.51.100.1       UGS         em0", "10.99.0.0/16       198.51.100.7       UGS         em0"} {
			if !strings.Contains(routes, want) {
				t.Errorf("no route %q in\n%s", want, routes)
			}
		}
		if out := s.router.MustRun(t, "ip", "-4", "addr", "show", "dev", "wan"); !strings.Contains(out, "mtu 1400") || strings.Contains(out, "forever") {
			t.Errorf("neither the MTU nor the end of the lease: %s", out)
		}
		resolv := filepath.Join("/etc/netns", s.router.Name, "resolv.conf")
		if data, _ := os.ReadFile(resolv); !strings.Contains(string(data), "search example.org\nnameserver 198.51.100.53\n") {
			t.Errorf("resolv.conf: %q", data)
		}
		eventually(t, 20*time.Second, "default router and prefix advertised", func() bool {
			routes := s.bsdnet("netstat", "-rn", "-f", "inet6")
			return strings.Contains(routes, "default ") && strings.Contains(routes, "2001:db8:1::/64")
		})

		acks := func() int { return strings.Count(s.log.String(), "DHCPACK") }
		before := acks()
		eventually(t, 15*time.Second, "two renewals", func() bool { return acks() >= before+2 })
		if s.lease("em0") != address {
			t.Errorf("%s after renewals, want %s", s.lease("em0"), address)
		}

		s.kill()
		if !s.pings(s.host, "198.51.100.1") {
			t.Error("no answer while there is no daemon")
		}
		before = acks()
		s.bsdnet("load", "-i", "none", "--mode", s.mode)
		eventually(t, 10*time.Second, "lease confirmed by the server", func() bool { return acks() > before && s.lease("em0") == address })
		before = acks()
		eventually(t, 15*time.Second, "renewal after a restart", func() bool { return acks() > before })
		if !s.pings(s.host, "198.51.100.1") {
			t.Error("no answer after a restart")
		}

		s.bsdnet("rc", "stop")
		eventually(t, 5*time.Second, "release", func() bool { return strings.Contains(s.log.String(), "DHCPRELEASE") })
		for _, device := range []string{"wan", "lan"} {
			if out := s.router.MustRun(t, "ip", "addr", "show", "dev", device); strings.Contains(out, "inet ") || !strings.Contains(out, "mtu 1500") {
				t.Errorf("after rc stop: %s", out)
			}
		}
		if _, err := os.Stat(resolv); err == nil {
			t.Error("resolv.conf is left")
		}
		if out := s.bsdnet("pfctl", "-s", "info"); !strings.Contains(out, "Enabled") {
			t.Errorf("rc stop switched pf off: %s", out)
		}
		if out := s.bsdnet("sysctl", "-n", "net.inet.ip.forwarding"); strings.TrimSpace(out) != "0" {
			t.Errorf("forwarding after rc stop: %s", out)
		}
	})
}

// A reload touches what differs and nothing else.
func TestReload(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		conf := func(lan, routes string) string {
			return s.write("rc.conf", "ifconfig_wan=\"inet 198.51.100.2/24\"\nifconfig_wan_ipv6=\"inet6 2001:db8:1::2/64\"\n"+
				"ifconfig_lan=\""+lan+"\"\ndefaultrouter=\"198.51.100.1\"\ngateway_enable=\"YES\"\n"+routes)
		}
		s.rc("start", conf("inet 192.0.2.1/24", ""))
		stopWan, stopLan := s.monitor("wan"), s.monitor("lan")
		if out := s.rc("reload", conf("inet 192.0.2.1/24", "")); out != "" {
			t.Errorf("reload of the same changed %q", out)
		}
		if lines := append(stopWan(), stopLan()...); len(lines) > 0 {
			t.Errorf("reload of the same made events: %q", lines)
		}
		stopWan = s.monitor("wan")
		out := s.rc("reload", conf("inet 192.0.2.1/24 mtu 1400 description inside group inner staticarp", "ifconfig_lan_alias0=\"inet 192.0.2.7/32\"\nstatic_routes=\"a\"\nroute_a=\"-net 10.0.0.0/8 192.0.2.2\"\n"))
		for _, want := range []string{"lan: mtu", "lan: description", "lan: 192.0.2.7/32", "route -inet -net 10.0.0.0/8 192.0.2.2"} {
			if !strings.Contains(out, want+"\n") {
				t.Errorf("no %q in %q", want, out)
			}
		}
		// Without a name it is the file of the last start.
		conf("inet 203.0.113.1/24", "")
		s.bsdnet("rc", "reload")
		if lines := stopWan(); len(lines) > 0 {
			t.Errorf("changes of lan made events on wan: %q", lines)
		}
		if out := s.router.MustRun(t, "ip", "addr", "show", "dev", "lan"); strings.Contains(out, "192.0.2.") ||
			!strings.Contains(out, "203.0.113.1/24") || !strings.Contains(out, "mtu 1500") || strings.Contains(out, "inside") {
			t.Errorf("lan after the last reload: %s", out)
		}
		if out := s.bsdnet("ifconfig", "lan"); strings.Contains(out, "STATICARP") || strings.Contains(out, "inner") {
			t.Errorf("lan after the last reload: %s", out)
		}
		if out := s.router.MustRun(t, "ip", "route"); strings.Contains(out, "10.0.0.0/8") || !strings.Contains(out, "default via 198.51.100.1") {
			t.Errorf("routes after the last reload: %s", out)
		}
	})
}

// What is missing at the start is configured when it comes.
func TestArrival(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	file := s.write("rc.conf", "ifconfig_late_name=\"em9\"\nifconfig_em9=\"inet 203.0.113.1/24\"\nifconfig_lan=\"inet 192.0.2.1/24\"\n"+
		"static_routes=\"a\"\nroute_a=\"-net 10.0.0.0/8 203.0.113.2\"\n")
	out, errs, status := s.try("rc", "start", "-f", file, "--mode", s.mode)
	if status != 0 || !strings.Contains(errs, file+":2: em9 (late) is not there") || !strings.Contains(errs, file+":5: route ") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	for range 2 { // it may also go and come again
		s.router.MustRun(t, "ip", "link", "add", "late", "type", "veth", "peer", "name", "far")
		eventually(t, 5*time.Second, "late interface configured", func() bool {
			out, err := s.router.Run("ip", "addr", "show", "dev", "late")
			routes := s.bsdnet("netstat", "-rn")
			return err == nil && strings.Contains(out, "203.0.113.1/24") && strings.Contains(routes, "10.0.0.0/8         203.0.113.2        UGS         em9")
		})
		if !strings.Contains(s.bsdnet("status"), "em9: up") {
			t.Error("the late interface is not under the data path")
		}
		s.router.MustRun(t, "ip", "link", "del", "late")
	}
}

// A file that is wrong changes nothing.
func TestNothingHalfApplied(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	good := "ifconfig_wan=\"inet 198.51.100.2/24\"\nifconfig_lan=\"inet 192.0.2.1/24\"\n"
	rules := s.write("bad.conf", "pass in\npass inn\n")
	for name, c := range map[string]struct{ text, want string }{
		"shell code": {good + "ifconfig_x=$(id)\n", "rc.conf:3: "},
		"address":    {good + "ifconfig_lan_alias0=\"inet 192.0.2.999\"\n", "rc.conf:3: ifconfig_lan_alias0: "},
		"rules":      {good + "pf_enable=YES\npf_rules=" + rules + "\n", "bad.conf:2: "},
		"no rules":   {good + "pf_enable=YES\npf_rules=/nonexistent\n", "/nonexistent"},
	} {
		out, errs, status := s.try("rc", "start", "-f", s.write("rc.conf", c.text), "--mode", s.mode)
		if status != 1 || !strings.Contains(errs, c.want) || out != "" {
			t.Errorf("%s: status %d: %q %q, want %q", name, status, out, errs, c.want)
		}
		if out := s.router.MustRun(t, "ip", "-4", "addr"); strings.Contains(out, "192.0.2.1") {
			t.Errorf("%s: half applied: %s", name, out)
		}
		if _, _, status := s.try("status"); status != 4 {
			t.Errorf("%s: an instance is left", name)
		}
	}
}

// The link goes away, the second time so shortly and so soon after the first
// that Linux sends no event of it.
func TestLinkLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	s.serve("--dhcp-option=option:T1,30")
	s.rc("start", s.gateway(""))
	address := s.lease("em0")
	asked := func() int { return strings.Count(s.log.String(), "DHCPREQUEST") }
	if n := asked(); n != 1 {
		t.Errorf("%d requests for a lease, want one", n)
	}
	for _, gap := range []string{"0.5", "0.05"} {
		before := asked()
		s.provider.MustRun(t, "sh", "-c", "ip link set isp0 down; sleep "+gap+"; ip link set isp0 up")
		eventually(t, 10*time.Second, "lease asked for again when the link is back after "+gap+" s", func() bool { return asked() > before })
		if got := s.lease("em0"); got != address {
			t.Errorf("%q after the link was lost, want %s", got, address)
		}
	}
}

// Vlans of rc.conf carry traffic, get leases, and are moved and destroyed by a
// reload.
func TestVlans(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		// A veth hands tags over beside the frame, where XDP at its other end does not look.
		if err := s.provider.Offloads("isp0", false, "txvlan"); err != nil {
			t.Fatal(err)
		}
		s.provider.MustRun(t, program, "load", "-i", "isp0", "--mode", "tc")
		t.Cleanup(func() { s.provider.MustRun(t, program, "unload") })
		s.provider.MustRun(t, program, "rc", "start", "-f", s.write("provider.conf",
			"vlans_isp0=\"10\"\nifconfig_isp0=\"up\"\nifconfig_isp0_10=\"inet 203.0.113.1/24\"\n"))
		file := s.write("rc.conf", "vlans_wan=\"10 dmz\"\ncreate_args_dmz=\"vlan 20\"\nifconfig_wan=\"up\"\nifconfig_lan=\"inet 192.0.2.1/24\"\n"+
			"ifconfig_wan_10=\"inet 203.0.113.2/24\"\nifconfig_dmz=\"inet 10.20.0.1/24\"\n")
		if out := s.rc("start", file); !strings.Contains(out, "wan.10: created") || !strings.Contains(out, "dmz: created") {
			t.Errorf("start: %s", out)
		}
		if out := s.rc("reload", file); out != "" {
			t.Errorf("reload of the same changed %q", out)
		}
		eventually(t, 5*time.Second, "an answer over the vlan", func() bool { return s.pings(s.router, "203.0.113.1") })
		s.kill()
		s.bsdnet("load", "-i", "none", "--mode", s.mode)
		eventually(t, 5*time.Second, "an answer over the vlan after a restart", func() bool { return s.pings(s.router, "203.0.113.1") })
		out := s.rc("reload", s.write("rc.conf", "vlans_wan=\"10\"\nifconfig_wan=\"up\"\nifconfig_lan=\"inet 192.0.2.1/24\"\nifconfig_wan_10=\"inet 203.0.113.2/24\"\n"))
		if out != "dmz: no 10.20.0.1/24\ndmz: destroyed\n" && out != "dmz: destroyed\n" {
			t.Errorf("reload without a vlan: %q", out)
		}
		s.bsdnet("rc", "stop")
		if out := s.router.MustRun(t, "ip", "-br", "link"); strings.Contains(out, "wan.10") {
			t.Errorf("after rc stop: %s", out)
		}
	})
}

// OpenBSD's files do the same as rc.conf.
func TestNetstart(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	s.serve()
	s.write("hostname.wan", "inet autoconf\n")
	s.write("hostname.lan", "inet 192.0.2.1 255.255.255.0 NONE description \"the inside\"\n")
	s.write("mygate", "192.0.2.2\n")
	s.bsdnet("netstart", "-d", s.dir, "--mode", s.mode)
	eventually(t, 10*time.Second, "lease", func() bool { return s.lease("wan") != "" })
	if !s.pings(s.router, "198.51.100.1") || !s.pings(s.router, "192.0.2.2") {
		t.Error("no answer from the neighbours")
	}
	if out := s.router.MustRun(t, "ip", "route"); !strings.Contains(out, "default via 192.0.2.2") {
		t.Errorf("mygate: %s", out)
	}
	if out := s.bsdnet("netstart", "-d", s.dir, "--mode", s.mode, "lan"); out != "" {
		t.Errorf("a second netstart changed %q", out)
	}
	s.write("hostname.lan", "inet 192.0.2.1 255.255.255.0\n!reboot\n")
	if out, errs, status := s.try("netstart", "-d", s.dir); status != 1 || !strings.Contains(errs, "hostname.lan:2: !reboot: ") || out != "" {
		t.Errorf("a command in a file: status %d: %s%s", status, out, errs)
	}
}
