package conf

import (
	"math"
)

// altqChild is a queue name that an altq or queue statement announced.
type altqChild struct {
	name, parent, iface string
	scheduler           Scheduler
}

// schedulerOption parses a discipline with its options.
func (p *parser) schedulerOption(o *queueOptions) bool {
	var s Scheduler
	switch p.peek().text {
	case "cbq":
		s = SchedulerCBQ
	case "priq":
		s = SchedulerPRIQ
	case "hfsc":
		s = SchedulerHFSC
	case "fairq":
		s = SchedulerFAIRQ
	case "codelq", "codel":
		// The keyword is codelq, but pfctl prints codel.
		s = SchedulerCoDel
	default:
		return false
	}
	p.take()
	var options ALTQOptions
	if p.acceptSymbol('(') {
		for {
			p.schedulerItem(s, &options)
			if p.failed || p.acceptSymbol(')') {
				break
			}
			p.acceptComma()
		}
	}
	if o.scheduler != SchedulerNone {
		p.fail("scheduler cannot be respecified")
	}
	o.scheduler, o.options = s, options
	return true
}

func (p *parser) schedulerItem(s Scheduler, o *ALTQOptions) {
	curve := func(name string, c *ALTQCurve) {
		p.take()
		n := p.altqCurve()
		if c.Used {
			p.fail("%s already specified", name)
		}
		*c = n
	}
	number := func(dst *uint32) {
		p.take()
		n := p.numberOrString()
		if n > math.MaxInt32 {
			p.fail("%d is not a number", n)
		}
		if s == SchedulerCoDel && *dst != 0 {
			name := "target"
			if dst == &o.Interval {
				name = "interval"
			}
			p.fail("%s already specified", name)
		}
		*dst = uint32(n)
	}
	t := p.peek()
	hasCurve := s == SchedulerHFSC || s == SchedulerFAIRQ
	switch {
	case hasCurve && t.is("linkshare"):
		curve("linkshare", &o.LinkShare)
	case s == SchedulerHFSC && t.is("realtime"):
		curve("realtime", &o.RealTime)
	case s == SchedulerHFSC && t.is("upperlimit"):
		curve("upperlimit", &o.UpperLimit)
	case s == SchedulerFAIRQ && t.is("hogs"):
		p.take()
		o.Hogs = p.bandwidth()
	case s == SchedulerFAIRQ && t.is("buckets"):
		number(&o.Buckets)
	case s == SchedulerCoDel && t.is("target"):
		number(&o.Target)
	case s == SchedulerCoDel && t.is("interval"):
		number(&o.Interval)
	case t.kind == tokenString:
		// "default" is a keyword in OpenBSD only.
		p.take()
		p.schedulerFlag(s, o, t.text)
	default:
		p.syntaxError()
	}
}

func (p *parser) schedulerFlag(s Scheduler, o *ALTQOptions, name string) {
	if s == SchedulerCoDel {
		if name != "ecn" {
			p.fail("unknown codel option \"%s\"", name)
		}
		o.ECN = true
		return
	}
	switch {
	case name == "default":
		o.Default = true
	case name == "borrow" && s == SchedulerCBQ:
		o.Borrow = true
	case name == "red":
		o.RED = true
	case name == "ecn":
		o.RED, o.ECN = true, true
	case name == "rio":
		o.RIO = true
	case name == "codel" && p.dialect != DragonFly:
		o.CoDel = true
	default:
		p.fail("unknown %s flag \"%s\"", s, name)
	}
}

// altqCurve parses "20%" or "(20% 10 30%)".
func (p *parser) altqCurve() ALTQCurve {
	if !p.acceptSymbol('(') {
		return ALTQCurve{Used: true, M2: p.bandwidth()}
	}
	c := ALTQCurve{Used: true, M1: p.bandwidth()}
	p.acceptComma()
	d := p.number()
	p.acceptComma()
	c.M2 = p.bandwidth()
	if p.expectSymbol(')') && (d < 0 || d > math.MaxInt32) {
		p.fail("timing in curve out of range")
	}
	c.Milliseconds = uint32(d)
	return c
}

