package reference

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// evaluation is a walk through one list of rules.
type evaluation struct {
	f      *Firewall
	packet *Packet
	dir    conf.Direction
	iface  string
	first  bool // the first rule that matches decides

	rule   *conf.Rule   // decides so far
	anchor *conf.Anchor // that rule is in
	found  int          // rules that decided, one after the other

	actions Actions // of match rules

	translation  *conf.Rule // match rule that translated last
	untranslated bool       // or could not
}

// walk goes through the rules of an anchor; it returns true when a rule ended
// the whole evaluation.
func (e *evaluation) walk(a *conf.Anchor, list func(*conf.Anchor) []*conf.Rule) bool {
	for _, r := range list(a) {
		if !e.matches(a, r) {
			continue
		}
		if r.Tag != "" {
			e.f.use("tag")
			e.packet.Tag = r.Tag
		}
		if r.Anchor != nil {
			if e.call(r, list) {
				return true
			}
			continue
		}
		if r.Action == conf.Match {
			e.f.use("match")
			e.actions.add(r)
			if (r.Nat == nil && r.Rdr == nil) || e.packet.Fragment {
				continue
			}
			if !e.f.translate(a, r, e.packet, e.dir, e.iface) {
				e.untranslated = true
				return true
			}
			e.translation = r
			continue
		}
		e.rule, e.anchor = r, a
		e.found++
		if e.first || r.Quick {
			return true
		}
	}
	return false
}

// call evaluates the anchors that a rule calls. When the call is quick and any
// rule in there decided, no more rules are looked at.
func (e *evaluation) call(r *conf.Rule, list func(*conf.Anchor) []*conf.Rule) bool {
	before := e.found
	for _, a := range e.f.called(r.Anchor) {
		if e.walk(a, list) {
			return true
		}
	}
	e.f.use("anchor")
	if r.Quick && e.found > before {
		e.f.use("anchor quick")
		return true
	}
	return false
}

func (f *Firewall) called(call *conf.AnchorCall) []*conf.Anchor {
	if call.Target != nil {
		return []*conf.Anchor{call.Target}
	}
	path := call.Path
	if call.Wildcard {
		path = path[:max(0, len(path)-len("/*"))]
	}
	a := f.rules.Main
	if path != "" {
		a = a.Lookup(path)
	}
	switch {
	case a == nil:
		return nil
	case call.Wildcard:
		f.use("anchor wildcard")
		return a.Children
	}
	return []*conf.Anchor{a}
}

// matches asks a packet all that a rule asks.
func (e *evaluation) matches(a *conf.Anchor, r *conf.Rule) bool {
	p := e.packet
	src, dst := r.Src, r.Dst
	if r.Action == conf.Binat && e.dir == conf.In {
		// Seen from outside.
		src, dst = r.Dst, conf.RuleAddr{}
		if r.Anchor == nil {
			dst.Addr = r.Nat.Addrs[0].Addr
		}
	}
	switch {
	case r.Direction != conf.InOut && r.Direction != e.dir,
		r.Family != conf.Unspecified && r.Family != p.Family(),
		r.Protocol != 0 && r.Protocol != p.Protocol,
		!e.interfaceMatches(r.Interface, r.InterfaceNot, e.iface),
		!e.interfaceMatches(r.ReceivedOn, r.ReceivedOnNot, p.ReceivedOn),
		!e.addressMatches(a, &src, p.Src),
		!e.addressMatches(a, &dst, p.Dst),
		r.TOS != 0 && r.TOS != p.TOS,
		r.Fragment && !p.Fragment,
		r.Tagged != "" && (p.Tag == r.Tagged) == r.TaggedNot:
		return false
	}
	if !e.headerMatches(r) {
		return false
	}
	e.used(r)
	return true
}

// headerMatches asks what is in the header of the upper protocol, which
// fragments do not have.
func (e *evaluation) headerMatches(r *conf.Rule) bool {
	p := e.packet
	hasPorts := r.Src.Port.Op != conf.OpNone || r.Dst.Port.Op != conf.OpNone
	kind, hasType := r.ICMPType.Get()
	code, hasCode := r.ICMPCode.Get()
	if p.Fragment || p.Headless {
		return !hasPorts && !hasType && !hasCode && !(r.FlagSet != 0 && p.Protocol == TCP)
	}
	if hasPorts {
		if p.Protocol != TCP && p.Protocol != UDP {
			return false
		}
		if !portMatches(r.Src.Port, p.SrcPort) || !portMatches(r.Dst.Port, p.DstPort) {
			return false
		}
	}
	if p.Protocol == TCP && p.TCP.Flags&r.FlagSet != r.Flags {
		return false
	}
	if hasType && (!p.icmp() || p.ICMP.Type != kind) || hasCode && p.ICMP.Code != code {
		return false
	}
	// A reply alone makes no state, so no rule that would keep one takes it.
	if p.icmp() && r.Action == conf.Pass && r.Anchor == nil && r.State != conf.StateNone && !r.StateOptions.Sloppy {
		if _, reply, _ := p.query(); reply {
			return false
		}
	}
	return true
}

func portMatches(r conf.PortRange, port uint16) bool {
	return r.Op.Matches(uint32(port), uint32(r.Low), uint32(r.High))
}

