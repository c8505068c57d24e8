package control

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/pf/engine"
)

// States of sockets, as the kernel's net/tcp_states.h numbers them.
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// adoptConnections gives states to the established TCP connections of this
// host, before pf is enabled: the session that types pfctl must not end by it.
func (f *filter) adoptConnections() error {
	var connections []engine.Connection
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCP(family)
		if err != nil {
			return fmt.Errorf("look for established connections: %w", err)
		}
		listening := make(map[uint16]bool)
		for _, s := range sockets {
			if s.State == tcpListen {
				listening[s.ID.SourcePort] = true
			}
		}
		for _, s := range sockets {
			if s.State != tcpEstablished {
				continue
			}
			id := &s.ID
			c := engine.Connection{
				Local: end(id.Source, id.SourcePort), Remote: end(id.Destination, id.DestinationPort), Accepted: listening[id.SourcePort],
			}
			if c.Local.IsValid() && c.Remote.IsValid() {
				connections = append(connections, c)
			}
		}
	}
	if n := f.engine.Adopt(connections); n > 0 {
		f.daemon.log.Info("adopted established connections", "count", n)
	}
	return nil
}

func end(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}
