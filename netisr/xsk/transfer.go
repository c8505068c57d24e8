package xsk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Fill hands chunks to the kernel for packets to come, by any address within
// each, and returns how many it took.
func (s *Socket) Fill(addrs []uint64) int { return s.fill.produce(addrs) }

// FillRoom returns how many chunks Fill would take.
func (s *Socket) FillRoom() int { return s.fill.room(len(s.fill.entries)) }

// Receive takes received packets off and returns the number of descriptors
// written. A packet of several descriptors may be cut by the end of descs;
// the next call goes on with it.
func (s *Socket) Receive(descs []Desc) int { return s.rx.consume(descs) }

// Transmit queues packets and returns the number of descriptors taken, from
// the first on. Nothing is sent until [Socket.Kick]. All descriptors of a
// packet must go in one call that has room for them, see [Socket.TransmitRoom].
func (s *Socket) Transmit(descs []Desc) int { return s.tx.produce(descs) }

// TransmitRoom returns how many descriptors Transmit would take.
func (s *Socket) TransmitRoom() int { return s.tx.room(len(s.tx.entries)) }

// Complete takes back the addresses of what the kernel has sent, as they were
// queued, and returns their number.
func (s *Socket) Complete(addrs []uint64) int { return s.completion.consume(addrs) }

// Pending reports whether the kernel has yet to take queued packets.
func (s *Socket) Pending() bool { return s.TransmitRoom() < len(s.tx.entries) }

// Kick makes the kernel send what is queued, if it needs telling. In copy mode
// one call sends a batch of 32 at least, so packets may be left; see
// [Socket.Pending]. A device that is full for the moment is no error.
func (s *Socket) Kick() error {
	if !s.tx.needsWakeup() {
		return nil
	}
	_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR:
		return nil
	}
	return fmt.Errorf("transmit on queue %d of interface %d: %w", s.config.Queue, s.config.Interface, errno)
}

// WakeReceive makes a zero-copy driver look at the fill ring again, if it
// needs telling.
func (s *Socket) WakeReceive() error {
	if !s.fill.needsWakeup() {
		return nil
	}
	_, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR:
		return nil
	}
	return fmt.Errorf("receive on queue %d of interface %d: %w", s.config.Queue, s.config.Interface, errno)
}
