package labtest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// The provider is on a tag: the lease comes over it although pf blocks all, it
// is asked for again when the link below was lost, and pf gives what the host
// sends its priority on the wire.
func TestVlanProvider(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		// A veth hands tags over beside the frame, where XDP at its other end does not look.
		if err := s.provider.Offloads("isp0", false, "txvlan"); err != nil {
			t.Fatal(err)
		}
		s.provider.MustRun(t, program, "load", "-i", "isp0", "--mode", "tc")
		t.Cleanup(func() { s.provider.MustRun(t, program, "unload") })
		s.provider.MustRun(t, program, "ifconfig", "isp0.10", "create", "203.0.113.1/24")
		s.serve("--interface=isp0.10", "--dhcp-range=203.0.113.100,203.0.113.110,2m", "--dhcp-option=option:T1,30")
		rules := s.write("pf.conf", "block all\npass out on wan.10 inet proto icmp set prio 5\n")
		s.rc("start", s.write("rc.conf", "vlans_wan=\"10\"\nifconfig_wan=\"up\"\nifconfig_wan_10=\"SYNCDHCP\"\npf_enable=\"YES\"\npf_rules=\""+rules+"\"\n"))
		address := s.lease("wan.10")
		if !strings.HasPrefix(address, "203.0.113.1") {
			t.Fatalf("lease %q", address)
		}
		wire := s.capture("isp0", "vlan 10 and icmp", func() {
			if !s.pings(s.router, "203.0.113.1") {
				t.Error("no answer over the vlan")
			}
		})
		if !strings.Contains(wire, "vlan 10, p 5, ethertype IPv4") {
			t.Errorf("no priority on the wire:\n%s", wire)
		}
		asked := func() int { return strings.Count(s.log.String(), "DHCPREQUEST(isp0.10)") }
		before := asked()
		s.provider.MustRun(t, "sh", "-c", "ip link set isp0 down; sleep 0.2; ip link set isp0 up")
		eventually(t, 15*time.Second, "lease asked for again after a loss of the link below", func() bool { return asked() > before })
		if got := s.lease("wan.10"); got != address {
			t.Errorf("%q after the link was lost, want %s", got, address)
		}
	})
}

// capture shows what tcpdump decodes at the provider while f runs.
func (s *site) capture(device, filter string, f func()) string {
	s.t.Helper()
	out := &buffer{}
	cmd := s.provider.Command(context.Background(), "tcpdump", "-i", device, "-e", "-n", "-l", "--immediate-mode", filter)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Second)
	f()
	time.Sleep(500 * time.Millisecond)
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // it was interrupted
	return out.String()
}
