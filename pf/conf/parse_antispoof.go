package conf

// antispoofStatement parses "antispoof for interface" and makes its block rules.
func (p *parser) antispoofStatement(s *Statement) {
	l, quick := p.logQuick()
	p.expect("for")
	interfaces := oneOrList(p, func() []ifItem {
		if !p.acceptSymbol('(') {
			return []ifItem{p.ifItem()}
		}
		i := p.ifItem()
		i.dynamic = true
		p.expectSymbol(')')
		return []ifItem{i}
	})
	base := Rule{
		Pos: p.statementPos, Action: Block, Direction: In,
		Log: l.flags, LogIf: l.iface, Quick: quick,
	}
	base.Family = p.addressFamily()
	var labels []string
	for !p.failed {
		switch {
		case p.accept("label"):
			p.label(&labels)
			continue
		case p.accept("ridentifier"):
			base.RIdentifier = uint32(p.numberOrString())
			continue
		case p.accept("rtable"):
			base.RoutingTable = p.routingTable()
			continue
		}
		break
	}
	if !p.inOrder(orderFilter) {
		return
	}
	p.applyLabels(&base, labels)
	if p.failed {
		return
	}
	for _, i := range interfaces {
		s.Rules = append(s.Rules, p.antispoof(base, i)...)
	}
}

// antispoof blocks the network of an interface elsewhere, and its own addresses
// everywhere.
func (p *parser) antispoof(base Rule, i ifItem) []*Rule {
	var networks, addrs []host
	if i.dynamic {
		own := host{addr: Addr{Kind: AddrInterface, Name: i.name, Bits: 128}}
		network := own
		network.addr.Modifiers = ModNetwork
		networks, addrs = []host{network}, []host{own}
	} else {
		t := p.interfaceTable()
		networks = t.lookup(i.name, ModNetwork, p.dialect)
		addrs = t.lookup(i.name, 0, p.dialect)
	}
	var rules []*Rule
	if len(networks) > 0 {
		e := expansion{base: base, src: endpoint{hosts: networks}}
		e.interfaces = []ifItem{{name: i.name, not: true}}
		rules = p.expand(&e)
	}
	if !i.loopback && len(addrs) > 0 {
		if p.dialect == DragonFly {
			base.LogIf = 0 // forgotten by its pfctl
		}
		e := expansion{base: base, src: endpoint{hosts: addrs}}
		rules = append(rules, p.expand(&e)...)
	}
	return rules
}
