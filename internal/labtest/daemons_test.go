package labtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// speaker is a routing daemon that runs unchanged in a host.
type speaker struct {
	t    testing.TB
	host *lab.Host
	dir  string
}

// newSpeaker makes a folder for a daemon that does not run as root.
func newSpeaker(t testing.TB, host *lab.Host) *speaker {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "bsdnet-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &speaker{t: t, host: host, dir: dir}
}

// start runs one of its programs until the test ends.
func (p *speaker) start(path string, args ...string) {
	p.t.Helper()
	log, err := os.Create(filepath.Join(p.dir, filepath.Base(path)+".log"))
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := p.host.Command(p.t.Context(), path, args...)
	cmd.Cancel = func() error { return nil } // ended below, in order
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // ended by the test
		log.Close()
		if text, _ := os.ReadFile(log.Name()); p.t.Failed() {
			p.t.Logf("%s: %s", path, text)
		}
	})
}

// write puts a configuration beside the daemon's sockets.
func (p *speaker) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// frr runs FRR's zebra and another of its daemons.
func frr(t testing.TB, host *lab.Host, name, config string) *speaker {
	t.Helper()
	p := newSpeaker(t, host)
	host.MustRun(t, "chown", "frr", p.dir)
	for _, daemon := range []string{"zebra", name} {
		text := ""
		if daemon == name {
			text = config
		}
		p.start("/usr/lib/frr/"+daemon, "--log", "stdout", "-f", p.write(daemon+".conf", text),
			"-i", filepath.Join(p.dir, daemon+".pid"), "-z", filepath.Join(p.dir, "zserv"), "--vty_socket", p.dir, "-A", "127.0.0.1", "-P", "0")
		eventually(t, 20*time.Second, daemon+" runs", func() bool {
			_, err := os.Stat(filepath.Join(p.dir, daemon+".vty"))
			return err == nil
		})
	}
	return p
}

// bird runs BIRD; birdc is a command to it.
func bird(t testing.TB, host *lab.Host, config string) *speaker {
	t.Helper()
	p := newSpeaker(t, host)
	p.start("bird", "-f", "-c", p.write("bird.conf", config), "-s", filepath.Join(p.dir, "ctl"), "-P", filepath.Join(p.dir, "pid"))
	return p
}

func (p *speaker) birdc(args ...string) string {
	p.t.Helper()
	return p.host.MustRun(p.t, "birdc", append([]string{"-s", filepath.Join(p.dir, "ctl")}, args...)...)
}

// birdHost is what a BIRD needs that gives what it learns to its host and what
// it is told to announce to a neighbour.
const birdHost = `
router id %s;
protocol device { scan time 1; }
protocol kernel { ipv4 { export where source ~ [RTS_BGP, RTS_OSPF, RTS_OSPF_EXT1, RTS_OSPF_EXT2, RTS_OSPF_IA]; }; }
protocol kernel { ipv6 { export where source ~ [RTS_BGP]; }; }
`

// birdFeed makes protocols of a BIRD that have so many networks below
// 198.18.0.0/15 and 2001:db8:100::/40.
func birdFeed(routes int) string {
	var b strings.Builder
	b.WriteString("protocol static feed { ipv4;\n")
	for i := range routes {
		fmt.Fprintf(&b, "route 198.%d.%d.%d/28 blackhole;\n", 18+i>>12, i>>4&0xff, i<<4&0xff)
	}
	b.WriteString("}\nprotocol static feed6 { ipv6;\n")
	for i := range routes {
		fmt.Fprintf(&b, "route 2001:db8:1%02x:%x::/64 blackhole;\n", i>>16, i&0xffff)
	}
	b.WriteString("}\n")
	return b.String()
}

func birdBGP(self, router string, as int, family string) string {
	return fmt.Sprintf("protocol bgp { local %s as %d; neighbor %s as 65000; connect retry time 1; connect delay time 1;\n"+
		" %s { import all; export where source = RTS_STATIC; next hop self; }; }\n", self, as, router, family)
}

