package conf

import (
	"fmt"
	"strings"
)

// ruleOrder is a category of statement in the order that FreeBSD and DragonFly
// require.
type ruleOrder uint8

const (
	orderNone ruleOrder = iota
	orderOption
	orderEther
	orderScrub
	orderQueue
	orderNat
	orderFilter
)

// builder is what grows while a file is read.
type builder struct {
	root   *Anchor
	target *Anchor // where rules go now: root, or the inline anchor being read
	depth  int     // inline anchors around

	statementPos      Position
	statementTooLarge bool

	stage     ruleOrder
	automatic int  // next number of an automatic table
	rules     int  // rules of all anchors
	unnamed   int  // inline anchors so far, which names unnamed ones
	onlyEther bool // within an ether anchor
	defined   map[definedAnchor]bool
	loads     []loadAnchor

	optimizationSet   bool
	syncookieMarksSet bool
	timeoutSet        [TimeoutCount]bool
	limitSet          [LimitCount]bool
	stateDefaults     *[]stateOption
	keepPolicy        stateSpec

	queueRoots []*Queue
	queueSpecs []*Queue
	altqs      []*ALTQ
	altqTree   []altqChild
	tableNames map[string]bool
}

// definedAnchor is an anchor that has rules in braces: layer 2 rules apart.
type definedAnchor struct {
	*Anchor
	ether bool
}

// ruleSpec is a rule as written.
type ruleSpec struct {
	action     actionSpec
	direction  Direction
	log        logSpec
	quick      bool
	interfaces []ifItem
	family     AddressFamily
	protocols  []uint8
	fromTo     fromTo
	filter     filterOptions
}

// inOrder checks the order of statements, where a dialect has one.
func (p *parser) inOrder(o ruleOrder) bool {
	if p.failed {
		return false
	}
	if p.dialect != OpenBSD && p.out.Options.RequireOrder && p.stage > o {
		ether := "ethernet, "
		if p.dialect == DragonFly {
			ether = ""
		}
		p.fail("Rules must be in order: options, %snormalization, queueing, translation, filtering", ether)
		return false
	}
	p.stage = o
	return true
}

// directive keeps a line to print.
func (p *parser) directive(k DirectiveKind, text string) {
	p.out.Directives = append(p.out.Directives, Directive{
		Pos: p.statementPos, Kind: k, Anchor: p.target.Path, Text: text, holder: p.target,
	})
}

// rule checks a pass, block or match rule and expands it.
func (p *parser) rule(s *ruleSpec) []*Rule {
	if !p.inOrder(orderFilter) {
		return nil
	}
	base := p.baseRule(s)
	if p.dialect == OpenBSD {
		p.applyFilter(&base, &s.filter)
	} else {
		p.applyFilterFreeBSD(&base, &s.filter)
	}
	p.checkTCP(s, "apply")
	if p.failed {
		return nil
	}
	p.applyState(&base, &s.filter)
	if p.failed {
		return nil
	}
	decideFamily(s.fromTo.src.hosts, &base.Family)
	decideFamily(s.fromTo.dst.hosts, &base.Family)
	e := &p.expanded
	*e = p.expansion(base, s)
	if !p.applyRoute(e, &s.filter) || !p.applyDivert(&e.base, &s.filter) {
		return nil
	}
	if p.dialect == OpenBSD {
		e.nat, e.rdr, e.binat = s.filter.nat, s.filter.rdr, s.filter.binat
	} else if !p.applyTranslation(e, &s.filter) {
		return nil
	}
	return p.expand(e)
}

func (p *parser) baseRule(s *ruleSpec) Rule {
	r := Rule{
		Pos:       p.statementPos,
		Action:    s.action.action,
		Return:    s.action.answer,
		Direction: s.direction,
		Log:       s.log.flags,
		LogIf:     s.log.iface,
		Quick:     s.quick,
		Family:    s.family,
	}
	switch r.Return {
	case ReturnRST:
		r.ReturnTTL = s.action.ttl
	case ReturnICMP, ReturnAuto:
		r.ReturnICMP, r.ReturnICMP6 = s.action.icmp, s.action.icmp6
	}
	return r
}

// applyFilter moves options into the rule, in the order of OpenBSD's checks.
func (p *parser) applyFilter(r *Rule, o *filterOptions) {
	if o.once {
		if r.Action == Match || r.Anchor != nil {
			p.fail("'once' only applies to pass/block rules")
		}
		r.Once = true
	}
	p.copyOptions(r, o)
	p.applyTags(r, o)
	p.applyLabels(r, o.labels)
	if o.newFamily != Unspecified {
		switch {
		case r.Direction != In:
			p.fail("af-to can only be used with direction in")
		case o.routeKind != RouteNone:
			p.fail("af-to cannot be used together with route-to, reply-to, dup-to")
		}
	}
	p.applyFlags(r, o)
	p.applyQueue(r, o)
}

