package control

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/pf/answer"
)

// answerTTL is what pf gives to the packets that it makes.
const answerTTL = 64

// ethernetHeader is the length of the header that the data path fills in.
const ethernetHeader = 14

// refuse answers a packet that a rule blocks with return. The answer goes
// past the filters, as packets that pf makes itself do.
func (s *slowPath) refuse(t *netisr.Thread, p *netisr.Packet) {
	h := p.Header()
	if h.Hook&bpf.PFAnswerOut != 0 && h.Rcvif < bpf.IfnetSlots {
		if pf := s.pf.Load(); pf != nil {
			pf.Original(p.Network()) // its sender knows nothing of a translation
		}
	}
	out := answer.Append(make([]byte, ethernetHeader, 256), p.Network(), answer.Options{
		RST: h.Hook&bpf.PFAnswerRst != 0, ICMP: h.Hook&bpf.PFAnswerICMP != 0,
		Code: uint8(h.Hook >> 8), Code6: uint8(h.Hook >> 16), TTL: answerTTL,
	})
	if len(out) == ethernetHeader || !s.address(h, out) || !p.SetFrame(out) {
		t.Free(p)
		return
	}
	t.Transmit(p)
}

// address says in the header where an answer goes: out by its route, or up to
// the host if that is whom the rule refused.
func (s *slowPath) address(h *bpf.NetisrHeader, frame []byte) bool {
	packet := frame[ethernetHeader:]
	var to netip.Addr
	if packet[0]>>4 == 4 {
		frame[12], frame[13] = 0x08, 0x00
		to = netip.AddrFrom4([4]byte(packet[16:20]))
	} else {
		frame[12], frame[13] = 0x86, 0xdd
		to = netip.AddrFrom16([16]byte(packet[24:40]))
	}
	h.L3Off, h.IpLen, h.Encaps, h.Flags = ethernetHeader, uint16(len(packet)), 0, 0
	if s.Local(to) {
		h.Rcvif = h.Ifp
		if entry, ok := s.Interface(h.Rcvif); ok {
			copy(frame[0:6], entry.Lladdr[:])
		}
		h.Resume = uint8(bpf.ResumeLocal)
		return true
	}
	number, ok := s.daemon.route.Lookup(to)
	if !ok {
		return false
	}
	hop, ok := s.Nexthop(number)
	if !ok || hop.Flags&bpf.NexthopUp == 0 || hop.Flags&(bpf.NexthopUnowned|bpf.NexthopReject|bpf.NexthopBlackhole) != 0 {
		return false
	}
	h.Nexthop, h.Ifp, h.Resume = number, hop.Ifslot, uint8(bpf.ResumeOutput)
	return true
}
