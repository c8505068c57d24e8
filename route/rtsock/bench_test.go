package rtsock

import (
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// receive reads messages, many by one system call, until it has seen or missed n.
func receive(p *program, n int) (read, lost int) {
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return 0, 0
	}
	var headers [batch]mmsghdr
	var vectors [batch]unix.Iovec
	var buffers [batch][1024]byte
	for i := range headers {
		vectors[i] = unix.Iovec{Base: &buffers[i][0]}
		vectors[i].SetLen(len(buffers[i]))
		headers[i].hdr.Iov = &vectors[i]
		headers[i].hdr.SetIovlen(1)
	}
	for read+lost < n {
		got, closed := 0, false
		err := raw.Read(func(fd uintptr) bool {
			count, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&headers[0])), batch, unix.MSG_DONTWAIT, 0, 0)
			if errno == unix.EAGAIN {
				return false
			}
			got, closed = int(count), errno != 0 || headers[0].len == 0
			return true
		})
		if err != nil || closed {
			break
		}
		for i := range got {
			if b := buffers[i][:]; api.MessageType(b[3]) == TypeOverflow {
				lost += int(le.Uint64(b[ctlLost:]))
				continue
			}
			read++
		}
	}
	return read, lost
}

func cpuTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// As many messages as ten listeners take that read them all, at no pace of its
// own. The processor time is that of server and listeners together.
func BenchmarkBroadcast(b *testing.B) {
	r := newRig(b)
	const listeners = 10
	type result struct{ read, lost int }
	done := make(chan result)
	for range listeners {
		p := r.open(rtm.FreeBSD)
		go func() {
			read, lost := receive(p, b.N)
			done <- result{read, lost}
		}()
	}
	m := api.Message{Type: api.RTMAdd, Flags: api.Up | api.Gateway | api.Done, Dst: prefix("10.1.0.0/16"), Gateway: addr("192.0.2.2"), Link: em0}
	b.ResetTimer()
	used := cpuTime()
	for i := range b.N {
		r.table.hub.Publish(m)
		for i%256 == 255 && r.full() {
			time.Sleep(50 * time.Microsecond)
		}
	}
	read, lost := 0, 0
	for range listeners {
		got := <-done
		read, lost = read+got.read, lost+got.lost
	}
	b.StopTimer()
	if read+lost != b.N*listeners {
		b.Fatalf("%d read and %d lost of %d", read, lost, b.N*listeners)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64((cpuTime()-used).Nanoseconds())/float64(b.N), "cpu-ns/message")
	b.ReportMetric(float64(lost), "lost")
}

// full reports whether any buffer is half full, so that a burst may be lost.
func (r *rig) full() bool {
	if len(r.server.sub.C) > 512 {
		return true
	}
	for _, sock := range r.server.all() {
		if queued, _, _ := sock.buffer.state(); queued > defaultBuffer/4 {
			return true
		}
	}
	return false
}
