package labtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// TestDecoded has tshark read what arrives of each shape of tunnel: every
// header is what it is to be, and every checksum right.
func TestDecoded(t *testing.T) {
	s := newSite(t, "tc")
	if err := s.Left.Offloads("em0", false, "tx"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ device, words, family, headers, fields string }{
		{"gif0", "", "inet", "eth:ethertype:ip:ip:icmp:data", ""},
		{"gif0", "", "inet", "eth:ethertype:ip:ipv6:icmpv6:data", ""},
		{"gif0", "", "inet6", "eth:ethertype:ipv6:ip:icmp:data", ""},
		{"gif0", "", "inet6", "eth:ethertype:ipv6:ipv6:icmpv6:data", ""},
		{"gre0", "", "inet", "eth:ethertype:ip:gre:ip:icmp:data", "0x0000,0x0800,,"},
		{"gre0", "", "inet6", "eth:ethertype:ipv6:gre:ipv6:icmpv6:data", "0x0000,0x86dd,,"},
		{"gre0", "grekey 7", "inet", "eth:ethertype:ip:gre:ipv6:icmpv6:data", "0x2000,0x86dd,0x00000007,"},
		{"gre0", "enable_csum enable_seq grekey 0x1234", "inet", "eth:ethertype:ip:gre:ip:icmp:data", "0xb000,0x0800,0x00001234,"},
		{"gre0", "enable_csum", "inet6", "eth:ethertype:ipv6:gre:ip:icmp:data", "0x8000,0x0800,,"},
		{"gre0", "udpencap", "inet", "eth:ethertype:ip:udp:gre:ip:icmp:data", "0x0000,0x0800,,"},
	} {
		s.tunnel(c.device, c.words, c.family)
		to := "198.51.100.2"
		if strings.Contains(c.headers, "icmpv6") {
			to = "2001:db8:1::2"
		}
		path := filepath.Join(t.TempDir(), "tunnel.pcap")
		s.record(s.Router, "em0", path, func() { s.ping(s.Left, to) })
		if bad := decode(t, path, "-Y", "_ws.malformed || ip.checksum.status == Bad || icmp.checksum.status == Bad || icmpv6.checksum.status == Bad || "+
			"udp.checksum.status == Bad || gre.checksum.status == Bad"); bad != "" {
			t.Errorf("%s %s over %s: tshark finds wrong:\n%s", c.device, c.words, c.family, bad)
		}
		found := false
		seen := decode(t, path, "-T", "fields", "-E", "separator=,", "-e", "frame.protocols", "-e", "gre.flags_and_version", "-e", "gre.proto", "-e", "gre.key", "-e", "gre.sequence_number")
		for line := range strings.Lines(seen) {
			headers, fields, _ := strings.Cut(strings.TrimSpace(line), ",")
			found = found || headers == c.headers && strings.HasPrefix(fields, c.fields)
		}
		if !found {
			t.Errorf("%s %s over %s: no %s %s among\n%s", c.device, c.words, c.family, c.headers, c.fields, seen)
		}
		for _, h := range []*lab.Host{s.Left, s.Router} {
			s.ifconfig(h, "%s destroy", c.device)
		}
	}
}

// record writes what passes on a device while f runs into a file.
func (s *site) record(host *lab.Host, device, path string, f func()) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := host.Command(ctx, "tcpdump", "-i", device, "-U", "--immediate-mode", "-w", path)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 50 { // the file begins when it listens
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	f()
	time.Sleep(200 * time.Millisecond)
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // ended by us
}

func decode(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.Command("tshark", append([]string{"-n", "-r", path, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"}, args...)...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return string(out)
}
