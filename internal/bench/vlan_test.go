//go:build bench

package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/internal/lab"
)

const xdpRedirect = 4

// requests asks the daemon of a host.
func requests(t *testing.T, host *lab.Host, f func(api.Backend) error) {
	t.Helper()
	err := host.Do(func() error {
		client, err := control.Dial()
		if err != nil {
			return err
		}
		return f(control.Ifnet{Client: client})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// createVlans makes vlans of the tags from first to last on em0 of a host.
func createVlans(t *testing.T, host *lab.Host, first, last int) (names []api.Name, took time.Duration) {
	t.Helper()
	var create []api.CreateRequest
	for tag := first; tag <= last; tag++ {
		create = append(create, api.CreateRequest{Name: "vlan", Vlan: &api.Vlan{Parent: "em0", Tag: tag}})
	}
	start := time.Now()
	requests(t, host, func(b api.Backend) error {
		made, err := b.Create(context.Background(), create)
		for _, name := range made {
			names = append(names, api.Name{Name: name})
		}
		return err
	})
	return names, time.Since(start)
}

// TestBenchVlan measures what a tag costs a packet that is forwarded, with one
// vlan and with thousands, and how long vlans take to create and destroy.
func TestBenchVlan(t *testing.T) {
	line, err := lab.NewLine("vlan")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	load(t, line.Router, "--mode", "xdp")
	if lladdr, err := line.Right.Lladdr("em0"); err != nil {
		t.Fatal(err)
	} else {
		line.Router.MustRun(t, "ip", "neigh", "replace", "198.51.100.2", "lladdr", lladdr.String(), "dev", "em1", "nud", "permanent")
	}
	protosw, err := ebpf.LoadPinnedMap("/run/bsdnet/bpf/"+line.Router.Name+"/maps/protosw_xdp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer protosw.Close()
	to, err := line.Router.Lladdr("em0")
	if err != nil {
		t.Fatal(err)
	}
	plain := frame(t, &layers.Ethernet{SrcMAC: []byte{2, 0, 0x5e, 0, 0x53, 1}, DstMAC: to}, "inet")

	const goal = 25 // ns
	createVlans(t, line.Router, 1, 1)
	upVlans(t, line.Router)
	report := func(what string, tags ...int) {
		untagged, tagged := forwardCost(t, line.Router, protosw, plain, tags)
		fmt.Printf("bench vlan forwarded, %s: untagged %.0f ns, tagged %.0f ns, a tag costs %.0f ns (goal %d)\n", what, untagged, tagged, tagged-untagged, goal)
		if tagged-untagged > goal {
			t.Errorf("%s: a tag costs %.0f ns, goal %d", what, tagged-untagged, goal)
		}
	}
	report("1 vlan", 1)
	thousand, created := createVlans(t, line.Router, 2, 1001)
	start := time.Now()
	requests(t, line.Router, func(b api.Backend) error { return b.Destroy(context.Background(), thousand) })
	destroyed := time.Since(start)
	createVlans(t, line.Router, 2, 4000)
	upVlans(t, line.Router)
	var tags []int
	for n := range 16 {
		tags = append(tags, 1+n*249)
	}
	report("4000 vlans", tags...)
	fmt.Printf("bench vlan 1000 created in %v, destroyed in %v\n", created.Round(time.Millisecond), destroyed.Round(time.Millisecond))
	if created > 3*time.Second || destroyed > 3*time.Second {
		t.Errorf("1000 vlans: created in %v, destroyed in %v, goal 3 s each", created, destroyed)
	}
}

// TestBenchVlanTCP compares one TCP stream of the host's own over a vlan with
// one beside it over the plain interface: rounds in turn, all offloads.
func TestBenchVlanTCP(t *testing.T) {
	const rounds, goal = 7, 0.8
	line, err := lab.NewLine("vlantcp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for address, host := range map[string]*lab.Host{"10.0.5.2/24": line.Left, "10.0.5.1/24": line.Router} {
		host.MustRun(t, bsdnet, "load", "-i", "em0", "--mode", "tc")
		t.Cleanup(func() { host.MustRun(t, bsdnet, "unload") })
		host.MustRun(t, bsdnet, "ifconfig", "vlan5", "create", "vlan", "5", "vlandev", "em0", address)
	}
	server := line.Router.Command(t.Context(), "iperf3", "-s")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // ended by the test's context
	time.Sleep(300 * time.Millisecond)
	plain, tagged := &stream{"plain", line, "192.0.2.1"}, &stream{"vlan", line, "10.0.5.1"}
	var ours, theirs, ratios []float64
	for round := range rounds {
		var a, b float64
		if round%2 == 0 { // neither always comes first
			a, b = plain.rate(t), tagged.rate(t)
		} else {
			b, a = tagged.rate(t), plain.rate(t)
		}
		theirs, ours, ratios = append(theirs, a), append(ours, b), append(ratios, b/a)
	}
	got := median(ratios)
	fmt.Printf("bench vlan tcp %.2f Gbit/s, plain %.2f, ratio %.2f (medians of %d, goal %.2f)\n", median(ours), median(theirs), got, rounds, goal)
	if got < goal {
		t.Errorf("TCP over a vlan: %.2f of plain, goal %.2f", got, goal)
	}
}

// upVlans marks all vlans up and waits until the data path knows.
func upVlans(t *testing.T, host *lab.Host) {
	t.Helper()
	err := host.Do(func() error {
		links, err := netlink.LinkList()
		for _, link := range links {
			if err == nil && len(link.Attrs().Name) > 4 && link.Attrs().Name[:4] == "vlan" {
				err = netlink.LinkSetUp(link)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
}

// forwardCost returns the nanoseconds of a forwarded frame without a tag, and
// with one, averaged over tags: of each the least of many short rounds in turn.
// Every run has a fresh frame, and the first of each round has to be forwarded.
func forwardCost(t *testing.T, router *lab.Host, protosw *ebpf.Map, plain []byte, tags []int) (untagged, tagged float64) {
	t.Helper()
	frames := [][]byte{plain}
	for _, tag := range tags {
		with := append(append([]byte{}, plain[:12]...), 0x81, 0x00, byte(tag>>8), byte(tag))
		frames = append(frames, append(with, plain[12:]...))
	}
	programs := make([]*ebpf.Program, len(frames))
	least := make([]time.Duration, len(frames))
	for n, data := range frames {
		var err error
		if programs[n], err = rewriter(data, protosw); err != nil {
			t.Fatal(err)
		}
		defer programs[n].Close()
		least[n] = math.MaxInt64
	}
	const rounds, repeat = 100, 2000
	err := router.Do(func() error {
		em0, err := netlink.LinkByName("em0")
		if err != nil {
			return err
		}
		for range rounds {
			for n, program := range programs {
				took, err := forwardRound(program, frames[n], em0.Attrs().Index, repeat)
				if err != nil {
					return err
				}
				least[n] = min(least[n], took)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	for _, took := range least[1:] {
		sum += took
	}
	return float64(least[0]), float64(sum) / float64(len(tags))
}

// forwardRound runs a program and returns the mean of its runs, as the kernel
// takes it: a run from user space takes a millisecond more, whatever it does.
func forwardRound(program *ebpf.Program, data []byte, ingress, repeat int) (time.Duration, error) {
	out := make([]byte, 2048)
	md := xdpMD{dataEnd: uint32(len(data)), ingressIfindex: uint32(ingress)}
	attr := struct {
		fd, verdict, sizeIn, sizeOut          uint32
		in, out                               unsafe.Pointer
		repeat, duration, ctxSize, ctxSizeOut uint32
		ctx, ctxOut                           unsafe.Pointer
	}{
		fd: uint32(program.FD()), sizeIn: uint32(len(data)), sizeOut: uint32(len(out)), in: unsafe.Pointer(&data[0]), out: unsafe.Pointer(&out[0]),
		repeat: uint32(repeat), ctxSize: uint32(unsafe.Sizeof(md)), ctx: unsafe.Pointer(&md),
	}
	failure := unix.EINTR
	for failure == unix.EINTR { // the runtime's signals
		_, _, failure = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	}
	runtime.KeepAlive(data)
	runtime.KeepAlive(out)
	if failure != 0 {
		return 0, failure
	}
	if attr.verdict != xdpRedirect {
		return 0, fmt.Errorf("verdict %d for % x", attr.verdict, data[:18])
	}
	return time.Duration(attr.duration), nil
}

// rewriter makes a program that gives a frame its length and its headers back,
// which the run before changed, and goes on in ether_input. It moves the head
// of a frame that has its length, too, so that it costs the same for all.
func rewriter(data []byte, protosw *ebpf.Map) (*ebpf.Program, error) {
	return headRewriter(data, 48, protosw)
}

// headRewriter is rewriter for headers of head bytes, a multiple of 8.
func headRewriter(data []byte, head int, protosw *ebpf.Map) (*ebpf.Program, error) {
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, 4, asm.Word), asm.LoadMem(asm.R3, asm.R6, 0, asm.Word),
		asm.Sub.Reg(asm.R2, asm.R3), asm.Sub.Imm(asm.R2, int32(len(data))),
		asm.Mov.Reg(asm.R1, asm.R6), asm.FnXdpAdjustHead.Call(),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, int32(head)), asm.JGT.Reg(asm.R4, asm.R3, "drop"),
	}
	for i := 0; i < head; i += 8 {
		ins = append(ins, asm.LoadImm(asm.R5, int64(binary.LittleEndian.Uint64(data[i:])), asm.DWord), asm.StoreMem(asm.R2, int16(i), asm.R5, asm.DWord))
	}
	ins = append(ins,
		asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMapPtr(asm.R2, protosw.FD()), asm.Mov.Imm(asm.R3, int32(bpf.ProtoEtherInput)), asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("drop"), asm.Return(),
	)
	const fragments = 1 << 5 // BPF_F_XDP_HAS_FRAGS, as all in protosw
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "rewriter", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Instructions: ins, License: "Dual BSD/GPL", Flags: fragments})
}
