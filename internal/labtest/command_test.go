package labtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// rc.conf says which interfaces and what is forwarded; a second load adds
// interfaces.
func TestLoadByConfiguration(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		path := filepath.Join(t.TempDir(), "rc.conf")
		text := "# a router\nifconfig_em0=\"inet 192.0.2.1/24\"\nifconfig_em1=\"inet 198.51.100.1/24\"\n" +
			"gateway_enable=\"YES\"\nipv6_gateway_enable=\"YES\"\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s.bsdnet("load", "-f", path, "--mode", s.mode)
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
		}
		s.bsdnet("unload")

		s.bsdnet("load", "-i", "em0", "--mode", s.mode)
		s.forward()
		if p := ping(t, s.Left, "-c", "1", "-W", "0.5", inet.right); p.received > 0 {
			t.Error("forwarded to an interface that is not bsdnet's")
		}
		if out := s.bsdnet("load", "-i", "em1", "--mode", s.mode); !strings.Contains(out, "em1: ") {
			t.Errorf("second load: %s", out)
		}
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
		}
		if out, errs, status := s.try("load", "-i", "em1", "--mode", s.mode); status != 0 {
			t.Errorf("load of what is loaded: status %d: %s%s", status, out, errs)
		}
	})
}

// Every command that shows something shows it in JSON, too.
func TestJSON(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
		for _, args := range [][]string{
			{"status", "--json"}, {"sysctl", "--json", "-a"}, {"pfilctl", "heads", "--json"}, {"pfilctl", "hooks", "--json"},
			{"netstat", "-rn", "--json"}, {"netstat", "-i", "--json"}, {"netstat", "-s", "--json"}, {"netstat", "-Q", "--json"},
			{"route", "--json", "get", inet.right}, {"arp", "-an", "--json"}, {"ndp", "-an", "--json"},
		} {
			out, errs, status := s.try(args...)
			if status != 0 || !json.Valid([]byte(out)) || errs != "" {
				t.Errorf("%v: status %d: %.200q %s", args, status, out, errs)
			}
		}
		s.kill()
		out, _, status := s.try("status", "--json")
		if status != 3 || !json.Valid([]byte(out)) {
			t.Errorf("status --json with a dead daemon: status %d: %s", status, out)
		}
	})
}

// Instances of two namespaces know nothing of each other.
func TestInstancesIndependent(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		s.load()
		s.forward()
		other := newSite(t, s.mode)
		other.load()
		if p := ping(t, other.Left, "-c", "1", "-W", "0.5", inet.right); p.received > 0 {
			t.Error("forwarding of one instance turned on by the other")
		}
		other.forward()
		mustPing(t, other.Left, "-c", "1", "-W", "3", inet.right)
		s.kill()
		other.bsdnet("status")
		s.bsdnet("unload")
		mustPing(t, other.Left, "-c", "3", "-i", "0.05", "-W", "1", inet.right)
		other.bsdnet("unload")
	})
}

func TestInstallLinks(t *testing.T) {
	t.Parallel()
	s := newSite(t, "tc")
	dir := t.TempDir()
	s.bsdnet("install-links", dir)
	s.bsdnet("install-links", dir) // again
	if _, err := os.Lstat(filepath.Join(dir, "sysctl")); err == nil {
		t.Error("sysctl has a link")
	}
	s.load()
	out := s.Router.MustRun(t, filepath.Join(dir, "netstat"), "-rn")
	if !strings.Contains(out, "192.0.2.0/24") {
		t.Errorf("netstat by its link: %s", out)
	}
	if _, err := s.Router.Run(filepath.Join(dir, "route"), "-n", "get", inet.right); err != nil {
		t.Error(err)
	}
}

// The status says what is the matter with an interface that went away.
func TestInterfaceGone(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		spare := lab.MustHost(t, "spare")
		if err := lab.Join(s.Router, "em9", spare, "em0"); err != nil {
			t.Fatal(err)
		}
		s.load("-i", "em9")
		s.forward()
		s.Router.MustRun(t, "ip", "link", "del", "em9")
		eventually(t, 2*e9, "status tells of it", func() bool {
			out, _, status := s.try("status")
			return status == 3 && strings.Contains(out, "em9 is gone")
		})
		mustPing(t, s.Left, "-c", "2", "-i", "0.05", "-W", "3", inet.right)
		s.kill()
		s.load()
		mustPing(t, s.Left, "-c", "2", "-i", "0.05", "-W", "3", inet.right)
	})
}

const e9 = 1_000_000_000
