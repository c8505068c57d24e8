// Package bench measures the data path against Linux on the same machine, in
// one run, interleaved, so that what counts is the ratio.
package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// Flow is a generator of frames on one end of a veth pair: a program that
// writes the whole header of each frame anew, since pages are used again, and
// sends it.
type Flow struct {
	host    *lab.Host
	index   int
	program *ebpf.Program
	frame   []byte
}

// NewFlow makes a generator that sends a frame out of a device of a host.
func NewFlow(host *lab.Host, device string, frame []byte) (*Flow, error) {
	return newFlow(host, device, frame, writeFrame(frame))
}

type xdpMD struct{ data, dataEnd, dataMeta, ingressIfindex, rxQueueIndex, egressIfindex uint32 }

// Send sends frames for about a duration, in bursts of 64.
func (f *Flow) Send(d time.Duration) error {
	return f.host.Do(func() error {
		for end := time.Now().Add(d); time.Now().Before(end); {
			_, err := f.program.Run(&ebpf.RunOptions{
				Data: f.frame, Repeat: 1 << 15, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES, BatchSize: 64,
				Context: &xdpMD{dataEnd: uint32(len(f.frame)), ingressIfindex: uint32(f.index)},
			})
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("send live frames: %w", err)
			}
		}
		return nil
	})
}

// Close releases the generator.
func (f *Flow) Close() error { return f.program.Close() }

// Sink counts and drops what arrives at a device.
type Sink struct {
	counter *ebpf.Map
	program *ebpf.Program
	link    link.Link
}

// NewSink attaches a sink.
func NewSink(host *lab.Host, device string) (*Sink, error) {
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Name: "sink", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "sink", Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("out"), asm.Return(),
	}})
	if err != nil {
		return nil, fmt.Errorf("load sink: %w", err)
	}
	s := &Sink{counter: counter, program: program}
	err = host.Do(func() error {
		device, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		s.link, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: device.Index, Flags: link.XDPDriverMode})
		return err
	})
	return s, err
}

// Count returns how many frames have arrived.
func (s *Sink) Count() (uint64, error) {
	var perCPU []uint64
	if err := s.counter.Lookup(uint32(0), &perCPU); err != nil {
		return 0, err
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// Close detaches the sink.
func (s *Sink) Close() error {
	return errors.Join(s.link.Close(), s.program.Close(), s.counter.Close())
}

// Rate sends for a duration and returns the frames a second that arrived.
func Rate(flow *Flow, sink *Sink, d time.Duration) (float64, error) {
	before, err := sink.Count()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := flow.Send(d); err != nil {
		return 0, err
	}
	elapsed := time.Since(start)
	time.Sleep(2 * time.Millisecond)
	after, err := sink.Count()
	return float64(after-before) / elapsed.Seconds(), err
}

// Pin keeps the process on one CPU, where everything runs to completion.
func Pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		var tid int
		if _, err := fmt.Sscan(entry.Name(), &tid); err == nil {
			if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}
