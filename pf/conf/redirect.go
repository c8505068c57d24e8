package conf

// poolUse tells what a pool is for.
type poolUse uint8

const (
	poolNat poolUse = iota
	poolRdr
	poolRoute
)

// collapse makes OpenBSD's pool of the addresses of one combination: a single
// address, or a table of several. It may settle the family of the rule. The
// word is "translation" or "routing", for messages.
func (x *expander) collapse(dst **Pool, r *Rule, rs *redirect, word string) {
	if rs == nil || len(rs.hosts) == 0 {
		return
	}
	*dst = nil
	fail := func(format string, args ...any) {
		x.errorf(format, args...)
		x.errors++
	}
	afto := r.NewFamily
	var chosen AddressFamily
	var first *host
	var table *Table
	count := 0
	for i := range rs.hosts {
		h := &rs.hosts[i]
		if word == "routing" && h.addr.Kind == AddrInterface && h.addr.Modifiers != ModPeer {
			fail("route spec requires :peer with dynamic interface addresses")
			return
		}
		if afto != Unspecified && r.Family == Unspecified && chosen == Unspecified {
			chosen = Inet
			if afto == Inet {
				chosen = Inet6
			}
		}
		switch {
		case h.family == Unspecified:
		case afto == Unspecified:
			if r.Family != Unspecified && r.Family != h.family {
				continue
			}
			if r.Family == Unspecified && chosen != Unspecified && chosen != h.family {
				fail("%s spec contains addresses with different address families", word)
				return
			}
		case afto != h.family:
			fail("%s spec contains addresses that don't match target address family", word)
			return
		}
		if r.Family == Unspecified && chosen == Unspecified {
			chosen = h.family
		}
		if h.ifname != "" {
			fail("@if not permitted for %s", word)
			return
		}
		if count++; count == 1 {
			first = h
			*dst = &Pool{Addrs: []PoolAddr{{Addr: h.addr, Weight: h.weight}}}
			continue
		}
		if rs.pool.kind != PoolNone && !rs.pool.kind.dynamic() {
			fail("pool type is not valid for multiple translation or routing addresses")
			return
		}
		if first != nil && !first.isAddress() && !h.isAddress() {
			fail("multiple tables or dynamic interfaces not supported for translation or routing")
			return
		}
		if table == nil {
			table = x.automaticTable()
		}
		if first != nil {
			table.append(*first)
			first = nil
		}
		table.append(*h)
	}
	if r.Family == Unspecified {
		r.Family = chosen
	}
	if count == 0 {
		fail("af mismatch in %s spec", word)
		return
	}
	if table != nil {
		x.addTable(table)
		*dst = &Pool{Addrs: []PoolAddr{{Addr: Addr{Kind: AddrTable, Name: table.Name}}}}
	}
}

// isAddress reports whether a host is an address or network.
func (h *host) isAddress() bool { return h.addr.Kind == AddrPrefix || h.addr.Kind == AddrAny }

// applyPool sets ports and options of OpenBSD's pools.
func (x *expander) applyPool(pool *Pool, rs *redirect, use poolUse, dstPort PortRange) {
	if rs == nil || pool == nil {
		return
	}
	fail := func(format string, args ...any) {
		x.errorf(format, args...)
		x.errors++
	}
	pool.PortLow, pool.PortHigh = rs.port.low, rs.port.high
	switch {
	case use == poolNat:
		pool.natPorts()
	case rs.port.star:
		pool.PortHigh = rs.port.low + dstPort.High - dstPort.Low
	case rs.port.isRange && rs.port.low > rs.port.high:
		fail("invalid rdr-to port range")
		return
	}
	pool.Type = rs.pool.kind
	addr := pool.Addrs[0].Addr
	if pool.Type == PoolNone && (addr.Kind == AddrTable || addr.multiple()) {
		pool.Type = PoolRoundRobin
	}
	if !pool.Type.dynamic() {
		for _, h := range rs.hosts {
			switch {
			case h.addr.Kind == AddrTable:
				fail("tables are not supported by pool type")
				return
			case h.addr.multiple():
				fail("interface (%s) is not supported by pool type", h.addr.Name)
				return
			}
		}
	}
	pool.Key, pool.StickyAddress = rs.pool.key, rs.pool.sticky
	if !rs.pool.staticPort {
		return
	}
	switch {
	case use != poolNat:
		fail("the 'static-port' option is only valid with nat rules")
	case !pool.defaultNatPorts():
		fail("the 'static-port' option can't be used when specifying a port range")
	default:
		pool.PortLow, pool.PortHigh = 0, 0
	}
}

// natPorts fills in the proxy ports of nat.
func (p *Pool) natPorts() {
	switch {
	case p.PortLow == 0 && p.PortHigh == 0:
		p.PortLow, p.PortHigh = natProxyPortLow, natProxyPortHigh
	case p.PortHigh == 0:
		p.PortHigh = p.PortLow
	}
}

// defaultNatPorts reports whether no ports were asked for. One bound is enough
// for pfctl.
func (p *Pool) defaultNatPorts() bool {
	return p.PortLow == natProxyPortLow || p.PortHigh == natProxyPortHigh
}

