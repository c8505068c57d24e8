package reference

import "github.com/bsdnet/bsdnet/pf/conf"

// related returns the state of the packet that an ICMP error quotes.
func (f *Firewall) related(packet *Packet, dir conf.Direction, iface string) *State {
	q := packet.Quoted
	if q == nil || q.Fragment || q.Src != packet.Dst {
		return nil
	}
	// What is quoted went the other way; a packet of its conversation that
	// goes this way has the same key.
	s := f.find(keyOf(q, opposite(dir)), q.Protocol, dir, iface)
	if s == nil || f.Expired(s) {
		return nil
	}
	return s
}

// testError decides an ICMP error about a packet of a state.
func (f *Firewall) testError(s *State, packet Packet, dir conf.Direction) Decision {
	f.use("icmp error of state")
	d := Decision{Reason: Matched, Rule: s.Rule, Translation: s.Translation, State: s, Packet: packet}
	if packet.Quoted.Protocol == TCP && !s.Sloppy && !s.sent(packet.Quoted, dir) {
		f.use("icmp error out of window")
		d.Reason = StateMismatch
		return d
	}
	f.account(s, &packet, dir)
	if packet.blockedOptions() && !s.AllowOptions {
		d.Reason = Option
		return d
	}
	d.Pass = true
	if s.Translated() {
		f.use("icmp error translated")
		quoted := *packet.Quoted
		before := quoted
		quoted.setEnds(s.key(opposite(dir)).ends(opposite(dir)))
		d.Packet.Quoted = &quoted
		d.Packet.Dst = quoted.Src
		if packet.Src == before.Dst {
			// The one whom the packet was for tells of it himself.
			d.Packet.Src = quoted.Dst
		}
	}
	if s.Tag != "" {
		d.Packet.Tag = s.Tag
	}
	f.scrub(&d.Packet, &s.Actions)
	return d
}

// sent reports whether a quoted segment can have been sent: whoever guesses an
// error about a connection must know its sequence numbers.
func (s *State) sent(q *Packet, dir conf.Direction) bool {
	way := s.way(opposite(dir))
	src, dst := &s.Peers[way], &s.Peers[1-way]
	var scale uint8
	if src.ScaleOffered && dst.ScaleOffered {
		scale = dst.Scale
	}
	return after(src.SeqHigh, q.TCP.Seq) && after(q.TCP.Seq, src.SeqLow-uint32(dst.Window)<<scale)
}
