package conf

import (
	"math"
	"strconv"
	"strings"
)

// filterOptions are what follows the addresses of a rule.
type filterOptions struct {
	users, groups []IDRange
	flags         struct {
		set         bool
		value, mask uint8
	}
	icmp    []icmpItem
	icmpSet bool
	prio    Optional
	tos     uint8
	tosSet  bool

	keep stateSpec

	fragment, allowOpts bool
	once                bool
	allowRelated        bool
	labels              []string
	ridentifier         uint32
	queue, ackQueue     string
	tag, tagged         string
	taggedNot           bool
	probability         uint32
	routingTable        Optional
	divert              divertSpec
	divertPacket        uint16
	scrub               scrubSpec
	setPrio             [2]Optional
	setTOS              Optional
	setDelay            uint16
	setDelaySet         bool
	receivedOn          *ifItem
	packetRate          Rate
	packetSize          uint16
	dummynet            DummynetPipes

	nat, rdr  *redirect
	binat     bool
	newFamily AddressFamily
	route     *redirect
	routeKind RouteKind
}

type divertSpec struct {
	kind  DivertKind
	hosts []host
	port  uint16
}

// ruleStatement parses a pass, block or match rule.
func (p *parser) ruleStatement(s *Statement, word string) {
	r := &p.spec
	*r = ruleSpec{}
	r.action = p.action(word)
	r.direction = p.direction()
	r.log, r.quick = p.logQuick()
	r.interfaces = p.interfaces()
	r.filter.routeKind, r.filter.route = p.routeBeforeAddresses()
	r.family = p.addressFamily()
	r.protocols = p.protocolList()
	r.fromTo = p.fromTo()
	p.filterOptions(&r.filter)
	if p.failed {
		return
	}
	s.Rules = p.rule(r)
}

// filterOptions parses options until there is none.
func (p *parser) filterOptions(o *filterOptions) {
	for !p.failed && p.filterOption(o) {
	}
}

// filterOption parses one option and reports whether there was one.
func (p *parser) filterOption(o *filterOptions) bool {
	t := p.peek()
	if t.symbol('!') {
		p.take()
		switch {
		case p.accept("tagged"):
			o.tagged, o.taggedNot = p.tagWords(), true
		case p.accept("received-on"):
			p.receivedOn(o, true)
		default:
			p.syntaxError()
		}
		return true
	}
	if t.kind != tokenString || t.quoted {
		return false
	}
	parse, ok := filterWords[t.text]
	if !ok {
		return false
	}
	p.take()
	parse(p, o)
	return true
}

// filterWords are the options by their first word.
var filterWords map[string]func(*parser, *filterOptions)

