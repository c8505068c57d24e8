package engine

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

// packetFields are where a packet, which begins with its IP header, has what a
// translation changes.
type packetFields struct {
	af, proto    uint8
	source, dest []byte
	ports        []byte // nil: it has none
	sum          []byte // that covers them; nil: there is none
	headerSum    bool
}

// fieldsOf finds them in TCP and UDP and, addresses alone, in what else has no
// extension headers.
func fieldsOf(packet []byte) (f packetFields, ok bool) {
	var upper []byte
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		header := int(packet[0]&15) * 4
		if header < 20 || header > len(packet) {
			return f, false
		}
		f = packetFields{af: 4, proto: packet[9], source: packet[12:16], dest: packet[16:20], headerSum: true}
		upper = packet[header:]
	case len(packet) >= 40 && packet[0]>>4 == 6:
		f = packetFields{af: 6, proto: packet[6], source: packet[8:24], dest: packet[24:40]}
		upper = packet[40:]
	default:
		return f, false
	}
	switch sum := map[uint8]int{6: 16, 17: 6}[f.proto]; {
	case sum == 0:
	case len(upper) < sum+2:
		return f, false
	default:
		f.ports, f.sum = upper[:4], upper[sum:sum+2]
	}
	return f, true
}

// Original undoes in a packet that is on its way out what a translation did to
// it when it came in, and reports whether there was one.
func (e *Engine) Original(packet []byte) bool {
	f, ok := fieldsOf(packet)
	if !ok {
		return false
	}
	// The state was made by the packet that came in; its other key is of the
	// same direction, and like the packet as it is now.
	now := bpf.PFState{Proto: f.proto, Af: f.af}
	copy(now.Addr[0][:], f.source)
	copy(now.Addr[1][:], f.dest)
	if f.ports != nil {
		now.Port = [2]uint16{binary.NativeEndian.Uint16(f.ports), binary.NativeEndian.Uint16(f.ports[2:])}
	}
	slots := e.states.slots.Values
	var was *bpf.PFState
	e.states.each(stateHash(&now, e.head.Values[0].Seed), func(slot uint32) bool {
		s := &slots[slot]
		if atomic.LoadUint64(&s.Tag)>>32 != uint64(bpf.PFStateAlias) || s.Addr != now.Addr || s.Port != now.Port ||
			s.Proto != now.Proto || s.Af != now.Af || s.Peer >= uint32(len(slots)) {
			return false
		}
		if first := &slots[s.Peer]; uint32(first.Direction) == bpf.PfilIn && atomic.LoadUint64(&first.Tag)>>32 == uint64(bpf.PFStateLive) {
			was = first
		}
		return was != nil
	})
	if was == nil {
		return false
	}
	f.write(packet, was)
	return true
}

// write puts the addresses and ports of a key into the packet, and mends its
// checksums.
func (f *packetFields) write(packet []byte, key *bpf.PFState) {
	length := len(f.source)
	var ports [4]byte
	binary.NativeEndian.PutUint16(ports[:], key.Port[0])
	binary.NativeEndian.PutUint16(ports[2:], key.Port[1])
	if f.sum != nil && (f.proto != 17 || f.sum[0]|f.sum[1] != 0) {
		// RFC 1624: the sum without the old words, and with the new.
		sum := inet.Sum(0).AddWord(uint32(^binary.BigEndian.Uint16(f.sum)))
		for _, old := range [][]byte{f.source, f.dest, f.ports} {
			for ; len(old) > 0; old = old[2:] {
				sum = sum.AddWord(uint32(^binary.BigEndian.Uint16(old)))
			}
		}
		sum = sum.Add(key.Addr[0][:length]).Add(key.Addr[1][:length]).Add(ports[:])
		folded := sum.Fold()
		if f.proto == 17 && folded == 0 {
			folded = 0xffff
		}
		binary.BigEndian.PutUint16(f.sum, folded)
	}
	copy(f.source, key.Addr[0][:length])
	copy(f.dest, key.Addr[1][:length])
	copy(f.ports, ports[:])
	if f.headerSum {
		inet.SetChecksum4(packet)
	}
}
