package reference

import "github.com/bsdnet/bsdnet/pf/conf"

// filter decides a packet that has no state: translation first, then the
// filter rules see the packet as it will be, then a state is made.
func (f *Firewall) filter(packet Packet, dir conf.Direction, iface string) Decision {
	d := Decision{Pass: true, Reason: Matched, Packet: packet}
	f.wanted = nil
	actions, ok := f.decide(&d, packet, dir, iface)
	if !ok {
		d.Pass, d.Reason = false, Untranslated
		f.use("translation failed")
		return d
	}
	translated := keyOf(&d.Packet, dir) != keyOf(&packet, dir)
	if !translated {
		d.Translation, f.wanted = nil, nil
	}
	if r := d.Rule; r != nil && r.Action == conf.Block {
		f.count(r, &packet, dir)
		d.Pass, d.Answer = false, r.Return
		return d
	}
	keep := translated || d.Rule != nil && d.Rule.State != conf.StateNone
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

// decide finds the rules of a packet: the translation rule, then the filter
// rules, which see the packet as it is so far. It returns false if there is no
// address or port for a translation.
func (f *Firewall) decide(d *Decision, packet Packet, dir conf.Direction, iface string) (actions Actions, ok bool) {
	if !packet.Fragment {
		r, anchor := f.translation(&d.Packet, dir, iface)
		if r != nil && !f.translate(anchor, r, &d.Packet, dir, iface) {
			return actions, false
		}
		if keyOf(&d.Packet, dir) != keyOf(&packet, dir) {
			d.Translation = r
		} else { // as if no rule had matched
			f.wanted = nil
		}
	}
	if d.Translation != nil && d.Translation.NatPass {
		f.use("nat pass")
		return actions, true
	}
	e := &evaluation{f: f, packet: &d.Packet, dir: dir, iface: iface}
	e.walk(f.rules.Main, func(a *conf.Anchor) []*conf.Rule { return a.Filter })
	if e.untranslated {
		return actions, false
	}
	d.Rule, actions = e.rule, e.actions
	if e.rule != nil {
		actions.add(e.rule)
	}
	if e.translation != nil {
		d.Translation = e.translation
	}
	if r := d.Rule; r != nil && r.Action == conf.Pass && (r.Nat != nil || r.Rdr != nil) && !packet.Fragment {
		d.Translation = nil // the rule counts the state's packets as its own
		return actions, f.translate(e.anchor, r, &d.Packet, dir, iface)
	}
	return actions, true
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
	f.add(s)
	f.hold(s)
	f.counters(d.Rule).States++
	if d.Translation != nil {
		f.counters(d.Translation).States++
	}
	d.State, d.Created = s, true
	return ""
}
