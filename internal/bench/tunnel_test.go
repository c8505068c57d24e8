//go:build bench

package bench

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"

	"github.com/bsdnet/bsdnet/internal/lab"
	"github.com/bsdnet/bsdnet/netisr/encap"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

// tunnelHead is what a test run gives each frame back: all headers that the
// stages change, the inner ones too.
const tunnelHead = 64

// TestBenchTunnel compares forwarding into tunnels and out of them with plain
// forwarding of the same packets of 64 bytes: on the wire, where the rate of
// packets counts, and by test runs, what the programs alone take.
func TestBenchTunnel(t *testing.T) {
	s := newStation(t, "tunnel", func(line *lab.Line) {
		load(t, line.Router, "--mode", "xdp")
		for n, kind := range []string{"gif", "gre"} {
			for _, words := range []string{
				fmt.Sprintf("%s0 create tunnel 198.51.100.1 198.51.100.2 10.0.%d.1 10.0.%[2]d.2 netmask 255.255.255.255", kind, 2*n),
				fmt.Sprintf("%s1 create tunnel 192.0.2.1 192.0.2.2 10.0.%d.1 10.0.%[2]d.2 netmask 255.255.255.255", kind, 2*n+1),
			} {
				line.Router.MustRun(t, mustBinary(t), append([]string{"ifconfig"}, strings.Fields(words)...)...)
			}
			line.Router.MustRun(t, mustBinary(t), "route", "add", "-net", fmt.Sprintf("10.%d.0.0/16", 100+n), fmt.Sprintf("10.0.%d.2", 2*n))
		}
	})
	names, frames := tunnelFrames(t, s.line)
	flows := make([]*Flow, len(frames))
	for n, frame := range frames {
		var err error
		if flows[n], err = NewFlow(s.line.Left, "em0", frame); err != nil {
			t.Fatal(err)
		}
		defer flows[n].Close()
	}
	if err := Pin(0); err != nil {
		t.Fatal(err)
	}
	cost := runCosts(t, s.line.Router, frames)
	const rounds, window, goal = 7, 300 * time.Millisecond, 0.85
	rates, ratios := make([][]float64, len(frames)), make([][]float64, len(frames))
	for range rounds {
		for n, flow := range flows {
			rate, err := Rate(flow, s.sink, window)
			if err != nil {
				t.Fatal(err)
			}
			rates[n] = append(rates[n], rate)
			ratios[n] = append(ratios[n], rate/rates[0][len(rates[0])-1])
		}
	}
	for n, name := range names {
		fmt.Printf("bench tunnel %-10s %.2f Mpps, %.2f of plain forwarding (goal %.2f); programs %.0f ns\n", name, median(rates[n])/1e6, median(ratios[n]), goal, cost[n])
		if median(ratios[n]) < goal {
			t.Errorf("%s: %.2f of plain forwarding, goal %.2f", name, median(ratios[n]), goal)
		}
	}
}

// tunnelFrames are a plain frame of 64 bytes, and what goes into each tunnel
// and comes out.
func tunnelFrames(t *testing.T, line *lab.Line) (names []string, frames [][]byte) {
	t.Helper()
	dst, err := line.Router.Lladdr("em0")
	if err != nil {
		t.Fatal(err)
	}
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, DstMAC: dst}
	plain := append(frame(t, eth, "inet"), 0, 0, 0, 0)
	into := func(n int) []byte {
		out := append([]byte{}, plain...)
		copy(out[30:], []byte{10, byte(100 + n), 0, 1})
		inet.SetChecksum4(out[14:])
		return out
	}
	outOf := func(gre bool) []byte {
		far := encap.Tunnel{Source: netip.MustParseAddr("192.0.2.2"), Destination: netip.MustParseAddr("192.0.2.1"), TTL: 30, GRE: gre}
		return far.Append(append([]byte{}, plain[:14]...), plain[14:], encap.Chosen{})
	}
	return []string{"plain", "into gif", "out of gif", "into gre", "out of gre"}, [][]byte{plain, into(0), outOf(false), into(1), outOf(true)}
}

// runCosts returns the least time of each frame's run, in nanoseconds, of many
// rounds in turn. The test run's own share is in all of them.
func runCosts(t *testing.T, router *lab.Host, frames [][]byte) (cost []float64) {
	t.Helper()
	protosw, err := ebpf.LoadPinnedMap(filepath.Join("/run/bsdnet/bpf", router.Name, "maps", "protosw_xdp"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer protosw.Close()
	const rounds, repeat = 300, 2000
	least := make([]time.Duration, len(frames))
	programs := make([]*ebpf.Program, len(frames))
	for n, data := range frames {
		if programs[n], err = headRewriter(data, tunnelHead, protosw); err != nil {
			t.Fatal(err)
		}
		defer programs[n].Close()
		least[n] = math.MaxInt64
	}
	err = router.Do(func() error {
		em0, err := net.InterfaceByName("em0")
		if err != nil {
			return err
		}
		for range rounds {
			for n, program := range programs {
				took, err := forwardRound(program, frames[n], em0.Index, repeat)
				if err != nil {
					return fmt.Errorf("frame %d: %w", n, err)
				}
				least[n] = min(least[n], took)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, took := range least {
		cost = append(cost, float64(took))
	}
	return cost
}
