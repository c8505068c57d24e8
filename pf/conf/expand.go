package conf

// expansion is a rule with its lists, ready to become single rules.
type expansion struct {
	base       Rule
	interfaces []ifItem
	protocols  []uint8
	icmp       []icmpItem
	src, dst   endpoint
	oses       []string
	users      []IDRange
	groups     []IDRange
	receivedOn *ifItem

	// OpenBSD's pools, which become tables while the rule expands.
	nat, rdr, route *redirect
	binat           bool
}

func (p *parser) expansion(base Rule, s *ruleSpec) expansion {
	return expansion{
		base:       base,
		interfaces: s.interfaces,
		protocols:  s.protocols,
		icmp:       s.filter.icmp,
		src:        s.fromTo.src,
		dst:        s.fromTo.dst,
		oses:       s.fromTo.oses,
		users:      s.filter.users,
		groups:     s.filter.groups,
		receivedOn: s.filter.receivedOn,
	}
}

// The lists of a rule.
const (
	byInterface = iota
	byProtocol
	byICMP
	bySrc
	byDst
	bySrcPort
	byDstPort
	byOS
	byUser
	byGroup
	listCount
)

// The nesting of the lists, outermost first, which orders the rules.
var (
	nestingOpenBSD = [listCount]int{byInterface, byProtocol, byICMP, bySrc, byDst, bySrcPort, byDstPort, byOS, byUser, byGroup}
	nestingFreeBSD = [listCount]int{byInterface, byProtocol, byICMP, bySrc, bySrcPort, byOS, byDst, byDstPort, byUser, byGroup}
)

// pick is the element of a list, or its zero value if there is no list.
func pick[T any](list []T, i int) (v T) {
	if len(list) > 0 {
		v = list[i]
	}
	return v
}

// rest is the list from an element on.
func rest[T any](list []T, i int) []T {
	if len(list) == 0 {
		return nil
	}
	return list[i:]
}

// expand makes a rule of every combination of the lists.
func (p *parser) expand(e *expansion) []*Rule {
	counts := [listCount]int{
		byInterface: len(e.interfaces), byProtocol: len(e.protocols), byICMP: len(e.icmp),
		bySrc: len(e.src.hosts), byDst: len(e.dst.hosts), bySrcPort: len(e.src.ports),
		byDstPort: len(e.dst.ports), byOS: len(e.oses), byUser: len(e.users), byGroup: len(e.groups),
	}
	nesting := &nestingFreeBSD
	if p.dialect == OpenBSD {
		nesting = &nestingOpenBSD
	}
	x := expander{parser: p, e: e}
	var at [listCount]int
	for tried := 0; ; tried++ {
		if tried >= p.limits.Combinations {
			p.errorf("rule has more than %d combinations", p.limits.Combinations)
			p.statementTooLarge = true
		}
		if p.statementTooLarge {
			return x.rules
		}
		x.combine(&at)
		// Count on like an odometer.
		i := listCount - 1
		for ; i >= 0; i-- {
			n := nesting[i]
			if at[n]++; at[n] < counts[n] {
				break
			}
			at[n] = 0
		}
		if i < 0 {
			break
		}
	}
	if !x.added {
		p.errorf("rule expands to no valid combination")
	}
	return x.rules
}

// expander holds what lasts over the combinations of a rule.
type expander struct {
	*parser
	e *expansion
	// errors stay: after one, pfctl skips all later combinations too.
	errors int
	added  bool
	rules  []*Rule
}

// combine makes the rule of one combination, if it is valid.
func (x *expander) combine(at *[listCount]int) {
	e := x.e
	r := e.base
	src, dst := pick(e.src.hosts, at[bySrc]), pick(e.dst.hosts, at[byDst])
	iface := pick(e.interfaces, at[byInterface])
	x.collapse(&r.Rdr, &r, e.rdr, "translation")
	x.collapse(&r.Nat, &r, e.nat, "translation")
	x.collapse(&r.Route, &r, e.route, "routing")
	if !compatible(&r, src, dst, iface) {
		return
	}
	switch {
	case r.Family != Unspecified:
	case src.family != Unspecified:
		r.Family = src.family
	default:
		r.Family = dst.family
	}
	switch {
	case iface.name != "":
		r.Interface = iface.name
	case src.scope != "":
		r.Interface = src.scope
	default:
		r.Interface = dst.scope
	}
	r.RoutingDomain = iface.rdomain
	r.InterfaceNot = iface.not
	r.Protocol = pick(e.protocols, at[byProtocol])
	if x.dialect != OpenBSD && pick(e.oses, at[byOS]) != "" && r.Protocol != 0 && r.Protocol != protocolTCP {
		// pfctl makes this rule, which matches nothing, and would not read it.
		return
	}
	x.checkMask(&src, r.Family, e.src.hosts, at[bySrc])
	x.checkMask(&dst, r.Family, e.dst.hosts, at[byDst])
	r.Src = RuleAddr{Addr: src.addr, Not: src.not, Port: pick(e.src.ports, at[bySrcPort])}
	r.Dst = RuleAddr{Addr: dst.addr, Not: dst.not, Port: pick(e.dst.ports, at[byDstPort])}
	x.expandLabels(&r)
	r.User, r.Group = pick(e.users, at[byUser]), pick(e.groups, at[byGroup])
	if e.receivedOn != nil {
		r.ReceivedOn, r.ReceivedOnNot = e.receivedOn.name, e.receivedOn.not
	}
	icmp := pick(e.icmp, at[byICMP])
	r.ICMPType, r.ICMPCode = icmp.typ, icmp.code
	if r.Protocol != 0 && r.Protocol != protocolTCP {
		if r.State == StateModulate || r.State == StateSynproxy {
			r.State = StateKeep
		}
		r.Flags, r.FlagSet = 0, 0
	}
	if icmp.protocol != 0 && r.Protocol != icmp.protocol {
		x.errorf("icmp-type mismatch")
		x.errors++
	}
	x.setOS(&r, pick(e.oses, at[byOS]))
	if x.dialect == OpenBSD {
		if e.binat {
			x.checkBinat(&r, src)
			r.Direction = Out
		}
		dstPort := r.Dst.Port
		x.applyPool(r.Nat, e.nat, poolNat, dstPort)
		x.applyPool(r.Rdr, e.rdr, poolRdr, dstPort)
		x.applyPool(r.Route, e.route, poolRoute, dstPort)
	}
	if !x.consistent(&r) || x.errors > 0 {
		x.errorf("skipping rule due to errors")
	} else if n := x.add(&r); n != nil {
		x.rules = append(x.rules, n)
		x.added = true
	}
	if x.errors == 0 && e.binat {
		x.inbound(&r, src, at)
	}
}