func init() {
	// In init, as the parsing functions refer to the table themselves.
	filterWords = map[string]func(*parser, *filterOptions){
		"user": func(p *parser, o *filterOptions) {
			// Later lists go before earlier ones.
			o.users = append(p.ids(userKind), o.users...)
		},
		"group": func(p *parser, o *filterOptions) {
			o.groups = append(p.ids(groupKind), o.groups...)
		},
		"flags":     (*parser).flagsOption,
		"icmp-type": func(p *parser, o *filterOptions) { p.icmpOption(o, Inet) },
		"icmp6-type": func(p *parser, o *filterOptions) {
			p.icmpOption(o, Inet6)
		},
		"prio": (*parser).prioOption,
		"tos": func(p *parser, o *filterOptions) {
			v := p.tos()
			if o.tosSet {
				p.fail("tos cannot be redefined")
			}
			o.tos, o.tosSet = v, true
		},
		"no":       func(p *parser, o *filterOptions) { p.keepOption(o, StateNone) },
		"keep":     func(p *parser, o *filterOptions) { p.keepOption(o, StateKeep) },
		"modulate": func(p *parser, o *filterOptions) { p.keepOption(o, StateModulate) },
		"synproxy": func(p *parser, o *filterOptions) { p.keepOption(o, StateSynproxy) },
		"fragment": func(_ *parser, o *filterOptions) { o.fragment = true },
		"allow-opts": func(_ *parser, o *filterOptions) {
			o.allowOpts = true
		},
		"once": func(_ *parser, o *filterOptions) { o.once = true },
		"allow-related": func(_ *parser, o *filterOptions) {
			o.allowRelated = true
		},
		"label": func(p *parser, o *filterOptions) { p.label(&o.labels) },
		"ridentifier": func(p *parser, o *filterOptions) {
			o.ridentifier = uint32(p.numberOrString())
		},
		"queue":   (*parser).queueOption,
		"dnpipe":  func(p *parser, o *filterOptions) { o.dummynet = p.dummynet(false) },
		"dnqueue": func(p *parser, o *filterOptions) { o.dummynet = p.dummynet(true) },
		"tag":     func(p *parser, o *filterOptions) { o.tag = p.tagWords() },
		"tagged": func(p *parser, o *filterOptions) {
			o.tagged, o.taggedNot = p.tagWords(), false
		},
		"probability":   (*parser).probabilityOption,
		"rtable":        func(p *parser, o *filterOptions) { o.routingTable = p.routingTable() },
		"divert-to":     (*parser).divertToOption,
		"divert-reply":  (*parser).divertReplyOption,
		"divert-packet": (*parser).divertPacketOption,
		"scrub":         (*parser).scrubOption,
		"set":           (*parser).setOption,
		"nat-to":        func(p *parser, o *filterOptions) { p.natTo(o, false) },
		"binat-to":      func(p *parser, o *filterOptions) { p.natTo(o, true) },
		"rdr-to":        (*parser).rdrTo,
		"af-to":         (*parser).afTo,
		"route-to":      func(p *parser, o *filterOptions) { p.routeOption(o, RouteTo) },
		"reply-to":      func(p *parser, o *filterOptions) { p.routeOption(o, ReplyTo) },
		"dup-to":        func(p *parser, o *filterOptions) { p.routeOption(o, DupTo) },
		"received-on":   func(p *parser, o *filterOptions) { p.receivedOn(o, false) },
		"max-pkt-rate":  (*parser).packetRateOption,
		"max-pkt-size": func(p *parser, o *filterOptions) {
			n := p.number()
			if n < 0 || n > math.MaxUint16 {
				p.fail("max-pkt-size out of range: max 65535")
			}
			o.packetSize = uint16(n)
		},
	}
}

func (p *parser) flagsOption(o *filterOptions) {
	value, mask := p.tcpFlags()
	if o.flags.set {
		p.fail("flags cannot be redefined")
	}
	o.flags.set, o.flags.value, o.flags.mask = true, value, mask
}

func (p *parser) icmpOption(o *filterOptions, f AddressFamily) {
	items := p.icmpItems(f)
	if o.icmpSet {
		p.fail("icmp-type cannot be redefined")
	}
	o.icmp, o.icmpSet = items, true
}

func (p *parser) prioOption(o *filterOptions) {
	n := p.number()
	if o.prio != 0 {
		p.fail("prio cannot be redefined")
	}
	if n < 0 || n > maxPrio {
		p.fail("prio must be 0 - %d", maxPrio)
	}
	o.prio = Some(uint8(n))
}

func (p *parser) keepOption(o *filterOptions, kind StateKind) {
	k := p.keep(kind)
	if o.keep.set {
		p.fail("modulate or keep cannot be redefined")
	}
	o.keep = k
}

// label adds a label to the list, of which OpenBSD and DragonFly allow one.
func (p *parser) label(labels *[]string) {
	text := p.str()
	switch {
	case p.dialect != FreeBSD && len(*labels) > 0:
		p.fail("label cannot be redefined")
	case len(*labels) >= maxLabels:
		p.fail("label can only be used %d times", maxLabels)
	}
	*labels = append(*labels, text)
}

