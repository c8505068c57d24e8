package reference

import "github.com/bsdnet/bsdnet/pf/conf"

// filter decides a packet that has no state: translation first, then the
// filter rules see the packet as it will be, then a state is made.
func (f *Firewall) filter(packet Packet, dir conf.Direction, iface string) Decision {
	d := Decision{Pass: true, Reason: Matched, Packet: packet}
	if !packet.Fragment {
		d.Translation = f.translation(&d.Packet, dir, iface)
		if d.Translation != nil && !f.newEnds(d.Translation, &d.Packet, dir, iface) {
			d.Pass, d.Reason = false, Untranslated
			f.use("translation failed")
			return d
		}
		if keyOf(&d.Packet, dir) == keyOf(&packet, dir) {
			d.Translation = nil // into itself: as if no rule had matched
		}
	}
	var actions Actions
	if d.Translation == nil || !d.Translation.NatPass {
		e := &evaluation{f: f, packet: &d.Packet, dir: dir, iface: iface}
		e.walk(f.rules.Main, func(a *conf.Anchor) []*conf.Rule { return a.Filter })
		d.Rule, actions = e.rule, e.actions
		if e.rule != nil {
			actions.add(e.rule)
		}
	} else {
		f.use("nat pass")
	}
	if r := d.Rule; r != nil && r.Action == conf.Block {
		f.count(r, &packet, dir)
		d.Pass, d.Answer = false, r.Return
		return d
	}
	keep := d.Translation != nil || d.Rule != nil && d.Rule.State != conf.StateNone
	if keep && !packet.Fragment && !packet.icmpError() {
		if reason := f.insert(&d, packet, actions, dir, iface); reason != "" {
			f.use("drop " + string(reason))
			d.Pass, d.Reason = false, reason
			f.count(d.Rule, &packet, dir)
			if d.Rule != nil {
				d.Answer = d.Rule.Return
			}
			return d
		}
		f.account(d.State, &packet, dir)
	} else {
		f.count(d.Rule, &packet, dir)
	}
	if packet.blockedOptions() && (d.Rule == nil || !d.Rule.AllowOpts) {
		f.use("options blocked")
		d.Pass, d.Reason = false, Option
		return d
	}
	f.scrub(&d.Packet, &actions)
	return d
}

// insert makes the state of the packet in hand.
func (f *Firewall) insert(d *Decision, packet Packet, actions Actions, dir conf.Direction, iface string) Reason {
	if r := d.Rule; r != nil && r.StateOptions.Max != 0 && f.statesOf(r) >= int(r.StateOptions.Max) {
		f.use("max states of a rule")
		return StateLimit
	}
	if len(f.states) >= int(f.rules.Options.Limits[conf.LimitStates]) {
		return StateLimit
	}
	s := newState(&packet, dir)
	s.Rule, s.Translation, s.Tag = d.Rule, d.Translation, d.Packet.Tag
	s.Actions = actions
	s.Created, s.Last = f.env.Now(), f.env.Now()
	if r := d.Rule; r != nil {
		s.Timeouts = r.StateOptions.Timeouts
		s.Sloppy, s.AllowOptions = r.StateOptions.Sloppy, r.AllowOpts
		if r.StateOptions.IfBound {
			s.Interface = iface
		}
	}
	before, after := keyOf(&packet, dir), keyOf(&d.Packet, dir)
	s.Wire, s.Stack = before, after
	if dir == conf.Out {
		s.Wire, s.Stack = after, before
	}
	for _, at := range []conf.Direction{conf.In, conf.Out} {
		if f.findState(s.key(at), s.Protocol, at, iface, s.Interface == "") != nil {
			return StateInsert
		}
	}
	f.states = append(f.states, s)
	f.counters(d.Rule).States++
	if d.Translation != nil {
		f.counters(d.Translation).States++
	}
	d.State, d.Created = s, true
	return ""
}
