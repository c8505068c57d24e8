package conf

import (
	"strings"
)

// stateSpec is keep, modulate, synproxy or no state, with its options.
type stateSpec struct {
	set     bool
	kind    StateKind
	options []stateOption
}

type stateOptionKind uint8

const (
	stateMax stateOptionKind = iota
	stateNoSync
	stateSrcTrack
	stateMaxSrcStates
	stateMaxSrcConn
	stateMaxSrcConnRate
	stateMaxSrcNodes
	stateOverload
	stateLock
	stateSloppy
	statePflow
	stateTimeout
	statePickups
	stateAllowRelated
)

// stateOption is one option as written; several may contradict.
type stateOption struct {
	kind     stateOptionKind
	value    uint32
	seconds  uint32
	track    SourceTrack
	ifBound  bool
	overload OverloadTable
	timeout  Timeout
	pickup   PickupMode
}

// keep parses what follows keep, modulate, synproxy or no.
func (p *parser) keep(kind StateKind) stateSpec {
	p.expect("state")
	k := stateSpec{set: true, kind: kind}
	if kind != StateNone && p.acceptSymbol('(') {
		k.options = p.stateOptions()
		p.expectSymbol(')')
	}
	return k
}

// startsStateOption tells whether a list of state options without braces goes on.
func (p *parser) startsStateOption(t token) bool {
	if t.kind != tokenString {
		return false
	}
	_, ok := stateWords[t.text]
	return ok && !t.quoted || p.isString(t)
}

func (p *parser) stateOptions() []stateOption {
	options := []stateOption{p.stateOption()}
	for !p.failed {
		switch {
		case p.acceptSymbol(','):
		case p.startsStateOption(p.peek()):
		default:
			return options
		}
		options = append(options, p.stateOption())
	}
	return options
}

var stateWords = map[string]stateOptionKind{
	"max": stateMax, "no-sync": stateNoSync, "source-track": stateSrcTrack,
	"max-src-states": stateMaxSrcStates, "max-src-conn": stateMaxSrcConn,
	"max-src-conn-rate": stateMaxSrcConnRate, "max-src-nodes": stateMaxSrcNodes,
	"overload": stateOverload, "if-bound": stateLock, "floating": stateLock,
	"sloppy": stateSloppy, "pflow": statePflow, "pickups": statePickups,
	"no-pickups": statePickups, "hash-only": statePickups, "allow-related": stateAllowRelated,
}

func (p *parser) stateOption() stateOption {
	t := p.peek()
	kind, ok := stateWords[t.text]
	if t.kind != tokenString || t.quoted || !ok {
		return p.stateTimeout()
	}
	p.take()
	o := stateOption{kind: kind}
	switch kind {
	case stateMax, stateMaxSrcStates, stateMaxSrcConn, stateMaxSrcNodes:
		n := p.number()
		p.checkPositive(n)
		o.value = uint32(n)
	case stateMaxSrcConnRate:
		n := p.number()
		p.expectSymbol('/')
		seconds := p.number()
		p.checkPositive(n, seconds)
		o.value, o.seconds = uint32(n), uint32(seconds)
	case stateSrcTrack:
		o.track = SourceTrackGlobal
		o.value = 0
		switch {
		case p.accept("global"):
			o.value = 1 // asked for explicitly
		case p.accept("rule"):
			o.track = SourceTrackRule
		}
	case stateOverload:
		o.overload = p.overload()
	case stateLock:
		o.ifBound = t.text == "if-bound"
	case statePickups:
		for m, name := range pickupNames {
			if name == t.text {
				o.pickup = PickupMode(m)
			}
		}
	}
	return o
}

func (p *parser) overload() OverloadTable {
	p.expectSymbol('<')
	o := OverloadTable{Table: p.numberName()}
	p.expectSymbol('>')
	if p.accept("flush") {
		o.Flush = true
		o.FlushGlobal = p.accept("global")
	}
	if len(o.Table) > maxTableName {
		p.fail("table name '%s' too long", o.Table)
	}
	return o
}

func (p *parser) stateTimeout() stateOption {
	name := p.timeoutName()
	seconds := p.number()
	if p.failed {
		return stateOption{}
	}
	p.checkPositive(seconds)
	t, ok := parseTimeout(name)
	if !ok {
		p.fail("illegal timeout name %s", name)
	} else if !strings.Contains(name, ".") {
		p.fail("illegal state timeout %s", name)
	}
	return stateOption{kind: stateTimeout, timeout: t, value: uint32(seconds)}
}

// timeoutName takes the name of a timeout, one of which is a keyword of
// FreeBSD.
func (p *parser) timeoutName() string {
	if p.peek().is("interval") {
		return p.take().text
	}
	return p.str()
}

