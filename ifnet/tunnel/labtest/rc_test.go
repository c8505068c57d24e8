package labtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rc.conf makes tunnels, changes them, and takes back what it no longer says.
func TestRcConf(t *testing.T) {
	s := newSite(t, "tc")
	s.ifconfig(s.Left, "gif0 create tunnel 192.0.2.2 192.0.2.1 10.0.0.2 10.0.0.1 netmask 255.255.255.255")
	path := filepath.Join(t.TempDir(), "rc.conf")
	apply := func(how, lines string) {
		t.Helper()
		lines = "ifconfig_em0=\"inet 192.0.2.1/24\"\nifconfig_em1=\"inet 198.51.100.1/24\"\ncloned_interfaces=\"gif0 gre0\"\n" + lines
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		s.must(s.Router, "rc", how, "-f", path)
	}
	has := func(name, text string, want bool) {
		t.Helper()
		if out := s.ifconfig(s.Router, "%s", name); strings.Contains(out, text) != want {
			t.Errorf("%q in %s: want %v:\n%s", text, name, want, out)
		}
	}
	inner := "ifconfig_gif0=\"inet 10.0.0.1 10.0.0.2 netmask 255.255.255.255\"\nifconfig_gre0=\"inet 10.0.1.1 10.0.1.2 netmask 255.255.255.255 tunnel 192.0.2.1 192.0.2.2 grekey 7 enable_csum\"\n"
	apply("start", "create_args_gif0=\"tunnel 192.0.2.1 192.0.2.2\"\n"+inner)
	s.ping(s.Left, "10.0.0.1")
	has("gre0", "grekey: 0x7 (7)", true)
	has("gre0", "options=1<ENABLE_CSUM>", true)
	apply("reload", "create_args_gif0=\"tunnel 192.0.2.1 192.0.2.9\"\n"+strings.ReplaceAll(inner, "enable_csum", "enable_seq"))
	has("gif0", "tunnel inet 192.0.2.1 --> 192.0.2.9", true)
	has("gre0", "options=2<ENABLE_SEQ>", true)
	apply("reload", inner)
	has("gif0", "tunnel inet", false)
	if _, stderr, status := s.run(s.Router, "rc", "start", "-f", write(t, "ifconfig_em0=\"inet 192.0.2.1/24 grekey 7\"\n")); status == 0 || !strings.Contains(stderr, "words about a tunnel") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rc.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
