package labtest

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, r := range [][]string{
			{"-inet", "203.0.113.0/25", "127.0.0.1", "-reject"},
			{"-inet", "203.0.113.128/25", "127.0.0.1", "-blackhole"},
			{"-inet6", "2001:db8:f::/64", "::1", "-reject"},
			{"-inet6", "2001:db8:e::/64", "::1", "-blackhole"},
		} {
			s.bsdnet(append([]string{"route", "add"}, r...)...)
			t.Cleanup(func() { s.bsdnet("route", "delete", r[0], r[1]) }) // routes outlive unload
		}
		for _, c := range []struct{ name, target, from, text, ttl string }{
			{"time-exceeded", inet.right, inet.routerLeft, "Time to live exceeded", "1"},
			{"time-exceeded6", inet6.right, inet6.routerLeft, "Time exceeded: Hop limit", "1"},
			{"no-route", "100.64.0.1", inet.routerLeft, "Destination Host Unreachable", "64"},
			{"no-route6", "2001:db8:aaaa::1", inet6.routerLeft, "Destination unreachable: No route", "64"},
			{"reject", "203.0.113.1", inet.routerLeft, "Destination Host Unreachable", "64"},
			{"reject6", "2001:db8:f::1", inet6.routerLeft, "Destination unreachable", "64"},
		} {
			p := ping(t, s.Left, "-c", "1", "-W", "2", "-t", c.ttl, c.target)
			if !strings.Contains(p.text, "From "+c.from+" ") || !strings.Contains(p.text, c.text) {
				t.Errorf("%s: %s", c.name, p.text)
			}
		}
		for _, target := range []string{"203.0.113.129", "2001:db8:e::1"} {
			p := ping(t, s.Left, "-c", "2", "-i", "0.1", "-W", "0.5", target)
			if strings.Contains(p.text, "From ") || p.received > 0 {
				t.Errorf("blackhole is not silent: %s", p.text)
			}
		}
		n := s.reasons()
		for _, reason := range []string{"netisr_ttl", "netisr_noroute", "netisr_reject", "ip_blackhole", "ip6_blackhole"} {
			if n[reason] == 0 {
				t.Errorf("%s not counted", reason)
			}
		}
	})
}

// Options are processed: the router is in the record of the route, and stamps
// its time.
func TestOptions(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		p := ping(t, s.Left, "-R", "-c", "2", "-i", "0.1", "-W", "2", inet.right)
		if p.received != 2 || !strings.Contains(p.text, inet.routerRight) {
			t.Errorf("record route: %s", p.text)
		}
		p = ping(t, s.Left, "-T", "tsandaddr", "-c", "2", "-i", "0.1", "-W", "2", inet.right)
		if p.received != 2 || !strings.Contains(p.text, "TS:") || !strings.Contains(p.text, inet.routerLeft) {
			t.Errorf("timestamp: %s", p.text)
		}
		// To the router itself, options go up as they came.
		mustPing(t, s.Left, "-R", "-c", "2", "-i", "0.1", "-W", "2", inet.routerLeft)
		if s.reasons()["netisr_options"] == 0 {
			t.Error("options not counted")
		}
	})
}

func TestHopByHop(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		mustPing(t, s.Left, "-c", "1", "-W", "3", inet6.right)
		out, in := openWire(t, s.Left, "em0"), openWire(t, s.Right, "em0")
		send := func(port int, option *layers.IPv6HopByHopOption) {
			ip, udp := datagram(inet6, port, 64)
			header := ip.(*layers.IPv6)
			header.NextHeader = layers.IPProtocolIPv6HopByHop
			buffer := gopacket.NewSerializeBuffer()
			options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
			if err := gopacket.SerializeLayers(buffer, options, udp, gopacket.Payload("hop by hop")); err != nil {
				t.Fatal(err)
			}
			rest := append([]byte{byte(layers.IPProtocolUDP), 0, option.OptionType, 4}, option.OptionData...)
			out.send(t, s.ethernet(out, layers.EthernetTypeIPv6), header, gopacket.Payload(append(rest, buffer.Bytes()...)))
		}
		// PadN is passed over.
		send(7001, &layers.IPv6HopByHopOption{OptionType: 1, OptionData: []byte{0, 0, 0, 0}})
		got := in.receive(t, 2*time.Second, toPort(7001))
		if got == nil {
			t.Fatal("packet with a hop-by-hop header is lost")
		}
		if ip6 := got.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ip6.HopLimit != 63 {
			t.Errorf("hop limit %d", ip6.HopLimit)
		}
		// An unknown option that asks for it is answered with parameter problem.
		send(7002, &layers.IPv6HopByHopOption{OptionType: 0x9e, OptionData: []byte{0, 0, 0, 0}})
		problem := out.receive(t, 2*time.Second, func(p gopacket.Packet) bool {
			icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			return ok && icmp.TypeCode.Type() == layers.ICMPv6TypeParameterProblem
		})
		if problem == nil {
			t.Error("no parameter problem for an unknown option")
		}
		if in.receive(t, 200*time.Millisecond, toPort(7002)) != nil {
			t.Error("packet with a forbidden option was forwarded")
		}
	})
}

