package labtest

import (
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// wire is a raw socket on one device.
type wire struct {
	fd     int
	lladdr net.HardwareAddr
}

func openWire(t testing.TB, host *lab.Host, device string) *wire {
	t.Helper()
	w := &wire{fd: -1}
	err := host.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		w.lladdr = i.HardwareAddr
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	})
	if err != nil {
		t.Fatalf("open raw socket on %s of %s: %v", device, host.Name, err)
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// send puts layers on the wire.
func (w *wire) send(t testing.TB, frame ...gopacket.SerializableLayer) {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, frame...); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(w.fd, buffer.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// receive returns the first frame that is wanted, or nil after a while.
func (w *wire) receive(t testing.TB, patience time.Duration, wanted func(gopacket.Packet) bool) gopacket.Packet {
	t.Helper()
	buffer := make([]byte, 1<<16)
	for end := time.Now().Add(patience); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		timeout := unix.NsecToTimeval(max(int64(left), int64(time.Millisecond)))
		if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			t.Fatal(err)
		}
		n, from, err := unix.Recvfrom(w.fd, buffer, 0)
		if err != nil {
			return nil
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		packet := gopacket.NewPacket(append([]byte(nil), buffer[:n]...), layers.LayerTypeEthernet, gopacket.Default)
		if wanted(packet) {
			return packet
		}
	}
}

// ethernet heads a frame from the left host to the router.
func (s *site) ethernet(w *wire, kind layers.EthernetType) *layers.Ethernet {
	s.t.Helper()
	router, err := s.Router.Lladdr("em0")
	if err != nil {
		s.t.Fatal(err)
	}
	return &layers.Ethernet{SrcMAC: w.lladdr, DstMAC: router, EthernetType: kind}
}

// datagram is UDP from left to right, told apart by its port.
func datagram(f family, port int, ttl uint8) (ip gopacket.SerializableLayer, udp *layers.UDP) {
	udp = &layers.UDP{SrcPort: layers.UDPPort(port), DstPort: layers.UDPPort(port)}
	if f.name == "inet" {
		ip4 := &layers.IPv4{Version: 4, TTL: ttl, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(f.left).To4(), DstIP: net.ParseIP(f.right).To4()}
		_ = udp.SetNetworkLayerForChecksum(ip4)
		return ip4, udp
	}
	ip6 := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP(f.left), DstIP: net.ParseIP(f.right)}
	_ = udp.SetNetworkLayerForChecksum(ip6)
	return ip6, udp
}

// toPort wants UDP to a port.
func toPort(port int) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool {
		udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		return ok && int(udp.DstPort) == port
	}
}

func (f family) ethernetType() layers.EthernetType {
	if f.name == "inet" {
		return layers.EthernetTypeIPv4
	}
	return layers.EthernetTypeIPv6
}

func writeFrame(t testing.TB, w *wire, frame []byte) {
	t.Helper()
	if _, err := unix.Write(w.fd, frame); err != nil {
		t.Fatal(err)
	}
}
