package netisr_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/internal/nslab"
)

// BenchmarkThread measures one thread on CPU 0, from AF_XDP receive through a
// handler to AF_XDP transmit, in copy mode over a veth pair. The packets are
// 64-byte frames after the header of the data path, made without socket
// buffers on CPU 1, where the kernel copies them into the receive ring. The
// far end drops and counts in XDP, on the thread's CPU: what is measured
// includes the way of a packet up to the first program of the data path.
//
// pps is what the thread did in a second, p/cpu-s in a second of its CPU time,
// which a busy machine does not distort as much.
//
// In "forward" and "receive" the generator waits for the thread, so that
// nothing is lost; "receive" frees the packet instead of transmitting it. In
// "overload" it does not wait, and what does not fit into the ring is lost.
func BenchmarkThread(b *testing.B) {
	forward := func(t *netisr.Thread, p *netisr.Packet) {
		p.Header().Resume = uint8(bpf.ResumeForward)
		t.Transmit(p)
	}
	b.Run("forward", func(b *testing.B) { benchmarkThread(b, 512, forward) })
	b.Run("receive", func(b *testing.B) { benchmarkThread(b, 512, (*netisr.Thread).Free) })
	b.Run("overload", func(b *testing.B) { benchmarkThread(b, 1<<30, forward) })
}

func benchmarkThread(b *testing.B, window int, handler netisr.Handler) {
	progress := nslab.NewWindow(b)
	l := newLab(b, 1, 1500, netisr.Config{Threads: 1, BindThreads: true, CPUs: []int{0}}, netisr.SocketConfig{})
	count := uint64(0)
	err := l.netisr.Register(netisr.Protocol{
		Number: netisr.ProtocolIP, Name: "ip",
		Handler: func(t *netisr.Thread, p *netisr.Packet) {
			count++
			handler(t, p)
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	l.netisr.RegisterRollup(0, func(*netisr.Thread) { atomic.StoreUint64(progress.Handled(), count) })
	l.start(b)
	generator := nslab.Generator{Program: nslab.NewTransmitter(b, progress, window), Interface: l.veth.A}
	generator.Packet = packet(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrOptions), L3Off: 14, IpLen: 50, Af: 4},
		udpFrame([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 1, 1}, 1000, 2000, 50))
	const attempts = 4000000
	handled := func() uint64 { return atomic.LoadUint64(progress.Handled()) }
	l.ns.Do(b, func() {
		if err := nslab.Bind(1); err != nil {
			b.Error(err)
			return
		}
		var sent, done uint64
		var elapsed time.Duration
		used := threadTime(b, l.netisr)
		for b.Loop() {
			// What was lost, if anything, is forgotten.
			atomic.StoreUint64(progress.Sent(), handled())
			before, start := handled(), time.Now()
			if err := generator.Send(attempts); err != nil {
				b.Error(err)
				return
			}
			elapsed += time.Since(start)
			sent += atomic.LoadUint64(progress.Sent()) - before
			done += handled() - before
		}
		b.ReportMetric(float64(done)/elapsed.Seconds(), "pps")
		b.ReportMetric(float64(sent)/elapsed.Seconds(), "offered/s")
		used = threadTime(b, l.netisr) - used
		b.ReportMetric(float64(done)/used.Seconds(), "p/cpu-s")
		b.ReportMetric(0, "ns/op")
	})
	ws := l.netisr.Stats().Workstreams[0]
	if ws.OutputDrops != 0 || ws.Transmitted != 0 && l.sent() == 0 {
		b.Errorf("%d output drops, %d arrived of %d", ws.OutputDrops, l.sent(), ws.Transmitted)
	}
}

// threadTime returns the CPU time that thread 0 has used.
func threadTime(b *testing.B, n *netisr.Netisr) (used time.Duration) {
	var now unix.Timespec
	err := n.Call(context.Background(), 0, func(*netisr.Thread) {
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now)
	})
	if err != nil {
		b.Error(err)
	}
	return time.Duration(now.Nano())
}
