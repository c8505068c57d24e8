package dhclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Ports of RFC 2131.
const (
	serverPort = 67
	clientPort = 68
)

var broadcastLladdr = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// link is a packet socket that carries UDP between the ports of DHCP. The
// interface needs no address.
type link struct {
	socket *packet.Conn

	mu     sync.Mutex
	source netip.Addr       // of what is sent, zero before there is an address
	peer   net.HardwareAddr // whom the last answer came from, the server or a relay
}

func openTransport(config *Config) (transport, error) {
	device, err := net.InterfaceByIndex(config.Index)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Interface, err)
	}
	socket, err := packet.Listen(device, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: answers})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Interface, err)
	}
	return &nclient{link: &link{socket: socket}, lladdr: config.Lladdr}, nil
}

// answers is a filter for whole UDP packets to the port of clients.
var answers = func() []bpf.RawInstruction {
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err) // it is a constant
	}
	return program
}()

// ReadFrom implements net.PacketConn: the payload of the next packet.
func (l *link) ReadFrom(b []byte) (int, net.Addr, error) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := l.socket.ReadFrom(buffer)
		if err != nil {
			return 0, nil, err
		}
		payload, source, ok := udpPayload(buffer[:n])
		if !ok {
			continue
		}
		if sender, ok := from.(*packet.Addr); ok && len(sender.HardwareAddr) == 6 {
			l.mu.Lock()
			l.peer = bytes.Clone(sender.HardwareAddr)
			l.mu.Unlock()
		}
		return copy(b, payload), &net.UDPAddr{IP: source.AsSlice(), Port: serverPort}, nil
	}
}

// udpPayload takes a packet apart. The checksum of UDP is not looked at: a
// virtual device may hand it over unfilled.
func udpPayload(b []byte) (payload []byte, source netip.Addr, ok bool) {
	if len(b) < 28 || b[0]>>4 != 4 {
		return nil, source, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total > len(b) || total < header+8 || b[9] != unix.IPPROTO_UDP || checksum(b[:header]) != 0 {
		return nil, source, false
	}
	udp := b[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != clientPort || length < 8 || length > len(udp) {
		return nil, source, false
	}
	return udp[8:length], netip.AddrFrom4([4]byte(b[12:16])), true
}

// WriteTo implements net.PacketConn. The unspecified address is everybody.
func (l *link) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errors.New("not an address of UDP")
	}
	dst := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if ip, ok := addrOf(udp.IP); ok {
		dst = ip
	}
	l.mu.Lock()
	source, lladdr := l.source, l.peer
	l.mu.Unlock()
	if !source.IsValid() {
		source = netip.IPv4Unspecified()
	}
	if lladdr == nil || dst.As4() == [4]byte{255, 255, 255, 255} {
		lladdr = broadcastLladdr
	}
	if _, err := l.socket.WriteTo(udpPacket(b, source, dst), &packet.Addr{HardwareAddr: lladdr}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// udpPacket makes a packet from the port of clients to that of servers.
func udpPacket(payload []byte, src, dst netip.Addr) []byte {
	b := make([]byte, 28+len(payload))
	b[0], b[1] = 0x45, 0x10 // low delay, as the clients of the BSDs have it
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8], b[9] = 64, unix.IPPROTO_UDP
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b[:20]))
	binary.BigEndian.PutUint16(b[20:], clientPort)
	binary.BigEndian.PutUint16(b[22:], serverPort)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	copy(b[28:], payload)
	pseudo := make([]byte, 12, 12+8+len(payload))
	copy(pseudo, b[12:20])
	pseudo[9] = unix.IPPROTO_UDP
	copy(pseudo[10:], b[24:26])
	sum := checksum(append(pseudo, b[20:]...))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[26:], sum)
	return b
}

// checksum is the one's complement of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Close implements net.PacketConn.
func (l *link) Close() error { return l.socket.Close() }

// LocalAddr implements net.PacketConn.
func (l *link) LocalAddr() net.Addr { return &net.UDPAddr{Port: clientPort} }

// SetDeadline implements net.PacketConn.
func (l *link) SetDeadline(t time.Time) error { return l.socket.SetDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (l *link) SetReadDeadline(t time.Time) error { return l.socket.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn.
func (l *link) SetWriteDeadline(t time.Time) error { return l.socket.SetWriteDeadline(t) }

// nclient is the transport over a link. Its library client, which pairs
// answers with questions, lives for one exchange.
type nclient struct {
	link   *link
	lladdr net.HardwareAddr
}

func (n *nclient) from(src netip.Addr) {
	n.link.mu.Lock()
	defer n.link.mu.Unlock()
	n.link.source = src
}

func (n *nclient) exchange(ctx context.Context, msg *dhcpv4.DHCPv4, src, dst netip.Addr, first time.Duration, tries int, match func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, error) {
	n.from(src)
	client, err := nclient4.NewWithConn(unclosed{n.link}, n.lladdr, nclient4.WithTimeout(first), nclient4.WithRetry(tries))
	if err != nil {
		return nil, err
	}
	answer, err := client.SendAndRead(ctx, udpAddr(dst), msg, match)
	// Close waits for the reader, which waits for a packet.
	err = errors.Join(err, n.link.SetReadDeadline(time.Now()), client.Close(), n.link.SetReadDeadline(time.Time{}))
	if errors.Is(err, nclient4.ErrNoResponse) {
		return nil, errNoAnswer
	}
	return answer, err
}

func (n *nclient) send(msg *dhcpv4.DHCPv4, src, dst netip.Addr) error {
	n.from(src)
	_, err := n.link.WriteTo(msg.ToBytes(), udpAddr(dst))
	return err
}

func (n *nclient) close() error { return n.link.Close() }

func udpAddr(dst netip.Addr) *net.UDPAddr {
	if !dst.IsValid() {
		return &net.UDPAddr{IP: net.IPv4bcast, Port: serverPort}
	}
	return &net.UDPAddr{IP: dst.AsSlice(), Port: serverPort}
}

// unclosed is a link that outlives the client over it.
type unclosed struct{ *link }

// Close does nothing.
func (unclosed) Close() error { return nil }
