package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// optionStatement parses a set statement.
func (p *parser) optionStatement(s *Statement) {
	t := p.peek()
	if t.kind != tokenString || t.quoted {
		p.syntaxError()
		return
	}
	s.Name = t.text
	parse, ok := optionWords[t.text]
	if !ok {
		p.syntaxError()
		return
	}
	p.take()
	parse(p)
}

// optionWords are the options by name.
var optionWords map[string]func(*parser)

func init() {
	optionWords = map[string]func(*parser){
		"reassemble":           (*parser).setReassemble,
		"optimization":         (*parser).setOptimization,
		"ruleset-optimization": (*parser).setRulesetOptimization,
		"timeout":              func(p *parser) { p.optionList((*parser).setTimeout) },
		"limit":                func(p *parser) { p.optionList((*parser).setLimit) },
		"loginterface":         (*parser).setLogInterface,
		"hostid":               (*parser).setHostID,
		"block-policy":         func(p *parser) { p.setPolicy("block-policy", &p.out.Options.BlockPolicy) },
		"fail-policy":          func(p *parser) { p.setPolicy("fail-policy", &p.out.Options.FailPolicy) },
		"require-order":        (*parser).setRequireOrder,
		"fingerprints":         (*parser).setFingerprints,
		"state-policy":         (*parser).setStatePolicy,
		"debug":                (*parser).setDebug,
		"skip":                 (*parser).setSkip,
		"state-defaults":       (*parser).setStateDefaults,
		"keep-policy":          (*parser).setKeepPolicy,
		"keepcounters":         func(p *parser) { p.out.Options.KeepCounters = true },
		"syncookies":           (*parser).setSyncookies,
	}
}

// echo keeps the line that pfctl -v prints for an option.
func (p *parser) echo(format string, args ...any) {
	p.directive(DirectiveOption, fmt.Sprintf(format, args...))
}

// yesNo parses "yes" or "no".
func (p *parser) yesNo() bool {
	if p.accept("no") {
		return false
	}
	s := p.str()
	if s != "yes" {
		p.fail("invalid value '%s', expected 'yes' or 'no'", s)
	}
	return true
}

