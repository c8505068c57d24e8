package rtsock

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// socket is one routing socket: a connection and what was set on it.
type socket struct {
	server *Server
	id     uint64
	system rtm.Version
	conn   *net.UnixConn
	pid    int
	uid    uint32
	buffer *buffer

	mu          sync.Mutex
	useLoopback bool         // SO_USELOOPBACK
	family      uint8        // protocol of socket(2), 0: all
	types       uint32       // ROUTE_MSGFILTER: bits by type, 0: all
	misses      []netip.Addr // RO_MISSFILTER: destinations, nil: all
}

func newSocket(s *Server, conn *net.UnixConn, system rtm.Version) (*socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	sock := &socket{server: s, system: system, conn: conn, useLoopback: true}
	sock.buffer = newBuffer(func(lost uint64) []byte { return overflow(system, lost) })
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			failed = err
			return
		}
		sock.pid, sock.uid = int(cred.Pid), cred.Uid
	})
	return sock, errors.Join(err, failed)
}

func (k *socket) close() {
	k.conn.Close()
	k.buffer.close()
}

// read takes the program's messages until it closes its end.
func (k *socket) read() {
	defer k.server.remove(k)
	defer k.close()
	packet := make([]byte, rtm.MaxLen+1)
	for {
		n, _, flags, _, err := k.conn.ReadMsgUnix(packet, nil)
		if err != nil || n == 0 {
			return
		}
		k.server.written.Add(1)
		if flags&unix.MSG_TRUNC != 0 {
			k.refuse(packet[:n], errno.EINVAL)
			continue
		}
		k.take(packet[:n])
	}
}

// write sends what is in the buffer.
func (k *socket) write() {
	defer k.close()
	out, err := newSender(k.conn)
	if err != nil {
		return
	}
	var packets [][]byte
	for {
		packets = k.buffer.take(packets, batch)
		if len(packets) == 0 {
			return
		}
		if err := out.send(packets); err != nil {
			return
		}
		clear(packets)
	}
}

// wants reports whether a message passes the socket's filters; mu is held.
func (k *socket) wants(n *news) bool {
	switch {
	case n.sender == k.id && !k.useLoopback:
	case k.family != 0 && k.family != n.family:
	case k.types != 0 && n.typ < 32 && k.types&(1<<n.typ) == 0:
	case n.typ == api.RTMMiss && k.misses != nil && !slices.Contains(k.misses, n.dst):
	default:
		return true
	}
	return false
}

// hear puts messages into the socket's buffer. It returns how many its filters
// kept from it.
func (k *socket) hear(list []news) (filtered int) {
	packets := make([][]byte, 0, len(list))
	k.mu.Lock()
	for i := range list {
		packet := list[i].packets[at(k.system)]
		switch {
		case packet == nil:
		case k.wants(&list[i]):
			packets = append(packets, packet)
		default:
			filtered++
		}
	}
	k.mu.Unlock()
	k.buffer.put(packets...)
	return filtered
}

// echo gives the answer to a request of k to everybody who listens. Where it is
// not made for the other system, it is the request in that system's form.
func (k *socket) echo(answer [2][]byte, family uint8, dst netip.Addr) {
	own := answer[at(k.system)]
	n := news{typ: api.MessageType(own[3]), sender: k.id, family: family, dst: dst, packets: answer}
	if other := rtm.FreeBSD + rtm.DragonFly - k.system; answer[at(other)] == nil {
		if translated, ok := translate(own, other); ok {
			n.packets[at(other)] = translated
		}
	}
	for _, sock := range k.server.all() {
		k.server.filtered.Add(uint64(sock.hear([]news{n})))
	}
}
