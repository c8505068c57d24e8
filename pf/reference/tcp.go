package reference

import "github.com/bsdnet/bsdnet/pf/conf"

// maxAckWindow is how far an acknowledgement may be off: the largest window
// and a fragment more.
const maxAckWindow = 0xffff + 1500

// after reports a >= b among sequence numbers, which wrap around.
func after(a, b uint32) bool { return int32(a-b) >= 0 }

// offer notes the window scale of a SYN.
func (p *Peer) offer(packet *Packet) {
	p.Scale, p.ScaleOffered = packet.TCP.Scale.Get()
	p.Scale = min(p.Scale, 14)
}

// unscaled returns the window of a SYN, which is never scaled, in units of
// those that follow.
func (p *Peer) unscaled(window uint16) uint16 {
	return uint16((uint32(window) + 1<<p.Scale - 1) >> p.Scale)
}

// reused reports whether a packet opens a connection with the ports of one
// that is closed. BSD drops this packet together with the old state and waits
// for its repetition; here it is taken at once.
func (s *State) reused(p *Packet) bool {
	return p.Protocol == TCP && p.TCP.Flags&(SYN|ACK) == SYN &&
		s.Peers[0].State >= FinWait2 && s.Peers[1].State >= FinWait2
}

// trackTCP checks that a segment is within the windows that both sides opened:
// Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter".
func (s *State) trackTCP(p *Packet, src, dst *Peer) (ok, refresh bool) {
	flags, seq, ack, window := p.TCP.Flags, p.TCP.Seq, p.TCP.Ack, p.TCP.Window
	var srcScale, dstScale uint8
	if src.ScaleOffered && dst.ScaleOffered && flags&SYN == 0 {
		srcScale, dstScale = src.Scale, dst.Scale
	}

	dataEnd := seq + uint32(p.TCP.Data)
	if flags&SYN != 0 {
		dataEnd++
	}
	end := dataEnd
	if flags&FIN != 0 {
		end++
	}
	if src.SeqLow == 0 {
		// The first packet of this side.
		if flags&SYN != 0 && dst.ScaleOffered {
			src.offer(p)
			if src.ScaleOffered {
				srcScale, dstScale = src.Scale, dst.Scale
				window = src.unscaled(window)
			} else {
				// No scaling then: the window of the other was meant as it stood.
				dst.Window = uint16(min(0xffff, uint32(dst.Window)<<dst.Scale))
				dst.Scale, dst.ScaleOffered = 0, false
			}
		}
		src.SeqLow = seq
		src.State = max(src.State, SynSent)
		limit := end + max(1, uint32(dst.Window)<<dstScale)
		if src.SeqHigh == 1 || after(limit, src.SeqHigh) {
			src.SeqHigh = limit
		}
		src.Window = max(src.Window, window)
	}

	switch {
	case flags&ACK == 0,
		ack == 0 && flags&RST != 0,
		dst.State < SynSent: // broken stacks, and connections taken up in the middle
		ack = dst.SeqLow
	}
	if seq == end {
		// Without data the sequence number matters little.
		seq, dataEnd, end = src.SeqLow, src.SeqLow, src.SeqLow
	}

	inWindow := after(src.SeqHigh, dataEnd) && after(seq, src.SeqLow-uint32(dst.Window)<<dstScale)
	skew := int32(dst.SeqLow - ack)
	ackInWindow := skew >= -maxAckWindow && int64(skew) <= int64(maxAckWindow)<<srcScale
	if inWindow && ackInWindow && (flags&RST == 0 || exactReset(p, src, dst, dstScale, skew)) {
		src.advance(dst, ack, end, window, srcScale)
		if flags&SYN != 0 {
			src.State = max(src.State, SynSent)
		}
		if flags&FIN != 0 {
			src.State = max(src.State, Closing)
		}
		if flags&ACK != 0 {
			switch dst.State {
			case SynSent:
				dst.State = Established
			case Closing:
				dst.State = FinWait2
			}
		}
		if flags&RST != 0 {
			src.State, dst.State = TimeWait, TimeWait
		}
		s.Timeout = tcpTimeout(src.State, dst.State)
		return true, true
	}

	// Connections taken up in the middle, and the last packets of one.
	loose := dst.State < SynSent || dst.State >= FinWait2 || src.State >= FinWait2
	if loose && after(src.SeqHigh+maxAckWindow, dataEnd) && after(seq, src.SeqLow-maxAckWindow) {
		src.advance(dst, ack, end, window, srcScale)
		if flags&FIN != 0 {
			src.State = max(src.State, Closing)
		}
		if flags&RST != 0 {
			src.State, dst.State = TimeWait, TimeWait
		}
		return true, false
	}
	if src.State == SynSent && dst.State == SynSent {
		// Neither is sure yet: the next packet begins anew.
		src.SeqLow, src.SeqHigh, src.Window = 0, 1, 1
	}
	return false, false
}

// advance moves the windows on by a segment that was accepted.
func (p *Peer) advance(other *Peer, ack, end uint32, window uint16, scale uint8) {
	p.Window = max(p.Window, window)
	if int32(end-p.SeqLow) > 0 {
		p.SeqLow = end
	}
	opened := uint32(window) << scale
	if after(ack+opened, other.SeqHigh) {
		other.SeqHigh = ack + max(opened, 1)
	}
}

// exactReset reports whether a reset has the next sequence number, give or
// take one; or acknowledges exactly what the other sent and is not older than
// a window.
func exactReset(p *Packet, src, dst *Peer, dstScale uint8, skew int32) bool {
	seq := p.TCP.Seq
	if seq == src.SeqLow || seq == src.SeqLow+1 || seq+1 == src.SeqLow {
		return true
	}
	return p.TCP.Flags&ACK != 0 && skew == 0 &&
		after(seq, src.SeqLow-uint32(dst.Window)<<dstScale) && after(src.SeqLow+1, seq)
}

// trackSloppy goes by the flags alone.
func (s *State) trackSloppy(p *Packet, src, dst *Peer) {
	flags := p.TCP.Flags
	if flags&SYN != 0 {
		src.State = max(src.State, SynSent)
	}
	if flags&FIN != 0 {
		src.State = max(src.State, Closing)
	}
	if flags&ACK != 0 {
		switch {
		case dst.State == SynSent:
			dst.State = Established
		case dst.State == Closing:
			dst.State = FinWait2
		case src.State == SynSent && dst.State < SynSent:
			// Only this half of the connection is seen.
			src.State, dst.State = Established, Established
		case src.State == Closing && dst.State == Established && dst.SeqLow == 0:
			// Likewise, at its end.
			dst.State = Closing
		}
	}
	if flags&RST != 0 {
		src.State, dst.State = TimeWait, TimeWait
	}
	s.Timeout = tcpTimeout(src.State, dst.State)
}

func tcpTimeout(a, b uint8) conf.Timeout {
	switch {
	case a >= FinWait2 && b >= FinWait2:
		return conf.TimeoutTCPClosed
	case a >= Closing && b >= Closing:
		return conf.TimeoutTCPFinWait
	case a < Established || b < Established:
		return conf.TimeoutTCPOpening
	case a >= Closing || b >= Closing:
		return conf.TimeoutTCPClosing
	}
	return conf.TimeoutTCPEstablished
}
