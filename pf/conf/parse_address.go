package conf

import (
	"fmt"
	"strings"
)

// ifItem is an interface as written in a rule.
type ifItem struct {
	name     string
	not      bool
	dynamic  bool // (em0) of antispoof
	rdomain  Optional
	loopback bool
}

// endpoint is one side of from and to.
type endpoint struct {
	hosts []host
	ports []PortRange
}

type fromTo struct {
	src, dst endpoint
	oses     []string
}

// interfaces parses "on ..."; nil is everywhere.
func (p *parser) interfaces() []ifItem {
	if !p.accept("on") {
		return nil
	}
	return oneOrList(p, func() []ifItem {
		not := p.acceptNot()
		i := p.ifItem()
		i.not = not
		return []ifItem{i}
	})
}

func (p *parser) ifItem() ifItem {
	switch {
	case p.accept("any"):
		return ifItem{name: "any"}
	case p.peek().is("rdomain"):
		p.take()
		n := p.number()
		if n < 0 || n > maxRoutingTable {
			if !p.failed {
				// As pfctl, which goes on after this error.
				p.errorf("rdomain %d outside range", n)
			}
			n = 0
		}
		return ifItem{rdomain: Some(uint8(n))}
	}
	name := p.str()
	if len(name) > maxInterfaceName {
		p.fail("interface name too long")
	}
	return ifItem{name: name, loopback: p.interfaceTable().loopback(name)}
}

func (p *parser) interfaceTable() *InterfaceTable { return p.cfg.Interfaces }

func (p *parser) addressFamily() AddressFamily {
	switch {
	case p.accept("inet"):
		return Inet
	case p.accept("inet6"):
		return Inet6
	}
	return Unspecified
}

// protocolList parses "proto ..."; nil is every protocol.
func (p *parser) protocolList() []uint8 {
	if !p.accept("proto") {
		return nil
	}
	return oneOrList(p, func() []uint8 { return []uint8{p.protocol()} })
}

func (p *parser) protocol() uint8 {
	var proto uint8
	if p.peek().kind == tokenNumber {
		n := p.number()
		if n < 0 || n > 255 {
			p.fail("protocol outside range")
		}
		proto = uint8(n)
	} else {
		name := p.str()
		n, ok := protocolNumber(name)
		if !ok {
			p.fail("unknown protocol %s", name)
		}
		proto = n
	}
	if proto == 0 {
		p.fail("proto 0 cannot be used")
	}
	return proto
}

// fromTo parses "all", or "from ... os ... to ..." of which each may be absent.
func (p *parser) fromTo() fromTo {
	var ft fromTo
	if p.accept("all") {
		return ft
	}
	if p.accept("from") {
		ft.src = p.endpoint()
	}
	if p.accept("os") {
		ft.oses = oneOrList(p, func() []string { return []string{p.str()} })
	}
	if p.accept("to") {
		ft.dst = p.endpoint()
		p.refuseURPF(ft.dst.hosts, "\"urpf-failed\" is not permitted in a destination address")
	}
	return ft
}

func (p *parser) refuseURPF(hosts []host, text string) {
	for _, h := range hosts {
		if h.addr.Kind == AddrURPFFailed {
			p.fail("%s", text)
			return
		}
	}
}

func (p *parser) endpoint() endpoint {
	var e endpoint
	if p.accept("port") {
		e.ports = p.ports()
		return e
	}
	e.hosts = p.hostSpec()
	if p.accept("port") {
		e.ports = p.ports()
	}
	return e
}

// hostSpec parses an address, "any" or a list; nil is any.
func (p *parser) hostSpec() []host {
	if p.accept("any") {
		return nil
	}
	if !p.acceptSymbol('{') {
		return p.negatedHost()
	}
	// In OpenBSD a list with "any" in it is any; elsewhere it is left out.
	anything := false
	hosts := list(p, func() []host {
		h := p.hostSpec()
		if h == nil {
			anything = true
		}
		return h
	})
	if anything && p.dialect == OpenBSD {
		return nil
	}
	return hosts
}

// negatedHost parses an address with an optional "!" before it.
func (p *parser) negatedHost() []host {
	not := p.acceptNot()
	var hosts []host
	switch {
	case p.accept("no-route"):
		hosts = []host{{addr: Addr{Kind: AddrNoRoute}}}
	case p.accept("urpf-failed"):
		hosts = []host{{addr: Addr{Kind: AddrURPFFailed}}}
	default:
		hosts = p.hostItem()
	}
	for i := range hosts {
		hosts[i].not = not
	}
	return hosts
}

// hostItem parses an address, range, network, name, dynamic interface, table
// or route label.
func (p *parser) hostItem() []host {
	t := p.peek()
	switch {
	case t.symbol('('):
		return p.dynamicHost()
	case t.symbol('<'):
		p.take()
		name := p.numberName()
		if p.expectSymbol('>') && len(name) > maxTableName {
			p.fail("table name '%s' too long", name)
		}
		return []host{{addr: Addr{Kind: AddrTable, Name: name}}}
	case t.is("route"):
		p.take()
		name := p.str()
		if len(name) > maxRouteLabel {
			p.fail("route label too long, max %d chars", maxRouteLabel)
		}
		return []host{{addr: Addr{Kind: AddrRouteLabel, Name: name}}}
	case t.kind == tokenNumber:
		n := p.number()
		if !p.expectSymbol('/') {
			return nil
		}
		return p.resolve(fmt.Sprintf("%d/%d", n, p.number()))
	}
	name := p.str()
	switch {
	case p.acceptSymbol('/'):
		return p.resolve(fmt.Sprintf("%s/%d", name, p.number()))
	case p.acceptSymbol('-'):
		return p.hostRange(name, p.str())
	}
	return p.resolve(name)
}

