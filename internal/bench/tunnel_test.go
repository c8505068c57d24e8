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
)

// tunnelHead is what a test run gives each frame back: all headers that the
// stages change, the inner ones too.
const tunnelHead = 64

// TestBenchTunnel measures, by test runs, what forwarding into a tunnel and out
// of one costs beside plain forwarding of the same packets of 64 bytes.
func TestBenchTunnel(t *testing.T) {
	line, err := lab.NewLine("tunnel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	receiving(t, line)
	load(t, line.Router, "--mode", "xdp")
	line.Router.MustRun(t, "ping", "-c", "1", "198.51.100.2")
	for n, kind := range []string{"gif", "gre"} {
		for _, words := range []string{
			fmt.Sprintf("%s0 create tunnel 198.51.100.1 198.51.100.2 10.0.%d.1 10.0.%[2]d.2 netmask 255.255.255.255", kind, 2*n),
			fmt.Sprintf("%s1 create tunnel 192.0.2.1 192.0.2.2 10.0.%d.1 10.0.%[2]d.2 netmask 255.255.255.255", kind, 2*n+1),
		} {
			line.Router.MustRun(t, mustBinary(t), append([]string{"ifconfig"}, strings.Fields(words)...)...)
		}
		line.Router.MustRun(t, mustBinary(t), "route", "add", "-net", fmt.Sprintf("10.%d.0.0/16", 100+n), fmt.Sprintf("10.0.%d.2", 2*n))
	}
	dst, err := line.Router.Lladdr("em0")
	if err != nil {
		t.Fatal(err)
	}
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, DstMAC: dst}
	plain := append(frame(t, eth, "inet"), 0, 0, 0, 0)
	into := func(n int) []byte {
		out := append([]byte{}, plain...)
		copy(out[30:], []byte{10, byte(100 + n), 0, 1})
		out[24], out[25] = 0, 0
		sum := 0
		for i := 14; i < 34; i += 2 {
			sum += int(out[i])<<8 | int(out[i+1])
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		out[24], out[25] = byte(^sum>>8), byte(^sum)
		return out
	}
	outOf := func(gre bool) []byte {
		far := encap.Tunnel{Source: netip.MustParseAddr("192.0.2.2"), Destination: netip.MustParseAddr("192.0.2.1"), TTL: 30, GRE: gre}
		return far.Append(append([]byte{}, plain[:14]...), plain[14:], encap.Chosen{})
	}
	if err := Pin(0); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name  string
		frame []byte
	}{{"plain", plain}, {"into gif", into(0)}, {"out of gif", outOf(false)}, {"into gre", into(1)}, {"out of gre", outOf(true)}}
	frames := make([][]byte, len(cases))
	for n, c := range cases {
		frames[n] = c.frame
	}
	cost, ratios := runCosts(t, line.Router, frames)
	const goal = 0.85
	for n, c := range cases {
		fmt.Printf("bench tunnel %-10s %4.0f ns a packet, %.2f of plain forwarding (goal %.2f)\n", c.name, cost[n], ratios[n], goal)
		if ratios[n] < goal {
			t.Errorf("%s: %.2f of plain forwarding, goal %.2f", c.name, ratios[n], goal)
		}
	}
}

// runCosts returns the least time of each frame's run, in nanoseconds, of many
// rounds in turn, and how fast each is beside the first. The test run's own
// share is in all of them.
func runCosts(t *testing.T, router *lab.Host, frames [][]byte) (cost, ratios []float64) {
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
		ratios = append(ratios, float64(least[0])/float64(took))
	}
	return cost, ratios
}
