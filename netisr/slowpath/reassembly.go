package slowpath

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/icmp"
	"github.com/bsdnet/bsdnet/netisr/inet"
	"github.com/bsdnet/bsdnet/netisr/reass"
)

// A packet that was reassembled goes back into the data path as its beginning
// alone, with a header that gives the length of the whole. Filters, states and
// routes judge it; the rest waits here. When it comes back, with what they made
// of its headers, all of it is fragmented again and delivered or sent.

const (
	// shownBytes of the payload are in the beginning: every header, and what
	// an ICMP error quotes.
	shownBytes = 1024

	// A packet that was judged to be dropped never comes back.
	judgedWithin = 500 * time.Millisecond
	judgedLimit  = 256

	// usualMTU is what a packet is cut to though its way would take more.
	usualMTU = 1500

	fragmentHeaderLen6 = 8
)

// judged is the table of packets that are being judged, by number.
type judged struct {
	mu      sync.Mutex
	next    uint32
	packets map[uint32]*judgedPacket
}

type judgedPacket struct {
	*reass.Packet
	since time.Duration
}

// put takes a packet and returns its number; packets that have waited for too
// long go, and when there are too many the oldest.
func (j *judged) put(p *reass.Packet, now time.Duration) uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	oldest, since := uint32(0), now+1
	for number, waiting := range j.packets {
		if now-waiting.since > judgedWithin {
			delete(j.packets, number)
		} else if waiting.since < since {
			oldest, since = number, waiting.since
		}
	}
	if len(j.packets) >= judgedLimit {
		delete(j.packets, oldest)
	}
	j.next++
	j.packets[j.next] = &judgedPacket{p, now}
	return j.next
}

// take removes a packet.
func (j *judged) take(number uint32) *reass.Packet {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.packets[number]
	delete(j.packets, number)
	if p == nil {
		return nil
	}
	return p.Packet
}

// SetReassembly bounds the fragments that are held, and for how long.
func (s *Stack) SetReassembly(fragments int, timeout time.Duration) {
	s.reass.Configure(fragments, timeout)
}

// FragmentsDropped returns the number of fragments that were refused, or whose
// packets did not become whole in time.
func (s *Stack) FragmentsDropped() (n uint64) {
	_, n = s.reass.Held()
	for i := range s.threads {
		n += s.threads[i].stats.counters[ipFragDropped].Load()
	}
	return n
}

// reassemble takes a fragment, and sends the packet on its way once it is
// whole.
func (s *Stack) reassemble(t *netisr.Thread, p *netisr.Packet) {
	h, out := p.Header(), p.Header().Hook == bpf.PfilOut
	s.count(t, ipFragments)
	var f reass.Fragment
	var ok bool
	if h.Af == 4 {
		f, ok = fragment4(p.Network())
	} else {
		f, ok = fragment6(p.Network())
	}
	if !ok {
		s.drop(t, p, ipFragDropped)
		return
	}
	f.Out, f.Link = out, p.Frame()[:h.L3Off]
	whole, lost, err := s.reass.Add(t.Now(), f)
	if err != nil {
		s.threads[t.ID()].stats.counters[ipFragDropped].Add(uint64(lost))
		t.Free(p)
		return
	}
	if whole == nil {
		t.Free(p)
		return
	}
	s.count(t, ipReassembled)
	head := s.beginning(h.Af, whole)
	if !p.SetFrame(append(append([]byte{}, whole.Link...), head...)) {
		s.drop(t, p, ipODropped)
		return
	}
	h.L3Off, h.IpLen = uint16(len(whole.Link)), uint16(len(head))
	h.Flags = h.Flags&^(bpf.MFrag|bpf.MFragNotfirst|bpf.MNormalized|bpf.MRedirect) | bpf.MReassembled
	h.Reassembly = s.judged.put(whole, t.Now())
	if out {
		resume(t, p, bpf.ResumePfilOut)
	} else {
		resume(t, p, bpf.ResumePfilIn)
	}
}

// beginning makes the header that of the whole packet and returns it with the
// first bytes behind it.
func (s *Stack) beginning(af uint8, whole *reass.Packet) []byte {
	if af == 4 {
		binary.BigEndian.PutUint16(whole.Header[2:], uint16(len(whole.Header)+len(whole.Data)))
		whole.Header[6], whole.Header[7] = 0, 0
		inet.SetChecksum4(whole.Header)
	} else {
		binary.BigEndian.PutUint16(whole.Header[4:], uint16(len(whole.Header)-inet.HeaderLen6+len(whole.Data)))
		setLastNext(whole.Header, whole.Next)
	}
	head := append([]byte{}, whole.Header...)
	return append(head, whole.Data[:min(shownBytes, len(whole.Data))]...)
}