func (p *parser) resolve(name string) []host {
	if p.failed {
		return nil
	}
	hosts := p.host(name)
	if hosts == nil {
		p.fail("could not parse host specification")
	}
	return hosts
}

func (p *parser) hostRange(first, last string) []host {
	if p.failed {
		return nil
	}
	low := p.host(first)
	var high []host
	if low != nil {
		high = p.host(last)
	}
	if high == nil {
		p.fail("could not parse host specification")
		return nil
	}
	single := func(h []host) bool {
		return len(h) == 1 && h[0].addr.Kind == AddrPrefix && int(h[0].addr.Bits) == h[0].addr.IP.BitLen()
	}
	if !single(low) || !single(high) || low[0].family != high[0].family {
		p.fail("invalid address range")
		return nil
	}
	low[0].addr = Addr{Kind: AddrRange, IP: low[0].addr.IP, Last: high[0].addr.IP}
	return low
}

// dynamicHost parses "(em0:network)" with an optional prefix length.
func (p *parser) dynamicHost() []host {
	p.take()
	text := p.str()
	if !p.expectSymbol(')') {
		return nil
	}
	h, ok := p.dynamic(text)
	if !ok {
		return nil
	}
	if p.acceptSymbol('/') {
		n := p.number()
		if n < 0 || n > 128 {
			p.fail("bit number too big")
			return nil
		}
		h.addr.Bits = uint8(n)
	}
	return []host{h}
}

func (p *parser) dynamic(text string) (host, bool) {
	if text == "" || !isAlpha(int(text[0])) {
		p.fail("invalid interface name '%s'", text)
		return host{}, false
	}
	name, mods, ok := cutModifiers(text)
	switch {
	case !ok:
		p.fail("interface %s has bad modifier", name)
		return host{}, false
	case mods&(mods-1)&modExclusive != 0:
		p.fail("illegal combination of interface modifiers")
		return host{}, false
	case len(name) > maxInterfaceName:
		p.fail("interface name too long")
		return host{}, false
	}
	return host{addr: Addr{Kind: AddrInterface, Name: name, Modifiers: mods, Bits: 128}}, true
}

// portSpec is a port or range as written; star is "port:*".
type portSpec struct {
	low, high uint16
	isRange   bool
	star      bool
}

func (p *parser) ports() []PortRange {
	return oneOrList(p, func() []PortRange { return []PortRange{p.portItem()} })
}

// comparison takes an operator before a value, if there is one.
func (p *parser) comparison() Op {
	switch {
	case p.acceptSymbol('='):
		return OpEqual
	case p.acceptKind(tokenNotEqual):
		return OpNot
	case p.acceptKind(tokenLessEqual):
		return OpLessEq
	case p.acceptKind(tokenMoreEqual):
		return OpMoreEq
	case p.acceptSymbol('<'):
		return OpLess
	case p.acceptSymbol('>'):
		return OpMore
	}
	return OpNone
}

// binary takes "><" or "<>".
func (p *parser) binary() Op {
	switch {
	case p.acceptKind(tokenInside):
		return OpInside
	case p.acceptKind(tokenOutside):
		return OpOutside
	}
	return OpNone
}

func (p *parser) portItem() PortRange {
	const misuse = "':' cannot be used with an other port operator"
	if op := p.comparison(); op != OpNone {
		s := p.portSpec(true, false)
		if s.isRange {
			p.fail(misuse)
		}
		return PortRange{Op: op, Low: s.low}
	}
	first := p.portSpec(true, false)
	if op := p.binary(); op != OpNone {
		second := p.portSpec(true, false)
		if first.isRange || second.isRange {
			p.fail(misuse)
		}
		r := PortRange{Op: op, Low: first.low, High: second.low}
		p.checkRange(r)
		return r
	}
	if !first.isRange {
		return PortRange{Op: OpEqual, Low: first.low}
	}
	r := PortRange{Op: OpRange, Low: first.low, High: first.high}
	p.checkRange(r)
	return r
}

// checkRange refuses ranges that match nothing or everything; DragonFly does not.
func (p *parser) checkRange(r PortRange) {
	if p.dialect != DragonFly && r.empty() {
		p.fail("invalid port range")
	}
}

// empty reports whether the bounds of a range are the wrong way round.
func (r PortRange) empty() bool {
	switch r.Op {
	case OpRange, OpOutside:
		return r.Low > r.High
	case OpInside:
		return r.Low >= r.High
	}
	return false
}

// portSpec parses a port, where allowed "low:high" or "low:*".
func (p *parser) portSpec(ranges, star bool) portSpec {
	text := p.numberString()
	if p.failed {
		return portSpec{}
	}
	lowText, highText, found := strings.Cut(text, ":")
	if !found {
		low, _ := p.service(text)
		return portSpec{low: low}
	}
	if star && highText == "*" {
		low, _ := p.service(lowText)
		return portSpec{low: low, star: true}
	}
	if !ranges {
		if p.dialect == OpenBSD {
			p.fail("port is invalid: %s", text)
		} else {
			p.abandon()
		}
		return portSpec{}
	}
	low, ok := p.service(lowText)
	if !ok {
		return portSpec{}
	}
	high, _ := p.service(highText)
	if low == high {
		return portSpec{low: low}
	}
	return portSpec{low: low, high: high, isRange: true}
}

// service finds the port of a number or service name.
func (p *parser) service(name string) (uint16, bool) {
	if n, ok := parseNumber(name); ok {
		if n > 65535 {
			p.fail("illegal port value %d", n)
			return 0, false
		}
		return uint16(n), true
	}
	port, ok := servicePort(name)
	if !ok {
		p.fail("unknown port %s", name)
	}
	return port, ok
}