// queueList parses the names of queues below; nil is none.
func (p *parser) queueList() []string {
	if t := p.peek(); !t.symbol('{') && t.kind != tokenNumber && !p.isWord(t) {
		return nil
	}
	return oneOrList(p, func() []string {
		name := p.numberName()
		if len(name) > maxQueueName {
			p.fail("queue name '%s' too long (max %d chars)", name, maxQueueName)
		}
		return []string{name}
	})
}

// altqStatement parses "altq on interface scheduler ... queue { ... }".
func (p *parser) altqStatement(*Statement) {
	interfaces := p.interfaces()
	o := p.queueOptions()
	p.expect("queue")
	children := p.queueList()
	if !p.inOrder(orderQueue) {
		return
	}
	switch {
	case o.scheduler == SchedulerNone:
		p.fail("no scheduler specified!")
		return
	case children == nil && o.scheduler != SchedulerCoDel:
		p.fail("no child queues specified")
		return
	}
	if interfaces == nil {
		interfaces = []ifItem{{}}
	}
	good := true
	for _, i := range interfaces {
		if i.not {
			p.errorf("altq on ! <interface> is not supported")
			good = false
			continue
		}
		good = p.altqInterface(i.name, &o, children) && good
	}
	if !good {
		p.abandon()
	}
}

// altqInterface sets an interface up, with a root queue where the discipline
// has a tree.
func (p *parser) altqInterface(name string, o *queueOptions, children []string) bool {
	a := &ALTQ{
		Pos: p.statementPos, Interface: name, Scheduler: o.scheduler, Written: o.bandwidth,
		TBRSize: o.tbrSize, Limit: o.queueLimit(), Options: o.options,
	}
	good := p.altqBandwidth(a)
	if a.TBRSize == 0 {
		a.TBRSize = p.tokenBucket(a)
	}
	p.altqs = append(p.altqs, a)
	// pfctl leaves the word out without children, but wants to read it.
	line := a.text() + "queue"
	if children != nil {
		line += " { " + joinNames(children) + "}"
	}
	p.directive(DirectiveALTQ, line)
	root := ""
	if a.Scheduler.classful() {
		root = "root_" + name
		q := &ALTQ{
			Pos: p.statementPos, Interface: name, Scheduler: a.Scheduler, Queue: root,
			Written: Bandwidth{Bits: a.Bandwidth}, Limit: a.Limit, Options: o.options,
		}
		good = p.addALTQQueue(q) && good
	}
	for _, c := range children {
		p.altqTree = append(p.altqTree, altqChild{name: c, parent: root, iface: name, scheduler: a.Scheduler})
	}
	return good
}

func joinNames(names []string) string {
	s := ""
	for _, n := range names {
		s += numberNameText(n) + " "
	}
	return s
}

func (o *queueOptions) queueLimit() uint32 {
	if !o.limitSet || o.limit == 0 {
		return defaultQueueLimit
	}
	return o.limit
}

// altqBandwidth finds the bandwidth of an interface.
func (p *parser) altqBandwidth(a *ALTQ) bool {
	good := true
	if a.Written.Bits > 0 {
		a.Bandwidth = a.Written.Bits
	} else {
		var speed uint64
		if i := p.cfg.Interfaces.find(a.Interface); i != nil {
			speed = i.Bandwidth
		}
		if speed == 0 {
			p.warn(SeverityError, "interface %s does not know its bandwidth, "+
				"please specify an absolute bandwidth", a.Interface)
			good = false
		}
		if a.Bandwidth = a.Written.of(speed); a.Bandwidth == 0 {
			a.Bandwidth = speed
		}
	}
	if a.Scheduler != SchedulerHFSC && a.Bandwidth > math.MaxUint32 {
		a.Bandwidth = math.MaxUint32
		p.warn(SeverityWarning, "pfctl: interface %s bandwidth limited to %d bps "+
			"because selected scheduler is 32-bit limited\n", a.Interface, a.Bandwidth)
	}
	return good
}