// trackedState collects state options into the form of a rule.
type trackedState struct {
	options     StateOptions
	lockSet     bool
	adaptiveSet bool
	trackSet    bool
	trackGlobal bool // asked for "global"
	tracking    bool
	perRule     bool
	related     bool
}

// collect checks options against each other and adds them up.
func (p *parser) collectState(options []stateOption) (t trackedState) {
	r := &t.options
	for _, o := range options {
		switch o.kind {
		case stateMax:
			if r.Max != 0 {
				p.fail("state option 'max' multiple definitions")
			}
			r.Max = o.value
		case stateNoSync:
			if r.NoSync {
				p.fail("state option 'sync' multiple definitions")
			}
			r.NoSync = true
		case stateSrcTrack:
			if t.trackSet {
				p.fail("state option 'source-track' multiple definitions")
			}
			t.trackSet, t.tracking = true, true
			t.trackGlobal = o.value == 1
			t.perRule = t.perRule || o.track == SourceTrackRule
		case stateMaxSrcStates:
			p.srcOption("max-src-states", &r.SrcStates, o.value)
			t.tracking = true
		case stateMaxSrcConn:
			p.srcOption("max-src-conn", &r.SrcConn, o.value)
			t.tracking, t.perRule = true, true
		case stateMaxSrcNodes:
			p.srcOption("max-src-nodes", &r.SrcNodes, o.value)
			t.tracking, t.perRule = true, true
		case stateMaxSrcConnRate:
			p.connRate(r, o)
			t.tracking, t.perRule = true, true
		case stateOverload:
			if r.Overload.Table != "" {
				p.fail("multiple 'overload' table definitions")
			}
			r.Overload = o.overload
		case stateLock:
			if t.lockSet {
				p.fail("state locking option: multiple definitions")
			}
			t.lockSet = true
			r.IfBound = o.ifBound
		case stateSloppy:
			if r.Sloppy {
				p.fail("state sloppy option: multiple definitions")
			}
			r.Sloppy = true
		case statePflow:
			if r.Pflow {
				p.fail("state pflow option: multiple definitions")
			}
			r.Pflow = true
		case stateAllowRelated:
			t.related = true
		case statePickups:
			r.Pickup = o.pickup
		case stateTimeout:
			if o.timeout == TimeoutAdaptiveStart || o.timeout == TimeoutAdaptiveEnd {
				t.adaptiveSet = true
			}
			if r.Timeouts[o.timeout] != 0 {
				p.fail("state timeout %s multiple definitions", o.timeout)
			}
			r.Timeouts[o.timeout] = o.value
		}
		if p.failed {
			return t
		}
	}
	return t
}

func (p *parser) srcOption(name string, dst *uint32, value uint32) {
	if *dst != 0 {
		p.fail("state option '%s' multiple definitions", name)
	}
	if value == 0 {
		p.fail("'%s' must be > 0", name)
	}
	*dst = value
}

func (p *parser) connRate(r *StateOptions, o stateOption) {
	switch {
	case r.SrcConnRate.Limit != 0:
		p.fail("state option 'max-src-conn-rate' multiple definitions")
	case o.value == 0 || o.seconds == 0:
		p.fail("'max-src-conn-rate' values must be > 0")
	case o.value > maxConnRate:
		p.fail("'max-src-conn-rate' maximum rate must be < %d", uint32(maxConnRate))
	}
	r.SrcConnRate = Rate{Limit: o.value, Seconds: o.seconds}
}

// finishState checks the options together and fills in what follows from them.
func (p *parser) finishState(t *trackedState, kind StateKind) {
	r := &t.options
	if !t.adaptiveSet && r.Max != 0 {
		r.Timeouts[TimeoutAdaptiveStart] = r.Max / 10 * 6
		r.Timeouts[TimeoutAdaptiveEnd] = r.Max / 10 * 12
	}
	if t.tracking {
		const incompatible = "'%s' is incompatible with 'source-track global'"
		switch {
		case t.trackGlobal && r.SrcNodes != 0:
			p.fail(incompatible, "max-src-nodes")
		case t.trackGlobal && r.SrcConn != 0:
			p.fail(incompatible, "max-src-conn")
		case t.trackGlobal && r.SrcConnRate.Seconds != 0:
			p.fail(incompatible, "max-src-conn-rate")
		}
		r.Timeouts[TimeoutSrcTrack] = max(r.Timeouts[TimeoutSrcTrack], r.SrcConnRate.Seconds)
		r.SourceTrack = SourceTrackGlobal
		if t.perRule {
			r.SourceTrack = SourceTrackRule
		}
	}
	if kind != StateNone && !t.lockSet {
		r.IfBound = p.out.Options.StatePolicy
	}
	r.floating = kind != StateNone && p.out.Options.StatePolicy && !r.IfBound
}
