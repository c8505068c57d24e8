//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// wgEnds are the keys of the router and of the left host.
var wgNear, wgFar = api.WgKey{8}.Clamp(), api.WgKey{16}.Clamp()

// wireguardGo runs wireguard-go on a host, configures it by wg(8) and gives it
// an address; more are words for the peer.
func wireguardGo(t *testing.T, program string, host *lab.Host, name, address string, own, other api.WgKey, more ...string) {
	t.Helper()
	// In a session of its own, as every service is: the scheduler shares out by
	// sessions (sched_autogroup_enabled).
	cmd := host.Command(t.Context(), program, "-f", name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	socket := "/run/wireguard/" + name + ".sock"
	t.Cleanup(func() {
		_ = cmd.Wait() // ended by the test's context
		os.Remove(socket)
	})
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(own.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	host.MustRun(t, "wg", append([]string{"set", name, "private-key", key, "listen-port", "51820", "peer", other.Public().String()}, more...)...)
	host.MustRun(t, "ip", "addr", "add", address, "dev", name)
	host.MustRun(t, "ip", "link", "set", name, "up")
}

// TestBenchWireGuard compares one TCP stream through a tunnel of bsdnet with one
// through wireguard-go on a tun of its own, against the same peer: what the
// router sends and receives itself, and what it forwards to the right host.
// Rounds in turn, and the median of the rounds' ratios.
func TestBenchWireGuard(t *testing.T) {
	const rounds, goal = 7, 1.0
	program := filepath.Join(t.TempDir(), "wireguard-go")
	build := exec.Command("go", "build", "-o", program, "golang.zx2c4.com/wireguard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	site := func(name string, router func(line *lab.Line)) *lab.Line {
		line, err := lab.NewLine(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := line.Close(); err != nil {
				t.Error(err)
			}
		})
		router(line)
		wireguardGo(t, program, line.Left, name+"9", "10.7.0.2/24", wgFar, wgNear, "endpoint", "192.0.2.1:51820", "allowed-ips", "10.7.0.0/24,198.51.100.0/24")
		line.Left.MustRun(t, "ip", "route", "replace", "198.51.100.0/24", "dev", name+"9")
		for _, host := range []*lab.Host{line.Left, line.Router, line.Right} {
			server := host.Command(t.Context(), "iperf3", "-s")
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = server.Wait() }) // ended by the test's context
		}
		time.Sleep(500 * time.Millisecond)
		return line
	}
	theirs := site("wggo", func(line *lab.Line) {
		linuxForwards(t)(line)
		wireguardGo(t, program, line.Router, "wggo0", "10.7.0.1/24", wgNear, wgFar, "allowed-ips", "10.7.0.2/32")
	})
	ours := site("wgbsd", func(line *lab.Line) {
		load(t, line.Router, "--mode", "tc")
		words := fmt.Sprintf("ifconfig wg0 create wgkey %s wgport 51820 wgpeer %s wgaip 10.7.0.2/32 inet 10.7.0.1/24", wgNear, wgFar.Public())
		line.Router.MustRun(t, bsdnet, strings.Fields(words)...)
	})
	for _, c := range []struct {
		what, to string
		from     func(*lab.Line) *lab.Host
	}{
		{"received", "10.7.0.1", func(l *lab.Line) *lab.Host { return l.Left }},
		{"sent", "10.7.0.2", func(l *lab.Line) *lab.Host { return l.Router }},
		{"forwarded", "198.51.100.2", func(l *lab.Line) *lab.Host { return l.Left }},
	} {
		rate := func(line *lab.Line) float64 {
			one := &stream{"", &lab.Line{Left: c.from(line)}, c.to}
			return one.rate(t)
		}
		rate(theirs) // handshakes
		rate(ours)
		var a, b, ratios []float64
		for round := range rounds {
			var x, y float64
			if round%2 == 0 { // neither always comes first
				x, y = rate(theirs), rate(ours)
			} else {
				y, x = rate(ours), rate(theirs)
			}
			a, b, ratios = append(a, x), append(b, y), append(ratios, y/x)
		}
		got := median(ratios)
		fmt.Printf("bench wg %-9s %.2f Gbit/s, wireguard-go %.2f (medians of %d, best %.2f and %.2f): %.2f (goal %.2f)\n",
			c.what, median(b), median(a), rounds, slices.Max(b), slices.Max(a), got, goal)
		if got < goal*0.95 { // what two runs of the same differ by
			t.Errorf("WireGuard, %s, over wireguard-go: %.2f, goal %.2f", c.what, got, goal)
		}
	}
}