// of is a bandwidth in relation to another: at most that, or a part of it.
func (b Bandwidth) of(ref uint64) uint64 {
	if b.Bits > 0 {
		return min(b.Bits, ref)
	}
	return ref / 100 * uint64(b.Percent)
}

// tokenBucket is the size by pfctl's rule of thumb, in bytes.
func (p *parser) tokenBucket(a *ALTQ) uint32 {
	mtu := 1500
	if i := p.cfg.Interfaces.find(a.Interface); i != nil && i.MTU > 0 {
		mtu = i.MTU
	}
	packets := 128
	switch rate := a.Bandwidth; {
	case rate <= 1e6:
		packets = 1
	case rate <= 10e6:
		packets = 4
	case rate <= 200e6:
		packets = 8
	case rate <= 2500e6:
		packets = 24
	}
	if p.dialect == DragonFly {
		packets = min(packets, 24)
	}
	return uint32(packets * mtu)
}

// queueALTQ adds a queue to every interface that announced its name.
func (p *parser) queueALTQ(name string, interfaces []ifItem, o *queueOptions, children []string) {
	switch {
	case len(name) > maxQueueName:
		p.fail("queue name too long (max %d chars)", maxQueueName)
		return
	case o.tbrSize != 0:
		p.fail("cannot specify tbrsize for queue")
		return
	}
	if !p.expandQueue(name, interfaces, o, children) {
		p.fail("errors in queue definition")
	}
}

func (p *parser) expandQueue(name string, interfaces []ifItem, o *queueOptions, children []string) bool {
	good, found := true, 0
	if interfaces == nil {
		interfaces = []ifItem{{}}
	}
	for _, i := range interfaces {
		// The list grows while it is read.
		for n := 0; n < len(p.altqTree); n++ {
			t := p.altqTree[n]
			if t.name != name || i.name != "" && (i.name == t.iface) == i.not {
				continue
			}
			if found++; found > maxALTQQueues {
				p.errorf("queue %s has too many parents", name)
				return false
			}
			if o.scheduler != SchedulerNone && o.scheduler != t.scheduler {
				p.errorf("exactly one scheduler type per interface allowed")
				return false
			}
			if t.scheduler == SchedulerPRIQ {
				if children != nil {
					p.errorf("priq queues cannot have child queues")
					return false
				}
				if o.bandwidth.Bits > 0 || o.bandwidth.Percent < 100 {
					p.errorf("priq doesn't take bandwidth")
					return false
				}
			}
			q := &ALTQ{
				Pos: p.statementPos, Interface: t.iface, Scheduler: t.scheduler, Queue: name,
				Parent: t.parent, Written: o.bandwidth, Priority: o.priority,
				Limit: o.queueLimit(), Options: o.options,
			}
			good = p.addALTQQueue(q) && good
			for _, c := range children {
				if c == name {
					p.errorf("queue cannot have itself as child")
					good = false
					continue
				}
				p.altqTree = append(p.altqTree, altqChild{name: c, parent: name, iface: t.iface, scheduler: t.scheduler})
			}
			if i.name != "" || found == 1 {
				line := q.queueText(i.name != "")
				if children != nil {
					line += "{ " + joinNames(children) + "}"
				}
				p.directive(DirectiveALTQ, line)
			}
		}
	}
	if found == 0 {
		p.errorf("queue %s has no parent", name)
		return false
	}
	return good
}

// maxALTQQueues bounds how often one name may occur in the trees.
const maxALTQQueues = 4096

func (p *parser) altqFind(iface, queue string) *ALTQ {
	for _, a := range p.altqs {
		if a.Interface == iface && a.Queue == queue {
			return a
		}
	}
	return nil
}

