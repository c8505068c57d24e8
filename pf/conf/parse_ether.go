package conf

import (
	"math"
	"strconv"
	"strings"
)

// The ether types that l3 addresses imply.
const (
	etherTypeIP   = 0x0800
	etherTypeIPv6 = 0x86dd
)

// etherStatement parses a layer 2 rule or anchor of FreeBSD.
func (p *parser) etherStatement(s *Statement) {
	if p.accept("anchor") {
		p.etherAnchor(s)
		return
	}
	t := p.peek()
	if t.kind != tokenString || t.text != "pass" && t.text != "block" && t.text != "match" {
		p.syntaxError()
		return
	}
	p.take()
	a := p.action(t.text)
	e := etherExpansion{base: EtherRule{Pos: p.statementPos, Action: a.action}}
	p.etherMatch(&e, true)
	p.etherOptions(&e.base)
	if !p.inOrder(orderEther) {
		return
	}
	p.checkTag(e.base.Tagged)
	if p.failed {
		return
	}
	s.EtherRules = p.expandEther(&e)
}

// etherExpansion is an ether rule with its lists.
type etherExpansion struct {
	base       EtherRule
	interfaces []ifItem
	types      []uint16
	src, dst   []EtherAddr
	ip         fromTo
}

// etherMatch parses from the direction to the l3 addresses.
func (p *parser) etherMatch(e *etherExpansion, bridge bool) {
	e.base.Direction = p.direction()
	e.base.Quick = p.accept("quick")
	e.interfaces = p.interfaces()
	if bridge && p.accept("bridge-to") {
		e.base.BridgeTo = p.str()
	}
	if p.accept("proto") {
		e.types = oneOrList(p, func() []uint16 { return []uint16{p.etherType()} })
	}
	if !p.accept("all") {
		if p.accept("from") {
			e.src = oneOrList(p, func() []EtherAddr { return []EtherAddr{p.mac()} })
		}
		if p.accept("to") {
			e.dst = oneOrList(p, func() []EtherAddr { return []EtherAddr{p.mac()} })
		}
	}
	if !p.accept("l3") {
		return
	}
	e.ip = p.fromTo()
	for _, side := range []struct {
		hosts []host
		text  string
	}{{e.ip.src.hosts, "from"}, {e.ip.dst.hosts, "to"}} {
		if len(side.hosts) > 0 && !side.hosts[0].isAddress() && side.hosts[0].addr.Kind != AddrTable {
			p.fail("%s must be an address or table", side.text)
		}
	}
}

func (p *parser) etherType() uint16 {
	var n uint64
	if p.peek().kind == tokenNumber {
		v := p.number()
		if v < 0 || v > math.MaxUint16 {
			p.fail("protocol outside range")
		}
		n = uint64(v)
	} else {
		s := p.str()
		hex, ok := strings.CutPrefix(s, "0x")
		switch {
		case p.failed:
		case !ok:
			p.fail("Symbolic EtherType not yet supported")
		default:
			var err error
			if n, err = strconv.ParseUint(hex, 16, 16); err != nil {
				p.fail("invalid EtherType hex")
			}
		}
	}
	if n == 0 {
		p.fail("proto 0 cannot be used")
	}
	return uint16(n)
}

func parseMAC(s string) (mac [6]byte, ok bool) {
	parts := strings.Split(s, ":")
	if len(parts) != len(mac) {
		return mac, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 16, 8)
		if err != nil || len(part) > 2 {
			return mac, false
		}
		mac[i] = byte(n)
	}
	return mac, true
}

var fullMask = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// mac parses an address with an optional mask: "addr/24" or "addr&mask".
func (p *parser) mac() EtherAddr {
	a := EtherAddr{Not: p.acceptNot(), IsSet: true, Mask: fullMask}
	text := p.str()
	if p.failed {
		return a
	}
	addr, mask, masked := strings.Cut(text, "&")
	length := int64(-1)
	if p.acceptSymbol('/') {
		if length = p.number(); length < 0 || length > 48 {
			p.fail("invalid MAC mask length")
		}
	}
	var ok bool
	if a.Addr, ok = parseMAC(addr); !ok {
		p.fail("invalid MAC address")
	}
	switch {
	case p.failed:
	case length >= 0:
		// Bit 0 of each byte is the first, as on the wire.
		a.Mask = [6]byte{}
		for i := range length {
			a.Mask[i/8] |= 1 << (i % 8)
		}
	case masked:
		if a.Mask, ok = parseMAC(mask); !ok {
			p.fail("invalid MAC mask")
		}
	}
	return a
}

