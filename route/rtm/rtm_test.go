package rtm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var versions = []Version{FreeBSD, DragonFly}

// golden reads the messages of testdata/VERSION.hex by name.
func golden(t testing.TB, v Version) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + v.String() + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	messages := make(map[string][]byte)
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			name = rest
			continue
		}
		if line == "" {
			continue
		}
		_, digits, _ := strings.Cut(line, ": ")
		octets, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		messages[name] = append(messages[name], octets...)
	}
	return messages
}

func dumpHex(b []byte) string {
	var out strings.Builder
	for at := 0; at < len(b); at += 8 {
		fmt.Fprintf(&out, "%3d: % x\n", at, b[at:min(at+8, len(b))])
	}
	return out.String()
}

// Every message of both versions, byte by byte, and back.
func TestGolden(t *testing.T) {
	for _, v := range versions {
		if *update {
			var out strings.Builder
			for _, s := range samples(v) {
				b, err := s.encode()
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "# %s\n%s\n", s.name, dumpHex(b))
			}
			if err := os.WriteFile("testdata/"+v.String()+".hex", []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want := golden(t, v)
		for _, s := range samples(v) {
			t.Run(v.String()+"/"+s.name, func(t *testing.T) {
				got, err := s.encode()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want[s.name]) {
					t.Errorf("got\n%swant\n%s", dumpHex(got), dumpHex(want[s.name]))
				}
				decode := Decode
				if s.long {
					decode = DecodeL
				}
				back, err := decode(want[s.name])
				if err != nil {
					t.Fatal(err)
				}
				if explicit := explicitLengths(*s.m); !reflect.DeepEqual(back, &explicit) {
					t.Errorf("decoded\n%+v\nwant\n%+v", back, &explicit)
				}
			})
		}
		if len(want) != len(samples(v)) {
			t.Errorf("%s: %d golden messages for %d samples", v, len(want), len(samples(v)))
		}
	}
}

// explicitLengths gives links the length that they have on the wire.
func explicitLengths(m Message) Message {
	for i, sa := range m.Addrs {
		if link, ok := sa.(Link); ok && link.Len == 0 {
			link.Len = sizeLink
			m.Addrs[i] = link
		}
	}
	return m
}

