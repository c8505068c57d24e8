package labtest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// foreignXDP puts a program that is not bsdnet's on an interface of the router.
func (s *site) foreignXDP(device string) (remove func()) {
	s.t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "foreign", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(),
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	var l link.Link
	err = s.Router.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		l, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: i.Index})
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return func() { l.Close(); program.Close() }
}

// Where somebody else decides about forwarded packets, load says what it
// found, changes nothing and exits with 1.
func TestRefusals(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		script := func(lines ...string) func() {
			return func() {
				for _, line := range lines {
					s.Router.MustRun(t, "sh", "-c", line)
				}
			}
		}
		nft := func(text string) func() { return script("nft '" + text + "'") }
		flush := script("nft flush ruleset")
		for _, c := range []struct {
			name, word string
			set, unset func()
			takeover   bool
		}{
			{"nft-forward", "nftables chain guard forward", nft("add table inet guard; add chain inet guard forward { type filter hook forward priority 0; }; add rule inet guard forward ip saddr 10.0.0.0/8 drop"), flush, true},
			{"nft-forward-policy", "nftables chain guard forward", nft("add table ip guard; add chain ip guard forward { type filter hook forward priority 0; policy drop; }"), flush, true},
			{"nft-nat", "nftables chain guard post", nft("add table ip guard; add chain ip guard post { type nat hook postrouting priority 100; }; add rule ip guard post masquerade"), flush, true},
			{"iptables-legacy", "iptables table filter", script("iptables-legacy -A FORWARD -s 10.0.0.0/8 -j DROP"), script("iptables-legacy -F FORWARD"), true},
			{"ip6tables-legacy", "ip6tables table filter", script("ip6tables-legacy -A FORWARD -s 2001:db8:dead::/48 -j DROP"), script("ip6tables-legacy -F FORWARD"), true},
			{"ip-rule", "ip rule 1000", script("ip rule add from 10.0.0.0/8 lookup 100 priority 1000"), script("ip rule del priority 1000"), true},
			{"ip6-rule", "ip rule 1000", script("ip -6 rule add from 2001:db8:dead::/48 lookup 100 priority 1000"), script("ip -6 rule del priority 1000"), true},
		} {
			c.set()
			before := s.footprint()
			out, errs, status := s.try("load", "-i", "em0", "-i", "em1", "--mode", s.mode)
			if status != 1 || !strings.Contains(errs, c.word) || !strings.Contains(errs, "--takeover") || strings.Count(errs, "\n") != 1 {
				t.Errorf("%s: status %d: %s%s", c.name, status, out, errs)
			}
			s.checkNothingLoaded(t, before)
			if status == 0 {
				s.bsdnet("unload")
			}
			_, errs, status = s.try("load", "-i", "em0", "-i", "em1", "--mode", s.mode, "--takeover")
			if status != 0 || !strings.Contains(errs, c.word) {
				t.Errorf("%s: --takeover: status %d: %s", c.name, status, errs)
			}
			s.try("unload")
			c.unset()
		}
		// Rules that concern the host alone are none of bsdnet's business.
		nft("add table inet guard; add chain inet guard input { type filter hook input priority 0; }; add rule inet guard input tcp dport 22 accept")()
		s.load()
		s.bsdnet("unload")
		flush()
	})
}

func TestForeignXDP(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		remove := s.foreignXDP("em1")
		before := s.footprint()
		_, errs, status := s.try("load", "-i", "em0", "-i", "em1", "--mode", s.mode)
		if status != 1 || !strings.Contains(errs, "em1") || !strings.Contains(errs, "another XDP program") {
			t.Errorf("status %d: %s", status, errs)
		}
		s.checkNothingLoaded(t, before)
		// A second load that fails leaves the first as it was.
		s.bsdnet("load", "-i", "em0", "--mode", s.mode)
		if _, errs, status := s.try("load", "-i", "em1", "--mode", s.mode); status != 1 || !strings.Contains(errs, "another XDP program") {
			t.Errorf("second load: status %d: %s", status, errs)
		}
		if _, errs, status := s.try("status"); status != 0 {
			t.Errorf("status after a refused second load: %d: %s", status, errs)
		}
		s.bsdnet("unload")
		remove()
	})
}