// compatible reports whether families and scopes of a combination agree; a
// link-local address belongs to its interface.
func compatible(r *Rule, src, dst host, iface ifItem) bool {
	clash := func(a, b AddressFamily) bool {
		return a != Unspecified && b != Unspecified && a != b
	}
	different := func(a, b string) bool { return a != "" && b != "" && a != b }
	return !clash(r.Family, src.family) && !clash(r.Family, dst.family) &&
		!clash(src.family, dst.family) && !different(src.scope, dst.scope) &&
		!different(src.scope, iface.name) && !different(dst.scope, iface.name)
}

// checkMask shortens the prefix length of dynamic addresses for inet and
// refuses others that are too long.
func (x *expander) checkMask(h *host, f AddressFamily, list []host, i int) {
	if f != Inet {
		return
	}
	switch {
	case h.addr.Kind == AddrInterface && h.addr.Bits > 32:
		h.addr.Bits = 32
		// FreeBSD's and DragonFly's pfctl change the list itself, so that
		// later rules of inet6 get the short prefix too.
		if x.dialect != OpenBSD && len(list) > 0 {
			list[i].addr.Bits = 32
		}
	case (h.addr.Kind == AddrPrefix || h.addr.Kind == AddrAny) && h.mask > 32:
		x.warn(SeverityError, "netmask %d invalid for IPv4 address", h.mask)
		x.errors++
	}
}

func (x *expander) setOS(r *Rule, name string) {
	if name == "" {
		return
	}
	r.OS = name
	if x.cfg.Fingerprints == nil {
		return
	}
	n, ok := x.cfg.Fingerprints.Number(name)
	if !ok {
		x.warn(SeverityVerbose, "warning: unknown '%s' OS fingerprint", name)
		n = FingerprintNoMatch
	}
	r.OSNumber = n
}

// checkBinat checks the addresses of binat-to.
func (x *expander) checkBinat(r *Rule, src host) {
	fail := func(format string, args ...any) {
		x.errorf(format, args...)
		x.errors++
	}
	var to Addr
	if r.Nat != nil {
		to = r.Nat.Addrs[0].Addr
	}
	plain := func(a Addr) bool {
		return a.Kind == AddrPrefix || a.Kind == AddrAny || a.Kind == AddrInterface
	}
	// The mask of these is zero.
	open := func(a Addr) bool {
		return a.Kind == AddrAny || a.Kind == AddrNoRoute || a.Kind == AddrURPFFailed
	}
	switch {
	case src.addr.Kind == AddrTable:
		fail("invalid use of table <%s> as the source address of a binat-to rule", src.addr.Name)
	case src.addr.multiple():
		fail("invalid use of interface (%s) as the source address of a binat-to rule", src.addr.Name)
	case !plain(src.addr) || !plain(to) || r.Nat == nil:
		fail("binat-to requires a specified source and redirect address")
	}
	if src.addr.multiple() || to.multiple() {
		fail("dynamic interfaces must be used with :0 in a binat-to rule")
	}
	if x.e.base.Family != Unspecified && (open(src.addr) || r.Nat != nil && open(to)) {
		fail("source and redir addresess must have a matching network mask in binat-rule")
	}
	if to.Kind == AddrTable {
		fail("tables cannot be used as the redirect address of a binat-to rule")
	}
	if r.Direction != InOut {
		fail("binat-to cannot be specified with a direction")
	}
}

// inbound makes the rules for the other direction of binat-to. As pfctl does, it
// goes through the rest of every list.
func (x *expander) inbound(r *Rule, src host, at *[listCount]int) {
	e := x.e
	back := *r
	back.Direction = In
	back.Nat, back.Route, back.RouteKind = nil, nil, RouteNone
	src.ifname = ""
	in := expansion{
		base:       back,
		interfaces: rest(e.interfaces, at[byInterface]),
		protocols:  rest(e.protocols, at[byProtocol]),
		icmp:       rest(e.icmp, at[byICMP]),
		src:        endpoint{hosts: rest(e.dst.hosts, at[byDst]), ports: rest(e.dst.ports, at[byDstPort])},
		dst:        endpoint{hosts: []host{{addr: r.Nat.Addrs[0].Addr}}, ports: rest(e.src.ports, at[bySrcPort])},
		oses:       rest(e.oses, at[byOS]),
		users:      rest(e.users, at[byUser]),
		groups:     rest(e.groups, at[byGroup]),
		receivedOn: e.receivedOn,
	}
	in.rdr = &redirect{hosts: []host{src}, port: e.nat.port, pool: e.nat.pool}
	in.rdr.pool.staticPort = false
	x.rules = append(x.rules, x.parser.expand(&in)...)
}
