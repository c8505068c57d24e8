package rtsock

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// The types of messages that stand for system calls on the socket. No kernel
// has them; a program that does not know them passes them over by their length.
const (
	// TypeSetsockopt asks for what setsockopt(2) would set, and is answered by
	// the same header with the error.
	TypeSetsockopt api.MessageType = 0xf0
	// TypeSysctl asks for what sysctl(3) would return, and is answered by
	// messages of the same type that hold it in pieces.
	TypeSysctl api.MessageType = 0xf1
	// TypeOverflow tells that messages were lost, as a read(2) that fails with
	// ENOBUFS does under SO_RERROR.
	TypeOverflow api.MessageType = 0xf2
)

// All of them begin with u_short msglen, u_char version, u_char type, int seq,
// int errno. Numbers are little endian.
const (
	ctlSeq    = 4
	ctlErrno  = 8
	ctlHeader = 24

	ctlLevel   = 12 // setsockopt: int level, int optname, u_int optlen, optval
	ctlOptname = 16
	ctlOptlen  = 20

	ctlNamelen = 12 // sysctl: u_int namelen, u_long oldlen, int name[]; answer: u_int more, u_long oldlen, old
	ctlOldlen  = 16

	ctlLost = 16 // overflow: u_long lost
)

// Levels and options of setsockopt.
const (
	solSocket     = 0xffff
	soUseloopback = 0x40
	soRcvbuf      = 0x1002
	soSetfib      = 0x1014  // FreeBSD's
	soRerrorFree  = 0x20000 // FreeBSD's
	soRerrorFly   = 0x2000  // DragonFly's

	pfRoute = 17
	// optProtocol is the third argument of socket(2): the family of the
	// messages that the program wants to see.
	optProtocol   = 0
	optMsgfilter  = 1 // ROUTE_MSGFILTER
	optMissfilter = 2 // RO_MISSFILTER

	missfilterMax = 30
)

func isControl(t api.MessageType) bool { return t == TypeSetsockopt || t == TypeSysctl }

func control(v rtm.Version, t api.MessageType, size int) []byte {
	b := make([]byte, size)
	le.PutUint16(b, uint16(size))
	b[2], b[3] = uint8(v), uint8(t)
	return b
}

func overflow(v rtm.Version, lost uint64) []byte {
	b := control(v, TypeOverflow, ctlHeader)
	le.PutUint32(b[ctlErrno:], uint32(errno.ENOBUFS.Number()))
	le.PutUint64(b[ctlLost:], lost)
	return b
}

// control carries out a message that stands for a system call.
func (k *socket) control(packet []byte) {
	var err error
	switch {
	case int(le.Uint16(packet)) != len(packet):
		err = errno.EINVAL
	case rtm.Version(packet[2]) != k.system:
		err = errno.EPROTONOSUPPORT
	case api.MessageType(packet[3]) == TypeSysctl:
		k.sysctl(packet)
		return
	default:
		err = k.setsockopt(packet)
	}
	answer := control(k.system, api.MessageType(packet[3]), ctlHeader)
	copy(answer[ctlSeq:], packet[ctlSeq:ctlSeq+4])
	copy(answer[ctlLevel:ctlOptlen], packet[ctlLevel:ctlOptlen])
	if err != nil {
		k.server.failed.Add(1)
		le.PutUint32(answer[ctlErrno:], uint32(k.errorOf(err)))
	}
	k.buffer.put(answer)
}

func (k *socket) setsockopt(packet []byte) error {
	level, name := le.Uint32(packet[ctlLevel:]), le.Uint32(packet[ctlOptname:])
	value := packet[ctlHeader:]
	if int(le.Uint32(packet[ctlOptlen:])) != len(value) {
		return errno.EINVAL
	}
	if level == pfRoute && name == optMissfilter {
		return k.setMissfilter(value)
	}
	if len(value) != 4 {
		return errno.EINVAL
	}
	number := le.Uint32(value)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case level == solSocket && name == soUseloopback:
		k.useLoopback = number != 0
	case level == solSocket && (name == soRerrorFree || name == soRerrorFly):
		k.buffer.setTell(number != 0)
	case level == solSocket && name == soRcvbuf:
		if number == 0 {
			return errno.EINVAL
		}
		if number > maxBuffer {
			return errno.ENOBUFS
		}
		k.buffer.setLimit(int(number))
	case level == solSocket && name == soSetfib:
		if number != 0 {
			return errno.EINVAL // there is one table
		}
	case level == pfRoute && name == optProtocol:
		if number >= uint32(afMax[k.system]) {
			return errno.EAFNOSUPPORT
		}
		k.family = uint8(number)
	case level == pfRoute && name == optMsgfilter:
		k.types = number
	default:
		return errno.ENOPROTOOPT
	}
	return nil
}

// setMissfilter takes up to 30 sockaddrs, one behind the other, each rounded
// up; none takes the filter away.
func (k *socket) setMissfilter(value []byte) error {
	var dsts []netip.Addr
	for len(value) > 0 {
		sa, rest, err := rtm.CutSockaddr(k.system, value)
		if err != nil {
			return err
		}
		a, _, ok := rtm.AddrOf(sa)
		if !ok {
			return errno.EAFNOSUPPORT
		}
		dsts = append(dsts, a)
		value = rest
	}
	if len(dsts) > missfilterMax {
		return errno.ENOBUFS
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.misses = dsts
	return nil
}