// What is wrong with the command line or the configuration is said, with its
// place, and nothing is changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	before := s.footprint()
	dir := t.TempDir()
	file := func(text string) string {
		f, err := os.CreateTemp(dir, "*.conf")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	bad, garbage := file("gateway_enable=\"YES\"\nrm -rf /\n"), file("gateway_enable=maybe\nifconfig_em0=\"inet 192.0.2.1/24\"\n")
	for _, c := range []struct {
		name   string
		args   []string
		status int
		text   string
	}{
		{"nonexistent", []string{"load", "-i", "em7"}, 1, "interface em7 does not exist"},
		{"nonexistent-second", []string{"load", "-i", "em0", "-i", "em7"}, 1, "interface em7 does not exist"},
		{"no-interface", []string{"load"}, 1, "no interface to take"},
		{"bad-line", []string{"load", "-i", "em0", "-f", bad}, 1, bad + ":2: "},
		{"bad-value", []string{"load", "-f", garbage}, 1, garbage + ":1: "},
		{"no-file", []string{"load", "-i", "em0", "-f", "/nonexistent"}, 1, "/nonexistent"},
		{"bad-mode", []string{"load", "-i", "em0", "--mode", "fast"}, 64, "fast"},
		{"bad-flag", []string{"load", "--nonsense"}, 64, "nonsense"},
		{"argument", []string{"load", "em0"}, 64, "em0"},
		{"bad-command", []string{"lod"}, 64, "lod"},
		{"unload-argument", []string{"unload", "em0"}, 64, "em0"},
		{"netisr", []string{"load", "-i", "netisr0"}, 1, "netisr0"},
		{"no-instance-status", []string{"status"}, 4, "no bsdnet instance"},
		{"no-instance-route", []string{"route", "get", "192.0.2.2"}, 4, "no bsdnet instance"},
		{"no-instance-sysctl", []string{"sysctl", "net.inet.ip.forwarding"}, 4, "no bsdnet instance"},
		{"links-system", []string{"install-links", "/usr/bin"}, 1, "/usr/bin"},
		{"links-sbin", []string{"install-links", "/sbin"}, 1, "/sbin"},
		{"links-local", []string{"install-links", "/usr/local/bin"}, 1, "/usr/local/bin"},
		{"links-none", []string{"install-links"}, 64, "directory"},
	} {
		out, errs, status := s.try(c.args...)
		if status != c.status || !strings.Contains(out+errs, c.text) {
			t.Errorf("%s: status %d, want %d; printed %q, want %q", c.name, status, c.status, out+errs, c.text)
		}
		s.checkNothingLoaded(t, before)
		if _, err := os.Stat(s.instance() + ".log"); err == nil {
			t.Errorf("%s: a log file is left", c.name)
			os.Remove(s.instance() + ".log")
		}
	}
}

// Nobody but root can change anything, and is told so in one line.
func TestNotRoot(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	public := t.TempDir()
	for dir := public; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(public, "bsdnet")
	if err := os.WriteFile(copied, data, 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := func(args ...string) (string, int) {
		full := append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", copied}, args...)
		out, errs, status := runCommand(t, s.Router.Command(t.Context(), "setpriv", full...))
		return out + errs, status
	}
	before := s.footprint()
	for _, args := range [][]string{{"load", "-i", "em0"}, {"unload"}, {"mount"}} {
		if text, status := nobody(args...); status != 1 || !strings.Contains(text, "root") || strings.Count(text, "\n") != 1 {
			t.Errorf("%v: status %d: %s", args, status, text)
		}
	}
	s.checkNothingLoaded(t, before)
	s.load()
	for _, args := range [][]string{
		{"load", "-i", "em0"}, {"unload"}, {"sysctl", "net.inet.ip.forwarding=1"}, {"route", "add", "10.0.0.0/8", "192.0.2.2"}, {"status"},
	} {
		if text, status := nobody(args...); status == 0 {
			t.Errorf("%v with an instance: status %d: %s", args, status, text)
		} else {
			t.Logf("%v: status %d: %s", args, status, text)
		}
	}
	if _, _, status := s.try("status"); status != 0 {
		t.Errorf("status %d after what nobody did", status)
	}
}
