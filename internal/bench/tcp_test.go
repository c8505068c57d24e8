//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// stream is one TCP stream through a router of its own.
type stream struct {
	name string
	line *lab.Line
	to   string // address of the server
}

func newStream(t *testing.T, name string, offloads bool, prepare func(line *lab.Line)) *stream {
	t.Helper()
	line, err := lab.NewLine(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	if !offloads {
		for _, host := range []*lab.Host{line.Left, line.Right} {
			if err := host.Offloads("em0", false, "tx"); err != nil {
				t.Fatal(err)
			}
			if err := host.Offloads("em0", true, "gro"); err != nil {
				t.Fatal(err)
			}
		}
	}
	prepare(line)
	server := line.Right.Command(t.Context(), "iperf3", "-s")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // ended by the test's context
	time.Sleep(300 * time.Millisecond)
	return &stream{name, line, "198.51.100.2"}
}

// rate returns the Gbit/s of one stream for a second.
func (s *stream) rate(t *testing.T) float64 {
	t.Helper()
	out := s.line.Left.MustRun(t, "iperf3", "-c", s.to, "-t", "1", "-J")
	var result struct {
		End struct {
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("read iperf3: %v", err)
	}
	return result.End.SumReceived.BitsPerSecond / 1e9
}

func linuxForwards(t *testing.T) func(line *lab.Line) {
	return func(line *lab.Line) {
		line.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	}
}

// TestBenchTCP compares one TCP stream through the router with Linux's own
// forwarding, under the same offloads: rounds in turn, and the median of the
// rounds' ratios.
func TestBenchTCP(t *testing.T) {
	const rounds = 9
	for _, c := range []struct {
		mode     string
		offloads bool
		goal     float64
	}{{"tc", true, 0.90}, {"xdp", false, 0.95}} {
		linux := newStream(t, "linux", c.offloads, linuxForwards(t))
		bsdnet := newStream(t, c.mode, c.offloads, func(line *lab.Line) { load(t, line.Router, "--mode", c.mode) })
		var theirs, ours, ratios []float64
		for round := range rounds {
			var a, b float64
			if round%2 == 0 { // neither always comes first
				a, b = linux.rate(t), bsdnet.rate(t)
			} else {
				b, a = bsdnet.rate(t), linux.rate(t)
			}
			theirs, ours, ratios = append(theirs, a), append(ours, b), append(ratios, b/a)
		}
		words := "all offloads"
		if !c.offloads {
			words = "no transmit offloads"
		}
		fmt.Printf("bench tcp %-3s %5.2f Gbit/s, Linux %5.2f, %s (medians of %d, best %.2f and %.2f)\n",
			c.mode, median(ours), median(theirs), words, rounds, slices.Max(ours), slices.Max(theirs))
		got := median(ratios)
		fmt.Printf("bench tcp %s over Linux: %.2f (goal %.2f)\n", c.mode, got, c.goal)
		if got < c.goal {
			t.Errorf("TCP through %s over Linux: %.2f, goal %.2f", c.mode, got, c.goal)
		}
	}
}
