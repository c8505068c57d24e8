package slowpath

import (
	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

// fragment cuts an IPv4 packet to the MTU of its next hop and sends the
// pieces on, as ip_fragment does: all or none.
func (s *Stack) fragment(t *netisr.Thread, p *netisr.Packet) {
	h := p.Header()
	fragments, ok := inet.NewFragments(p.Network(), s.mtu(h))
	if !ok {
		s.count(t, ipCantFrag)
		s.failTooBig4(t, p)
		return
	}
	link := int(h.L3Off)
	mtu := s.mtu(h)
	var first, last *netisr.Packet
	for range fragments.Count() - 1 {
		q := t.Alloc(link + mtu)
		if q == nil {
			for first != nil {
				next := first.Next
				t.Free(first)
				first = next
			}
			s.drop(t, p, ipODropped)
			return
		}
		q.Resize(link + mtu)
		copy(q.Frame(), p.Frame()[:link])
		length := fragments.Next(q.Frame()[link:])
		q.Resize(link + length)
		*q.Header() = *h
		q.Header().IpLen = uint16(length)
		q.Header().Flags |= bpf.MFrag | bpf.MFragNotfirst
		if last == nil {
			first = q
		} else {
			last.Next = q
		}
		last = q
		s.count(t, ipOFragments)
	}
	length := fragments.Finish()
	p.Resize(link + length)
	h.IpLen = uint16(length)
	h.Flags |= bpf.MFrag
	s.count(t, ipOFragments)
	s.count(t, ipFragmented)
	resume(t, p, bpf.ResumeEtherOutput)
	for first != nil {
		next := first.Next
		resume(t, first, bpf.ResumeEtherOutput)
		first = next
	}
}
