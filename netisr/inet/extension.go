package inet

import "encoding/binary"

// Upper describes where the extension headers of an IPv6 packet end.
type Upper struct {
	Proto    uint8 // of the first header that is no extension header, or of the one that is cut off
	Offset   int   // of that header
	Next     int   // offset of the next-header field that names Proto
	Complete bool  // all extension headers were there
	Fragment bool  // there is a fragment header
	NotFirst bool  // and its offset is not 0, so the upper layer's header is not here
	Routing  int   // offset of the first routing header, 0 if there is none

	// Misplaced is the offset of the next-header field that names a
	// hop-by-hop header elsewhere than after the IPv6 header, 0 if there is
	// none (RFC 8200, 4.1).
	Misplaced int
}

// UpperLayer walks the extension headers of a packet that [Header6] accepts.
// A fragment that is not the first ends the walk; so does an ESP header.
func UpperLayer(packet []byte) Upper {
	u := Upper{Proto: packet[6], Offset: HeaderLen6, Next: 6}
	for {
		var length int
		switch u.Proto {
		case ProtoHopByHop, ProtoDstOpts, ProtoRouting:
			if len(packet) < u.Offset+8 {
				return u
			}
			length = 8 + 8*int(packet[u.Offset+1])
			if u.Proto == ProtoHopByHop && u.Offset != HeaderLen6 && u.Misplaced == 0 {
				u.Misplaced = u.Next
			}
			if u.Proto == ProtoRouting && u.Routing == 0 {
				u.Routing = u.Offset
			}
		case ProtoAH:
			if len(packet) < u.Offset+8 {
				return u
			}
			length = 8 + 4*int(packet[u.Offset+1])
		case ProtoFragment:
			if len(packet) < u.Offset+8 {
				return u
			}
			length = 8
			u.Fragment = true
			if binary.BigEndian.Uint16(packet[u.Offset+2:])&0xfff8 != 0 {
				u.NotFirst = true
			}
		default:
			u.Complete = true
			return u
		}
		if u.Offset+length > len(packet) {
			return u
		}
		u.Proto, u.Next = packet[u.Offset], u.Offset
		u.Offset += length
		if u.NotFirst {
			u.Complete = true
			return u
		}
	}
}
