package slowpath

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/netisr/inet"
)

// RawSender sends packets by raw sockets, so that they leave as any packet of
// the host does: routed by it, and through its egress filters. It may be used
// concurrently.
type RawSender struct{ fd4, fd6 int }

// NewRawSender opens the sockets in the calling thread's network namespace,
// which should be the host's. It needs CAP_NET_RAW. A host without IPv6 has no
// socket for it; sending IPv6 then fails.
func NewRawSender() (*RawSender, error) {
	// A raw socket of IPPROTO_RAW expects the header from the user, and
	// receives nothing, in both families (raw(7), rawv6_sendmsg).
	const kind = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd4, err := unix.Socket(unix.AF_INET, kind, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open raw socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd4, unix.IPPROTO_IP, unix.IP_HDRINCL, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("open raw socket: %w", err), unix.Close(fd4))
	}
	fd6, err := unix.Socket(unix.AF_INET6, kind, unix.IPPROTO_RAW)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		fd6 = -1
	case err != nil:
		return nil, errors.Join(fmt.Errorf("open raw IPv6 socket: %w", err), unix.Close(fd4))
	default:
		if err := unix.SetsockoptInt(fd6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1); err != nil {
			return nil, errors.Join(fmt.Errorf("open raw IPv6 socket: %w", err), unix.Close(fd4), unix.Close(fd6))
		}
	}
	return &RawSender{fd4, fd6}, nil
}

// Send implements [Sender]. It does not allocate unless it fails.
func (s *RawSender) Send(packet []byte, index int) error {
	if len(packet) >= inet.HeaderLen4 && packet[0]>>4 == 4 {
		to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(packet[16:20])}
		return s.send(s.fd4, packet, unsafe.Pointer(&to), unsafe.Sizeof(to))
	}
	if len(packet) < inet.HeaderLen6 || packet[0]>>4 != 6 {
		return errors.New("send packet: neither IPv4 nor IPv6")
	}
	to := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: [16]byte(packet[24:40])}
	if linkScope(packet[24:40]) {
		to.Scope_id = uint32(index)
	}
	return s.send(s.fd6, packet, unsafe.Pointer(&to), unsafe.Sizeof(to))
}

// linkScope reports whether an address is link-local, unicast or multicast,
// so that it means something on one interface only.
func linkScope(addr []byte) bool {
	return addr[0] == 0xfe && addr[1]&0xc0 == 0x80 || addr[0] == 0xff && addr[1]&0xf == 2
}

func (s *RawSender) send(fd int, packet []byte, to unsafe.Pointer, size uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)),
		unix.MSG_DONTWAIT, uintptr(to), size)
	if errno != 0 {
		return fmt.Errorf("send packet of %d bytes: %w", len(packet), errno)
	}
	return nil
}

// Close closes the sockets.
func (s *RawSender) Close() error {
	err := unix.Close(s.fd4)
	if s.fd6 >= 0 {
		err = errors.Join(err, unix.Close(s.fd6))
	}
	return err
}
