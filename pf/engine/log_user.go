package engine

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	protocolTCP = 6
	protocolUDP = 17

	// For how long what was found out about sockets and processes holds.
	socketsAge   = 50 * time.Millisecond
	processesAge = time.Second
)

// owners finds out whose socket a packet is of. It is for one goroutine.
type owners struct {
	sockets   map[socketKind]socketList
	processes map[uint32]uint32 // inodes of sockets to processes
	looked    time.Time
	reader    *socketReader
	readerErr error // why there is none: then no process is known
}

type socketKind struct{ family, protocol uint8 }

type socketList struct {
	sockets []*netlink.Socket
	read    time.Time
}

// owner is the user and the process that have a socket.
type owner struct {
	uid, pid uint32
	pidKnown bool
}

// find returns the owner of the local socket that sent the packet, or that it
// is for. The packet begins with its IP header.
func (o *owners) find(packet []byte, out bool) (owner, bool) {
	protocol, local, remote, ok := packetEnds(packet, out)
	if !ok {
		return owner{}, false
	}
	kind := socketKind{unix.AF_INET, protocol}
	if local.Addr().Is6() {
		kind.family = unix.AF_INET6
	}
	s := o.match(kind, local, remote)
	if s == nil {
		// Sockets of IPv6 take IPv4, too.
		if s = o.match(socketKind{unix.AF_INET6, protocol}, local, remote); s == nil {
			return owner{}, false
		}
	}
	pid, known := o.process(s.INode)
	return owner{s.UID, pid, known}, true
}

// match finds the socket with both ends, else one that listens.
func (o *owners) match(kind socketKind, local, remote netip.AddrPort) (listens *netlink.Socket) {
	for _, s := range o.list(kind) {
		if s.ID.SourcePort != local.Port() {
			continue
		}
		source, _ := netip.AddrFromSlice(s.ID.Source)
		destination, _ := netip.AddrFromSlice(s.ID.Destination)
		source, destination = source.Unmap(), destination.Unmap()
		if source != local.Addr() && !source.IsUnspecified() {
			continue
		}
		switch {
		case s.ID.DestinationPort == remote.Port() && destination == remote.Addr():
			return s
		case s.ID.DestinationPort == 0:
			listens = s
		}
	}
	return listens
}

func (o *owners) list(kind socketKind) []*netlink.Socket {
	known := o.sockets[kind]
	if time.Since(known.read) < socketsAge {
		return known.sockets
	}
	read := netlink.SocketDiagTCP
	if kind.protocol == protocolUDP {
		read = netlink.SocketDiagUDP
	}
	sockets, err := read(kind.family)
	if err != nil {
		sockets = nil // then nobody is known
	}
	if o.sockets == nil {
		o.sockets = make(map[socketKind]socketList)
	}
	o.sockets[kind] = socketList{sockets, time.Now()}
	return sockets
}

// process finds a process that has the socket open.
func (o *owners) process(inode uint32) (pid uint32, ok bool) {
	if pid, ok = o.processes[inode]; ok || time.Since(o.looked) < processesAge {
		return pid, ok
	}
	o.looked, o.processes = time.Now(), nil
	if o.reader == nil && o.readerErr == nil {
		o.reader, o.readerErr = newSocketReader()
	}
	if o.reader != nil {
		o.processes, o.readerErr = o.reader.read()
	}
	pid, ok = o.processes[inode]
	return pid, ok
}

// close lets go of the list of sockets.
func (o *owners) close() error {
	if o.reader == nil {
		return nil
	}
	return o.reader.close()
}

// packetEnds returns the local and the remote end of a TCP or UDP packet.
func packetEnds(p []byte, out bool) (protocol uint8, local, remote netip.AddrPort, ok bool) {
	header := 40
	var src, dst netip.Addr
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		protocol, header = p[9], int(p[0]&15)*4
		src, dst = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	case len(p) >= 40 && p[0]>>4 == 6:
		protocol = p[6]
		src, dst = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	default:
		return 0, local, remote, false
	}
	if protocol != protocolTCP && protocol != protocolUDP || len(p) < header+4 {
		return 0, local, remote, false
	}
	source := netip.AddrPortFrom(src, binary.BigEndian.Uint16(p[header:]))
	destination := netip.AddrPortFrom(dst, binary.BigEndian.Uint16(p[header+2:]))
	if out {
		return protocol, source, destination, true
	}
	return protocol, destination, source, true
}
