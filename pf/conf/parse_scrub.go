package conf

import (
	"math"
	"strings"
)

// scrubSpec are scrub options as written.
type scrubSpec struct {
	noDF, randomID, tcp bool
	minTTL              Optional
	maxMSS              uint16
	maxMSSSet           bool
	setTOS              Optional
	fragments           FragmentMode
	fragmentsSet        bool
	routingTable        Optional
	tagged              string
	taggedNot           bool
}

func (o *scrubSpec) options() ScrubOptions {
	ttl, _ := o.minTTL.Get()
	return ScrubOptions{
		NoDF: o.noDF, RandomID: o.randomID, MinTTL: ttl, MaxMSS: o.maxMSS,
		ReassembleTCP: o.tcp, SetTOS: o.setTOS, Fragments: o.fragments,
	}
}

// scrubOption parses "scrub (options)" of a match or pass rule.
func (p *parser) scrubOption(o *filterOptions) {
	p.expectSymbol('(')
	var s scrubSpec
	if p.dialect == OpenBSD || !p.peek().symbol(')') {
		for {
			if !p.scrubItem(&s) {
				p.syntaxError()
			}
			if p.failed || p.peek().symbol(')') {
				break
			}
			p.acceptComma()
		}
	}
	p.expectSymbol(')')
	// Later scrub options replace earlier ones, except for TCP.
	s.tcp = s.tcp || o.scrub.tcp
	o.scrub = s
}

// scrubItem parses one scrub option and reports whether there was one.
func (p *parser) scrubItem(o *scrubSpec) bool {
	switch {
	case p.accept("no-df"):
		if o.noDF {
			p.fail("no-df cannot be respecified")
		}
		o.noDF = true
	case p.accept("random-id"):
		if o.randomID {
			p.fail("random-id cannot be respecified")
		}
		o.randomID = true
	case p.accept("min-ttl"):
		n := p.number()
		if o.minTTL != 0 {
			p.fail("min-ttl cannot be respecified")
		}
		if n < 0 || n > 255 {
			p.fail("illegal min-ttl value %d", n)
		}
		o.minTTL = Some(uint8(n))
	case p.accept("max-mss"):
		n := p.number()
		if o.maxMSSSet {
			p.fail("max-mss cannot be respecified")
		}
		if n < 0 || n > math.MaxUint16 {
			p.fail("illegal max-mss value %d", n)
		}
		o.maxMSS, o.maxMSSSet = uint16(n), true
	case p.accept("reassemble"):
		what := p.str()
		if !strings.EqualFold(what, "tcp") {
			p.fail("scrub reassemble supports only tcp, not '%s'", what)
		}
		if o.tcp {
			p.fail("reassemble tcp cannot be respecified")
		}
		o.tcp = true
	case p.accept("set-tos"):
		v := p.tos()
		if o.setTOS != 0 {
			p.fail("set-tos cannot be respecified")
		}
		o.setTOS = Some(v)
	case p.accept("fragment"):
		p.scrubFragment(o)
	case p.accept("rtable"):
		o.routingTable = p.routingTable()
	case p.peek().is("tagged"):
		p.take()
		o.tagged, o.taggedNot = p.tagWords(), false
	case p.acceptNot():
		p.expect("tagged")
		o.tagged, o.taggedNot = p.tagWords(), true
	default:
		return false
	}
	return true
}

func (p *parser) scrubFragment(o *scrubSpec) {
	mode := FragmentsReassemble
	switch {
	case p.accept("reassemble"):
	case p.accept("no"):
		p.expect("reassemble")
		mode = FragmentsNoReassemble
	case p.accept("crop"):
		mode = FragmentsCrop
	case p.accept("drop-ovl"):
		mode = FragmentsDropOverlap
	default:
		p.syntaxError()
	}
	if o.fragmentsSet {
		p.fail("fragcache cannot be respecified")
	}
	o.fragments, o.fragmentsSet = mode, true
}

// scrubStatement parses a scrub rule of FreeBSD and DragonFly.
func (p *parser) scrubStatement(s *Statement, no bool) {
	r := Rule{Pos: p.statementPos, Action: Scrub}
	if no {
		r.Action = NoScrub
	}
	r.Direction = p.direction()
	l, quick := p.logQuick()
	r.Log, r.LogIf = l.flags, l.iface
	e := expansion{interfaces: p.interfaces()}
	r.Family = p.addressFamily()
	e.protocols = p.protocolList()
	ft := p.fromTo()
	e.src, e.dst, e.oses = ft.src, ft.dst, ft.oses
	var o scrubSpec
	for !p.failed {
		comma := p.acceptSymbol(',')
		if !p.scrubItem(&o) {
			if comma {
				p.syntaxError()
			}
			break
		}
	}
	if !p.inOrder(orderScrub) {
		return
	}
	if quick {
		p.fail("scrub rules do not support 'quick'")
	}
	if o.tcp && r.Direction != InOut {
		p.fail("reassemble tcp rules can not specify direction")
	}
	r.Scrub = o.options()
	r.Tagged, r.TaggedNot = p.tagName(o.tagged), o.taggedNot
	r.RoutingTable = o.routingTable
	if p.failed {
		return
	}
	e.base = r
	s.Rules = p.expand(&e)
}