// applyFilterFreeBSD does the same in the order of FreeBSD and DragonFly.
func (p *parser) applyFilterFreeBSD(r *Rule, o *filterOptions) {
	p.copyOptions(r, o)
	p.applyTags(r, o)
	p.applyLabels(r, o.labels)
	p.applyFlags(r, o)
	if o.once {
		if r.Action == Match || r.Anchor != nil {
			p.fail("'once' only applies to pass/block rules")
		}
		r.Once = true
	}
	if o.newFamily != Unspecified {
		switch {
		case r.Direction != In:
			p.fail("af-to can only be used with direction in")
		case o.routeKind != RouteNone:
			p.fail("af-to cannot be used together with route-to, reply-to, dup-to")
		}
	}
	p.applyQueue(r, o)
}

// copyOptions moves the options that need no check.
func (p *parser) copyOptions(r *Rule, o *filterOptions) {
	r.Probability = o.probability
	r.RoutingTable = o.routingTable
	r.TOS = o.tos
	r.Prio = o.prio
	r.PacketRate = o.packetRate
	r.PacketSize = o.packetSize
	r.Scrub = o.scrub.options()
	if o.setTOS != 0 {
		r.Scrub.SetTOS = o.setTOS
	}
	r.SetPrio = o.setPrio
	r.SetDelay, r.HasSetDelay = o.setDelay, o.setDelaySet
	r.RIdentifier = o.ridentifier
	r.Dummynet = o.dummynet
	r.Fragment = o.fragment
	r.AllowOpts = o.allowOpts
	r.AllowRelated = o.allowRelated
	r.NewFamily = o.newFamily
	r.TaggedNot = o.taggedNot
}

func (p *parser) applyTags(r *Rule, o *filterOptions) {
	r.Tag, r.Tagged = p.tagName(o.tag), p.tagName(o.tagged)
}

func (p *parser) tagName(tag string) string {
	if len(tag) > maxTagName {
		p.fail("tag too long, max %d chars", maxTagName)
	}
	return tag
}

func (p *parser) applyLabels(r *Rule, labels []string) {
	p.copyLabels(&r.Labels, labels)
}

func (p *parser) copyLabels(dst *[maxLabels]string, labels []string) {
	n := 0
	for _, l := range labels {
		if len(l) > maxLabel {
			p.fail("rule label too long (max %d chars)", maxLabel)
			return
		}
		if l != "" {
			dst[n] = l
			n++
		}
	}
}

func (p *parser) applyFlags(r *Rule, o *filterOptions) {
	r.Flags, r.FlagSet = o.flags.value, o.flags.mask
	if r.Flags&r.FlagSet != r.Flags {
		p.fail("flags always false")
	}
}

func (p *parser) applyQueue(r *Rule, o *filterOptions) {
	r.Queue, r.AckQueue = o.queue, o.ackQueue
	if len(r.Queue) > maxQueueName {
		p.fail("rule qname too long (max %d chars)", maxQueueName)
	}
	if len(r.AckQueue) > maxQueueName {
		p.fail("rule pqname too long (max %d chars)", maxQueueName)
	}
}

// checkTCP refuses TCP options of rules for other protocols; verb is "apply" of
// rules or "applies" of anchors, as pfctl has it.
func (p *parser) checkTCP(s *ruleSpec, verb string) {
	o := &s.filter
	flags := o.flags.value != 0 || o.flags.mask != 0
	if p.failed || !flags && s.fromTo.oses == nil || s.protocols == nil {
		return
	}
	for _, proto := range s.protocols {
		if proto == protocolTCP {
			return
		}
	}
	if flags {
		p.errorf("flags only apply to tcp")
	}
	if s.fromTo.oses != nil {
		p.errorf("OS fingerprinting only %s to tcp", verb)
	}
	p.abandon()
}

// applyState decides how the rule makes states.
func (p *parser) applyState(r *Rule, o *filterOptions) {
	r.State = o.keep.kind
	options := o.keep.options
	if !o.keep.set && r.Action == Pass {
		switch {
		case p.dialect == DragonFly:
			r.State, options = p.keepPolicy.kind, p.keepPolicy.options
		default:
			r.State = StateKeep
			if p.stateDefaults != nil {
				options = *p.stateDefaults
			}
		}
	}
	t := p.collectState(options)
	if p.failed {
		return
	}
	// Only the first packet of a TCP connection makes a state.
	if p.dialect != DragonFly && r.Action == Pass && !o.flags.set && !o.fragment && r.State != StateNone {
		r.Flags, r.FlagSet = tcpFlagSYN, tcpFlagSYN|tcpFlagACK
	}
	p.finishState(&t, r.State)
	r.StateOptions = t.options
	r.AllowRelated = (r.AllowRelated || t.related) && r.State != StateNone
}

