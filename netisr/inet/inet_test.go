package inet_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/bsdnet/bsdnet/netisr/inet"
)

// checksumOracle adds words one by one, as RFC 1071 defines it.
func checksumOracle(data []byte) uint16 {
	var sum uint32
	for i, b := range data {
		if i%2 == 0 {
			sum += uint32(b) << 8
		} else {
			sum += uint32(b)
		}
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func TestChecksum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 200),
			rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0xff}), 0, 200)).Draw(t, "data")
		if got, want := inet.Checksum(data), checksumOracle(data); got != want {
			t.Fatalf("%x: %#04x, want %#04x", data, got, want)
		}
		cut := rapid.IntRange(0, len(data)/2).Draw(t, "cut") * 2
		if got, want := inet.Sum(0).Add(data[:cut]).Add(data[cut:]).Fold(), checksumOracle(data); got != want {
			t.Fatalf("in two parts: %#04x, want %#04x", got, want)
		}
	})
}

// ip4 makes a packet with options and payload, with a valid checksum.
func ip4(options []byte, fragment uint16, payload []byte) []byte {
	header := 20 + (len(options)+3)&^3
	p := make([]byte, header+len(payload))
	p[0], p[8], p[9] = 0x40|byte(header/4), 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], 0x1234)
	binary.BigEndian.PutUint16(p[6:], fragment)
	copy(p[12:], "\x0a\x00\x00\x01\x0a\x00\x01\x01")
	copy(p[20:], options)
	copy(p[header:], payload)
	inet.SetChecksum4(p)
	return p
}

func TestHeader4(t *testing.T) {
	good := ip4(nil, 0, make([]byte, 20))
	change := func(offset int, value byte) []byte {
		p := bytes.Clone(good)
		p[offset] = value
		return p
	}
	for _, test := range []struct {
		name   string
		packet []byte
		want   error
	}{
		{"good", good, nil},
		{"empty", nil, inet.ErrTooShort},
		{"19-bytes", good[:19], inet.ErrTooShort},
		{"version-6", change(0, 0x65), inet.ErrVersion},
		{"header-16", change(0, 0x44), inet.ErrHeaderLength},
		{"header-beyond-packet", change(0, 0x4f), inet.ErrHeaderLength},
		{"length-beyond-packet", change(3, 41), inet.ErrLength},
		{"length-below-header", change(3, 19), inet.ErrLength},
	} {
		if _, err := inet.Header4(test.packet); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// TestFragments puts fragments together again.
func TestFragments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var options []byte
		if rapid.Bool().Draw(t, "options") {
			// Record route is not copied, router alert is, no-operation is.
			options = []byte{7, 7, 4, 1, 1, 1, 1, 1, 148, 4, 0, 0}
		}
		payload := rapid.SliceOfN(rapid.Byte(), 1, 4000).Draw(t, "payload")
		mtu := rapid.IntRange(68, 1500).Draw(t, "mtu")
		original := ip4(options, rapid.SampledFrom([]uint16{0, 0x2000, 0x2000 | 100, 100}).Draw(t, "field"), payload)
		field := binary.BigEndian.Uint16(original[6:])
		packet := bytes.Clone(original)
		f, ok := inet.NewFragments(packet, mtu)
		if !ok {
			t.Fatal("not to be cut")
		}
		count := f.Count()
		var fragments [][]byte
		for {
			buffer := make([]byte, mtu)
			n := f.Next(buffer)
			if n == 0 {
				break
			}
			fragments = append(fragments, buffer[:n])
		}
		fragments = append([][]byte{packet[:f.Finish()]}, fragments...)
		if len(fragments) != count {
			t.Fatalf("%d fragments, announced %d", len(fragments), count)
		}
		var whole []byte
		for i, fragment := range fragments {
			header, err := inet.Header4(fragment)
			if err != nil || len(fragment) > mtu || inet.Checksum(fragment[:header]) != 0 {
				t.Fatalf("fragment %d: %v, %d bytes, checksum %#x", i, err, len(fragment), inet.Checksum(fragment[:header]))
			}
			got := binary.BigEndian.Uint16(fragment[6:])
			if int(got&inet.OffsetMask) != int(field&inet.OffsetMask)+len(whole)/8 {
				t.Fatalf("fragment %d at %d, want %d", i, got&inet.OffsetMask, len(whole)/8)
			}
			last := i == len(fragments)-1
			if more := got&inet.MoreFragments != 0; more != (!last || field&inet.MoreFragments != 0) {
				t.Fatalf("fragment %d of %d has more %v", i, len(fragments), more)
			}
			if !last && (len(fragment)-header)%8 != 0 {
				t.Fatalf("fragment %d has %d bytes", i, len(fragment)-header)
			}
			if i == 0 && !bytes.Equal(fragment[20:header], original[20:len(original)-len(payload)]) {
				t.Fatal("options of the first fragment changed")
			}
			if i > 0 && options != nil && !bytes.Equal(fragment[20:header], []byte{1, 148, 4, 0, 0, 0, 0, 0}) {
				t.Fatalf("options of a later fragment: %x", fragment[20:header])
			}
			whole = append(whole, fragment[header:]...)
		}
		if !bytes.Equal(whole, payload) {
			t.Fatal("payload changed")
		}
	})
}

