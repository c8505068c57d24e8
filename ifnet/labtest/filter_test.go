package labtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// pf on clones: rules by the interface, states, translation of what comes from
// a vlan, fragments of the host's own; and forwarding into a tun that socat
// carries to another host.
func TestCloneFilter(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.ifconfig(s.Left, "vlan5 create vlan 5 vlandev em0 10.0.5.2/24")
		s.ifconfig(s.Left, "vlan5 inet6 2001:db8:5::2 prefixlen 64")
		s.ifconfig(s.Router, "vlan5 create vlan 5 vlandev em0 10.0.5.1/24")
		s.ifconfig(s.Router, "vlan5 inet6 2001:db8:5::1 prefixlen 64")
		s.ifconfig(s.Router, "tun0 create 10.9.0.1 10.9.0.2 netmask 255.255.255.255")
		s.must(s.Router, "sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
		s.tunnel(s.Router, s.Right)
		s.ip(s.Left, "route", "replace", "default", "via", "10.0.5.1")
		s.ip(s.Right, "route", "replace", "10.0.5.0/24", "dev", "tun9")
		// Without a way back, only what is translated is answered by em0.
		s.ip(s.Right, "route", "del", "default")
		rules := filepath.Join(t.TempDir(), "pf.conf")
		err := os.WriteFile(rules, []byte(`set reassemble yes
block drop in on vlan5
pass in on vlan5 proto { icmp icmp6 }
pass in on vlan5 inet proto tcp to port 5301
block drop in on tun0 proto tcp
pass out on em1 inet from 10.0.5.0/24 nat-to 198.51.100.1
pass out on vlan5
`), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		s.must(s.Router, "pfctl", "-e", "-f", rules)
		s.ping(s.Left, "198.51.100.2")
		s.ping(s.Left, "10.9.0.2")
		s.ping(s.Right, "10.9.0.1")
		for _, to := range []string{"10.0.5.2", "2001:db8:5::2"} {
			s.ping(s.Router, "-s", "4000", to)
		}
		for _, to := range []string{"10.0.5.1", "2001:db8:5::1"} {
			s.ping(s.Left, "-s", "4000", to)
		}
		s.tcp(s.Left, s.Right, "198.51.100.2")
		s.tcp(s.Left, s.Router, "10.0.5.1")
		s.closed(s.Left, "10.0.5.1", "22")
		s.closed(s.Right, "10.9.0.1", "22")
		if out := s.must(s.Router, "pfctl", "-ss"); !strings.Contains(out, "198.51.100.1") {
			t.Errorf("no state is translated:\n%s", out)
		}
	})
}

// tunnel joins tun0 of one host and tun9 of another.
func (s *site) tunnel(from, to *lab.Host) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	far := to.Command(ctx, "socat", "UDP-LISTEN:5555", "TUN:10.9.0.2/24,tun-name=tun9,iff-no-pi,iff-up")
	near := from.Command(ctx, "socat", "UDP:198.51.100.2:5555", "TUN,tun-name=tun0,iff-no-pi")
	s.t.Cleanup(func() {
		cancel()
		_ = far.Wait() // ended by the test
		_ = near.Wait()
	})
	if err := far.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := near.Start(); err != nil {
		s.t.Fatal(err)
	}
	// The far end listens until the first datagram.
	for range 50 {
		_, _ = from.Run("ping", "-n", "-c", "1", "-W", "1", "10.9.0.2")
		if out, _ := to.Run("ip", "-br", "link", "show", "tun9"); strings.Contains(out, "UP") {
			return
		}
	}
	s.t.Error("socat made no tunnel")
}

// closed wants no TCP connection to be made, and no answer at all.
func (s *site) closed(from *lab.Host, address, port string) {
	s.t.Helper()
	out, err := from.Run("curl", "-sS", "-m", "2", "telnet://"+address+":"+port)
	if err == nil || strings.Contains(out, "refused") || !strings.Contains(out, "imed out") {
		s.t.Errorf("TCP to %s port %s: %v: %s", address, port, err, out)
	}
}