func fragment4(packet []byte) (f reass.Fragment, ok bool) {
	length, err := inet.Header4(packet)
	if err != nil {
		return f, false
	}
	field := binary.BigEndian.Uint16(packet[6:])
	return reass.Fragment{
		Key: reass.Key{
			Src: netip.AddrFrom4([4]byte(packet[12:])), Dst: netip.AddrFrom4([4]byte(packet[16:])),
			ID: uint32(binary.BigEndian.Uint16(packet[4:])), Protocol: packet[9],
		},
		Offset: int(field&inet.OffsetMask) * 8, More: field&inet.MoreFragments != 0,
		Header: packet[:length], Data: packet[length:binary.BigEndian.Uint16(packet[2:])],
	}, true
}

// fragment6 finds the fragment header behind those that may precede it.
func fragment6(packet []byte) (f reass.Fragment, ok bool) {
	if inet.Header6(packet) != nil {
		return f, false
	}
	end := inet.HeaderLen6 + int(binary.BigEndian.Uint16(packet[4:]))
	next, at := packet[6], inet.HeaderLen6
	for next != inet.ProtoFragment {
		switch next {
		case inet.ProtoHopByHop, inet.ProtoRouting, inet.ProtoDstOpts:
		default:
			return f, false
		}
		if at+2 > end {
			return f, false
		}
		next, at = packet[at], at+(int(packet[at+1])+1)*8
	}
	if at+fragmentHeaderLen6 > end {
		return f, false
	}
	field := binary.BigEndian.Uint16(packet[at+2:])
	return reass.Fragment{
		Key: reass.Key{
			Src: netip.AddrFrom16([16]byte(packet[8:])), Dst: netip.AddrFrom16([16]byte(packet[24:])),
			ID: binary.BigEndian.Uint32(packet[at+4:]),
		},
		Offset: int(field &^ 7), More: field&1 != 0, Next: packet[at],
		Header: packet[:at], Data: packet[at+fragmentHeaderLen6 : end],
	}, true
}

// setLastNext writes the protocol behind the last of the headers of an IPv6
// packet that are known to be well formed.
func setLastNext(header []byte, next uint8) {
	field, at := 6, inet.HeaderLen6
	for at < len(header) {
		field, at = at, at+(int(header[at+1])+1)*8
	}
	header[field] = next
}

// refragment takes a packet back that was let pass, in fragments as it came or
// as its way wants them.
func (s *Stack) refragment(t *netisr.Thread, p *netisr.Packet) {
	h := p.Header()
	whole := s.judged.take(h.Reassembly)
	if whole == nil {
		s.drop(t, p, ipFragDropped)
		return
	}
	head := p.Network()
	if len(head) < len(whole.Header) {
		s.drop(t, p, ipTooShort)
		return
	}
	copy(whole.Header, head)
	copy(whole.Data, head[len(whole.Header):])
	where, mtu := uint32(bpf.ResumeEtherOutput), whole.MaxLength
	local := h.Hook != 0
	switch {
	case h.Flags&bpf.MHost != 0:
		where = bpf.ResumeTransmit
	case h.Hook == bpf.RefragmentTunnel:
		h.Flags &^= bpf.MReassembled
		h.Reassembly = 0
		s.sendPieces(t, p, [][]byte{append(whole.Header, whole.Data...)}, bpf.ResumeTunnelInput)
		return
	case local:
		where = bpf.ResumeLocal
	case h.Af == 4:
		mtu = min(s.mtu(h), max(mtu, usualMTU))
	case mtu > s.mtu(h):
		// The sender chose the length of its fragments (RFC 8200): it has to
		// know.
		s.count(t, ip6CantFrag)
		truncate(p)
		s.fail6(t, p, icmp.Error6{Type: icmp.Type6TooBig, Parameter: uint32(max(s.mtu(h), icmp.MinMTU6))})
		return
	}
	h.Flags &^= bpf.MReassembled | bpf.MRedirect
	h.Reassembly = 0
	if h.Af == 4 {
		s.cut4(t, p, whole, mtu, where)
	} else {
		s.cut6(t, p, whole, mtu, where)
	}
}

