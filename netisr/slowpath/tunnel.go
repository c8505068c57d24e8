package slowpath

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/icmp"
	"github.com/bsdnet/bsdnet/netisr/inet"
	"github.com/bsdnet/bsdnet/netisr/reass"
)

// reassembleTunnel takes a fragment of a tunnel's outer packet. The whole goes
// back to where the fragments came from.
func (s *Stack) reassembleTunnel(t *netisr.Thread, p *netisr.Packet) {
	h := p.Header()
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
	f.Link = p.Frame()[:h.L3Off]
	whole, lost, err := s.reass.Add(t.Now(), f)
	if err != nil {
		s.threads[t.ID()].stats.counters[ipFragDropped].Add(uint64(lost))
	}
	if err != nil || whole == nil {
		t.Free(p)
		return
	}
	s.count(t, ipReassembled)
	header := *h
	t.Free(p)
	s.beginning(header.Af, whole)
	length := len(whole.Link) + len(whole.Header) + len(whole.Data)
	q := t.Alloc(length)
	if q == nil || !q.Resize(length) {
		if q != nil {
			t.Free(q)
		}
		s.count(t, ipODropped)
		return
	}
	*q.Header() = header
	copy(q.Frame()[copy(q.Frame(), whole.Link):], append(whole.Header, whole.Data...))
	q.Header().L3Off = uint16(len(whole.Link))
	q.Header().IpLen = uint16(len(whole.Header) + len(whole.Data))
	q.Header().Flags &^= bpf.MFrag | bpf.MFragNotfirst
	resume(t, q, bpf.ResumeTunnelInput)
}

// fragmentTunnel6 cuts the outer packet of a tunnel of this host, which as its
// source may.
func (s *Stack) fragmentTunnel6(t *netisr.Thread, p *netisr.Packet) {
	packet := p.Network()
	whole := &reass.Packet{
		Header: append([]byte{}, packet[:inet.HeaderLen6]...), Next: packet[6], ID: rand.Uint32(),
		Data: append([]byte{}, packet[inet.HeaderLen6:inet.HeaderLen6+int(binary.BigEndian.Uint16(packet[4:]))]...),
	}
	s.count(t, ipFragmented)
	s.cut6(t, p, whole, max(s.mtu(p.Header()), icmp.MinMTU6), bpf.ResumeEtherOutput)
}
