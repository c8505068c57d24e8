package encap

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// FuzzTunnel puts any packet into a tunnel of any shape and wants it back from
// the far end, refused by one with another key, and takes any bytes for an
// outer packet.
func FuzzTunnel(f *testing.F) {
	packet := append([]byte{0x45, 1, 0, 24, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 1, 2, 3, 4)
	for shape := range uint8(64) {
		f.Add(shape, uint32(shape)*0x01010101, packet)
	}
	f.Fuzz(func(t *testing.T, shape uint8, key uint32, packet []byte) {
		if o, err := Parse(packet); err == nil && len(o.Inner) > len(packet) {
			t.Errorf("more inside than outside: %x", packet)
		}
		if len(packet) < 20 || len(packet) > 60000 {
			return
		}
		near := Tunnel{Source: netip.MustParseAddr("192.0.2.1"), Destination: netip.MustParseAddr("192.0.2.2"), TTL: 30, ECN: shape&1 != 0}
		if shape&2 != 0 {
			near.Source, near.Destination = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		}
		if near.GRE = shape&4 != 0; near.GRE {
			near.Checksum, near.Sequence, near.Key = shape&8 != 0, shape&16 != 0, key
			if shape&32 != 0 {
				near.Port = 4754
			}
		}
		far := near
		far.Source, far.Destination = near.Destination, near.Source
		outer := near.Append(nil, packet, Chosen{ID: 1, Sequence: key, Port: 50000})
		inner, err := far.Open(outer)
		if err != nil || !bytes.Equal(inner, packet) {
			t.Fatalf("%+v: %v: %x", near, err, outer)
		}
		if _, err := near.Open(outer); !errors.Is(err, ErrEnds) {
			t.Errorf("%+v: taken by its own sender: %v", near, err)
		}
		if far.Key++; far.GRE {
			if _, err := far.Open(outer); !errors.Is(err, ErrKey) {
				t.Errorf("%+v: taken with another key: %v", near, err)
			}
		}
		for n := range len(outer) {
			_, _ = Parse(outer[:n]) // what an ICMP error quotes
		}
	})
}
