package conf

// natPassLog parses "pass" and "log" after nat, rdr or binat.
func (p *parser) natPassLog(no bool) (pass bool, l logSpec) {
	pass = p.accept("pass")
	if p.peek().is("log") {
		l = p.log()
	}
	if no && pass {
		p.fail("\"pass\" not valid with \"no\"")
	}
	return pass, l
}

// natStatement parses a nat or rdr rule of FreeBSD and DragonFly.
func (p *parser) natStatement(s *Statement, word string, no bool) {
	r := Rule{Pos: p.statementPos, Action: Nat}
	if word == "rdr" {
		r.Action = Rdr
	}
	if no {
		r.Action++
	}
	var l logSpec
	r.NatPass, l = p.natPassLog(no)
	r.Log, r.LogIf = l.flags, l.iface
	e := expansion{interfaces: p.interfaces()}
	r.Family = p.addressFamily()
	e.protocols = p.protocolList()
	ft := p.fromTo()
	e.src, e.dst, e.oses = ft.src, ft.dst, ft.oses
	p.natTags(&r)
	var to *redirect
	if p.acceptKind(tokenArrow) {
		to = p.redirectTo()
	}
	o := p.poolOptions()
	if !p.inOrder(orderNat) {
		return
	}
	if r.Family == Unspecified {
		switch {
		case len(ft.src.hosts) > 0 && ft.src.hosts[0].family != Unspecified && ft.src.hosts[0].scope == "":
			r.Family = ft.src.hosts[0].family
		case len(ft.dst.hosts) > 0 && ft.dst.hosts[0].scope == "":
			r.Family = ft.dst.hosts[0].family
		}
	}
	p.checkTag(r.Tag)
	p.checkTag(r.Tagged)
	if no {
		if to != nil {
			p.fail("translation rule with 'no' does not need '->'")
		}
	} else {
		p.natPool(&r, to, o, ft.dst.ports)
	}
	if p.failed {
		return
	}
	e.base = r
	s.Rules = p.expand(&e)
}

func (p *parser) checkTag(tag string) { p.tagName(tag) }

// natTags parses tag, tagged and rtable, in this order.
func (p *parser) natTags(r *Rule) {
	if p.accept("tag") {
		r.Tag = p.numberName()
	}
	r.TaggedNot = p.acceptNot()
	if p.accept("tagged") {
		r.Tagged = p.tagWords()
	} else if r.TaggedNot {
		p.syntaxError()
	}
	if p.accept("rtable") {
		r.RoutingTable = p.routingTable()
	}
}

// natPool makes the pool behind "->".
func (p *parser) natPool(r *Rule, to *redirect, o poolOptions, dstPorts []PortRange) {
	if to == nil || len(to.hosts) == 0 {
		p.fail("translation rule requires '-> address'")
		return
	}
	if r.Family == Unspecified && to.hosts[0].scope == "" {
		r.Family = to.hosts[0].family
	}
	hosts := validHosts(to.hosts, &r.Family)
	if p.invalidRedirect(hosts, r.Family) || !p.checkMasks(hosts, r.Family) {
		return
	}
	pool := p.pool(hosts, o, "redirection", "only round-robin valid for multiple redirection addresses")
	pool.PortLow, pool.PortHigh = to.port.low, to.port.high
	switch {
	case r.Action == Nat:
		pool.natPorts()
	case to.port.star && len(dstPorts) > 0:
		pool.PortHigh = to.port.low + dstPorts[0].High - dstPorts[0].Low
	}
	p.natOptions(pool, o, r.Action == Nat)
	if r.Action == Nat {
		r.Nat = pool
	} else {
		r.Rdr = pool
	}
}

// checkMasks shortens dynamic addresses for inet, and abandons the statement if
// another prefix length is too long.
func (p *parser) checkMasks(hosts []host, f AddressFamily) bool {
	if f != Inet {
		return true
	}
	for i := range hosts {
		h := &hosts[i]
		switch {
		case h.addr.Kind == AddrInterface && h.addr.Bits > 32:
			h.addr.Bits = 32
		case (h.isAddress()) && h.ifname == "" && h.mask > 32:
			p.warn(SeverityError, "netmask %d invalid for IPv4 address", h.mask)
			p.abandon()
			return false
		}
	}
	return true
}