// applyRoute checks the routing of a rule and makes its pool.
func (p *parser) applyRoute(e *expansion, o *filterOptions) bool {
	r := &e.base
	if o.routeKind == RouteNone {
		return true
	}
	r.RouteKind = o.routeKind
	if r.Direction == InOut && (p.dialect != OpenBSD || r.RouteKind != DupTo) {
		p.fail("direction must be explicit with rules that specify routing")
		return false
	}
	if r.RouteKind == RouteFast {
		return true
	}
	if p.dialect == OpenBSD {
		e.route = o.route
		return true
	}
	hosts := o.route.hosts
	if !o.route.pool.preferIPv6 {
		decideFamily(hosts, &r.Family)
		hosts = validHosts(hosts, &r.Family)
	}
	if len(hosts) == 0 {
		p.fail("no routing address with matching address family found.")
		return false
	}
	r.Route = p.pool(hosts, o.route.pool, "routing", "r.rpool.opts must be PF_POOL_ROUNDROBIN")
	return !p.failed
}

// validHosts leaves the hosts of a family, or of the first one found.
func validHosts(hosts []host, f *AddressFamily) []host {
	var valid []host
	for _, h := range hosts {
		if *f != Unspecified && h.family != Unspecified && h.family != *f {
			continue
		}
		if h.family != Unspecified && *f == Unspecified {
			*f = h.family
		}
		valid = append(valid, h)
	}
	return valid
}

// pool makes FreeBSD's pool of addresses; several are only good for
// round-robin, which a text says.
func (p *parser) pool(hosts []host, o poolOptions, word, several string) *Pool {
	pool := &Pool{Type: o.kind, Key: o.key, StickyAddress: o.sticky, EndpointIndependent: o.endpoint,
		PreferIPv6NextHop: o.preferIPv6}
	first := hosts[0].addr
	if pool.Type == PoolNone && (len(hosts) > 1 || first.Kind == AddrTable || first.multiple()) {
		pool.Type = PoolRoundRobin
	}
	for _, h := range hosts {
		pool.Addrs = append(pool.Addrs, PoolAddr{Addr: h.addr, Interface: h.ifname, Weight: h.weight})
	}
	if pool.Type == PoolRoundRobin {
		return pool
	}
	// DragonFly and the older FreeBSD say more.
	tables, interfaces := "tables are not supported by pool type", "interface (%s) is not supported by pool type"
	if p.dialect == DragonFly {
		tables = "tables are only supported in round-robin " + word + " pools"
		interfaces = "interface (%s) is only supported in round-robin " + word + " pools"
	}
	for _, h := range hosts {
		if h.addr.Kind == AddrTable {
			p.fail("%s", tables)
		}
	}
	for _, h := range hosts {
		if h.addr.multiple() {
			p.fail(interfaces, h.addr.Name)
		}
	}
	if len(hosts) > 1 {
		p.fail("%s", several)
	}
	return pool
}

// applyTranslation makes the pools of nat-to, rdr-to and af-to in the dialects
// that keep the addresses in the rule.
func (p *parser) applyTranslation(e *expansion, o *filterOptions) bool {
	r := &e.base
	if o.nat != nil {
		r.Nat = p.translationPool(r, o.nat, poolNat, e.dst.ports)
	}
	if o.rdr != nil && !p.failed {
		r.Rdr = p.translationPool(r, o.rdr, poolRdr, e.dst.ports)
	}
	return !p.failed
}

func (p *parser) translationPool(r *Rule, rs *redirect, use poolUse, dstPorts []PortRange) *Pool {
	f := r.Family
	if r.NewFamily != Unspecified {
		f = r.NewFamily
	}
	hosts := validHosts(rs.hosts, &f)
	if r.NewFamily == Unspecified {
		r.Family = f
	}
	if p.invalidRedirect(hosts, f) {
		return nil
	}
	pool := p.pool(hosts, rs.pool, "redirection", "only round-robin valid for multiple redirection addresses")
	pool.PortLow, pool.PortHigh = rs.port.low, rs.port.high
	switch {
	case use == poolNat:
		pool.natPorts()
	case rs.port.star && len(dstPorts) > 0:
		pool.PortHigh = rs.port.low + dstPorts[0].High - dstPorts[0].Low
	}
	p.natOptions(pool, rs.pool, use == poolNat)
	return pool
}

// natOptions applies static-port and map-e-portset.
func (p *parser) natOptions(pool *Pool, o poolOptions, nat bool) {
	if o.staticPort {
		switch {
		case !nat:
			p.fail("the 'static-port' option is only valid with nat rules")
		case !pool.defaultNatPorts():
			p.fail("the 'static-port' option can't be used when specifying a port range")
		}
		pool.PortLow, pool.PortHigh = 0, 0
	}
	if o.mape.Offset == 0 {
		return
	}
	switch {
	case !nat:
		p.fail("the 'map-e-portset' option is only valid with nat rules")
	case o.staticPort:
		p.fail("the 'map-e-portset' option can't be used 'static-port'")
	case !pool.defaultNatPorts():
		p.fail("the 'map-e-portset' option can't be used when specifying a port range")
	}
	pool.MAPE = o.mape
}

func (p *parser) invalidRedirect(hosts []host, f AddressFamily) bool {
	if f == Unspecified {
		for _, h := range hosts {
			if h.addr.Kind != AddrTable && h.addr.Kind != AddrInterface {
				p.fail("address family not given and translation address expands to multiple address families")
				return true
			}
		}
	}
	if len(hosts) == 0 {
		p.fail("no translation address with matching address family found.")
		return true
	}
	return false
}
