package conf

import (
	"math"
	"strconv"
	"strings"
)

// queueOptions are the options of altq and queue statements of every BSD.
type queueOptions struct {
	bandwidth    Bandwidth
	bandwidthSet bool
	share        ServiceCurve // of bandwidth
	min, max     ServiceCurve

	priority    uint8
	prioritySet bool
	limit       uint32
	limitSet    bool
	scheduler   Scheduler
	options     ALTQOptions
	tbrSize     uint32
	tbrSet      bool

	parent     string
	parentSet  bool
	isDefault  bool
	flows      uint32
	quantum    uint32
	modern     bool // has options of OpenBSD's queues
	percentage bool
}

// defaultQueuePriority of altq.
const defaultQueuePriority = 1

func (p *parser) queueOptions() queueOptions {
	o := queueOptions{priority: defaultQueuePriority, bandwidth: Bandwidth{Percent: 100}}
	for !p.failed && p.queueOption1(&o) {
	}
	return o
}

// queueOption1 parses one option and reports whether there was one.
func (p *parser) queueOption1(o *queueOptions) bool {
	respecified := func(set bool, what string) {
		if set {
			p.fail("%s cannot be respecified", what)
		}
	}
	t := p.peek()
	if t.kind != tokenString || t.quoted {
		return false
	}
	switch t.text {
	case "bandwidth":
		p.take()
		p.queueBandwidth(o)
	case "priority":
		p.take()
		n := p.number()
		respecified(o.prioritySet, "priority")
		if n < 0 || n > 255 {
			p.fail("priority out of range: max 255")
		}
		o.priority, o.prioritySet = uint8(n), true
	case "qlimit":
		p.take()
		n := p.number()
		respecified(o.limitSet, "qlimit")
		if n < 0 || n > math.MaxUint16 {
			p.fail("qlimit out of range: max 65535")
		}
		o.limit, o.limitSet = uint32(n), true
	case "tbrsize":
		p.take()
		n := p.number()
		respecified(o.tbrSet, "tbrsize")
		if n < 0 || n > math.MaxUint32 {
			p.fail("tbrsize too big: max %d", uint32(math.MaxUint32))
		}
		o.tbrSize, o.tbrSet = uint32(n), true
	case "parent":
		p.take()
		name := p.numberName()
		respecified(o.parentSet, "parent")
		o.parent, o.parentSet, o.modern = name, true, true
	case "default":
		p.take()
		respecified(o.isDefault, "default")
		o.isDefault, o.modern = true, true
	case "flows":
		p.take()
		n := p.number()
		respecified(o.flows != 0, "number of flows")
		if n < 1 || n > math.MaxInt16 {
			p.fail("number of flows out of range: max 32767")
		}
		o.flows, o.modern = uint32(n), true
	case "quantum":
		p.take()
		n := p.number()
		respecified(o.quantum != 0, "quantum")
		if n < 1 || n > math.MaxUint16 {
			p.fail("quantum out of range: max 65535")
		}
		o.quantum, o.modern = uint32(n), true
	default:
		return p.schedulerOption(o)
	}
	return true
}

// queueBandwidth parses a bandwidth, and OpenBSD's burst, min and max.
func (p *parser) queueBandwidth(o *queueOptions) {
	bw := p.bandwidth()
	curve := p.burst(bw, o)
	if o.modern || p.dialect == OpenBSD && len(p.altqs) == 0 {
		p.noPercent(bw)
	}
	var low, high ServiceCurve
	for !p.failed {
		comma := p.acceptSymbol(',')
		switch {
		case p.accept("min"):
			low = p.scurve(o)
			continue
		case p.accept("max"):
			high = p.scurve(o)
			continue
		case comma:
			p.syntaxError()
		}
		break
	}
	if o.bandwidthSet {
		p.fail("bandwidth cannot be respecified")
	}
	o.bandwidth, o.bandwidthSet = bw, true
	o.share, o.min, o.max = curve, low, high
}

func (p *parser) noPercent(bw Bandwidth) {
	if bw.Bits == 0 && bw.Percent != 0 {
		p.fail("no bandwidth in %% yet")
	}
}

func (p *parser) scurve(o *queueOptions) ServiceCurve {
	o.modern = true
	bw := p.bandwidth()
	c := p.burst(bw, o)
	p.noPercent(bw)
	return c
}

