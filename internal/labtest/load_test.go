package labtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Many routes from a file: forwarded by at once, in Linux soon after, and all
// or none.
func TestRouteLoad(t *testing.T) {
	s := newSite(t, "xdp")
	s.load()
	s.forward()
	s.Right.MustRun(t, "ip", "addr", "add", "198.18.7.1/32", "dev", "lo")
	var routes strings.Builder
	routes.WriteString("# networks behind the right host\n\n")
	for i := range 2000 {
		fmt.Fprintf(&routes, "198.18.%d.%d/28 198.51.100.2\n", i>>4, i<<4&0xff)
	}
	routes.WriteString("add -net 203.0.113.0/24 198.51.100.2 -blackhole\n2001:db8:f::/48 2001:db8:1::2\n")
	path := filepath.Join(t.TempDir(), "routes")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(routes.String())
	if out := s.bsdnet("route", "load", path); out != "load "+path+": 2002 routes\n" {
		t.Errorf("load says %q", out)
	}
	mustPing(t, s.Left, "-c", "2", "198.18.7.1")
	if out := s.bsdnet("sysctl", "-n", "net.route.algo.inet.algo"); strings.TrimSpace(out) != "dxr" {
		t.Errorf("algorithm %q", out)
	}
	for _, name := range []string{"dir24_8", "lpm_trie", "auto"} {
		s.bsdnet("sysctl", "net.route.algo.inet.algo="+name)
		mustPing(t, s.Left, "-c", "1", "198.18.7.1")
	}
	eventually(t, 20*time.Second, "Linux has them", func() bool {
		return strings.Contains(s.Router.MustRun(t, "ip", "route", "show", "198.18.124.240/28"), "198.51.100.2")
	})
	defer s.bsdnet("route", "-q", "flush") // what Linux has outlives an instance
	for text, want := range map[string]string{
		"192.88.99.0/24 198.51.100.2\n\n198.18.0.0/28 198.51.100.2\n": path + ":3: route already in table",
		"192.88.99.0/24 198.51.100.2\n192.88.98.0/24 10.9.9.9\n":      path + ":2: ",
		"192.88.99.0/24 198.51.100.2\n192.88.98.0/33 198.51.100.2\n":  path + ":2: ",
	} {
		write(text)
		if _, errs, status := s.try("route", "load", path); status == 0 || !strings.Contains(errs, want) {
			t.Errorf("%q: status %d, %s", text, status, errs)
		}
		if out := s.bsdnet("netstat", "-rn"); strings.Contains(out, "192.88.99") {
			t.Errorf("%q: half done", text)
		}
	}
}
