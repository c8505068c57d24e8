//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// crowd is a station with a generator of many flows.
type crowd struct {
	*station
	flows  *Flow
	number uint32
}

func newCrowd(t *testing.T, name string, number uint32, prepare func(line *lab.Line)) *crowd {
	t.Helper()
	c := &crowd{station: newStation(t, name, prepare), number: number}
	frame := append([]byte(nil), c.flow["inet"].frame...)
	frame[40], frame[41] = 0, 0 // no checksum of UDP
	var err error
	if c.flows, err = NewFlows(c.line.Left, "em0", frame, portsInet, number); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.flows.Close() })
	return c
}

// fill sends each flow's first packets.
func (c *crowd) fill(t *testing.T) {
	t.Helper()
	for range 2 {
		if err := c.flows.SendCount(max(c.number, 64)); err != nil {
			t.Fatal(err)
		}
	}
}

// withPF loads bsdnet with a ruleset.
func withPF(t *testing.T, text string, args ...string) func(line *lab.Line) {
	t.Helper()
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pf.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(line *lab.Line) {
		load(t, line.Router, append([]string{"--mode", "xdp"}, args...)...)
		line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-e", "-f", path)
	}
}

// withNFT makes Linux forward, with a table of nftables.
func withNFT(t *testing.T, text string) func(line *lab.Line) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nft")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(line *lab.Line) {
		linuxForwards(t)(line)
		line.Router.MustRun(t, "nft", "-f", path)
	}
}

const longTimeouts = "set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }\n"

// TestBenchStates compares forwarding with states and translation with Linux.
// A forwarded flow has two states, one for each direction of the filter.
// Rounds of each in turn on one CPU, and the medians of the rounds' ratios.
func TestBenchStates(t *testing.T) {
	const (
		conntrack = "table ip filter {\nchain forward {\ntype filter hook forward priority 0; policy accept;\nct state established accept\n}\n}\n"
		nat       = "table ip nat {\nchain postrouting {\ntype nat hook postrouting priority 100;\noifname em1 masquerade\n}\n}\n"
	)
	crowds := []*crowd{
		newCrowd(t, "linux", 1<<15, linuxForwards(t)),
		newCrowd(t, "conntrack", 1<<15, withNFT(t, conntrack)),
		newCrowd(t, "masquerade", 1<<14, withNFT(t, nat)),
		newCrowd(t, "pf-1", 1, withPF(t, longTimeouts+"pass\n")),
		newCrowd(t, "pf-16k", 1<<14, withPF(t, longTimeouts+"pass\n")),
		newCrowd(t, "pf-64k", 1<<15, withPF(t, longTimeouts+"pass\n")),
		newCrowd(t, "pf-1m", 1<<19, withPF(t, longTimeouts+"set limit states 1100000\npass\n", "--states", "1100000")),
		newCrowd(t, "pf-nat", 1<<14, withPF(t, longTimeouts+"nat on em1 inet from any to any -> 198.51.100.1 port 1024:65535\npass\n")),
	}
	if err := Pin(0); err != nil {
		t.Fatal(err)
	}
	for _, c := range crowds {
		c.fill(t)
	}
	rates := make(map[string][]float64)
	const rounds, window = 7, 500 * time.Millisecond
	for range rounds {
		for _, c := range crowds {
			rate, err := Rate(c.flows, c.sink, window)
			if err != nil {
				t.Fatal(err)
			}
			rates[c.name] = append(rates[c.name], rate)
		}
	}
	for _, c := range crowds {
		fmt.Printf("bench states %-10s %7d flows %5.2f Mpps (median of %d)\n", c.name, c.number, median(rates[c.name])/1e6, rounds)
		if strings.HasPrefix(c.name, "pf") {
			out := c.line.Router.MustRun(t, "sh", "-c", mustBinary(t)+" pfctl -si | grep 'current entries'")
			var n int
			if _, err := fmt.Sscanf(strings.TrimSpace(out), "current entries %d", &n); err != nil || n < 2*int(c.number) {
				t.Errorf("%s: %q, want %d states", c.name, out, 2*c.number)
			}
		}
	}
	ratio := func(what, a, b string, goal float64) {
		ratios := make([]float64, rounds)
		for i := range ratios {
			ratios[i] = rates[a][i] / rates[b][i]
		}
		got := median(ratios)
		fmt.Printf("bench states %s: %.2f (goal %.2f)\n", what, got, goal)
		if got < goal {
			t.Errorf("%s: %.2f, goal %.2f", what, got, goal)
		}
	}
	ratio("64k states over Linux without a firewall", "pf-64k", "linux", 1.8)
	ratio("64k states over Linux with conntrack", "pf-64k", "conntrack", 4)
	ratio("1M states over one", "pf-1m", "pf-1", 0.65)
	ratio("NAT of 16k flows over nft masquerade", "pf-nat", "masquerade", 4)
	ratio("NAT of 16k flows over the same without", "pf-nat", "pf-16k", 0.85)
}

func mustBinary(t *testing.T) string {
	t.Helper()
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return bsdnet
}

// TestBenchConnections makes new states all the time, which live for a second
// each: what passes had a state made for it.
func TestBenchConnections(t *testing.T) {
	c := newCrowd(t, "new", 0, withPF(t, "set limit states 1500000\nset timeout { udp.first 1 }\npass\n", "--states", "1500000"))
	if err := Pin(0); err != nil {
		t.Fatal(err)
	}
	var rates []float64
	for range 8 {
		rate, err := Rate(c.flows, c.sink, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		rates = append(rates, rate)
	}
	last := median(rates[3:])
	fmt.Printf("bench connections: %.0f thousand new states a second, sustained with expiry (goal 300); by second: %.0f\n", last/1e3, rates)
	fmt.Print(c.line.Router.MustRun(t, mustBinary(t), "pfctl", "-si"))
	if last < 300e3 {
		t.Errorf("%.0f new states a second", last)
	}
}

// TestBenchTCPFilter compares one TCP stream through pf and NAT with Linux's
// plain forwarding, under the same offloads.
func TestBenchTCPFilter(t *testing.T) {
	const rounds = 9
	for _, c := range []struct {
		mode     string
		offloads bool
		goal     float64
	}{{"tc", true, 0.85}, {"xdp", false, 0.90}} {
		linux := newStream(t, "linux", c.offloads, linuxForwards(t))
		filtered := newStream(t, c.mode, c.offloads, func(line *lab.Line) {
			path := filepath.Join(t.TempDir(), "pf.conf")
			if err := os.WriteFile(path, []byte("nat on em1 inet from any to any -> 198.51.100.1\nblock\npass in on em0\npass out on em1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			load(t, line.Router, "--mode", c.mode)
			line.Router.MustRun(t, mustBinary(t), "pfctl", "-q", "-e", "-f", path)
		})
		var ratios, theirs, ours []float64
		for round := range rounds {
			var a, b float64
			if round%2 == 0 {
				a, b = linux.rate(t), filtered.rate(t)
			} else {
				b, a = filtered.rate(t), linux.rate(t)
			}
			theirs, ours, ratios = append(theirs, a), append(ours, b), append(ratios, b/a)
		}
		got := median(ratios)
		fmt.Printf("bench tcp through pf and nat, %s: %.2f Gbit/s, Linux without either %.2f: %.2f (goal %.2f)\n", c.mode, median(ours), median(theirs), got, c.goal)
		if got < c.goal {
			t.Errorf("TCP through pf and NAT, %s: %.2f, goal %.2f", c.mode, got, c.goal)
		}
	}
}