// burst parses "burst 90M for 100ms" after a bandwidth.
func (p *parser) burst(bw Bandwidth, o *queueOptions) ServiceCurve {
	c := ServiceCurve{M2: bw.Bits}
	if !p.accept("burst") {
		return c
	}
	o.modern = true
	m1 := p.bandwidth()
	p.expect("for")
	text := p.str()
	if p.failed {
		return c
	}
	digits, ok := strings.CutSuffix(text, "ms")
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil {
		p.fail("time in scspec must be in ms")
		return c
	}
	p.noPercent(m1)
	p.noPercent(bw)
	return ServiceCurve{M1: m1.Bits, Milliseconds: uint32(n), M2: bw.Bits}
}

// splitFloat divides text into a number and what follows, as strtod(3) does.
func splitFloat(s string) (float64, string) {
	for i := len(s); i > 0; i-- {
		c := s[i-1]
		if !isDigit(int(c)) && c != '.' {
			continue
		}
		if v, err := strconv.ParseFloat(s[:i], 64); err == nil {
			return v, s[i:]
		}
	}
	return 0, s
}

// bandwidth parses "100", "1.5Mb" or "20%".
func (p *parser) bandwidth() Bandwidth {
	if p.peek().kind == tokenNumber {
		n := p.number()
		if n < 0 || n == math.MaxInt64 && p.dialect != OpenBSD {
			p.fail("bandwidth number too big")
		}
		return Bandwidth{Bits: uint64(n)}
	}
	s := p.str()
	if p.failed {
		return Bandwidth{}
	}
	v, unit := splitFloat(s)
	if len(unit) > 1 {
		switch unit[1:] {
		case "Bit", "B", "bit", "b":
			unit = unit[:1]
		}
	}
	switch unit {
	case "b":
	case "K":
		v *= 1e3
	case "M":
		v *= 1e6
	case "G":
		v *= 1e9
	case "%":
		if v < 0 || v > 100 {
			p.fail("bandwidth spec out of range")
		}
		return Bandwidth{Percent: uint32(v)}
	default:
		if p.dialect == OpenBSD {
			p.fail("unknown unit \"%s\"", unit)
		} else {
			p.fail("unknown unit %s", unit)
		}
		return Bandwidth{}
	}
	if v < 0 || v > math.MaxInt64 {
		p.fail("bandwidth number too big")
		return Bandwidth{}
	}
	return Bandwidth{Bits: uint64(v)}
}

// queueStatement parses a queue of OpenBSD, or one of altq.
func (p *parser) queueStatement(s *Statement) {
	name := p.numberName()
	s.Name = name
	interfaces := p.interfaces()
	o := p.queueOptions()
	if p.failed {
		return
	}
	// Without altq on any interface, a root can only be OpenBSD's.
	if o.modern || len(p.altqs) == 0 && (p.dialect == OpenBSD || len(interfaces) > 0) {
		p.queueOpenBSD(name, interfaces, &o)
		return
	}
	children := p.queueList()
	if p.inOrder(orderQueue) {
		p.queueALTQ(name, interfaces, &o, children)
	}
}

// queueOpenBSD adds queues of one name, one for each interface.
func (p *parser) queueOpenBSD(name string, interfaces []ifItem, o *queueOptions) {
	if len(interfaces) == 0 && !o.parentSet {
		p.fail("root queue without interface")
		return
	}
	if len(interfaces) > 0 && p.dialect == OpenBSD && p.cfg.Interfaces != nil &&
		p.cfg.Interfaces.find(interfaces[0].name) == nil {
		p.fail("not an interface")
		return
	}
	if interfaces == nil {
		interfaces = []ifItem{{}}
	}
	for _, i := range interfaces {
		switch {
		case !o.bandwidthSet && o.flows == 0:
			p.errorf("no bandwidth or flow specification")
			return
		case len(name) > maxQueueName:
			p.errorf("queuename too long")
			return
		case len(o.parent) > maxQueueName:
			p.errorf("parent too long")
			return
		}
		q := &Queue{
			Pos: p.statementPos, Name: name, Parent: o.parent, Interface: i.name,
			Bandwidth: o.share, Min: o.min, Max: o.max, Flows: o.flows, Quantum: o.quantum,
			Default: o.isDefault, Limit: o.limit,
			root: !o.parentSet && o.bandwidthSet,
		}
		if !p.addQueue(q) {
			p.errorf("cannot add queue")
			return
		}
	}
}

