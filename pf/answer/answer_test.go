package answer

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func build(t *testing.T, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	for _, layer := range stack[1:] {
		if l, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := l.SetNetworkLayerForChecksum(stack[0].(gopacket.NetworkLayer)); err != nil {
				t.Fatal(err)
			}
		}
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func ip4(protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.IP{192, 0, 2, 9}, DstIP: net.IP{198, 51, 100, 7}}
}

func ip6(protocol layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: net.ParseIP("2001:db8::9"), DstIP: net.ParseIP("2001:db8:1::7")}
}

// decode parses an answer and fails on a wrong checksum.
func decode(t *testing.T, answer []byte) gopacket.Packet {
	t.Helper()
	first := layers.LayerTypeIPv4
	if answer[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(answer, first, gopacket.Default)
	if p.ErrorLayer() != nil {
		t.Fatal(p.ErrorLayer().Error())
	}
	for _, layer := range p.Layers() {
		if l, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := l.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err, mismatches := p.VerifyChecksums(); err != nil || len(mismatches) > 0 {
		t.Fatalf("checksums: %v %v", err, mismatches)
	}
	return p
}

var all = Options{RST: true, ICMP: true, Code: 3, Code6: 4, TTL: 64}

func TestReset(t *testing.T) {
	for _, c := range []struct {
		name     string
		tcp      layers.TCP
		payload  int
		seq, ack uint32
		hasACK   bool
	}{
		{"syn", layers.TCP{Seq: 1000, SYN: true}, 0, 0, 1001, true},
		{"ack", layers.TCP{Seq: 1000, Ack: 77, ACK: true}, 5, 77, 0, false},
		{"fin without ack", layers.TCP{Seq: 1000, FIN: true}, 3, 0, 1004, true},
	} {
		for _, family := range []string{"inet", "inet6"} {
			t.Run(c.name+"/"+family, func(t *testing.T) {
				tcp := c.tcp
				tcp.SrcPort, tcp.DstPort = 1234, 80
				network := gopacket.SerializableLayer(ip4(layers.IPProtocolTCP))
				if family == "inet6" {
					network = ip6(layers.IPProtocolTCP)
				}
				p := decode(t, Append(nil, build(t, network, &tcp, gopacket.Payload(make([]byte, c.payload))), all))
				got := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
				if !got.RST || got.ACK != c.hasACK || got.Seq != c.seq || got.Ack != c.ack || got.SrcPort != 80 || got.DstPort != 1234 {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

func TestUnreachable(t *testing.T) {
	udp := &layers.UDP{SrcPort: 1234, DstPort: 53}
	p := decode(t, Append(nil, build(t, ip4(layers.IPProtocolUDP), udp, gopacket.Payload("hello")), all))
	got := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if got.TypeCode != layers.CreateICMPv4TypeCode(3, 3) || !p.NetworkLayer().(*layers.IPv4).SrcIP.Equal(net.IP{198, 51, 100, 7}) {
		t.Errorf("got %v from %v", got.TypeCode, p.NetworkLayer())
	}
	p = decode(t, Append(nil, build(t, ip6(layers.IPProtocolUDP), udp, gopacket.Payload("hello")), all))
	if got := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); got.TypeCode != layers.CreateICMPv6TypeCode(1, 4) {
		t.Errorf("got %v", got.TypeCode)
	}
}

func TestNothing(t *testing.T) {
	rst := &layers.TCP{SrcPort: 1, DstPort: 2, RST: true}
	fragment := ip4(layers.IPProtocolUDP)
	fragment.FragOffset = 10
	for name, c := range map[string]struct {
		packet  []byte
		options Options
	}{
		"reset":          {build(t, ip4(layers.IPProtocolTCP), rst), all},
		"icmp":           {build(t, ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}), all},
		"later fragment": {build(t, fragment, gopacket.Payload(make([]byte, 32))), all},
		"udp with rst":   {build(t, ip4(layers.IPProtocolUDP), &layers.UDP{}), Options{RST: true}},
		"nothing":        {nil, all},
		"half a header":  {make([]byte, 12), all},
	} {
		if out := Append(nil, c.packet, c.options); len(out) != 0 {
			t.Errorf("%s answered: %x", name, out)
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, packet []byte) {
		out := Append(nil, packet, all)
		if len(out) == 0 {
			return
		}
		if out[0]>>4 == 4 && int(binary.BigEndian.Uint16(out[2:])) != len(out) {
			t.Fatalf("length %d of %d bytes", binary.BigEndian.Uint16(out[2:]), len(out))
		}
	})
}