// queueName parses "name" or "(name, name)".
func (p *parser) queueNames() (queue, ack string) {
	if !p.acceptSymbol('(') {
		queue = p.numberName()
		p.requireQueue(queue)
		return queue, ""
	}
	queue = p.numberName()
	if !p.peek().symbol(')') {
		p.acceptComma()
		ack = p.numberName()
	}
	if p.expectSymbol(')') {
		p.requireQueue(queue)
		if ack != "" {
			p.requireQueue(ack)
		}
	}
	return queue, ack
}

func (p *parser) queueOption(o *filterOptions) {
	queue, ack := p.queueNames()
	if o.queue != "" {
		p.fail("queue cannot be redefined")
	}
	o.queue, o.ackQueue = queue, ack
}

func (p *parser) dummynet(queue bool) DummynetPipes {
	d := DummynetPipes{Queue: queue}
	read := func() uint16 {
		n := p.numberOrString()
		if n > math.MaxUint16 {
			p.fail("dummynet number out of range: %d", n)
		}
		return uint16(n)
	}
	if !p.acceptSymbol('(') {
		d.Pipe = read()
		return d
	}
	d.Pipe = read()
	if !p.peek().symbol(')') {
		p.acceptComma()
		d.Return = read()
	}
	p.expectSymbol(')')
	return d
}

func (p *parser) probabilityOption(o *filterOptions) {
	var v float64
	if p.peek().kind == tokenNumber {
		v = float64(p.number())
	} else {
		s := p.str()
		if p.failed {
			return
		}
		digits, percent := strings.CutSuffix(s, "%")
		var err error
		if v, err = strconv.ParseFloat(digits, 64); err != nil && !isRangeError(err) {
			p.fail("invalid probability: %s", s)
			return
		}
		if percent {
			v *= 0.01
		}
	}
	n := math.Floor(v*math.MaxUint32 + 0.5)
	if !(n >= 0 && n <= math.MaxUint32) {
		if p.dialect == OpenBSD {
			p.fail("invalid probability: %s%%", formatG(v*100))
		} else {
			p.fail("invalid probability: %f", n)
		}
		return
	}
	// Zero would mean "always".
	o.probability = max(uint32(n), 1)
}