func (p *parser) addQueue(q *Queue) bool {
	if p.target.Path != "" || p.depth > 0 {
		p.warn(SeverityError, "must not have queue definitions in an anchor")
		return false
	}
	if q.Parent != "" {
		p.queueSpecs = append(p.queueSpecs, q)
		return true
	}
	for _, r := range p.queueRoots {
		if r.Interface == q.Interface {
			p.warn(SeverityError, "A root queue is already defined on %s", q.Interface)
			return false
		}
	}
	p.queueRoots = append(p.queueRoots, q)
	return true
}

// requireQueue refuses an OpenBSD rule with a queue that is not defined.
func (p *parser) requireQueue(name string) {
	if p.dialect != OpenBSD || len(p.altqs) > 0 {
		return
	}
	for _, q := range p.queueSpecs {
		if q.Name == name {
			return
		}
	}
	p.fail("queue %s is not defined", name)
}

// queueTree ties OpenBSD's queues to their parents and checks the tree; the
// first mistake ends it, as in pfctl.
func (p *parser) queueTree() bool {
	fatal := func(format string, args ...any) bool {
		p.warn(SeverityError, "pfctl: "+format, args...)
		return false
	}
	for _, root := range p.queueRoots {
		hasDefault, ok := p.queueChildren(root, fatal, 0)
		if !ok {
			return false
		}
		switch {
		case !root.root && len(root.Children) > 0 && root.Flows != 0:
			return fatal("root queue %s doesn't support hierarchy", root.Name)
		case !root.root && len(root.Children) > 0:
			return fatal("no bandwidth was specified for root queue %s", root.Name)
		case root.root && !hasDefault:
			return fatal("no default queue specified")
		}
	}
	if !p.leafQueues() {
		return false
	}
	for _, q := range p.queueSpecs {
		switch {
		case q.matches == 0:
			return fatal("queue %s: parent %s not found", q.Name, q.Parent)
		case q.Bandwidth.M1 == 0 && q.Bandwidth.M2 == 0:
			return fatal("queue %s: no bandwidth was specified", q.Name)
		}
	}
	p.out.Queues = p.queueRoots
	return true
}

// queueChildren finds the children of a queue and reports whether one of them,
// or the queue, is the default.
func (p *parser) queueChildren(q *Queue, fatal func(string, ...any) bool, depth int) (hasDefault, ok bool) {
	for _, c := range p.queueSpecs {
		if c.Parent != q.Name || c.Interface != "" && c.Interface != q.Interface {
			continue
		}
		// A ring of queues would never end.
		if c.matches++; c.matches > 10000 || depth > 64 {
			return false, fatal("pfctl_find_childqs: excessive matches, loop?")
		}
		known := -1
		for i, old := range q.Children {
			if old.Name == c.Name {
				known = i
			}
		}
		switch {
		case known < 0:
			n := *c
			n.Children = nil
			q.Children = append(q.Children, &n)
		case q.Children[known].Interface != "" && c.Interface != "":
			return false, fatal("queue %s on %s respecified", c.Name, c.Interface)
		case q.Children[known].Interface == "" && c.Interface == "":
			return false, fatal("queue %s respecified", c.Name)
		case q.Children[known].Interface == "":
			// A queue bound to the interface beats one for all.
			n := *c
			n.Children = nil
			q.Children[known] = &n
		}
	}
	hasDefault = q.Default
	for _, c := range q.Children {
		d, ok := p.queueChildren(c, fatal, depth+1)
		if !ok {
			return false, false
		}
		hasDefault = hasDefault || d
	}
	if len(q.Children) > 0 {
		switch {
		case q.Default:
			return false, fatal("default queue %s is not a leaf queue", q.Name)
		case q.Flows != 0:
			return false, fatal("flow queue %s is not a leaf queue", q.Name)
		}
	}
	return hasDefault, true
}

// leafQueues checks that rules use no root queue with children.
func (p *parser) leafQueues() bool {
	inner := make(map[string]bool)
	for _, q := range p.queueRoots {
		if len(q.Children) > 0 {
			inner[q.Name] = true
		}
	}
	ok := true
	p.root.Walk(func(a *Anchor) {
		for _, r := range a.Filter {
			for _, name := range []string{r.Queue, r.AckQueue} {
				if inner[name] {
					p.warn(SeverityError, "queue %s: packets must be assigned to leaf queues only", name)
					ok = false
				}
			}
		}
	})
	return ok
}