// routers are what may speak BGP in the router.
var routers = map[string]func(t testing.TB, host *lab.Host){
	"frr": func(t testing.TB, host *lab.Host) {
		neighbours, four, six := "", "", ""
		for address, as := range map[string]int{"192.0.2.2": 65001, "198.51.100.2": 65002, "2001:db8::2": 65001, "2001:db8:1::2": 65002} {
			neighbours += fmt.Sprintf(" neighbor %s remote-as %d\n neighbor %[1]s timers connect 1\n neighbor %[1]s advertisement-interval 0\n", address, as)
			activate := fmt.Sprintf("  neighbor %s activate\n", address)
			if strings.Contains(address, ":") {
				six += activate + fmt.Sprintf("  no neighbor %s send-community\n", address)
			} else {
				four += activate
			}
		}
		frr(t, host, "bgpd", "router bgp 65000\n bgp router-id 192.0.2.1\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n"+neighbours+
			" address-family ipv4 unicast\n  redistribute kernel\n"+four+" exit-address-family\n"+
			" address-family ipv6 unicast\n  redistribute kernel\n"+six+" exit-address-family\n")
	},
	"bird": func(t testing.TB, host *lab.Host) {
		bgp := ""
		for _, peer := range []struct {
			self, address string
			as            int
			family        string
		}{
			{"192.0.2.1", "192.0.2.2", 65001, "ipv4"}, {"198.51.100.1", "198.51.100.2", 65002, "ipv4"},
			{"2001:db8::1", "2001:db8::2", 65001, "ipv6"}, {"2001:db8:1::1", "2001:db8:1::2", 65002, "ipv6"},
		} {
			bgp += fmt.Sprintf("protocol bgp { local %s as 65000; neighbor %s as %d; connect retry time 1; connect delay time 1;\n"+
				" %s { import all; export all; next hop self; }; }\n", peer.self, peer.address, peer.as, peer.family)
		}
		bird(t, host, "router id 192.0.2.1;\nprotocol device { scan time 1; }\n"+
			"protocol kernel { learn; ipv4 { import where krt_source = 181; export where source = RTS_BGP; }; }\n"+
			"protocol kernel { learn; ipv6 { import where krt_source = 181; export where source = RTS_BGP; }; }\n"+bgp)
	},
}

// TestBGP has the router speak BGP by FRR or BIRD, neither of which knows of
// bsdnet: what neighbours announce is forwarded by the data path, what is added
// with bsdnet route is announced to them, and while many routes come and go
// others are forwarded on.
func TestBGP(t *testing.T) {
	const routes = 5000
	for mode, router := range map[string]string{"tc": "frr", "xdp": "bird"} {
		t.Run(router+"-"+mode, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, mode)
			s.load()
			s.forward()
			s.Left.MustRun(t, "ip", "addr", "add", "198.18.0.1/32", "dev", "lo")
			s.Left.MustRun(t, "ip", "addr", "add", "2001:db8:100::1/128", "dev", "lo")
			routers[router](t, s.Router)
			left := bird(t, s.Left, fmt.Sprintf(birdHost, "192.0.2.2")+birdFeed(routes)+
				birdBGP("192.0.2.2", "192.0.2.1", 65001, "ipv4")+birdBGP("2001:db8::2", "2001:db8::1", 65001, "ipv6"))
			bird(t, s.Right, fmt.Sprintf(birdHost, "198.51.100.2")+
				birdBGP("198.51.100.2", "198.51.100.1", 65002, "ipv4")+birdBGP("2001:db8:1::2", "2001:db8:1::1", 65002, "ipv6"))

			s.learns("all announced", routes)
			mustPing(t, s.Right, "-c", "3", "198.18.0.1")
			mustPing(t, s.Right, "-c", "3", "-I", "2001:db8:1::2", "2001:db8:100::1")
			s.redistributes()

			// Thrice away and back, under traffic to somewhere else.
			traffic := startPing(t, s.Right, "-i", "0.01", "-W", "1", "-c", "100000", inet.left)
			for range 3 {
				left.birdc("disable", "feed")
				left.birdc("disable", "feed6")
				s.learns("all withdrawn", 0)
				left.birdc("enable", "feed")
				left.birdc("enable", "feed6")
				s.learns("all back", routes)
			}
			_ = traffic.cmd.Process.Signal(syscall.SIGINT)
			if p := traffic.wait(t); p.received < p.sent-1 || p.sent < 50 { // the last one may be on its way
				t.Errorf("while %d routes came and went: %s", 2*routes, p.text[max(0, len(p.text)-300):])
			}
		})
	}
}

