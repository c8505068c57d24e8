package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// Offset of the ports in a frame of IPv4 or IPv6 without tags.
const (
	portsInet  = 34
	portsInet6 = 54
)

// NewFlows makes a generator of many flows: it puts a counter, mixed, into the
// ports of a UDP frame that has no checksum. It takes length different values,
// a power of two; 0: it never repeats within 2^32.
func NewFlows(host *lab.Host, device string, frame []byte, ports int, length uint32) (*Flow, error) {
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Name: "counter", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, err
	}
	defer counter.Close() // the program keeps it
	base := uint32(frame[ports+2])<<8 | uint32(frame[ports+3])
	pick := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R7, 1),
		asm.StoreMem(asm.R0, 0, asm.R7, asm.DWord),
	}
	if length > 0 {
		pick = append(pick,
			asm.Mul.Imm32(asm.R7, 0x1E3779B1), // odd, so that all values come
			asm.And.Imm32(asm.R7, int32(length-1)))
	}
	// r8: the ports as they lie in memory
	pick = append(pick,
		asm.Mov.Reg(asm.R8, asm.R7), asm.RSh.Imm32(asm.R8, 16), asm.Add.Imm32(asm.R8, int32(base)), asm.And.Imm32(asm.R8, 0xffff),
		asm.And.Imm32(asm.R7, 0xffff), asm.LSh.Imm(asm.R7, 16), asm.Or.Reg(asm.R8, asm.R7),
		asm.HostTo(asm.BE, asm.R8, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6))
	return newFlow(host, device, frame, append(pick, writeFrame(frame)...), asm.StoreMem(asm.R2, int16(ports), asm.R8, asm.Word))
}

// writeFrame writes a frame into the buffer of r1; afterwards r2 is its begin.
func writeFrame(frame []byte) asm.Instructions {
	header := frame[:len(frame)/8*8]
	ins := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(len(header))),
		asm.JGT.Reg(asm.R4, asm.R3, "drop"),
	}
	for i := 0; i < len(header); i += 8 {
		ins = append(ins, asm.LoadImm(asm.R5, int64(binary.LittleEndian.Uint64(header[i:])), asm.DWord),
			asm.StoreMem(asm.R2, int16(i), asm.R5, asm.DWord))
	}
	return ins
}

func newFlow(host *lab.Host, device string, frame []byte, ins asm.Instructions, more ...asm.Instruction) (*Flow, error) {
	f := &Flow{host: host, frame: frame}
	ins = append(append(ins, more...),
		asm.Mov.Imm(asm.R0, 3), asm.Return(), // XDP_TX
		asm.Mov.Imm(asm.R0, 1).WithSymbol("drop"), asm.Return())
	var err error
	f.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "generator", Type: ebpf.XDP, Instructions: ins, License: "Dual BSD/GPL"})
	if err != nil {
		return nil, fmt.Errorf("load generator: %w", err)
	}
	err = host.Do(func() error {
		device, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		f.index = device.Index
		return nil
	})
	return f, err
}

// NewTrace makes a generator that sends frames by headers, one after the
// other; there must be a power of two of them, of 64 bytes each.
func NewTrace(host *lab.Host, device string, headers [][]byte) (*Flow, error) {
	length := uint32(len(headers))
	trace, err := ebpf.NewMap(&ebpf.MapSpec{Name: "trace", Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: length + 1})
	if err != nil {
		return nil, err
	}
	defer trace.Close()
	for i, h := range headers {
		if err := trace.Put(uint32(i), h); err != nil {
			return nil, err
		}
	}
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, int64(length), asm.Word), // the last one holds the number of the next
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
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, 64),
		asm.JGT.Reg(asm.R4, asm.R3, "drop"),
	}
	for i := int16(0); i < 64; i += 8 {
		ins = append(ins, asm.LoadMem(asm.R5, asm.R0, i, asm.DWord), asm.StoreMem(asm.R2, i, asm.R5, asm.DWord))
	}
	return newFlow(host, device, make([]byte, 64), ins)
}

// SendCount sends a number of frames, a multiple of 64.
func (f *Flow) SendCount(n uint32) error {
	return f.host.Do(func() error {
		for n > 0 {
			burst := min(n, 1<<12)
			_, err := f.program.Run(&ebpf.RunOptions{
				Data: f.frame, Repeat: burst, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES, BatchSize: 64,
				Context: &xdpMD{dataEnd: uint32(len(f.frame)), ingressIfindex: uint32(f.index)},
			})
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("send live frames: %w", err)
			}
			n -= burst
		}
		return nil
	})
}

// Cost sends a number of frames and returns the time for each, and how many
// arrived.
func Cost(flow *Flow, sink *Sink, n uint32) (each time.Duration, arrived uint64, err error) {
	before, err := sink.Count()
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if err := flow.SendCount(n); err != nil {
		return 0, 0, err
	}
	elapsed := time.Since(start)
	time.Sleep(2 * time.Millisecond)
	after, err := sink.Count()
	return elapsed / time.Duration(n), after - before, err
}
