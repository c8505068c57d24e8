package labtest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// firewall is a router of static addresses that passes ping in from the host
// and nothing else.
func (s *site) firewall(rules string) string {
	return s.write("rc.conf", `
ifconfig_wan_name="em0"
ifconfig_lan_name="em1"
ifconfig_em0="inet 198.51.100.9/24"
ifconfig_em1="inet 192.0.2.1/24"
gateway_enable="YES"
pf_enable="YES"
pf_rules="`+rules+`"
`)
}

const pingOnly = "block all\npass quick inet proto icmp icmp-type echoreq\n"

// boot starts the daemon as the service does, and waits until it has done what
// it can.
func (s *site) boot(file string) {
	s.t.Helper()
	cmd := s.router.Command(context.Background(), program, "load", "--foreground", "--boot", "-f", file, "--mode", s.mode)
	ready := filepath.Join(s.t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ready, Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer socket.Close()
	var messages buffer
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+ready)
	cmd.Stdout, cmd.Stderr = &messages, &messages
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // it is killed, or ends with the instance
	said := make([]byte, 4096)
	if err := socket.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	if n, err := socket.Read(said); err != nil || !strings.Contains(string(said[:n]), "READY=1") {
		s.t.Fatalf("load --foreground --boot: not ready: %v: %s", err, messages.String())
	}
}

// down ends the instance as a reboot does: what is below /var stays.
func (s *site) down() {
	s.t.Helper()
	s.bsdnet("unload")
	for _, device := range []string{"wan", "lan"} {
		s.router.MustRun(s.t, "ip", "addr", "flush", "dev", device)
	}
}

// With a bad pf.conf the ruleset before it rules after a boot, or the built-in
// policy where there was none; a good one takes their place.
func TestBootFallback(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		s.provider.MustRun(t, "ip", "route", "add", "192.0.2.0/24", "via", "198.51.100.9")
		var before string
		t.Cleanup(func() { os.RemoveAll(filepath.Join("/var/lib/bsdnet", s.router.Name)) })
		rules := s.write("pf.conf", "pass\nnonsense\n")
		file := s.firewall(rules)
		check := func(when, problem string, ping bool) {
			t.Helper()
			status, _, code := s.try("status")
			if want := map[bool]int{true: 0, false: 3}[problem == ""]; code != want || !strings.Contains(status, problem) {
				t.Errorf("%s: status %d, want %d with %q:\n%s", when, code, want, problem, status)
			}
			if got := s.pings(s.host, "198.51.100.1"); got != ping {
				t.Errorf("%s: ping passes: %v, want %v", when, got, ping)
			}
		}
		s.boot(file)
		check("bad from the beginning", "pf: the built-in boot policy is in force: ", false)
		if err := os.WriteFile(rules, []byte(pingOnly), 0o644); err != nil {
			t.Fatal(err)
		}
		s.down()
		s.boot(file)
		check("good", "", true)
		before = s.bsdnet("pfctl", "-sr")
		for i, bad := range []string{"pass\nnonsense\n", "pass in proto tcp synproxy state\n", "table <t> file \"/nonexistent\"\npass\n"} {
			boot := s.boot
			if i == 1 { // without a service manager
				boot = func(file string) { s.bsdnet("load", "--boot", "-f", file, "--mode", s.mode) }
			}
			if err := os.WriteFile(rules, []byte(bad), 0o644); err != nil {
				t.Fatal(err)
			}
			s.down()
			boot(file)
			check("bad after good", "pf: the previous good ruleset is in force: ", true)
			if now := s.bsdnet("pfctl", "-sr"); now != before {
				t.Errorf("with %q there rule\n%swant\n%s", bad, now, before)
			}
		}
		// A daemon that dies meanwhile changes nothing, nor forgets the reason.
		s.kill()
		s.boot(file)
		check("bad, restarted", "pf: the previous good ruleset is in force: ", true)
		if err := os.Remove(rules); err != nil {
			t.Fatal(err)
		}
		s.down()
		s.boot(file)
		check("missing", "pf: the previous good ruleset is in force: ", true)
		s.bsdnet("pfctl", "-f", s.write("other.conf", "block all\n"))
		check("another was loaded", "", false)
		// Bad rc.conf: all interfaces under the built-in policy.
		s.down()
		s.boot(s.write("rc.conf", "ifconfig_wan_name=\"em0\nnonsense"))
		check("bad rc.conf", "pf: ", false)
	})
}

// An interface that went and comes back is under the data path and its rules
// again, also where the daemon was dead meanwhile.
func TestReturn(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		t.Cleanup(func() { os.RemoveAll(filepath.Join("/var/lib/bsdnet", s.router.Name)) })
		file := s.firewall(s.write("pf.conf", pingOnly+"block drop quick on em0 proto udp\n"))
		s.boot(file)
		whole := func(when string) {
			t.Helper()
			var status string
			for end := time.Now().Add(15 * time.Second); ; time.Sleep(100 * time.Millisecond) {
				var code int
				if status, _, code = s.try("status"); code == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s: not healthy: %s", when, status)
				}
			}
			eventually(t, 15*time.Second, when+": ping passes", func() bool { return s.pings(s.host, "198.51.100.1") })
			if s.pings(s.provider, "198.51.100.9") != true {
				t.Errorf("%s: the router does not answer", when)
			}
			blocked := s.reason("pf_block")
			s.provider.MustRun(t, "bash", "-c", "echo > /dev/udp/198.51.100.9/9")
			eventually(t, 5*time.Second, when+": udp is blocked", func() bool { return s.reason("pf_block") > blocked })
		}
		replug := func() {
			t.Helper()
			lab.MustJoin(t, s.provider, "isp0", s.router, "wan")
			s.provider.MustRun(t, "ethtool", "-K", "isp0", "tx", "off")
			s.provider.MustRun(t, "ethtool", "-K", "isp0", "gro", "on")
			s.provider.MustRun(t, "ip", "addr", "add", "198.51.100.1/24", "dev", "isp0")
			s.provider.MustRun(t, "ip", "route", "add", "192.0.2.0/24", "via", "198.51.100.9")
		}
		s.provider.MustRun(t, "ip", "route", "add", "192.0.2.0/24", "via", "198.51.100.9")
		whole("at first")
		for range 2 {
			s.provider.MustRun(t, "ip", "link", "del", "isp0")
			eventually(t, 5*time.Second, "status names what is gone", func() bool {
				status, _, code := s.try("status")
				return code == 3 && strings.Contains(status, "interface wan is gone")
			})
			replug()
			whole("returned")
		}
		s.kill()
		s.provider.MustRun(t, "ip", "link", "del", "isp0")
		replug()
		s.boot(file)
		whole("returned while the daemon was dead")
		s.provider.MustRun(t, "ip", "link", "del", "isp0")
		s.kill()
		s.boot(file)
		replug()
		whole("gone before the daemon died, returned after")
	})
}

// reason is how many packets left for a reason.
func (s *site) reason(name string) (count uint64) {
	s.t.Helper()
	for line := range strings.Lines(s.bsdnet("metrics")) {
		if _, value, ok := strings.Cut(line, `reason="`+name+`"} `); ok && strings.HasPrefix(line, "bsdnet_packets_total{") {
			for _, digit := range strings.TrimSpace(value) {
				count = count*10 + uint64(digit-'0')
			}
		}
	}
	return count
}