// cut4 sends an IPv4 packet in fragments that fit an MTU.
func (s *Stack) cut4(t *netisr.Thread, p *netisr.Packet, whole *reass.Packet, mtu int, where uint32) {
	packet := append(append(make([]byte, 0, len(whole.Header)+len(whole.Data)), whole.Header...), whole.Data...)
	fragments, ok := inet.NewFragments(packet, mtu)
	if !ok {
		s.drop(t, p, ipCantFrag)
		return
	}
	buffer := make([]byte, mtu)
	var later [][]byte
	for n := fragments.Next(buffer); n > 0; n = fragments.Next(buffer) {
		later = append(later, append([]byte{}, buffer[:n]...))
	}
	s.sendPieces(t, p, append([][]byte{packet[:fragments.Finish()]}, later...), where)
}

// cut6 sends an IPv6 packet in fragments of the length that its sender chose.
func (s *Stack) cut6(t *netisr.Thread, p *netisr.Packet, whole *reass.Packet, mtu int, where uint32) {
	room := (mtu - len(whole.Header) - fragmentHeaderLen6) &^ 7
	if room < 8 {
		s.drop(t, p, ip6CantFrag)
		return
	}
	setLastNext(whole.Header, inet.ProtoFragment)
	var pieces [][]byte
	for offset := 0; offset < len(whole.Data); offset += room {
		data := whole.Data[offset:min(offset+room, len(whole.Data))]
		piece := append(make([]byte, 0, mtu), whole.Header...)
		binary.BigEndian.PutUint16(piece[4:], uint16(len(piece)-inet.HeaderLen6+fragmentHeaderLen6+len(data)))
		field := uint16(offset)
		if offset+len(data) < len(whole.Data) {
			field |= 1
		}
		piece = append(piece, whole.Next, 0)
		piece = binary.BigEndian.AppendUint16(piece, field)
		piece = binary.BigEndian.AppendUint32(piece, whole.ID)
		pieces = append(pieces, append(piece, data...))
	}
	s.sendPieces(t, p, pieces, where)
}

// sendPieces sends the fragments of a packet: all, or none for want of memory.
func (s *Stack) sendPieces(t *netisr.Thread, p *netisr.Packet, pieces [][]byte, where uint32) {
	h := *p.Header()
	link := append([]byte{}, p.Frame()[:h.L3Off]...)
	packets := []*netisr.Packet{p}
	for _, piece := range pieces[1:] {
		q := t.Alloc(len(link) + len(piece))
		if q == nil {
			for _, q := range packets {
				t.Free(q)
			}
			s.count(t, ipODropped)
			return
		}
		packets = append(packets, q)
	}
	for i, q := range packets {
		if !q.Resize(len(link) + len(pieces[i])) {
			for _, q := range packets[i:] {
				t.Free(q)
			}
			s.count(t, ipODropped)
			return
		}
		*q.Header() = h
		q.Header().IpLen = uint16(len(pieces[i]))
		if len(pieces) > 1 {
			q.Header().Flags |= bpf.MFrag
		}
		copy(q.Frame(), link)
		copy(q.Frame()[len(link):], pieces[i])
		s.count(t, ipOFragments)
		resume(t, q, where)
	}
}

// settleReassembled ends the waiting of a packet that does not go on, and makes
// its beginning a packet that an error can be about.
func (s *Stack) settleReassembled(p *netisr.Packet) {
	s.judged.take(p.Header().Reassembly)
	truncate(p)
}

// truncate makes the length in a header that of what is there.
func truncate(p *netisr.Packet) {
	network := p.Frame()[p.Header().L3Off:]
	switch {
	case p.Header().Af == 4 && len(network) >= inet.HeaderLen4 && len(network) >= int(network[0]&15)*4:
		binary.BigEndian.PutUint16(network[2:], uint16(len(network)))
		inet.SetChecksum4(network)
	case p.Header().Af == 6 && len(network) >= inet.HeaderLen6:
		binary.BigEndian.PutUint16(network[4:], uint16(len(network)-inet.HeaderLen6))
	}
}

// startReassemblyTimer makes a thread look for packets that do not become whole.
func (s *Stack) startReassemblyTimer(t *netisr.Thread) {
	var timer *netisr.Timer
	timer = t.NewTimer(func(t *netisr.Thread) {
		s.reass.Expire(t.Now())
		timer.Reset(time.Second)
	})
	timer.Reset(time.Second)
}
