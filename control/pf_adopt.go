package control

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/pf/engine"
)

// States of sockets, as the kernel's net/tcp_states.h numbers them.
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// tcpSocket is one of the host's.
type tcpSocket struct {
	local, remote netip.AddrPort
	state         uint8
}

// adoptConnections gives states to the established TCP connections of this
// host, before pf is enabled: the session that types pfctl must not end by it.
func (f *filter) adoptConnections() error {
	var connections []engine.Connection
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := tcpSockets(family)
		if err != nil {
			return fmt.Errorf("look for established connections: %w", err)
		}
		listening := make(map[uint16]bool)
		for _, s := range sockets {
			if s.state == tcpListen {
				listening[s.local.Port()] = true
			}
		}
		for _, s := range sockets {
			if s.state == tcpEstablished && s.local.IsValid() && s.remote.IsValid() {
				connections = append(connections, engine.Connection{Local: s.local, Remote: s.remote, Accepted: listening[s.local.Port()]})
			}
		}
	}
	if n := f.engine.Adopt(connections); n > 0 {
		f.daemon.log.Info("adopted established connections", "count", n)
	}
	return nil
}

// tcpSockets asks sock_diag(7), and proc(5) where the kernel lacks that.
func tcpSockets(family uint8) ([]tcpSocket, error) {
	found, err := netlink.SocketDiagTCP(family)
	if errors.Is(err, unix.ENOENT) {
		name := map[uint8]string{unix.AF_INET: "tcp", unix.AF_INET6: "tcp6"}[family]
		file, err := os.Open("/proc/thread-self/net/" + name)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil // no such family here
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return parseProcTCP(file)
	}
	if err != nil {
		return nil, err
	}
	sockets := make([]tcpSocket, len(found))
	for i, s := range found {
		sockets[i] = tcpSocket{end(s.ID.Source, s.ID.SourcePort), end(s.ID.Destination, s.ID.DestinationPort), s.State}
	}
	return sockets, nil
}

// parseProcTCP reads /proc/net/tcp and tcp6: addresses are words of the
// kernel's memory, ports numbers.
func parseProcTCP(r io.Reader) ([]tcpSocket, error) {
	var sockets []tcpSocket
	lines := bufio.NewScanner(r)
	lines.Scan() // titles
	for lines.Scan() {
		var number, local, remote string
		var s tcpSocket
		_, err := fmt.Sscanf(lines.Text(), "%s %s %s %x", &number, &local, &remote, &s.state)
		if err == nil {
			s.local, err = parseProcEnd(local)
		}
		if err == nil {
			s.remote, err = parseProcEnd(remote)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		sockets = append(sockets, s)
	}
	return sockets, lines.Err()
}

func parseProcEnd(text string) (netip.AddrPort, error) {
	words, port, _ := strings.Cut(text, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	address, err := hex.DecodeString(words)
	if err != nil || len(address)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("bad address %q", words)
	}
	for i := 0; i < len(address); i += 4 {
		binary.NativeEndian.PutUint32(address[i:], binary.BigEndian.Uint32(address[i:]))
	}
	return end(address, uint16(number)), nil
}

func end(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}