const (
	tcpFlagSYN = 1 << 1
	tcpFlagACK = 1 << 4
)

// decideFamily takes the family that all hosts have, unless the rule has one.
func decideFamily(hosts []host, f *AddressFamily) {
	if *f != Unspecified || len(hosts) == 0 {
		return
	}
	for _, h := range hosts[1:] {
		if h.family != hosts[0].family {
			return
		}
	}
	*f = hosts[0].family
}

// applyDivert checks and sets where packets are diverted to.
func (p *parser) applyDivert(r *Rule, o *filterOptions) bool {
	r.DivertPacket = o.divertPacket
	d := &o.divert
	r.Divert = Divert{Kind: d.kind, Port: d.port}
	switch {
	case d.kind == DivertNone || p.dialect == FreeBSD:
		return true
	case p.dialect == DragonFly:
		return p.applyDivertDragonFly(r, d)
	case d.kind == DivertReply:
		if r.Direction == In {
			p.fail("divert-reply used with incoming rule")
		}
	case r.Direction == Out:
		p.fail("divert-to used with outgoing rule")
	default:
		for _, h := range d.hosts {
			if r.Family == Unspecified || h.family == r.Family {
				r.Family = h.family
				r.Divert.Addr = h.addr.IP
				return true
			}
		}
		p.fail("divert-to address family mismatch")
	}
	return !p.failed
}

func (p *parser) applyDivertDragonFly(r *Rule, d *divertSpec) bool {
	switch {
	case r.Direction == Out && d.hosts != nil:
		p.fail("address specified for outgoing divert")
	case r.Direction == Out:
	case d.hosts == nil:
		p.fail("no address specified for incoming divert")
	case d.hosts[0].family != r.Family:
		p.fail("address family mismatch for divert")
	default:
		r.Divert.Addr = d.hosts[0].addr.IP
	}
	return !p.failed
}

// add numbers a rule and puts it where it belongs.
func (p *parser) add(r *Rule) *Rule {
	if p.rules >= p.limits.Rules {
		if !p.statementTooLarge {
			p.errorf("more than %d rules", p.limits.Rules)
			p.statementTooLarge = true
		}
		return nil
	}
	p.rules++
	n := new(Rule)
	*n = *r
	n.Number = p.target.counter
	p.target.counter++
	l := p.target.list(n.Action)
	*l = append(*l, n)
	return n
}

// replaceMacros fills one of $if, $srcaddr and so on into a label or tag.
func replaceMacro(s *string, name string, value func() string) {
	if strings.Contains(*s, name) {
		*s = strings.ReplaceAll(*s, name, value())
	}
}

// forLabels calls f for every text of a rule that may hold label macros, with
// the greatest length it may have.
func (r *Rule) forLabels(f func(s *string, limit int)) {
	for i := range r.Labels {
		f(&r.Labels[i], maxLabel)
	}
	f(&r.Tag, maxTagName)
	f(&r.Tagged, maxTagName)
}

// expandLabels fills the macros of labels and tags; $nr comes later.
func (p *parser) expandLabels(r *Rule) {
	r.forLabels(func(s *string, limit int) {
		if !strings.Contains(*s, "$") {
			return
		}
		replaceMacro(s, "$if", func() string {
			if r.Interface == "" {
				return "any"
			}
			return r.Interface
		})
		replaceMacro(s, "$srcaddr", func() string { return labelAddr(r.Src, r.Family) })
		replaceMacro(s, "$dstaddr", func() string { return labelAddr(r.Dst, r.Family) })
		replaceMacro(s, "$srcport", func() string { return labelPort(r.Src.Port) })
		replaceMacro(s, "$dstport", func() string { return labelPort(r.Dst.Port) })
		replaceMacro(s, "$proto", func() string { return protocolName(r.Protocol) })
		if len(*s) > limit {
			p.warn(SeverityError, "pfctl: expand_label: label too long")
			*s = (*s)[:limit]
		}
	})
}

func labelAddr(a RuleAddr, f AddressFamily) string {
	var s string
	switch a.Addr.Kind {
	case AddrInterface:
		s = "(" + a.Addr.Name + ")"
	case AddrTable:
		s = "<" + a.Addr.Name + ">"
	case AddrNoRoute, AddrURPFFailed:
		s = a.Addr.Kind.String()
	case AddrAny:
		s = "any"
	case AddrPrefix:
		s = a.Addr.text(f, false)
	default:
		s = "?"
	}
	if a.Not {
		return "! " + s
	}
	return s
}

func labelPort(r PortRange) string {
	switch r.Op {
	case OpInside, OpOutside:
		return fmt.Sprintf("%d%s%d", r.Low, r.Op, r.High)
	case OpEqual:
		return fmt.Sprint(r.Low)
	case OpNone, OpRange:
		return ""
	}
	return fmt.Sprintf("%s%d", r.Op, r.Low)
}
