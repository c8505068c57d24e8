package conf

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

// redirect is an address pool as written, before expansion.
type redirect struct {
	hosts []host
	port  portSpec
	pool  poolOptions
}

type poolOptions struct {
	kind       PoolType
	key        [4]uint32
	sticky     bool
	staticPort bool
	mape       MAPE
	endpoint   bool
	preferIPv6 bool
}

// weight parses an optional weight.
func (p *parser) weight(hosts []host) []host {
	if !p.accept("weight") {
		return hosts
	}
	n := p.number()
	if n < 1 || n > math.MaxUint16 {
		p.fail("weight out of range")
	}
	for i := range hosts {
		hosts[i].weight = uint16(n)
	}
	return hosts
}

// poolHosts parses an address or a list of them.
func (p *parser) poolHosts() []host {
	if !p.acceptSymbol('{') {
		return p.weight(p.hostItem())
	}
	first := true
	return list(p, func() []host {
		hosts := p.weight(p.hostItem())
		if first && p.dialect == OpenBSD && len(hosts) > 0 && hosts[0].addr.Kind != AddrPrefix &&
			hosts[0].addr.Kind != AddrAny {
			p.fail("only addresses can be listed for redirection pools ")
		}
		first = false
		return hosts
	})
}

// redirectTo parses addresses and an optional port.
func (p *parser) redirectTo() *redirect {
	r := &redirect{hosts: p.poolHosts()}
	if p.accept("port") {
		r.port = p.portSpec(true, true)
	}
	return r
}

func (p *parser) poolOptions() poolOptions {
	var o poolOptions
	for !p.failed {
		t := p.peek()
		if t.kind != tokenString || t.quoted {
			return o
		}
		switch t.text {
		case "bitmask":
			p.take()
			p.poolType(&o, PoolBitmask)
		case "random":
			p.take()
			p.poolType(&o, PoolRandom)
		case "round-robin":
			p.take()
			p.poolType(&o, PoolRoundRobin)
		case "least-states":
			p.take()
			p.poolType(&o, PoolLeastStates)
		case "source-hash":
			p.take()
			key := p.hashKey()
			p.poolType(&o, PoolSourceHash)
			o.key = key
		case "static-port":
			p.take()
			if o.staticPort {
				p.fail("static-port cannot be redefined")
			}
			o.staticPort = true
		case "sticky-address":
			p.take()
			if o.sticky {
				p.fail("sticky-address cannot be redefined")
			}
			o.sticky = true
		case "map-e-portset":
			p.take()
			p.mape(&o)
		case "endpoint-independent":
			p.take()
			o.endpoint = true
		case "prefer-ipv6-nexthop":
			p.take()
			o.preferIPv6 = true
		default:
			return o
		}
	}
	return o
}

func (p *parser) poolType(o *poolOptions, t PoolType) {
	if o.kind != PoolNone {
		p.fail("pool type cannot be redefined")
	}
	o.kind = t
}

// hashKey parses the key of source-hash; without one it is random.
func (p *parser) hashKey() (key [4]uint32) {
	var raw [md5.Size]byte
	if !p.isWord(p.peek()) {
		// rand.Read does not fail.
		rand.Read(raw[:])
		return keyWords(raw)
	}
	s := p.words()
	hex, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return keyWords(md5.Sum([]byte(s)))
	}
	if len(s) != 34 {
		p.fail("hex key must be 128 bits (32 hex digits) long")
		return key
	}
	for i := range key {
		n, err := strconv.ParseUint(hex[i*8:i*8+8], 16, 32)
		if err != nil {
			p.fail("invalid hex key")
			return key
		}
		key[i] = uint32(n)
	}
	return key
}

func keyWords(raw [md5.Size]byte) (key [4]uint32) {
	for i := range key {
		key[i] = binary.BigEndian.Uint32(raw[i*4:])
	}
	return key
}

// mape parses "offset/length/id".
func (p *parser) mape(o *poolOptions) {
	offset := p.numberOrString()
	p.expectSymbol('/')
	length := p.numberOrString()
	p.expectSymbol('/')
	id := p.numberOrString()
	switch {
	case p.failed:
	case o.mape.Offset != 0:
		p.fail("map-e-portset cannot be redefined")
	case o.kind != PoolNone:
		p.fail("map-e-portset cannot be used with address pools")
	case offset == 0 || offset >= 16:
		p.fail("MAP-E PSID offset must be 1-15")
	case length >= 16 || offset+length > 16:
		p.fail("Invalid MAP-E PSID length")
	case length == 0:
		p.fail("PSID Length = 0: this means you do not need MAP-E")
	case id > math.MaxUint16:
		p.fail("Invalid MAP-E PSID")
	default:
		o.mape = MAPE{Offset: uint8(offset), PSIDBits: uint8(length), PSID: uint16(id)}
	}
}