// addALTQQueue checks a queue against its parent and keeps it.
func (p *parser) addALTQQueue(q *ALTQ) bool {
	refuse := func(format string, args ...any) bool {
		p.warn(SeverityError, format, args...)
		return false
	}
	root := p.altqFind(q.Interface, "")
	if root == nil {
		return refuse("altq not defined on %s", q.Interface)
	}
	if p.altqFind(q.Interface, q.Queue) != nil {
		return refuse("queue %s already exists on interface %s", q.Queue, q.Interface)
	}
	var parent *ALTQ
	ref := root.Bandwidth
	if q.Parent != "" {
		if parent = p.altqFind(q.Interface, q.Parent); parent == nil {
			return refuse("parent %s not found for %s", q.Parent, q.Queue)
		}
		ref = parent.Bandwidth
	}
	if q.Scheduler.classful() {
		q.Bandwidth = q.Written.of(ref)
		if q.Bandwidth > root.Bandwidth {
			return refuse("bandwidth for %s higher than interface", q.Queue)
		}
		if parent != nil && q.Scheduler != SchedulerHFSC {
			if q.Bandwidth > parent.Bandwidth {
				return refuse("pfctl: bandwidth for %s higher than parent", q.Queue)
			}
			if parent.childBits += q.Bandwidth; parent.childBits > parent.Bandwidth {
				if p.dialect == DragonFly {
					return refuse("pfctl: the sum of the child bandwidth higher than parent \"%s\"", parent.Queue)
				}
				p.warn(SeverityWarning, "pfctl: the sum of the child bandwidth (%d) higher than parent \"%s\" (%d)",
					parent.childBits, parent.Queue, parent.Bandwidth)
			}
		}
	}
	q.root = root
	if !p.checkScheduler(q, root, parent, ref) {
		return false
	}
	p.altqs = append(p.altqs, q)
	return true
}

// maxALTQPriority is one more than the greatest priority of cbq and priq.
const (
	maxCBQPriority  = 8
	maxPRIQPriority = 16
)

func (p *parser) checkScheduler(q, root, parent *ALTQ, ref uint64) bool {
	refuse := func(format string, args ...any) bool {
		p.warn(SeverityError, "pfctl: "+format, args...)
		return false
	}
	switch q.Scheduler {
	case SchedulerCBQ:
		if q.Priority >= maxCBQPriority {
			return refuse("priority out of range: max %d", maxCBQPriority-1)
		}
		q.isRoot = q.Parent == ""
		if q.isRoot {
			root.rootClasses++
		}
		if q.Options.Default {
			root.defaultClasses++
		}
	case SchedulerPRIQ:
		switch {
		case q.Priority >= maxPRIQPriority:
			return refuse("priority out of range: max %d", maxPRIQPriority-1)
		case root.priorities&(1<<q.Priority) != 0:
			return refuse("%s does not have a unique priority on interface %s", q.Queue, q.Interface)
		}
		root.priorities |= 1 << q.Priority
		if q.Options.Default {
			root.defaultClasses++
		}
	case SchedulerHFSC, SchedulerFAIRQ:
		return p.checkCurves(q, root, parent, ref)
	}
	return true
}

// altqComplete checks that every interface has its default queue. pfctl does so
// after it has printed the rules.
func (p *parser) altqComplete() {
	bad := false
	for _, a := range p.altqs {
		if a.Queue != "" || a.Scheduler == SchedulerCoDel {
			continue
		}
		bad = false // only the last interface counts, as in pfctl
		if a.Scheduler == SchedulerCBQ && a.rootClasses != 1 {
			p.warn(SeverityError, "pfctl: should have one root queue on %s", a.Interface)
			bad = true
		}
		if a.defaultClasses != 1 {
			p.warn(SeverityError, "pfctl: should have one default queue on %s", a.Interface)
			bad = true
		}
	}
	if bad {
		p.warn(SeverityError, "pfctl: errors in altq config")
	}
	p.out.ALTQ = p.altqs
}