// formatG writes a number as printf's %g.
func formatG(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// routingTable parses the number after rtable.
func (p *parser) routingTable() Optional {
	n := p.number()
	limit := int64(maxRoutingTable)
	if p.dialect == FreeBSD {
		limit = maxFreeBSDFibs
	}
	if n < 0 || n > limit {
		p.fail("invalid rtable id")
		return 0
	}
	if exists := p.cfg.RoutingTableExists; exists != nil && p.dialect == OpenBSD && !exists(int(n)) {
		p.fail("rtable %d does not exist", n)
	}
	return Some(uint8(n))
}

// divertTwice refuses a second divert option, as OpenBSD does. divert-packet,
// which only OpenBSD has, refuses everywhere.
func (p *parser) divertTwice(o *filterOptions) {
	if p.dialect == OpenBSD && o.divert.kind != DivertNone || o.divertPacket != 0 {
		p.fail("more than one divert option")
	}
}

func (p *parser) divertToOption(o *filterOptions) {
	t := p.peek()
	name := p.numberString()
	if p.failed {
		return
	}
	if p.dialect != OpenBSD {
		p.divertTwice(o)
	}
	// FreeBSD's divert-to has a port only: its divert sockets have no address.
	if !p.accept("port") {
		if p.dialect == OpenBSD {
			p.syntaxError()
			return
		}
		port := p.plainPort(name, t)
		o.divert = divertSpec{kind: DivertTo, port: port}
		return
	}
	port := p.portSpec(false, false).low
	if p.failed {
		return
	}
	if p.divertTwice(o); p.failed {
		return
	}
	d := divertSpec{kind: DivertTo, port: port}
	if p.dialect != FreeBSD {
		if d.hosts = p.host(name); d.hosts == nil {
			p.fail("could not parse divert address: %s", name)
			return
		}
	}
	if port == 0 {
		p.fail("invalid divert port: 0")
	}
	o.divert = d
}

func (p *parser) plainPort(text string, _ token) uint16 {
	if strings.Contains(text, ":") {
		p.abandon()
		return 0
	}
	port, _ := p.service(text)
	if port == 0 {
		p.fail("invalid divert port: 0")
	}
	return port
}

func (p *parser) divertReplyOption(o *filterOptions) {
	switch {
	case p.dialect == FreeBSD:
		p.fail("divert-reply has no meaning in FreeBSD pf(4)")
	default:
		p.divertTwice(o)
	}
	o.divert.kind = DivertReply
}

func (p *parser) divertPacketOption(o *filterOptions) {
	p.expect("port")
	port := p.portSpec(false, false).low
	switch {
	case p.failed:
		return
	case o.divert.kind != DivertNone || o.divertPacket != 0:
		p.fail("more than one divert option")
	case port == 0:
		p.fail("invalid divert port: 0")
	}
	// A program that rewrites packets needs whole TCP segments.
	if p.out.Options.Reassemble {
		o.scrub.tcp = true
	}
	o.divertPacket = port
}

// setOption parses "set item" or "set (item, item)".
func (p *parser) setOption(o *filterOptions) {
	if !p.acceptSymbol('(') {
		p.setItem(o)
		return
	}
	for {
		p.setItem(o)
		if p.failed || p.acceptSymbol(')') {
			return
		}
		p.acceptComma()
	}
}

func (p *parser) setItem(o *filterOptions) {
	switch {
	case p.accept("prio"):
		p.setPrio(o)
	case p.accept("queue"):
		p.queueOption(o)
	case p.accept("tos"):
		v := p.tos()
		if o.setTOS != 0 {
			p.fail("tos cannot be respecified")
		}
		o.setTOS = Some(v)
	case p.accept("delay"):
		n := p.number()
		if o.setDelay != 0 {
			p.fail("delay cannot be respecified")
		}
		if n < 0 || n > math.MaxUint16 {
			p.fail("illegal delay value %d (0-%d)", n, math.MaxUint16)
		}
		o.setDelay, o.setDelaySet = uint16(n), true
	default:
		p.syntaxError()
	}
}

func (p *parser) setPrio(o *filterOptions) {
	check := func(n int64) {
		if n < 0 || n > maxPrio {
			p.fail("prio must be 0 - %d", maxPrio)
		}
	}
	var a, b int64
	if p.acceptSymbol('(') {
		a = p.number()
		p.acceptComma()
		b = p.number()
		p.expectSymbol(')')
	} else {
		a = p.number()
		b = a
	}
	check(a)
	check(b)
	if o.setPrio[0] != 0 {
		p.fail("prio cannot be redefined")
	}
	o.setPrio = [2]Optional{Some(uint8(a)), Some(uint8(b))}
}

func (p *parser) receivedOn(o *filterOptions, not bool) {
	i := p.ifItem()
	i.not = not
	if o.receivedOn != nil {
		p.fail("cannot respecify received-on")
	}
	o.receivedOn = &i
}

func (p *parser) packetRateOption(o *filterOptions) {
	limit := p.number()
	p.expectSymbol('/')
	seconds := p.number()
	p.checkPositive(limit, seconds)
	if o.packetRate.Limit != 0 {
		p.fail("cannot respecify max-pkt-rate")
	}
	o.packetRate = Rate{Limit: uint32(limit), Seconds: uint32(seconds)}
}

// checkPositive refuses what does not fit 32 bits without sign.
func (p *parser) checkPositive(values ...int64) {
	for _, n := range values {
		if n < 0 || n > math.MaxUint32 {
			p.fail("only positive values permitted")
		}
	}
}
