// Package nslab makes network namespaces, veth pairs and tiny XDP programs
// for the tests of netisr. What it makes is gone when the test ends.
package nslab

import (
	"net"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace without a name: it lives as long as its
// descriptor is open.
type Namespace struct{ handle netns.NsHandle }

// NewNamespace makes an empty namespace with loopback up.
func NewNamespace(tb testing.TB) *Namespace {
	tb.Helper()
	var ns Namespace
	onOwnThread(tb, func() {
		must(tb, unix.Unshare(unix.CLONE_NEWNET))
		handle, err := netns.Get()
		must(tb, err)
		ns.handle = handle
		lo, err := netlink.LinkByName("lo")
		must(tb, err)
		must(tb, netlink.LinkSetUp(lo))
	})
	tb.Cleanup(func() { ns.handle.Close() })
	return &ns
}

// Do runs a function on a thread inside the namespace. Sockets opened there
// stay in it.
func (ns *Namespace) Do(tb testing.TB, run func()) {
	tb.Helper()
	onOwnThread(tb, func() {
		must(tb, netns.Set(ns.handle))
		run()
	})
}

// onOwnThread runs a function on a thread that ends with it: a thread that
// changed its namespace must not serve other goroutines.
func onOwnThread(tb testing.TB, run func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		run()
	}()
	<-done
	if tb.Failed() {
		tb.FailNow()
	}
}

// must ends the goroutine with a failure when err is not nil.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Error(err)
		runtime.Goexit()
	}
}

// Veth is a pair of interfaces in one namespace.
type Veth struct{ A, B *net.Interface }

// NewVeth makes a veth pair with a number of queues and an MTU, both ends up.
// They have no IPv6, so that the host sends nothing on its own.
func (ns *Namespace) NewVeth(tb testing.TB, queues, mtu int) Veth {
	tb.Helper()
	var veth Veth
	ns.Do(tb, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.NumRxQueues, attrs.NumTxQueues = "a", mtu, queues, queues
		must(tb, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: "b", PeerMTU: uint32(mtu),
			PeerNumRxQueues: uint32(queues), PeerNumTxQueues: uint32(queues),
		}))
		for name, end := range map[string]**net.Interface{"a": &veth.A, "b": &veth.B} {
			dev, err := netlink.LinkByName(name)
			must(tb, err)
			must(tb, SetIPv6(name, false))
			must(tb, netlink.LinkSetUp(dev))
			*end, err = net.InterfaceByName(name)
			must(tb, err)
		}
	})
	return veth
}

// SetIPv6 turns IPv6 on or off on an interface. It must run inside
// [Namespace.Do].
func SetIPv6(name string, on bool) error {
	value := []byte("1")
	if on {
		value = []byte("0")
	}
	return os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", value, 0)
}

// Attach puts an XDP program on an interface in native mode.
func (ns *Namespace) Attach(tb testing.TB, iface *net.Interface, program *ebpf.Program) {
	tb.Helper()
	ns.Do(tb, func() {
		attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: iface.Index, Flags: link.XDPDriverMode})
		must(tb, err)
		tb.Cleanup(func() { attached.Close() })
	})
}

// NewSocketMap makes an XSKMAP.
func NewSocketMap(tb testing.TB, queues int) *ebpf.Map {
	tb.Helper()
	return newMap(tb, &ebpf.MapSpec{Name: "netisr_xsks", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues)})
}

// NewCounter makes a per-CPU counter.
func NewCounter(tb testing.TB) *ebpf.Map {
	tb.Helper()
	return newMap(tb, &ebpf.MapSpec{Name: "count", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
}

func newMap(tb testing.TB, spec *ebpf.MapSpec) *ebpf.Map {
	tb.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close() })
	return m
}

// ReadCounter sums a counter over the CPUs.
func ReadCounter(tb testing.TB, counter *ebpf.Map) (sum uint64) {
	tb.Helper()
	var values []uint64
	if err := counter.Lookup(uint32(0), &values); err != nil {
		tb.Fatal(err)
	}
	for _, value := range values {
		sum += value
	}
	return sum
}

func newProgram(tb testing.TB, name string, instructions asm.Instructions) *ebpf.Program {
	tb.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: instructions, Flags: unix.BPF_F_XDP_HAS_FRAGS,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { program.Close() })
	return program
}

const (
	xdpDrop = 1
	xdpPass = 2
	xdpTx   = 3
)

// NewRedirector makes the program of the daemon's end: every packet goes to
// the socket of its queue, or is dropped.
func NewRedirector(tb testing.TB, sockets *ebpf.Map) *ebpf.Program {
	tb.Helper()
	return newProgram(tb, "redirector", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // rx_queue_index
		asm.LoadMapPtr(asm.R1, sockets.FD()),
		asm.Mov.Imm(asm.R3, xdpDrop),
		asm.FnRedirectMap.Call(),
		asm.Return(),
	})
}

// NewSink makes a program that counts and drops.
func NewSink(tb testing.TB, counter *ebpf.Map) *ebpf.Program {
	tb.Helper()
	return newProgram(tb, "sink", asm.Instructions{
		asm.StoreImm(asm.R10, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
	})
}

// Window counts what a [Generator] has sent and what its receiver has handled.
type Window struct {
	progress *ebpf.Map
	memory   []byte
}

// NewWindow makes a window with both counts 0.
func NewWindow(tb testing.TB) *Window {
	tb.Helper()
	progress := newMap(tb, &ebpf.MapSpec{Name: "progress", Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE})
	memory, err := unix.Mmap(progress.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Munmap(memory) })
	return &Window{progress, memory}
}

// Sent is the number of packets that the generator has sent.
func (w *Window) Sent() *uint64 { return (*uint64)(unsafe.Pointer(&w.memory[0])) }

// Handled is the number of packets that the receiver says it has handled.
func (w *Window) Handled() *uint64 { return (*uint64)(unsafe.Pointer(&w.memory[8])) }

// NewTransmitter makes the program of a [Generator]. A packet that would be
// more than size ahead of the receiver is not sent.
func NewTransmitter(tb testing.TB, window *Window, size int) *ebpf.Program {
	tb.Helper()
	return newProgram(tb, "transmitter", asm.Instructions{
		asm.StoreImm(asm.R10, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, window.progress.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.LoadMem(asm.R2, asm.R0, 8, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Sub.Reg(asm.R3, asm.R2),
		asm.JGE.Imm(asm.R3, int32(size), "drop"),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, xdpTx),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
	})
}

// NewPasser makes a program that passes everything, which turns on the
// receive path that redirected frames need.
func NewPasser(tb testing.TB) *ebpf.Program {
	tb.Helper()
	return newProgram(tb, "passer", asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()})
}

// xdpMD is struct xdp_md.
type xdpMD struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// Generator transmits a packet from an interface, without socket buffers. The
// pages of the packets are used again as the receiver left them: it must not
// change them.
type Generator struct {
	Program   *ebpf.Program // of [NewTransmitter]
	Interface *net.Interface
	Packet    []byte
}

// Send tries to transmit the packet a number of times. It must run inside
// [Namespace.Do]. Each call costs about a millisecond.
func (g Generator) Send(count int) error {
	_, err := g.Program.Run(&ebpf.RunOptions{
		Data: g.Packet, Repeat: uint32(count), Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES, BatchSize: 64,
		Context: xdpMD{DataEnd: uint32(len(g.Packet)), IngressIfindex: uint32(g.Interface.Index)},
	})
	return err
}

// Bind binds the calling thread to a CPU.
func Bind(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}
