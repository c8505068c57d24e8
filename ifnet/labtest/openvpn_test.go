package labtest

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// openvpn holds a tun and a tap of bsdnet open, against one on devices of
// Linux at another host: what the host sends and what it forwards goes through
// both, and devices stay when openvpn ends.
func TestOpenVPN(t *testing.T) {
	s := newSite(t, "tc")
	key := filepath.Join(t.TempDir(), "key")
	s.Router.MustRun(t, "openvpn", "--genkey", "secret", key)
	s.must(s.Router, "sysctl", "net.inet.ip.forwarding=1")
	s.ifconfig(s.Router, "tun0 create 10.9.0.1 10.9.0.2 netmask 255.255.255.255")
	s.ifconfig(s.Router, "tap0 create 10.9.1.1/24")
	for kind, port := range map[string]string{"tun": "1194", "tap": "1195"} {
		far := []string{"--ifconfig", "10.9.0.2", "10.9.0.1"}
		if kind == "tap" {
			far = []string{"--ifconfig", "10.9.1.2", "255.255.255.0"}
		}
		common := []string{"--dev-type", kind, "--port", port, "--secret", key, "--cipher", "AES-256-CBC", "--verb", "3"}
		process(t, s.Right, nil, "openvpn", append(append(common, "--dev", kind+"9"), far...)...)
		process(t, s.Router, nil, "openvpn", append(common, "--dev", kind+"0", "--remote", "198.51.100.2", "--ifconfig-noexec")...)
	}
	s.answers(s.Router, "10.9.0.2")
	s.answers(s.Router, "10.9.1.2")
	s.ip(s.Right, "route", "add", "192.0.2.0/24", "dev", "tun9")
	s.ping(s.Left, "-s", "1300", "10.9.0.2")
	s.tcp(s.Left, s.Right, "10.9.0.2")
	s.ip(s.Right, "route", "replace", "192.0.2.0/24", "via", "10.9.1.1")
	s.ping(s.Left, "-s", "1300", "10.9.1.2")
	s.tcp(s.Left, s.Right, "10.9.1.2")
	for _, name := range []string{"tun0", "tap0"} {
		if out := s.ifconfig(s.Router, "%s", name); !strings.Contains(out, "Opened by PID ") {
			t.Errorf("%s does not tell who has it open:\n%s", name, out)
		}
	}
}

// answers waits until an address answers.
func (s *site) answers(from *lab.Host, address string) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if _, err := from.Run("ping", "-n", "-c", "1", "-W", "1", address); err == nil {
			return
		}
	}
	s.t.Fatalf("no answer from %s", address)
}