func word(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

func (p *parser) setReassemble() {
	on := p.yesNo()
	noDF := !p.failed && p.accept("no-df")
	if !p.inOrder(orderOption) {
		return
	}
	p.out.Options.Reassemble, p.out.Options.ReassembleDF = on, on && noDF
	suffix := ""
	if noDF {
		suffix = "no-df"
	}
	p.echo("set reassemble %s %s", word(on), suffix)
}

// optimizationHints are the timeouts of each set optimization.
var optimizationHints = map[string][7]uint32{
	"normal":       {120, 30, 24 * 3600, 900, 45, 90, 30},
	"default":      {120, 30, 24 * 3600, 900, 45, 90, 30},
	"satellite":    {180, 35, 24 * 3600, 905, 50, 95, 60},
	"high-latency": {180, 35, 24 * 3600, 905, 50, 95, 60},
	"conservative": {3600, 900, 5 * 24 * 3600, 3600, 600, 180, 60},
	"aggressive":   {30, 5, 5 * 3600, 60, 30, 30, 10},
}

func (p *parser) setOptimization() {
	name := p.str()
	if !p.inOrder(orderOption) {
		return
	}
	hint, ok := optimizationHints[strings.ToLower(name)]
	if !ok {
		p.warn(SeverityError, "pfctl: invalid state timeouts optimization")
		p.fail("unknown optimization %s", name)
		return
	}
	// The hint has the first seven timeouts, those of TCP.
	copy(p.out.Options.Timeouts[:], hint[:])
	p.echo("set optimization %s", name)
}

func (p *parser) setRulesetOptimization() {
	name := p.words()
	if p.failed {
		return
	}
	for o, n := range optimizationNames {
		if n == name {
			if !p.optimizationSet {
				p.out.Options.Optimization, p.optimizationSet = Optimization(o), true
			}
			return
		}
	}
	p.fail("unknown ruleset-optimization %s", name)
}

// optionList parses an item or a list of items in braces.
func (p *parser) optionList(item func(*parser)) {
	if !p.acceptSymbol('{') {
		item(p)
		return
	}
	list(p, func() []struct{} {
		item(p)
		return nil
	})
}

func (p *parser) setTimeout() {
	name := p.timeoutName()
	n := p.number()
	if !p.inOrder(orderOption) {
		return
	}
	p.checkPositive(n)
	if p.failed {
		return
	}
	t, ok := parseTimeout(strings.ToLower(name))
	if !ok {
		p.warn(SeverityError, "pfctl: Bad timeout name.")
		p.fail("unknown timeout %s", name)
		return
	}
	p.out.Options.Timeouts[t] = uint32(n)
	p.timeoutSet[t] = true
	p.echo("set timeout %s %d", name, int32(n))
}

func (p *parser) setLimit() {
	name := p.str()
	n := p.number()
	if !p.inOrder(orderOption) {
		return
	}
	p.checkPositive(n)
	if p.failed {
		return
	}
	for l, known := range limitNames {
		if known == strings.ToLower(name) {
			p.out.Options.Limits[l] = uint32(n)
			p.limitSet[l] = true
			p.echo("set limit %s %d", name, int32(n))
			return
		}
	}
	p.warn(SeverityError, "pfctl: Bad pool name.")
	p.fail("unable to set limit %s %d", name, n)
}

// nameOrAll takes a name, which may be the keyword all.
func (p *parser) nameOrAll() string {
	if p.accept("all") {
		return "all"
	}
	return p.str()
}

func (p *parser) setLogInterface() {
	name := p.nameOrAll()
	if !p.inOrder(orderOption) {
		return
	}
	p.out.Options.LogInterface = name
	if name == "none" {
		p.out.Options.LogInterface = ""
	}
	if name != "all" {
		name = nameText(name)
	}
	p.echo("set loginterface %s", name)
}

func (p *parser) setHostID() {
	n := p.numberOrString()
	if p.failed {
		return
	}
	if n == 0 || n > math.MaxUint32 {
		p.fail("hostid must be non-zero")
		return
	}
	p.out.Options.HostID = uint32(n)
	p.echo("set hostid 0x%08x", n)
}

func (p *parser) setPolicy(name string, policy *ReturnKind) {
	kind, text := ReturnNone, "drop"
	switch {
	case p.accept("drop"):
	case p.accept("return"):
		kind, text = ReturnAuto, "return"
	default:
		p.syntaxError()
		return
	}
	// Printed even if it comes too late.
	p.echo("set %s %s", name, text)
	if p.inOrder(orderOption) {
		*policy = kind
	}
}

func (p *parser) setRequireOrder() {
	on := p.yesNo()
	if p.failed {
		return
	}
	p.echo("set require-order %s", word(on))
	p.out.Options.RequireOrder = on
}

// defaultFingerprints is where the BSDs keep pf.os; other systems lack it.
const defaultFingerprints = "/etc/pf.os"

func (p *parser) setFingerprints() {
	name := p.str()
	if p.failed {
		return
	}
	p.echo("set fingerprints %s", quote(name))
	if !p.inOrder(orderOption) {
		return
	}
	p.out.Options.Fingerprints = name
	if p.root.Path != "" {
		return
	}
	data, err := p.open(name)
	if name == defaultFingerprints && errors.Is(err, fs.ErrNotExist) {
		return
	}
	var f *Fingerprints
	var bad ErrorList
	if err == nil {
		f, bad, err = ReadFingerprints(bytes.NewReader(data), name)
	}
	if err != nil {
		p.warn(SeverityError, "pfctl: open(%s): %s", name, SystemError(err))
		p.fail("error loading fingerprints %s", name)
		return
	}
	for _, e := range bad {
		p.message(e.Pos, SeverityWarning, e.Text)
	}
	p.cfg.Fingerprints = f
}

func (p *parser) setStatePolicy() {
	switch {
	case p.accept("if-bound"):
		p.out.Options.StatePolicy = true
		p.echo("set state-policy if-bound")
	case p.accept("floating"):
		p.out.Options.StatePolicy = false
		p.echo("set state-policy floating")
	default:
		p.syntaxError()
	}
}

// syslogLevels are OpenBSD's debug levels.
var syslogLevels = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// debugLevel gives the level by the name that pfctl shows for it.
func (p *parser) debugLevel(name string) (string, bool) {
	if p.dialect != OpenBSD {
		switch name {
		case "none", "urgent", "misc", "loud":
			return name, true
		}
		return "", false
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		if int(n) < len(syslogLevels) {
			return syslogLevels[n], true
		}
		return "", false
	}
	name = strings.ToLower(name)
	switch name {
	case "error":
		name = "err"
	case "warn":
		name = "warning"
	case "panic":
		name = "emerg"
	}
	for _, l := range syslogLevels {
		if l == name {
			return l, true
		}
	}
	return "", false
}

func (p *parser) setDebug() {
	name := "debug"
	if !p.accept("debug") {
		name = p.str()
	}
	if !p.inOrder(orderOption) {
		return
	}
	level, ok := p.debugLevel(name)
	if !ok {
		p.warn(SeverityError, "pfctl: unknown debug level \"%s\"", name)
		p.fail("error setting debuglevel %s", name)
		return
	}
	p.out.Options.Debug = level
	p.echo("set debug %s", name)
}

func (p *parser) setSkip() {
	interfaces := p.interfaces()
	if p.failed {
		return
	}
	if len(interfaces) == 0 || len(interfaces) == 1 && !interfaces[0].not && interfaces[0].name == "none" {
		p.out.Options.SkipOn = nil
		p.echo("set skip on none")
		return
	}
	line := "set skip on {"
	var bad []string
	for _, i := range interfaces {
		line += " " + nameText(i.name)
		switch {
		case i.not:
			bad = append(bad, "skip on ! <interface> is not supported")
		case i.rdomain != 0:
			bad = append(bad, "skip on rdomain <num> is not supported")
		default:
			p.out.Options.SkipOn = append(p.out.Options.SkipOn, i.name)
		}
	}
	p.echo("%s }", line)
	for _, text := range bad {
		p.errorf("%s", text)
	}
	if bad != nil {
		p.fail("error setting skip interface(s)")
	}
}

func (p *parser) setStateDefaults() {
	options := p.stateOptions()
	if p.failed {
		return
	}
	if p.stateDefaults != nil {
		p.fail("cannot redefine state-defaults")
		return
	}
	p.stateDefaults = &options
	if t := p.collectState(options); !p.failed {
		p.finishState(&t, StateKeep)
		p.out.Options.StateDefaults = &t.options
	}
}

func (p *parser) setKeepPolicy() {
	kind := StateNone
	switch {
	case p.accept("keep"):
		kind = StateKeep
	case p.accept("modulate"):
		kind = StateModulate
	case p.accept("synproxy"):
		kind = StateSynproxy
	case p.accept("no"):
	default:
		p.syntaxError()
		return
	}
	p.keepPolicy = p.keep(kind)
	if p.failed {
		return
	}
	t := p.collectState(p.keepPolicy.options)
	p.finishState(&t, kind)
	if p.failed {
		return
	}
	p.out.Options.KeepPolicy = kind
	p.out.Options.StateDefaults = &t.options
	// pfctl prints "A default keeppolicy was set", which it could not read.
	r := Rule{Action: Pass, State: kind, StateOptions: t.options}
	line := lineWriter{dialect: DragonFly}
	line.state(&r)
	p.echo("set keep-policy%s", line.String())
}

// The defaults of adaptive syncookies, in percent of the states limit.
const defaultSyncookiesStart = 25

func (p *parser) setSyncookies() {
	name := p.str()
	if p.failed {
		return
	}
	mode := SyncookiesNever
	switch name {
	case "never":
	case "adaptive":
		mode = SyncookiesAdaptive
	case "always":
		mode = SyncookiesAlways
	default:
		p.fail("illegal value for syncookies")
		return
	}
	start, end, given := p.syncookieMarks()
	if p.failed {
		return
	}
	switch {
	case given && mode != SyncookiesAdaptive:
		p.warn(SeverityError, "pfctl: syncookies start/end only apply to adaptive")
		p.fail("error setting syncookies")
		return
	case given:
		if start == 0 {
			start = defaultSyncookiesStart
		}
		if end == 0 {
			end = start / 2
		}
		if end >= start {
			p.warn(SeverityError, "pfctl: start must be higher than end")
			p.fail("error setting syncookies")
			return
		}
		p.out.Options.SyncookiesStart, p.out.Options.SyncookiesEnd = start, end
		p.syncookieMarksSet = true
	}
	p.out.Options.Syncookies = mode
	if mode == SyncookiesAdaptive && p.syncookieMarksSet {
		p.echo("set syncookies adaptive (start %d%%, end %d%%)",
			p.out.Options.SyncookiesStart, p.out.Options.SyncookiesEnd)
		return
	}
	p.echo("set syncookies %s", mode)
}

// syncookieMarks parses "(start 25%, end 12%)".
func (p *parser) syncookieMarks() (start, end uint8, given bool) {
	if !p.acceptSymbol('(') {
		return 0, 0, false
	}
	for {
		name := p.str()
		text := p.str()
		if p.failed {
			return 0, 0, true
		}
		digits, ok := strings.CutSuffix(text, "%")
		v, err := strconv.ParseFloat(digits, 64)
		switch {
		case !ok || err != nil:
			p.abandon()
			return 0, 0, true
		case !(v > 0 && v <= 100):
			p.fail("illegal percentage value")
			return 0, 0, true
		}
		switch name {
		case "start":
			start = uint8(v)
		case "end":
			end = uint8(v)
		default:
			p.fail("illegal syncookie option")
		}
		if p.failed || p.acceptSymbol(')') {
			return start, end, true
		}
		p.acceptComma()
	}
}
