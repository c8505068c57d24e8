//go:build bench

package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// fixtures is where the published rule sets are, beside the project.
const fixtures = "../../../shared/fixtures/classbench"

const (
	// headerLen is how much of a frame the trace program writes.
	headerLen = 64
	// frameLen is that of its frames, which hold a TCP header behind IPv6.
	frameLen = 80
)

// traceProgram makes a program that writes the next header of a trace into the
// frame and ends with a tail call to ether_input, or dropping.
func traceProgram(t *testing.T, trace *ebpf.Map, length int, protosw *ebpf.Map) *ebpf.Program {
	t.Helper()
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		// r7: number of the next header, kept behind the trace's last one
		asm.StoreImm(asm.RFP, -4, int64(length), asm.Word),
		asm.LoadMapPtr(asm.R1, trace.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R7), asm.Add.Imm(asm.R1, 1), asm.And.Imm(asm.R1, int32(length-1)),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, -4, asm.R7, asm.Word),
		asm.LoadMapPtr(asm.R1, trace.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, headerLen),
		asm.JGT.Reg(asm.R4, asm.R3, "drop"),
	}
	for i := int16(0); i < headerLen; i += 8 {
		ins = append(ins, asm.LoadMem(asm.R5, asm.R0, i, asm.DWord), asm.StoreMem(asm.R2, i, asm.R5, asm.DWord))
	}
	if protosw != nil {
		ins = append(ins, asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMapPtr(asm.R2, protosw.FD()), asm.Mov.Imm(asm.R3, 0), asm.FnTailCall.Call())
	}
	ins = append(ins, asm.Mov.Imm(asm.R0, 1).WithSymbol("drop"), asm.Return())
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "trace", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Instructions: ins, License: "Dual BSD/GPL", Flags: 1 << 5})
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// header is the first bytes of a frame with a key.
func header(dst, src net.HardwareAddr, k Key) []byte {
	h := make([]byte, 64)
	copy(h[0:], dst)
	copy(h[6:], src)
	h[12], h[13] = 8, 0
	ip := h[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 42, 64, k.Proto
	copy(ip[12:], k.Src[:])
	copy(ip[16:], k.Dst[:])
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(ip[20:], k.Sport)
	binary.BigEndian.PutUint16(ip[22:], k.Dport)
	if k.Proto == 6 {
		ip[32], ip[33] = 5<<4, 0x10
	} else {
		binary.BigEndian.PutUint16(ip[24:], 22)
	}
	return h
}

// header6 is the first bytes of the same frame in IPv6.
func header6(dst, src net.HardwareAddr, k Key) []byte {
	h := make([]byte, 64)
	copy(h[0:], dst)
	copy(h[6:], src)
	h[12], h[13] = 0x86, 0xdd
	ip := h[14:]
	ip[0], ip[5], ip[6], ip[7] = 0x60, 20, k.Proto, 64
	s, d := address6(k.Src), address6(k.Dst)
	copy(ip[8:], s[:])
	copy(ip[24:], d[:])
	binary.BigEndian.PutUint16(ip[40:], k.Sport)
	binary.BigEndian.PutUint16(ip[42:], k.Dport)
	binary.BigEndian.PutUint16(ip[44:], 20)
	return h
}

// testFrame is the frame that headers are written into: behind those of IPv6
// and TCP's ports, it acknowledges.
func testFrame() []byte {
	f := make([]byte, frameLen)
	f[14+40+12], f[14+40+13] = 5<<4, 0x10
	return f
}

// classified is what a packet through the filter costs with a rule set.
type classified struct{ nanoseconds, without float64 }

// classify loads rules into pf and measures packets that meet no state; every
// verdict is compared with a walk of the rules.
func classify(t *testing.T, line *lab.Line, bsdnet string, filters []Filter, six bool) classified {
	t.Helper()
	if six { // which has no ICMP
		filters = slices.Clone(filters)
		for i := range filters {
			if filters[i].Proto == 1 {
				filters[i].Proto = 132
			}
		}
	}
	path := filepath.Join(t.TempDir(), "pf.conf")
	if err := os.WriteFile(path, []byte(PFConf(filters, six)), 0o600); err != nil {
		t.Fatal(err)
	}
	line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-f", path)
	dir := filepath.Join("/run/bsdnet/bpf", line.Router.Name, "maps")
	protosw, err := ebpf.LoadPinnedMap(filepath.Join(dir, "protosw_xdp"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer protosw.Close()
	dst, err := line.Router.Lladdr("em0")
	if err != nil {
		t.Fatal(err)
	}
	index := 0
	if err := line.Router.Do(func() error {
		i, err := net.InterfaceByName("em0")
		if err == nil {
			index = i.Index
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	const length = 1 << 14
	keys := Trace(filters, length)
	trace, err := ebpf.NewMap(&ebpf.MapSpec{Name: "trace", Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: length + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()
	// Visited with a large stride, so that the caches hold little of use.
	for i, k := range keys {
		make := header
		if six {
			make = header6
		}
		if err := trace.Put(uint32(i*4097%length), make(dst, net.HardwareAddr{2, 0, 0, 0, 0, 9}, k)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(p *ebpf.Program, repeat uint32) (time.Duration, uint32) {
		var best time.Duration
		var verdict uint32
		err := line.Router.Do(func() error {
			for range 21 {
				options := &ebpf.RunOptions{Data: testFrame(), DataOut: make([]byte, 512), Repeat: repeat,
					Context: &xdpMD{dataEnd: frameLen, ingressIfindex: uint32(index)}}
				start := time.Now()
				v, err := p.Run(options)
				if err != nil {
					return err
				}
				verdict = v
				if d := time.Since(start); best == 0 || d < best {
					best = d
				}
				if repeat == 1 {
					break
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return best, verdict
	}
	full := traceProgram(t, trace, length, protosw)
	defer full.Close()
	wrong := 0
	for i := range 2000 {
		at := uint32(i)
		k := keys[0]
		for j := range keys {
			if uint32(j*4097%length) == at {
				k = keys[j]
				break
			}
		}
		if err := trace.Put(uint32(length), append(binary.LittleEndian.AppendUint64(nil, uint64(at)), make([]byte, 56)...)); err != nil {
			t.Fatal(err)
		}
		_, verdict := run(full, 1)
		// A pass goes on: forwarded, or to the daemon for want of a route; a block is a drop.
		if pass := verdict != 1; pass != Verdict(filters, k) {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 2000 verdicts differ from a walk of the rules", wrong)
	}
	const repeat = 1 << 16
	with, _ := run(full, repeat)
	line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-d")
	without, _ := run(full, repeat)
	line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-e")
	return classified{float64(with-without) / repeat, float64(without) / repeat}
}

// receiving makes the devices of a line take frames that are redirected to them.
func receiving(t *testing.T, line *lab.Line) {
	t.Helper()
	for _, device := range []string{"em0", "em1"} {
		if err := line.Router.Offloads(device, true, "gro"); err != nil {
			t.Fatal(err)
		}
	}
	for _, host := range []*lab.Host{line.Left, line.Right} {
		if err := host.Offloads("em0", true, "gro"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBenchClassify measures every published rule set there is.
func TestBenchClassify(t *testing.T) {
	sets, _ := filepath.Glob(filepath.Join(fixtures, "*.gz"))
	if len(sets) == 0 {
		t.Skip("no ClassBench sets beside the project")
	}
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	line, err := lab.NewLine("classify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	receiving(t, line)
	load(t, line.Router, "--mode", "xdp")
	line.Router.MustRun(t, bsdnet, "route", "-q", "add", "default", "198.51.100.2")
	line.Router.MustRun(t, bsdnet, "route", "-q", "add", "-inet6", "default", "2001:db8:1::2")
	line.Router.MustRun(t, "ping", "-c", "1", "198.51.100.2")
	line.Router.MustRun(t, "ping", "-c", "1", "2001:db8:1::2")
	line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-e")
	for i, set := range sets {
		filters, err := ReadClassBench(set)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			c := classify(t, line, bsdnet, filters[:1], false)
			fmt.Printf("bench classify one rule: %.0f ns a packet without a state\n", c.nanoseconds)
		}
		c := classify(t, line, bsdnet, filters, false)
		name := strings.TrimSuffix(filepath.Base(set), ".gz")
		fmt.Printf("bench classify %-10s %6d rules: %6.0f ns a packet without a state (the path without pf: %.0f ns)\n", name, len(filters), c.nanoseconds, c.without)
		if c.nanoseconds > 600 {
			t.Errorf("%s: %.0f ns, goal 600", name, c.nanoseconds)
		}
		switch name {
		case "acl1_10k", "fw1_10k", "ipc1_10k":
			v6 := classify(t, line, bsdnet, filters, true)
			fmt.Printf("bench classify %-10s IPv6 over IPv4: %.2f (goal 1.3)\n", name, v6.nanoseconds/c.nanoseconds)
			many := Multiply(filters, 100000/len(filters))
			c := classify(t, line, bsdnet, many, false)
			fmt.Printf("bench classify %-10s %6d rules: %6.0f ns a packet without a state (goal 1200)\n", name, len(many), c.nanoseconds)
		}
	}
}