// What is cut off anywhere, or says that it is longer than it is, is refused.
func TestTruncated(t *testing.T) {
	for _, v := range versions {
		for _, s := range samples(v) {
			whole, err := s.encode()
			if err != nil {
				t.Fatal(err)
			}
			decode := Decode
			if s.long {
				decode = DecodeL
			}
			for n := range whole {
				if _, err := decode(whole[:n]); !errors.Is(err, errno.EINVAL) {
					t.Fatalf("%s %s: first %d bytes: %v", v, s.name, n, err)
				}
			}
			longer := bytes.Clone(whole)
			le.PutUint16(longer, uint16(len(whole)+1))
			if _, err := decode(longer); !errors.Is(err, errno.EINVAL) {
				t.Errorf("%s %s: length of one byte more: %v", v, s.name, err)
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	base := func() []byte {
		b, err := with(Message{Version: FreeBSD, Type: api.RTMAdd}, map[int]Sockaddr{Dst: IP(addr("10.0.0.0"), 0)}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name   string
		change func(b []byte)
		want   error
	}{
		{"version 4", func(b []byte) { b[offVersion] = 4 }, errno.EPROTONOSUPPORT},
		{"type 0", func(b []byte) { b[offType] = 0 }, errno.EOPNOTSUPP},
		{"type 0x13", func(b []byte) { b[offType] = 0x13 }, errno.EOPNOTSUPP},
		{"sa_len beyond the end", func(b []byte) { b[sizeRtMsghdr] = 17 }, errno.EINVAL},
		{"a bit without a sockaddr", func(b []byte) { b[offRtmAddrs] = 0x3 }, errno.EINVAL},
		{"length of 3", func(b []byte) { b[0], b[1] = 3, 0 }, errno.EINVAL},
		{"length of 0", func(b []byte) { b[0], b[1] = 0, 0 }, errno.EINVAL},
	} {
		b := base()
		c.change(b)
		if _, err := Decode(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	announce, err := (&Message{Version: FreeBSD, Type: api.RTMIfannounce, Name: "em0"}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := offIfanName; i < offIfanName+ifnamsiz; i++ {
		announce[i] = 'x'
	}
	if _, err := Decode(announce); !errors.Is(err, errno.EINVAL) {
		t.Errorf("a name without an end: %v", err)
	}
}

func TestEncodeErrors(t *testing.T) {
	for _, m := range []*Message{
		{Version: 4, Type: api.RTMAdd},
		{Version: FreeBSD, Type: api.RTMIfannounce, Name: "a name of sixteen"},
		{Version: FreeBSD, Type: api.RTMIeee80211, Event: make([]byte, MaxLen)},
		with(Message{Version: FreeBSD, Type: api.RTMAdd}, map[int]Sockaddr{Ifp: Link{Name: strings.Repeat("x", 248)}}),
	} {
		if b, err := m.Append([]byte{1}); err == nil || len(b) != 1 {
			t.Errorf("%+v: %v, %d bytes", m, err, len(b))
		}
	}
	if _, err := (&Message{Version: DragonFly, Type: api.RTMIfinfo}).AppendL(nil); err == nil {
		t.Error("DragonFly has no l messages")
	}
}

// Requests are checked as route_output does, in its order.
func TestRequest(t *testing.T) {
	ok := with(Message{Version: FreeBSD, Type: api.RTMAdd, Seq: 9}, map[int]Sockaddr{
		Dst: IP(addr("10.1.0.0"), 0), Gateway: IP(addr("192.0.2.2"), 0), Netmask: RouteMask(FreeBSD, prefix("10.1.0.0/16"))})
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   error
		seq    bool // the message comes with the error
	}{
		{"good", func(b []byte) []byte { return b }, nil, true},
		{"short", func(b []byte) []byte { return b[:sizeRtMsghdr-1] }, errno.EINVAL, false},
		{"empty", func(b []byte) []byte { return nil }, errno.EINVAL, false},
		{"length says less", func(b []byte) []byte { b[0]--; return b }, errno.EINVAL, false},
		{"length says less, version wrong", func(b []byte) []byte { b[0]--; b[2] = 9; return b }, errno.EINVAL, false},
		{"version of DragonFly", func(b []byte) []byte { b[2] = 7; return b }, errno.EPROTONOSUPPORT, false},
		{"sockaddr beyond the end", func(b []byte) []byte { b[sizeRtMsghdr+32] = 0xff; return b }, errno.EINVAL, true},
		{"bits without bytes", func(b []byte) []byte { b[offRtmAddrs] = 0xff; return b }, nil, true},
	} {
		b, err := ok.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := DecodeRequest(FreeBSD, c.change(b))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if (m != nil) != c.seq || m != nil && m.Seq != 9 {
			t.Errorf("%s: message %+v", c.name, m)
		}
	}
	// A sockaddr of length 0 is 0.0.0.0, and what follows is not looked at.
	m, err := DecodeRequest(FreeBSD, must(with(Message{Version: FreeBSD, Type: api.RTMAdd}, map[int]Sockaddr{
		Dst: IP(addr("0.0.0.0"), 0), Gateway: IP(addr("192.0.2.2"), 0), Netmask: Raw{}, Ifp: em0}).Append(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if bits, err := MaskBits(AFInet, m.Addrs[Netmask]); bits != 0 || err != nil || m.Addrs[Ifp] != nil {
		t.Errorf("mask of length 0: /%d, %v; then %v", bits, err, m.Addrs[Ifp])
	}
	if bits, err := MaskBits(AFInet6, m.Addrs[Netmask]); bits != 0 || err != nil {
		t.Errorf("mask of length 0 for IPv6: /%d, %v", bits, err)
	}
	// A sockaddr_in that is cut after its address is whole.
	short := must(with(Message{Version: FreeBSD, Type: api.RTMGet}, map[int]Sockaddr{Dst: Raw{5, AFInet, 0, 0, 10}}).Append(nil))
	if m, err := DecodeRequest(FreeBSD, short); err != nil || m.Addrs[Dst] != (Inet{Addr: addr("10.0.0.0")}) {
		t.Errorf("sockaddr_in of 5 bytes: %v, %v", m.Addrs[Dst], err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestMaskBits(t *testing.T) {
	for _, c := range []struct {
		name   string
		family uint8
		mask   Sockaddr
		bits   int
		err    error
	}{
		{"whole", AFInet, IP(addr("255.255.240.0"), 0), 20, nil},
		{"host", AFInet, IP(addr("255.255.255.255"), 0), 32, nil},
		{"none", AFInet, Raw{}, 0, nil},
		{"of a radix tree", AFInet, Raw{7, 0xff, 0xff, 0xff, 255, 255, 255}, 24, nil},
		{"of a radix tree, 5 bytes", AFInet, Raw{5, 0xff, 0xff, 0xff, 0xfe}, 7, nil},
		{"cut before the address", AFInet, Raw{4, 0, 0, 0}, 0, nil},
		{"cut too short", AFInet, Raw{3, 0, 0}, 0, errno.EINVAL},
		{"with a hole", AFInet, IP(addr("255.0.255.0"), 0), 0, errno.EINVAL},
		{"with a hole in a byte", AFInet, IP(addr("250.0.0.0"), 0), 0, errno.EINVAL},
		{"short, with a hole", AFInet, Raw{6, 0xff, 0xff, 0xff, 0x0f, 0xff}, 0, errno.EINVAL},
		{"of the other family", AFInet, IP(addr("ffff::"), 0), 0, errno.EINVAL},
		{"whole, IPv6", AFInet6, IP(addr("ffff:ffff:ffff:ffff::"), 0), 64, nil},
		{"short, IPv6", AFInet6, Raw{14, AFInet6, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 0xfc}, 46, nil},
		{"with a hole, IPv6", AFInet6, IP(addr("ffff:0:ffff::"), 0), 0, errno.EINVAL},
		{"of IDP", AFNS, Raw{}, 0, errno.EAFNOSUPPORT},
	} {
		bits, err := MaskBits(c.family, c.mask)
		if bits != c.bits || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: /%d, %v; want /%d, %v", c.name, bits, err, c.bits, c.err)
		}
	}
	for _, v := range versions {
		for bits := range 129 {
			p := netip.PrefixFrom(addr("::"), bits)
			if got, err := MaskBits(AFInet6, RouteMask(v, p)); got != bits || err != nil {
				t.Errorf("%s: route mask of /%d: /%d, %v", v, bits, got, err)
			}
			if bits > 32 {
				continue
			}
			p = netip.PrefixFrom(addr("0.0.0.0"), bits)
			for _, mask := range []Sockaddr{RouteMask(v, p), AddressMask(v, p)} {
				if got, err := MaskBits(AFInet, mask); got != bits || err != nil {
					t.Errorf("%s: mask of /%d: /%d, %v", v, bits, got, err)
				}
			}
		}
	}
}

// Whatever comes, decoding does not fall over, and what it understands it
// writes in a form that it understands as the same.
func FuzzDecode(f *testing.F) {
	for _, v := range versions {
		for _, s := range samples(v) {
			b, err := s.encode()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		for _, v := range versions {
			if m, err := DecodeRequest(v, b); err == nil {
				again(t, m)
			}
		}
		if m, err := Decode(b); err == nil {
			again(t, m)
		}
		if m, err := DecodeL(b); err == nil {
			out, err := m.AppendL(nil)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := DecodeL(out); err != nil || !reflect.DeepEqual(back, m) {
				t.Fatalf("%v\n%+v\n%+v", err, back, m)
			}
		}
		if !bytes.Equal(b, before) {
			t.Fatal("decoding changed its input")
		}
	})
}

func again(t *testing.T, m *Message) {
	t.Helper()
	out, err := m.Append(nil)
	if err != nil {
		// What was read can have been as long as 64 kB before its sockaddrs
		// were made whole.
		if len(m.Event) < MaxLen-sizeIfan {
			t.Fatal(err)
		}
		return
	}
	if m.Type == 0 || m.Type > api.RTMIeee80211 {
		return // Decode refuses what a request may still carry
	}
	back, err := Decode(out)
	if err != nil {
		if headerLen(m.Version, m.Type) != sizeRtMsghdr {
			return // a request of a type that only the kernel sends
		}
		t.Fatalf("%v\n%s", err, dumpHex(out))
	}
	if headerLen(m.Version, m.Type) == sizeRtMsghdr && !reflect.DeepEqual(back, m) {
		t.Fatalf("\n%+v\n%+v", back, m)
	}
}

func BenchmarkAppend(b *testing.B) {
	m := samples(FreeBSD)[0].m
	buffer := make([]byte, 0, 512)
	for b.Loop() {
		if _, err := m.Append(buffer[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