func TestFragmentsRefused(t *testing.T) {
	if _, ok := inet.NewFragments(ip4(nil, inet.DontFragment, make([]byte, 100)), 68); ok {
		t.Error("cut a packet that must not be")
	}
	if _, ok := inet.NewFragments(ip4(nil, 0, make([]byte, 100)), 67); ok {
		t.Error("cut for an MTU below 68")
	}
}

func FuzzFragments(f *testing.F) {
	f.Add(ip4([]byte{148, 4, 0, 0, 7, 7, 4}, 0, make([]byte, 200)), uint16(100))
	f.Fuzz(func(t *testing.T, packet []byte, mtu uint16) {
		if _, err := inet.Header4(packet); err != nil {
			return
		}
		fragments, ok := inet.NewFragments(packet, int(mtu))
		if !ok {
			return
		}
		buffer := make([]byte, mtu)
		count := 1
		for fragments.Next(buffer) != 0 {
			count++
		}
		if announced := fragments.Count(); count != announced {
			t.Fatalf("%d fragments, announced %d", count, announced)
		}
		if n := fragments.Finish(); n > len(packet) || n > max(int(mtu), 20) {
			t.Fatal("first fragment too long")
		}
	})
}

func FuzzUpperLayer(f *testing.F) {
	f.Add(append(append([]byte{0x60, 0, 0, 0, 0, 16, 0, 64}, make([]byte, 32)...), 44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 9, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if inet.Header6(packet) != nil {
			return
		}
		upper := inet.UpperLayer(packet)
		if upper.Offset < 40 || upper.Offset > len(packet) || upper.Next >= len(packet) || packet[upper.Next] != upper.Proto {
			t.Fatalf("%+v of %d bytes", upper, len(packet))
		}
		if upper.Routing+8 > len(packet) && upper.Routing != 0 || upper.Misplaced != 0 && packet[upper.Misplaced] != 0 {
			t.Fatalf("%+v of %d bytes", upper, len(packet))
		}
		if packet[6] == inet.ProtoHopByHop {
			if r := inet.ProcessHopByHop(packet); int(r.Pointer) >= len(packet) {
				t.Fatalf("%+v of %d bytes", r, len(packet))
			}
		}
	})
}

