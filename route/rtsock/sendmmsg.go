package rtsock

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many packets one system call sends.
const batch = 64

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// sender sends packets to a socket, many by one system call.
type sender struct {
	raw     syscall.RawConn
	headers [batch]mmsghdr
	vectors [batch]unix.Iovec
}

func newSender(conn *net.UnixConn) (*sender, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &sender{raw: raw}, nil
}

// send sends at most batch packets, and waits while the other end does not read.
func (s *sender) send(packets [][]byte) error {
	for i, packet := range packets {
		s.vectors[i] = unix.Iovec{Base: unsafe.SliceData(packet)}
		s.vectors[i].SetLen(len(packet))
		s.headers[i] = mmsghdr{hdr: unix.Msghdr{Iov: &s.vectors[i]}}
		s.headers[i].hdr.SetIovlen(1)
	}
	sent := 0
	var failed error
	err := s.raw.Write(func(fd uintptr) bool {
		for sent < len(packets) {
			n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.headers[sent])),
				uintptr(len(packets)-sent), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
			switch errno {
			case 0:
				sent += int(n)
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				failed = errno
				return true
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}
