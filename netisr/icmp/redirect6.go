package icmp

import (
	"encoding/binary"

	"github.com/bsdnet/bsdnet/netisr/inet"
)

// Redirect6 is a neighbour discovery redirect (RFC 4861, 4.5).
type Redirect6 struct {
	Target      [16]byte // the better first hop: link-local of a router, or the destination itself
	Destination [16]byte
	Lladdr      []byte // link address of the target, 6 bytes, or empty if not known
}

const (
	optionTargetLladdr = 2
	optionRedirected   = 4
)

// AppendRedirect6 appends the IPv6 packet of a redirect about a packet that
// [inet.Header6] accepts. It goes to the packet's source; the source address
// in options must be link-local, the hop limit is 255 whatever they say. Of
// the packet is quoted what fits 1280 bytes.
func AppendRedirect6(dst, packet []byte, r Redirect6, options Options6) []byte {
	options.HopLimit = 255
	fixed := icmpHeader + 32
	if len(r.Lladdr) == 6 {
		fixed += 8
	}
	total := inet.HeaderLen6 + int(binary.BigEndian.Uint16(packet[4:]))
	// The option counts in units of 8 bytes.
	quote := min(total, MinMTU6-inet.HeaderLen6-fixed-8)
	padded := (quote + 7) &^ 7
	if padded > MinMTU6-inet.HeaderLen6-fixed-8 {
		quote &^= 7
		padded = quote
	}

	start := len(dst)
	dst = appendHeader6(dst, fixed+8+padded, options, packet[8:24])
	dst = append(dst, Type6Redirect, 0, 0, 0, 0, 0, 0, 0)
	dst = append(dst, r.Target[:]...)
	dst = append(dst, r.Destination[:]...)
	if len(r.Lladdr) == 6 {
		dst = append(dst, optionTargetLladdr, 1)
		dst = append(dst, r.Lladdr...)
	}
	dst = append(dst, optionRedirected, byte(1+padded/8), 0, 0, 0, 0, 0, 0)
	dst = append(dst, packet[:quote]...)
	for range padded - quote {
		dst = append(dst, 0)
	}
	setChecksum6(dst[start:])
	return dst
}