func TestUpperLayer(t *testing.T) {
	header := func(next byte) []byte { return append([]byte{0x60, 0, 0, 0, 0, 0, next, 64}, make([]byte, 32)...) }
	hop := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, test := range []struct {
		name   string
		packet []byte
		want   inet.Upper
	}{
		{"plain", join(header(17), hop(0)), inet.Upper{Proto: 17, Offset: 40, Next: 6, Complete: true}},
		{"hop-by-hop", join(header(0), hop(58), hop(0)), inet.Upper{Proto: 58, Offset: 48, Next: 40, Complete: true}},
		{"routing", join(header(43), hop(6), hop(0)), inet.Upper{Proto: 6, Offset: 48, Next: 40, Complete: true, Routing: 40}},
		{"cut-off", join(header(0), hop(58)[:7]), inet.Upper{Proto: 0, Offset: 40, Next: 6}},
		{"longer-than-packet", join(header(60), []byte{6, 1, 0, 0, 0, 0, 0, 0}), inet.Upper{Proto: 60, Offset: 40, Next: 6}},
		{"first-fragment", join(header(44), []byte{17, 0, 0, 1, 0, 0, 0, 0}), inet.Upper{Proto: 17, Offset: 48, Next: 40, Complete: true, Fragment: true}},
		{"later-fragment", join(header(44), []byte{17, 0, 0, 8, 0, 0, 0, 0}), inet.Upper{Proto: 17, Offset: 48, Next: 40, Complete: true, Fragment: true, NotFirst: true}},
		{"misplaced", join(header(60), hop(0), hop(6)), inet.Upper{Proto: 6, Offset: 56, Next: 48, Complete: true, Misplaced: 40}},
		{"authentication", join(header(51), []byte{6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), inet.Upper{Proto: 6, Offset: 52, Next: 40, Complete: true}},
	} {
		if got := inet.UpperLayer(test.packet); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestHopByHop(t *testing.T) {
	for _, test := range []struct {
		name    string
		options []byte // 6 or 14 bytes
		want    inet.HopByHop
	}{
		{"padding", []byte{0, 0, 1, 2, 0, 0}, inet.HopByHop{}},
		{"pad-one-only", []byte{0, 0, 0, 0, 0, 0}, inet.HopByHop{}},
		{"router-alert", []byte{5, 2, 0, 0, 1, 0}, inet.HopByHop{RouterAlert: true}},
		{"router-alert-length", []byte{5, 1, 0, 1, 1, 0}, inet.HopByHop{Verdict: inet.VerdictError, Pointer: 43}},
		{"unknown-skip", []byte{0x1e, 4, 0, 0, 0, 0}, inet.HopByHop{}},
		{"unknown-drop", []byte{0x5e, 4, 0, 0, 0, 0}, inet.HopByHop{Verdict: inet.VerdictDrop}},
		{"unknown-answer-always", []byte{0x9e, 4, 0, 0, 0, 0}, inet.HopByHop{Verdict: inet.VerdictError, Code: 2, Pointer: 42, AnswerMulticast: true}},
		{"unknown-answer-unicast", []byte{0, 0xde, 3, 0, 0, 0}, inet.HopByHop{Verdict: inet.VerdictError, Code: 2, Pointer: 43}},
		{"jumbo", []byte{0xc2, 4, 0, 1, 0, 0}, inet.HopByHop{Verdict: inet.VerdictError, Code: 2, Pointer: 42}},
		{"overrun", []byte{1, 5, 0, 0, 0, 0}, inet.HopByHop{Verdict: inet.VerdictError, Pointer: 43}},
		{"kind-without-length", []byte{1, 3, 0, 0, 0, 5}, inet.HopByHop{Verdict: inet.VerdictError, Pointer: 47}},
	} {
		packet := append([]byte{0x60, 0, 0, 0, 0, 8, 0, 64}, make([]byte, 32)...)
		packet = append(append(packet, 59, 0), test.options...)
		if got := inet.ProcessHopByHop(packet); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	long := append([]byte{0x60, 0, 0, 0, 0, 8, 0, 64}, make([]byte, 32)...)
	long = append(long, 59, 1, 1, 4, 0, 0, 0, 0)
	if got := inet.ProcessHopByHop(long); got != (inet.HopByHop{Verdict: inet.VerdictError, Pointer: 41}) {
		t.Errorf("header beyond packet: %+v", got)
	}
}