// interfaceMatches asks an interface for what a rule says of one. None, that
// of the host's own packets before they leave, is only what is negated.
func (e *evaluation) interfaceMatches(name string, not bool, iface string) bool {
	match := iface != ""
	switch name {
	case "":
		return true
	case "any":
		match = match && !e.f.env.Loopback(iface)
	default:
		match = match && e.f.isInterface(name, iface)
	}
	return match != not
}

func (e *evaluation) addressMatches(a *conf.Anchor, side *conf.RuleAddr, ip netip.Addr) bool {
	return e.contains(a, side.Addr, ip) != side.Not
}

func (e *evaluation) contains(a *conf.Anchor, addr conf.Addr, ip netip.Addr) bool {
	switch addr.Kind {
	case conf.AddrAny:
		return true
	case conf.AddrPrefix:
		return netip.PrefixFrom(addr.IP, int(addr.Bits)).Contains(ip)
	case conf.AddrRange:
		return ip.BitLen() == addr.IP.BitLen() && ip.Compare(addr.IP) >= 0 && ip.Compare(addr.Last) <= 0
	case conf.AddrInterface:
		return longest(e.f.env.Addresses(addr.Name, addr.Modifiers), ip)
	case conf.AddrTable:
		return longest(e.f.table(a, addr.Name), ip)
	case conf.AddrNoRoute:
		return !e.routable(ip, false)
	case conf.AddrURPFFailed:
		return !e.routable(ip, true)
	}
	return false
}

// routable reports whether there is a route to an address, with reverse
// whether the packet is where that route leads.
func (e *evaluation) routable(ip netip.Addr, reverse bool) bool {
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		return true
	}
	iface, local, ok := e.f.env.Route(ip)
	switch {
	case !ok || !reverse:
		return ok
	case local:
		return e.dir == conf.Out // nobody else may send from the host's address
	}
	return iface == e.iface
}

// longest reports what the longest prefix that holds an address says of it.
func longest(entries []conf.TablePrefix, ip netip.Addr) bool {
	best, in := -1, false
	for _, entry := range entries {
		if entry.Prefix.Contains(ip) && entry.Prefix.Bits() > best {
			best, in = entry.Prefix.Bits(), !entry.Not
		}
	}
	return in
}

// table finds a table as the kernel does: the anchor's own, else the main
// ruleset's. One that only rules name is empty.
func (f *Firewall) table(a *conf.Anchor, name string) []conf.TablePrefix {
	for _, holder := range []*conf.Anchor{a, f.rules.Main} {
		for _, t := range holder.Tables {
			if t.Name == name {
				return t.Prefixes
			}
		}
	}
	return nil
}

// used tells what constructs of a rule took part.
func (e *evaluation) used(r *conf.Rule) {
	for construct, present := range map[string]bool{
		r.Action.String():                     r.Anchor == nil,
		"quick":                               r.Quick,
		"direction":                           r.Direction != conf.InOut,
		"inet":                                r.Family == conf.Inet,
		"inet6":                               r.Family == conf.Inet6,
		"proto":                               r.Protocol != 0,
		"on interface":                        r.Interface != "" && !r.InterfaceNot && e.f.env.Exists(r.Interface),
		"on ! interface":                      r.Interface != "" && r.InterfaceNot,
		"on group":                            r.Interface != "" && !r.InterfaceNot && !e.f.env.Exists(r.Interface),
		"from ! or to !":                      r.Src.Not || r.Dst.Not,
		"from or to " + "prefix":              r.Src.Addr.Kind == conf.AddrPrefix || r.Dst.Addr.Kind == conf.AddrPrefix,
		"from or to " + "range":               r.Src.Addr.Kind == conf.AddrRange || r.Dst.Addr.Kind == conf.AddrRange,
		"from or to " + "(interface)":         r.Src.Addr.Kind == conf.AddrInterface || r.Dst.Addr.Kind == conf.AddrInterface,
		"from or to " + "<table>":             r.Src.Addr.Kind == conf.AddrTable || r.Dst.Addr.Kind == conf.AddrTable,
		"no-route":                            r.Src.Addr.Kind == conf.AddrNoRoute || r.Dst.Addr.Kind == conf.AddrNoRoute,
		"urpf-failed":                         r.Src.Addr.Kind == conf.AddrURPFFailed,
		"received-on":                         r.ReceivedOn != "" && !r.ReceivedOnNot,
		"! received-on":                       r.ReceivedOnNot,
		"from port " + r.Src.Port.Op.String(): r.Src.Port.Op != conf.OpNone,
		"to port " + r.Dst.Port.Op.String():   r.Dst.Port.Op != conf.OpNone,
		"flags":                               r.FlagSet != 0 && e.packet.Protocol == TCP,
		"icmp-type":                           r.ICMPType != 0,
		"icmp code":                           r.ICMPCode != 0,
		"tos":                                 r.TOS != 0,
		"fragments":                           r.Fragment,
		"tagged":                              r.Tagged != "" && !r.TaggedNot,
		"! tagged":                            r.TaggedNot,
		"allow-opts":                          r.AllowOpts,
		"no state":                            r.Anchor == nil && r.Action == conf.Pass && r.State == conf.StateNone,
		"keep state":                          r.Anchor == nil && r.State == conf.StateKeep,
		"sloppy":                              r.StateOptions.Sloppy,
		"if-bound":                            r.StateOptions.IfBound,
		"return":                              r.Return != conf.ReturnNone,
	} {
		if present {
			e.f.use(construct)
		}
	}
}
