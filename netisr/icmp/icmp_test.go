package icmp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/bsdnet/bsdnet/netisr/icmp"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

// udp4 is a UDP packet from 10.0.0.1 to 10.0.1.1.
func udp4(payload int) []byte {
	p := make([]byte, 28+payload)
	p[0], p[1], p[8], p[9] = 0x45, 0x10, 1, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], "\x0a\x00\x00\x01\x0a\x00\x01\x01\x03\xe8\x07\xd0")
	for i := range payload {
		p[28+i] = byte(i)
	}
	inet.SetChecksum4(p)
	return p
}

// udp6 is a UDP packet from 2001:db8::1 to 2001:db8:1::1.
func udp6(payload int) []byte {
	p := make([]byte, 48+payload)
	p[0], p[6], p[7] = 0x60, 17, 1
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	copy(p[8:], "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	copy(p[24:], "\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x03\xe8\x07\xd0")
	return p
}

func TestAppendError4(t *testing.T) {
	options := icmp.Options4{Source: [4]byte{10, 0, 0, 254}, TTL: 64, ID: 7, Quote: 8}
	for _, test := range []struct {
		name   string
		e      icmp.Error4
		packet []byte
		quote  int
		word   string // the four bytes after the checksum
	}{
		{"time-exceeded", icmp.Error4{Type: 11}, udp4(100), 8, "00000000"},
		{"host-unreachable", icmp.Error4{Type: 3, Code: 1}, udp4(100), 8, "00000000"},
		{"fragmentation-needed", icmp.Error4{Type: 3, Code: 4, MTU: 1400}, udp4(1472), 8, "00000578"},
		{"parameter-problem", icmp.Error4{Type: 12, Pointer: 21}, udp4(10), 8, "15000000"},
		{"redirect", icmp.Error4{Type: 5, Code: 1, Gateway: [4]byte{10, 0, 0, 253}}, udp4(10), 8, "0a0000fd"},
		{"quote-128", icmp.Error4{Type: 11}, udp4(1000), 128, "00000000"},
		{"quote-all", icmp.Error4{Type: 11}, udp4(1000), 100000, "00000000"},
		{"quote-below-8", icmp.Error4{Type: 11}, udp4(100), 0, "00000000"},
		{"tiny", icmp.Error4{Type: 11}, udp4(100)[:0], 8, "00000000"},
	} {
		packet := test.packet
		if len(packet) == 0 { // no payload at all
			packet = udp4(0)[:20]
			packet[3] = 20
			inet.SetChecksum4(packet)
		}
		options.Quote = test.quote
		message := icmp.AppendError4([]byte("before"), packet, test.e, options)[6:]
		decoded := gopacket.NewPacket(message, layers.LayerTypeIPv4, gopacket.Default)
		ip, _ := decoded.NetworkLayer().(*layers.IPv4)
		message4, _ := decoded.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if ip == nil || message4 == nil || decoded.ErrorLayer() != nil {
			t.Fatalf("%s: %v", test.name, decoded)
		}
		if ip.SrcIP.String() != "10.0.0.254" || ip.DstIP.String() != "10.0.0.1" || ip.TTL != 64 || ip.TOS != 0 || ip.Id != 7 ||
			int(ip.Length) != len(message) || ip.Protocol != layers.IPProtocolICMPv4 {
			t.Errorf("%s: %+v", test.name, ip)
		}
		if uint8(message4.TypeCode>>8) != test.e.Type || uint8(message4.TypeCode) != test.e.Code {
			t.Errorf("%s: %v", test.name, message4.TypeCode)
		}
		if got := fmt.Sprintf("%x", message[24:28]); got != test.word {
			t.Errorf("%s: word %s, want %s", test.name, got, test.word)
		}
		if inet.Checksum(message[:20]) != 0 || inet.Checksum(message[20:]) != 0 {
			t.Errorf("%s: bad checksum", test.name)
		}
		want := min(20+max(test.quote, 8), len(packet), 576-28)
		if quote := message[28:]; !bytes.Equal(quote, packet[:want]) {
			t.Errorf("%s: quoted %d bytes, want %d", test.name, len(quote), want)
		}
	}
}

func TestCheck4(t *testing.T) {
	change := func(edits ...int) []byte { // pairs of offset and value
		p := udp4(8)
		for i := 0; i < len(edits); i += 2 {
			p[edits[i]] = byte(edits[i+1])
		}
		return p
	}
	for _, test := range []struct {
		name   string
		packet []byte
		link   bool
		want   icmp.Refusal
	}{
		{"udp", change(), false, icmp.Allowed},
		{"link-broadcast", change(), true, icmp.RefusedLink},
		{"first-fragment", change(6, 0x20), false, icmp.Allowed},
		{"later-fragment", change(7, 1), false, icmp.RefusedFragment},
		{"echo", change(9, 1, 20, 8), false, icmp.Allowed},
		{"echo-reply", change(9, 1, 20, 0), false, icmp.Allowed},
		{"icmp-unreachable", change(9, 1, 20, 3), false, icmp.RefusedError},
		{"icmp-redirect", change(9, 1, 20, 5), false, icmp.RefusedError},
		{"icmp-unknown", change(9, 1, 20, 99), false, icmp.RefusedError},
		{"icmp-cut-off", func() []byte { p := change(9, 1, 3, 20); return p[:20] }(), false, icmp.RefusedError},
		{"to-multicast", change(16, 224), false, icmp.RefusedTarget},
		{"to-class-e", change(16, 240), false, icmp.RefusedTarget},
		{"to-broadcast", change(16, 255, 17, 255, 18, 255, 19, 255), false, icmp.RefusedTarget},
		{"from-multicast", change(12, 224), false, icmp.RefusedSource},
		{"from-broadcast", change(12, 255), false, icmp.RefusedSource},
		{"from-loopback", change(12, 127), false, icmp.RefusedSource},
		{"from-net-0", change(12, 0), false, icmp.RefusedSource},
		{"malformed", change(0, 0x41), false, icmp.RefusedMalformed},
		{"empty", nil, false, icmp.RefusedMalformed},
	} {
		if got := icmp.Check4(test.packet, test.link); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestAppendError6(t *testing.T) {
	options := icmp.Options6{Source: [16]byte{0x20, 1, 0xd, 0xb8, 15: 0xfe}, HopLimit: 64}
	for _, test := range []struct {
		name    string
		e       icmp.Error6
		payload int
		quote   int
	}{
		{"time-exceeded", icmp.Error6{Type: 3}, 100, 148},
		{"too-big", icmp.Error6{Type: 2, Parameter: 1400}, 1452, 1232},
		{"parameter-problem", icmp.Error6{Type: 4, Code: 2, Parameter: 42}, 7, 55},
		{"odd-length", icmp.Error6{Type: 1, Code: 3}, 1, 49},
	} {
		packet := udp6(test.payload)
		message := icmp.AppendError6(nil, packet, test.e, options)
		decoded := gopacket.NewPacket(message, layers.LayerTypeIPv6, gopacket.Default)
		ip, _ := decoded.NetworkLayer().(*layers.IPv6)
		message6, _ := decoded.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if ip == nil || message6 == nil {
			t.Fatalf("%s: %v", test.name, decoded)
		}
		if ip.SrcIP.String() != "2001:db8::fe" || ip.DstIP.String() != "2001:db8::1" || ip.HopLimit != 64 || int(ip.Length) != len(message)-40 {
			t.Errorf("%s: %+v", test.name, ip)
		}
		if uint8(message6.TypeCode>>8) != test.e.Type || uint8(message6.TypeCode) != test.e.Code {
			t.Errorf("%s: %v", test.name, message6.TypeCode)
		}
		if got := binary.BigEndian.Uint32(message[44:]); got != test.e.Parameter {
			t.Errorf("%s: parameter %d", test.name, got)
		}
		if got := inet.PseudoHeader6(message[8:24], message[24:40], 58, len(message)-40).Add(message[40:]).Fold(); got != 0 {
			t.Errorf("%s: bad checksum", test.name)
		}
		if !bytes.Equal(message[48:], packet[:test.quote]) || len(message) > icmp.MinMTU6 {
			t.Errorf("%s: quoted %d bytes, want %d", test.name, len(message)-48, test.quote)
		}
	}
}

func TestCheck6(t *testing.T) {
	change := func(edits ...int) []byte {
		p := udp6(8)
		for i := 0; i < len(edits); i += 2 {
			p[edits[i]] = byte(edits[i+1])
		}
		return p
	}
	unreach, tooBig := icmp.Error6{Type: 1}, icmp.Error6{Type: 2}
	option := icmp.Error6{Type: 4, Code: 2, AnswerMulticast: true}
	mapped := udp6(8)
	copy(mapped[8:], make([]byte, 10))
	mapped[18], mapped[19] = 0xff, 0xff
	unspecified := udp6(8)
	copy(unspecified[8:], make([]byte, 16))
	for _, test := range []struct {
		name   string
		packet []byte
		e      icmp.Error6
		link   bool
		want   icmp.Refusal
	}{
		{"udp", change(), unreach, false, icmp.Allowed},
		{"link-multicast", change(), unreach, true, icmp.RefusedLink},
		{"link-multicast-too-big", change(), tooBig, true, icmp.Allowed},
		{"to-multicast", change(24, 0xff), unreach, false, icmp.RefusedTarget},
		{"to-multicast-too-big", change(24, 0xff), tooBig, false, icmp.Allowed},
		{"to-multicast-option", change(24, 0xff), option, true, icmp.Allowed},
		{"from-multicast", change(8, 0xff), tooBig, false, icmp.RefusedSource},
		{"from-unspecified", unspecified, unreach, false, icmp.RefusedSource},
		{"from-mapped", mapped, unreach, false, icmp.RefusedSource},
		{"echo-request", change(6, 58, 40, 128), unreach, false, icmp.Allowed},
		{"error", change(6, 58, 40, 1), unreach, false, icmp.RefusedError},
		{"unknown-error", change(6, 58, 40, 127), unreach, false, icmp.RefusedError},
		{"redirect", change(6, 58, 40, 137), unreach, false, icmp.RefusedError},
		{"later-fragment", change(6, 44, 40, 58, 43, 8), unreach, false, icmp.RefusedFragment},
		{"error-in-first-fragment", append(change(6, 44, 40, 58, 42, 0, 43, 1), 1)[:56], unreach, false, icmp.RefusedError},
		{"malformed", change(0, 0x40), unreach, false, icmp.RefusedMalformed},
		{"empty", nil, unreach, false, icmp.RefusedMalformed},
	} {
		if got := icmp.Check6(test.packet, test.e, test.link); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestAppendRedirect6(t *testing.T) {
	options := icmp.Options6{Source: [16]byte{0xfe, 0x80, 15: 0xfe}, HopLimit: 3}
	for _, test := range []struct {
		name    string
		lladdr  []byte
		payload int
		quote   int // before padding
	}{
		{"with-link-address", []byte{2, 0, 0, 0, 0, 9}, 16, 64},
		{"without", nil, 16, 64},
		{"padded", nil, 3, 51},
		{"cut", []byte{2, 0, 0, 0, 0, 9}, 1400, 1280 - 40 - 40 - 8 - 8},
	} {
		packet := udp6(test.payload)
		r := icmp.Redirect6{Target: [16]byte{0xfe, 0x80, 15: 1}, Destination: [16]byte(packet[24:40]), Lladdr: test.lladdr}
		message := icmp.AppendRedirect6(nil, packet, r, options)
		decoded := gopacket.NewPacket(message, layers.LayerTypeIPv6, gopacket.Default)
		ip, _ := decoded.NetworkLayer().(*layers.IPv6)
		redirect, _ := decoded.Layer(layers.LayerTypeICMPv6Redirect).(*layers.ICMPv6Redirect)
		if ip == nil || redirect == nil || len(message) > icmp.MinMTU6 {
			t.Fatalf("%s: %d bytes, %v", test.name, len(message), decoded)
		}
		if ip.HopLimit != 255 || ip.SrcIP.String() != "fe80::fe" || redirect.TargetAddress.String() != "fe80::1" || redirect.DestinationAddress.String() != "2001:db8:1::1" {
			t.Errorf("%s: %+v %+v", test.name, ip, redirect)
		}
		quoted := redirect.Options[len(redirect.Options)-1]
		if quoted.Type != layers.ICMPv6OptRedirectedHeader || !bytes.HasPrefix(quoted.Data[6:], packet[:test.quote]) || len(quoted.Data)-6 > test.quote+7 {
			t.Errorf("%s: option %v of %d bytes", test.name, quoted.Type, len(quoted.Data))
		}
		if test.lladdr != nil && (redirect.Options[0].Type != layers.ICMPv6OptTargetAddress || !bytes.Equal(redirect.Options[0].Data, test.lladdr)) {
			t.Errorf("%s: %v", test.name, redirect.Options[0])
		}
		if inet.PseudoHeader6(message[8:24], message[24:40], 58, len(message)-40).Add(message[40:]).Fold() != 0 {
			t.Errorf("%s: bad checksum", test.name)
		}
	}
}

func TestLimiter(t *testing.T) {
	var l icmp.Limiter
	allowed := func(kind uint8, limit int, now time.Duration) (n int) {
		for range 500 {
			if l.Allow(kind, limit, now) {
				n++
			}
		}
		return n
	}
	for _, test := range []struct {
		kind  uint8
		limit int
		now   time.Duration
		want  int
	}{
		{3, 200, 0, 200}, {3, 200, 999 * time.Millisecond, 0}, {11, 200, 999 * time.Millisecond, 200},
		{3, 200, time.Second, 200}, {3, 0, time.Second, 500}, {3, -1, time.Second, 500},
	} {
		if got := allowed(test.kind, test.limit, test.now); got != test.want {
			t.Errorf("type %d limit %d at %v: %d, want %d", test.kind, test.limit, test.now, got, test.want)
		}
	}
}

func TestBucket(t *testing.T) {
	var b icmp.Bucket
	allowed := func(now time.Duration) (n int) {
		for range 500 {
			if b.Allow(100, 10, now) {
				n++
			}
		}
		return n
	}
	for _, test := range []struct {
		now  time.Duration
		want int
	}{{0, 10}, {0, 0}, {50 * time.Millisecond, 5}, {49 * time.Millisecond, 0}, {time.Minute, 10}} {
		if got := allowed(test.now); got != test.want {
			t.Errorf("at %v: %d, want %d", test.now, got, test.want)
		}
	}
	if !b.Allow(0, 0, time.Minute) {
		t.Error("no rate is no limit")
	}
}

func TestDoesNotAllocate(t *testing.T) {
	buffer := make([]byte, 0, icmp.MinMTU6)
	p4, p6 := udp4(1000), udp6(1400)
	var limiter icmp.Limiter
	allocations := testing.AllocsPerRun(100, func() {
		if icmp.Check4(p4, false) == icmp.Allowed && icmp.Check6(p6, icmp.Error6{Type: 2}, false) == icmp.Allowed && limiter.Allow(3, 200, 0) {
			icmp.AppendError4(buffer, p4, icmp.Error4{Type: 3}, icmp.Options4{})
			icmp.AppendError6(buffer, p6, icmp.Error6{Type: 2}, icmp.Options6{})
			icmp.AppendRedirect6(buffer, p6, icmp.Redirect6{}, icmp.Options6{})
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func FuzzError4(f *testing.F) {
	f.Add(udp4(100), uint8(3), uint8(4), 8)
	f.Fuzz(func(t *testing.T, packet []byte, kind, code uint8, quote int) {
		if icmp.Check4(packet, false) != icmp.Allowed {
			return
		}
		message := icmp.AppendError4(nil, packet, icmp.Error4{Type: kind, Code: code}, icmp.Options4{Quote: quote})
		if _, err := inet.Header4(message); err != nil || len(message) > 576 || inet.Checksum(message[20:]) != 0 {
			t.Fatalf("%v: %x", err, message)
		}
	})
}

func FuzzError6(f *testing.F) {
	f.Add(udp6(100), uint8(2), uint8(0), uint32(1280))
	f.Fuzz(func(t *testing.T, packet []byte, kind, code uint8, parameter uint32) {
		e := icmp.Error6{Type: kind, Code: code, Parameter: parameter}
		if icmp.Check6(packet, e, false) != icmp.Allowed {
			return
		}
		for _, message := range [][]byte{
			icmp.AppendError6(nil, packet, e, icmp.Options6{}),
			icmp.AppendRedirect6(nil, packet, icmp.Redirect6{Lladdr: packet[:6]}, icmp.Options6{}),
		} {
			if err := inet.Header6(message); err != nil || len(message) > icmp.MinMTU6 {
				t.Fatalf("%v: %x", err, message)
			}
		}
	})
}