// learns waits until the data path has so many networks of the neighbours, of
// both families.
func (s *site) learns(what string, routes int) {
	s.t.Helper()
	have := 0
	eventually(s.t, 60*time.Second, what, func() bool {
		have = 0
		for _, family := range []string{"inet", "inet6"} {
			out := s.bsdnet("netstat", "-rn", "-f", family)
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "198.18.") || strings.HasPrefix(line, "198.19.") || strings.HasPrefix(line, "2001:db8:1") && strings.Contains(line, "::/64") && !strings.HasPrefix(line, "2001:db8:1::") {
					have++
				}
			}
		}
		return have == 2*routes
	})
}

// redistributes shows that neighbours are told of routes added with bsdnet.
func (s *site) redistributes() {
	s.t.Helper()
	s.bsdnet("route", "-n", "add", "203.0.113.0/24", "198.51.100.2")
	s.bsdnet("route", "-n", "add", "-inet6", "2001:db8:f::/64", "2001:db8:1::2")
	told := func(want bool) func() bool {
		return func() bool {
			four := s.Left.MustRun(s.t, "ip", "route", "show", "203.0.113.0/24")
			six := s.Left.MustRun(s.t, "ip", "-6", "route", "show", "2001:db8:f::/64")
			return strings.Contains(four, "192.0.2.1") == want && (strings.TrimSpace(six) != "") == want
		}
	}
	eventually(s.t, 30*time.Second, "routes of bsdnet announced", told(true))
	s.bsdnet("route", "-n", "delete", "203.0.113.0/24")
	s.bsdnet("route", "-n", "delete", "-inet6", "2001:db8:f::/64")
	eventually(s.t, 30*time.Second, "routes of bsdnet withdrawn", told(false))
}

// TestOSPF has FRR's ospfd in the router and BIRD at its neighbours.
func TestOSPF(t *testing.T) {
	s := newSite(t, "xdp")
	s.load()
	s.forward()
	area := "protocol ospf v2 { ipv4 { import all; export where source = RTS_STATIC; };\n" +
		" area 0 { interface \"em0\" { hello 1; dead count 4; wait 2; }; }; }\n"
	s.Left.MustRun(t, "ip", "addr", "add", "198.18.0.1/32", "dev", "lo")
	s.Right.MustRun(t, "ip", "addr", "add", "203.0.113.1/32", "dev", "lo")
	for host, static := range map[*lab.Host]string{s.Left: "198.18.0.0/24", s.Right: "203.0.113.0/24"} {
		id := map[*lab.Host]string{s.Left: "192.0.2.2", s.Right: "198.51.100.2"}[host]
		bird(t, host, fmt.Sprintf(birdHost, id)+"protocol static { ipv4; route "+static+" blackhole; }\n"+area)
	}
	frr(t, s.Router, "ospfd", "interface em0\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n!\n"+
		"interface em1\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n!\n"+
		"router ospf\n ospf router-id 192.0.2.1\n network 192.0.2.0/24 area 0\n network 198.51.100.0/24 area 0\n redistribute kernel\n")
	for from, to := range map[*lab.Host]string{s.Left: "203.0.113.1", s.Right: "198.18.0.1"} {
		eventually(t, 60*time.Second, "route to "+to+" by OSPF", func() bool {
			out, err := from.Run("ip", "route", "get", to)
			return err == nil && strings.Contains(out, "via") && strings.Contains(from.MustRun(t, "ip", "route", "show", "proto", "bird"), to[:strings.LastIndex(to, ".")])
		})
	}
	mustPing(t, s.Left, "-c", "3", "-I", "198.18.0.1", "203.0.113.1")
	s.bsdnet("route", "-n", "add", "192.88.99.0/24", "198.51.100.2")
	eventually(t, 30*time.Second, "a route of bsdnet by OSPF", func() bool {
		return strings.Contains(s.Left.MustRun(t, "ip", "route", "show", "192.88.99.0/24"), "192.0.2.1")
	})
	s.bsdnet("route", "-n", "delete", "192.88.99.0/24")
}
