//go:build bench

package bench

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// tracer runs ether_input of a router over the headers of a trace, by test
// runs, so that nothing but the programs costs time.
type tracer struct {
	line    *lab.Line
	program *ebpf.Program
	index   uint32
}

func newTracer(t *testing.T, line *lab.Line, headers [][]byte) *tracer {
	t.Helper()
	protosw, err := ebpf.LoadPinnedMap(filepath.Join("/run/bsdnet/bpf", line.Router.Name, "maps", "protosw_xdp"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer protosw.Close()
	trace, err := ebpf.NewMap(&ebpf.MapSpec{Name: "trace", Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: uint32(len(headers)) + 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trace.Close() })
	for i, h := range headers {
		if err := trace.Put(uint32(i), h); err != nil {
			t.Fatal(err)
		}
	}
	r := &tracer{line: line, program: traceProgram(t, trace, len(headers), protosw)}
	t.Cleanup(func() { r.program.Close() })
	if err := line.Router.Do(func() error {
		i, err := net.InterfaceByName("em0")
		if err == nil {
			r.index = uint32(i.Index)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

// run is the time of one packet in nanoseconds, the best of many short rounds,
// which meet moments in which nobody else wants the CPU.
func (r *tracer) run(t *testing.T, repeat uint32) float64 {
	t.Helper()
	best := time.Duration(0)
	err := r.line.Router.Do(func() error {
		for range 1<<20/repeat + 9 {
			d, err := forwardRound(r.program, make([]byte, 64), int(r.index), int(repeat))
			if err != nil {
				return err
			}
			if best == 0 || d < best {
				best = d
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return float64(best)
}

// TestBenchStateCost measures what pf adds to the forward pass for packets of
// states, by test runs: both directions of the filter.
func TestBenchStateCost(t *testing.T) {
	line, err := lab.NewLine("cost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	receiving(t, line)
	load(t, line.Router, "--mode", "xdp")
	line.Router.MustRun(t, "ping", "-c", "1", "198.51.100.2")
	dst, err := line.Router.Lladdr("em0")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pf.conf")
	if err := os.WriteFile(path, []byte(longTimeouts+"pass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	line.Router.MustRun(t, mustBinary(t), "pfctl", "-q", "-e", "-f", path)
	if err := Pin(0); err != nil {
		t.Fatal(err)
	}
	for _, flows := range []int{1, 1 << 10, 1 << 15} {
		headers := make([][]byte, flows)
		for i := range headers {
			n := i * 0x9e37 % flows
			headers[i] = header(dst, net.HardwareAddr{2, 0, 0, 0, 0, 9}, Key{Src: [4]byte{192, 0, 2, 2}, Dst: [4]byte{198, 51, 100, 2},
				Sport: uint16(n), Dport: 2000, Proto: 17})
		}
		r := newTracer(t, line, headers)
		repeat := uint32(max(flows, 1<<13))
		line.Router.MustRun(t, mustBinary(t), "pfctl", "-q", "-d")
		without := r.run(t, repeat)
		line.Router.MustRun(t, mustBinary(t), "pfctl", "-q", "-e")
		with := r.run(t, repeat)
		fmt.Printf("bench cost of states, %5d flows: %.0f ns a packet with pf, %.0f without\n", flows, with, without)
	}
}