func (p *parser) etherOptions(r *EtherRule) {
	var labels []string
	for !p.failed {
		switch {
		case p.accept("queue"):
			paren := p.acceptSymbol('(')
			name := p.str()
			if paren {
				p.expectSymbol(')')
			}
			if r.Queue != "" {
				p.fail("queue cannot be redefined")
			}
			r.Queue = name
		case p.accept("ridentifier"):
			r.RIdentifier = uint32(p.numberOrString())
		case p.accept("label"):
			p.label(&labels)
		case p.accept("tag"):
			r.Tag = p.tagName(p.tagWords())
		case p.accept("tagged"):
			r.Tagged, r.TaggedNot = p.tagWords(), false
		case p.acceptNot():
			p.expect("tagged")
			r.Tagged, r.TaggedNot = p.tagWords(), true
		case p.accept("dnpipe"):
			r.Dummynet = p.dummynet(false)
		case p.accept("dnqueue"):
			r.Dummynet = p.dummynet(true)
		default:
			p.copyLabels(&r.Labels, labels)
			return
		}
	}
}

// etherAnchor parses an anchor of ether rules after its keywords.
func (p *parser) etherAnchor(s *Statement) {
	var name string
	if p.isWord(p.peek()) {
		name = p.take().text
	}
	named := name != ""
	s.Name = name
	e := etherExpansion{base: EtherRule{Pos: p.statementPos}}
	p.etherMatch(&e, false)
	parent := p.target
	var body *Anchor
	if p.acceptSymbol('{') {
		body = p.etherBody(s)
	}
	if !p.inOrder(orderEther) {
		return
	}
	if named && reservedAnchor(name) {
		p.fail("anchor names beginning with '_' are reserved for internal use")
		return
	}
	e.base.Anchor = p.anchorCall(parent, body, name, named, true)
	if p.failed {
		return
	}
	s.EtherRules = p.expandEther(&e)
}

func (p *parser) etherBody(s *Statement) *Anchor {
	outer := p.onlyEther
	p.onlyEther = true
	body := p.anchorBody(s)
	p.onlyEther = outer
	return body
}

// expandEther makes a rule of every combination of the lists.
func (p *parser) expandEther(e *etherExpansion) []*EtherRule {
	var rules []*EtherRule
	each := func(n int) int { return max(n, 1) }
	for i := range each(len(e.interfaces)) {
		for t := range each(len(e.types)) {
			for s := range each(len(e.src)) {
				for d := range each(len(e.dst)) {
					for si := range each(len(e.ip.src.hosts)) {
						for di := range each(len(e.ip.dst.hosts)) {
							r := e.combine(i, t, s, d, si, di)
							if r = p.addEther(r); r == nil {
								return rules
							}
							rules = append(rules, r)
						}
					}
				}
			}
		}
	}
	return rules
}

func (e *etherExpansion) combine(i, t, s, d, si, di int) *EtherRule {
	r := e.base
	iface := pick(e.interfaces, i)
	r.Interface, r.InterfaceNot = iface.name, iface.not
	r.EtherType = pick(e.types, t)
	r.Src, r.Dst = pick(e.src, s), pick(e.dst, d)
	src, dst := pick(e.ip.src.hosts, si), pick(e.ip.dst.hosts, di)
	r.IPSrc = RuleAddr{Addr: src.addr, Not: src.not}
	r.IPDst = RuleAddr{Addr: dst.addr, Not: dst.not}
	r.Family = src.family
	if r.Family == Unspecified {
		r.Family = dst.family
	}
	if r.EtherType == 0 {
		switch r.Family {
		case Inet:
			r.EtherType = etherTypeIP
		case Inet6:
			r.EtherType = etherTypeIPv6
		}
	}
	return &r
}

func (p *parser) addEther(r *EtherRule) *EtherRule {
	if p.rules >= p.limits.Rules {
		if !p.statementTooLarge {
			p.errorf("more than %d rules", p.limits.Rules)
			p.statementTooLarge = true
		}
		return nil
	}
	p.rules++
	r.Number = p.target.etherCounter
	p.target.etherCounter++
	p.target.counter++
	p.target.Ether = append(p.target.Ether, r)
	return r
}