// Malformed and hostile packets are dropped with a reason; the router lives.
func TestMalformed(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
		out, in := openWire(t, s.Left, "em0"), openWire(t, s.Right, "em0")
		raw := func(kind layers.EthernetType, data []byte) { // without padding
			header := s.ethernet(out, kind)
			frame := append(append([]byte(nil), header.DstMAC...), header.SrcMAC...)
			writeFrame(t, out, append(append(frame, byte(kind>>8), byte(kind)), data...))
		}
		packet := func(f family, change func([]byte)) []byte {
			ip, udp := datagram(f, 7100, 64)
			buffer := gopacket.NewSerializeBuffer()
			if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload("bad")); err != nil {
				t.Fatal(err)
			}
			data := append([]byte(nil), buffer.Bytes()...)
			change(data)
			return data
		}
		sum := func(b []byte) { // of the header after a change
			b[10], b[11] = 0, 0
			var total uint32
			for i := 0; i < 20; i += 2 {
				total += uint32(b[i])<<8 | uint32(b[i+1])
			}
			total = total&0xffff + total>>16
			total = total&0xffff + total>>16
			b[10], b[11] = byte(^total>>8), byte(^total)
		}
		for _, c := range []struct {
			reason string
			kind   layers.EthernetType
			data   []byte
		}{
			{"ip_badvers", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { b[0] = 0x55 })},
			{"ip_badhlen", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { b[0] = 0x44 })},
			{"ip_badsum", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { b[8]++ })},
			{"ip_truncated", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { b[2] = 9; sum(b) })},
			{"ip_badlen", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { b[2], b[3] = 0, 10; sum(b) })},
			{"ip_badaddr", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { copy(b[12:], []byte{127, 0, 0, 1}); sum(b) })},
			{"ip_badaddr", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { copy(b[12:], []byte{224, 0, 0, 1}); sum(b) })},
			{"ip_cantforward", layers.EthernetTypeIPv4, packet(inet, func(b []byte) { copy(b[12:], []byte{0, 0, 0, 1}); sum(b) })},
			{"ip_tooshort", layers.EthernetTypeIPv4, []byte{0x45, 0, 0, 10}},
			{"ip6_badvers", layers.EthernetTypeIPv6, packet(inet6, func(b []byte) { b[0] = 0x45 })},
			{"ip6_truncated", layers.EthernetTypeIPv6, packet(inet6, func(b []byte) { b[4] = 9 })},
			{"ip6_badaddr", layers.EthernetTypeIPv6, packet(inet6, func(b []byte) { b[8] = 0xff })},
			{"ip6_badaddr", layers.EthernetTypeIPv6, packet(inet6, func(b []byte) { copy(b[8:], net.IPv6loopback) })},
			{"ip6_tooshort", layers.EthernetTypeIPv6, []byte{0x60, 0, 0}},
		} {
			before := s.reasons()
			raw(c.kind, c.data)
			eventually(t, 2*time.Second, c.reason+" counted", func() bool { return s.reasons()[c.reason] == before[c.reason]+1 })
		}
		if in.receive(t, 100*time.Millisecond, toPort(7100)) != nil {
			t.Error("a malformed packet was forwarded")
		}
		mustPing(t, s.Left, "-c", "2", "-i", "0.05", "-W", "1", inet.right)
	})
}