func (p *parser) natTo(o *filterOptions, binat bool) {
	r := p.redirectTo()
	r.pool = p.poolOptions()
	if o.nat != nil {
		p.fail("cannot respecify nat-to/binat-to")
	}
	if binat {
		r.pool.staticPort = true
	}
	o.nat, o.binat = r, binat
}

func (p *parser) rdrTo(o *filterOptions) {
	r := p.redirectTo()
	r.pool = p.poolOptions()
	if o.rdr != nil {
		p.fail("cannot respecify rdr-to")
	}
	o.rdr = r
}

// afTo parses "af-to inet6 from source to destination". Both have their own pool
// options, where pfctl lets those of the destination replace the others.
func (p *parser) afTo(o *filterOptions) {
	f := p.addressFamily()
	p.expect("from")
	nat := p.redirectTo()
	nat.pool = p.poolOptions()
	var rdr *redirect
	if p.accept("to") {
		rdr = p.redirectTo()
		rdr.pool = p.poolOptions()
	}
	switch {
	case p.failed:
		return
	case o.nat != nil:
		p.fail("cannot respecify af-to")
	case f == Unspecified && rdr == nil:
		p.fail("no target address family specified")
	case f == Unspecified:
		p.fail("no address family specified")
	case rdr != nil && (foreign(nat.hosts[0], f) || foreign(rdr.hosts[0], f)):
		p.fail("af-to addresses must be in the target address family")
	}
	o.nat, o.rdr, o.newFamily = nat, rdr, f
}

func foreign(h host, f AddressFamily) bool {
	return h.family != Unspecified && h.family != f
}

func (p *parser) routeOption(o *filterOptions, kind RouteKind) {
	r := p.routeTarget()
	if o.routeKind != RouteNone {
		p.fail("cannot respecify route-to/reply-to/dup-to")
	}
	o.route, o.routeKind = r, kind
}

// routeBeforeAddresses parses routing at FreeBSD's and DragonFly's place.
func (p *parser) routeBeforeAddresses() (RouteKind, *redirect) {
	switch {
	case p.accept("route-to"):
		return RouteTo, p.routeTarget()
	case p.accept("reply-to"):
		return ReplyTo, p.routeTarget()
	case p.accept("dup-to"):
		return DupTo, p.routeTarget()
	case p.accept("fastroute"):
		// FreeBSD takes and forgets it.
		if p.dialect == DragonFly {
			return RouteFast, nil
		}
	}
	return RouteNone, nil
}

func (p *parser) routeTarget() *redirect {
	r := new(redirect)
	if p.dialect == OpenBSD {
		r.hosts = p.routeHostsOpenBSD()
	} else {
		r.hosts = p.routeHosts()
	}
	r.pool = p.poolOptions()
	return r
}

// routeHostsOpenBSD parses next hops; FreeBSD's "(interface address)" is taken
// too, and its interface is found by the route to the address.
func (p *parser) routeHostsOpenBSD() []host {
	if !p.peek().symbol('(') {
		return p.poolHosts()
	}
	p.take()
	name := p.str()
	if p.acceptSymbol(')') {
		h, ok := p.dynamic(name)
		if !ok {
			return nil
		}
		hosts := []host{h}
		if p.acceptSymbol('/') {
			hosts[0].addr.Bits = uint8(min(max(p.number(), 0), 128))
		}
		return p.weight(hosts)
	}
	hosts := p.hostItem()
	p.expectSymbol(')')
	return hosts
}

// routeHosts parses "interface", "(interface address)" or a list of them, all of
// one family.
func (p *parser) routeHosts() []host {
	if !p.acceptSymbol('{') {
		return p.routeHost()
	}
	var f AddressFamily
	first := true
	return list(p, func() []host {
		hosts := p.routeHost()
		if p.failed {
			return nil
		}
		if first || f == Unspecified {
			f = hosts[0].family
		}
		if !first && hosts[0].family != f {
			p.fail("all pool addresses must be in the same address family")
		}
		first = false
		return hosts
	})
}

func (p *parser) routeHost() []host {
	if !p.acceptSymbol('(') {
		name := p.str()
		// OpenBSD's next hop without interface is an address.
		if h, ok := plainHost(name); ok {
			return []host{h}
		}
		if len(name) > maxInterfaceName {
			p.fail("interface name too long")
		}
		return []host{{ifname: name, mask: 128}}
	}
	name := p.str()
	hosts := p.hostItem()
	p.expectSymbol(')')
	if len(name) > maxInterfaceName {
		p.fail("interface name too long")
	}
	for i := range hosts {
		hosts[i].ifname = name
	}
	return hosts
}