// binatStatement parses a binat rule of FreeBSD and DragonFly.
func (p *parser) binatStatement(s *Statement, no bool) {
	r := Rule{Pos: p.statementPos, Action: Binat}
	if no {
		r.Action = NoBinat
	}
	var l logSpec
	pass := p.accept("pass")
	if p.peek().is("log") {
		l = p.log()
	}
	r.NatPass, r.Log, r.LogIf = pass, l.flags, l.iface
	interfaces := p.interfaces()
	r.Family = p.addressFamily()
	protos := p.protocolList()
	var src, dst []host
	// pfctl prints "all" and does not read it.
	if !p.accept("all") {
		p.expect("from")
		src = p.hostSpec()
		if p.accept("to") {
			dst = p.hostSpec()
		}
	}
	p.natTags(&r)
	var to *redirect
	if p.acceptKind(tokenArrow) {
		to = &redirect{hosts: p.hostItem()}
		if p.accept("port") {
			to.port = p.portSpec(true, true)
		}
	}
	if !p.inOrder(orderNat) {
		return
	}
	p.refuseURPF(dst, "\"urpf-failed\" is not permitted as a binat destination")
	if no && pass {
		p.fail("\"pass\" not valid with \"no\"")
	}
	p.binatFamily(&r, src, dst, to)
	if len(interfaces) > 0 {
		r.Interface, r.InterfaceNot = interfaces[0].name, interfaces[0].not
	}
	p.checkTag(r.Tag)
	p.checkTag(r.Tagged)
	r.Protocol = pick(protos, 0)
	p.binatAddresses(&r, src, dst, to)
	p.binatPool(&r, to)
	if p.failed {
		return
	}
	p.expandLabels(&r)
	if n := p.add(&r); n != nil {
		s.Rules = []*Rule{n}
	}
}

func (p *parser) binatFamily(r *Rule, src, dst []host, to *redirect) {
	for _, hosts := range [][]host{src, dst} {
		if r.Family == Unspecified && len(hosts) > 0 {
			r.Family = hosts[0].family
		}
	}
	if r.Family == Unspecified && to != nil && len(to.hosts) > 0 {
		r.Family = to.hosts[0].family
	}
	if r.Family == Unspecified {
		p.fail("address family (inet/inet6) undefined")
	}
}

// binatAddresses checks and sets the addresses of a binat rule.
func (p *parser) binatAddresses(r *Rule, src, dst []host, to *redirect) {
	refuse := func(hosts []host, what string) {
		for _, h := range hosts {
			if h.addr.Kind == AddrTable {
				p.fail("invalid use of table <%s> as the %s address of a binat rule", h.addr.Name, what)
			}
		}
		for _, h := range hosts {
			if h.addr.multiple() {
				p.fail("invalid use of interface (%s) as the %s address of a binat rule", h.addr.Name, what)
			}
		}
	}
	refuse(src, "source")
	if to != nil {
		refuse(to.hosts, "redirect")
	}
	if p.failed {
		return
	}
	if len(src) > 0 {
		switch {
		case len(src) > 1:
			p.fail("multiple binat ip addresses")
			return
		case src[0].addr.Kind != AddrInterface && src[0].family != r.Family:
			p.fail("binat ip versions must match")
			return
		case !p.checkMasks(src, r.Family):
			return
		}
		r.Src = RuleAddr{Addr: src[0].addr}
	}
	if len(dst) > 0 {
		switch {
		case len(dst) > 1:
			p.fail("multiple binat ip addresses")
			return
		case dst[0].family != Unspecified && dst[0].family != r.Family:
			p.fail("binat ip versions must match")
			return
		case !p.checkMasks(dst, r.Family):
			return
		}
		r.Dst = RuleAddr{Addr: dst[0].addr, Not: dst[0].not}
	}
}

func (p *parser) binatPool(r *Rule, to *redirect) {
	if p.failed {
		return
	}
	if r.Action == NoBinat {
		if to != nil {
			p.fail("'no binat' rule does not need '->'")
		}
		return
	}
	if to == nil {
		p.fail("'binat' rule requires '-> address'")
		return
	}
	hosts := validHosts(to.hosts, &r.Family)
	if p.invalidRedirect(hosts, r.Family) {
		return
	}
	if len(hosts) > 1 {
		p.fail("binat rule must redirect to a single address")
		return
	}
	if !p.checkMasks(hosts, r.Family) {
		return
	}
	// The zero mask of "any" goes with every redirect address.
	if r.Src.Addr.Kind != AddrAny && r.Src.Addr.Bits != hosts[0].addr.Bits {
		p.fail("'binat' source mask and redirect mask must be the same")
		return
	}
	r.Nat = &Pool{Addrs: []PoolAddr{{Addr: hosts[0].addr}}}
}
