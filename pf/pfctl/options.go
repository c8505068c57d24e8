package pfctl

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// options are the parsed command line.
type options struct {
	dialect conf.Dialect

	disable, enable     bool
	noAction            bool // -n
	quiet, debug        bool
	verbose             int // number of -v
	merge, killMatching bool
	noDNS, useDNS       bool
	swapPorts           bool
	zero                bool

	macros    []conf.Macro
	anchor    string
	recurse   bool // the anchor had a final "*"
	rules     string
	hasRules  bool
	flush     string
	show      string
	iface     string
	optimize  string
	debugTo   string
	device    string
	kill      []string
	killNodes []string
	table     string
	command   string
	args      []string // addresses of a table command
	rdomain   int
	ruleID    int64 // -R of OpenBSD; -1 is every rule
	saveTo    string
	loadFrom  string
	sections  conf.Section

	json    bool
	ifaddrs string
	confirm int // seconds, 0: no confirmation

	try, pcap, against string // files
	audit              string // file, or auditOff
}

// showAudit is the modifier of -s for what an audit found.
const showAudit = "audit"

// usageError ends with the usage text; failure without it.
type (
	usageError struct{ text string }
	failure    struct{ text string }
)

func (e usageError) Error() string { return e.text }
func (e failure) Error() string    { return e.text }

// longOptions takes the options that no BSD has out of the arguments.
func longOptions(args []string, env func(string) string) (rest []string, o options, explicit bool, err error) {
	o.ruleID = -1
	name := env("BSDNET_PF_DIALECT")
	for len(args) > 0 {
		word := args[0]
		if word == "--" {
			break
		}
		if !strings.HasPrefix(word, "--") {
			rest, args = append(rest, word), args[1:]
			continue
		}
		args = args[1:]
		key, value, hasValue := strings.Cut(word[2:], "=")
		switch key {
		case "dialect", "ifaddrs", "confirm", "try", "pcap", "against", "audit":
			if !hasValue {
				if len(args) == 0 {
					return nil, o, false, usageError{fmt.Sprintf("option requires an argument -- %s", key)}
				}
				value, args = args[0], args[1:]
			}
			switch key {
			case "dialect":
				name = value
			case "ifaddrs":
				o.ifaddrs = value
			case "try":
				o.try = value
			case "pcap":
				o.pcap = value
			case "against":
				o.against = value
			case "audit":
				o.audit = value
			case "confirm":
				n, reason := number(value, 1, 86400)
				if reason != "" {
					return nil, o, false, usageError{fmt.Sprintf("--confirm %s: %s", value, reason)}
				}
				o.confirm = int(n)
			}
		case "json":
			o.json = true
		default:
			return nil, o, false, usageError{fmt.Sprintf("unknown option -- %s", key)}
		}
	}
	if name != "" {
		explicit = true
		if o.dialect, err = conf.ParseDialect(name); err != nil {
			return nil, o, false, failure{err.Error()}
		}
	}
	return append(rest, args...), o, explicit, nil
}

// parse reads the flags of the dialect.
func (o *options) parse(args []string) (warnings []string, err error) {
	d := &dialects[o.dialect]
	g := getopt{spec: d.flags, args: args}
	for {
		opt, ok, bad := g.next()
		if bad != nil {
			return warnings, usageError{bad.text(o.dialect)}
		}
		if !ok {
			break
		}
		if opt.flag == 'D' {
			m, ok := parseMacro(opt.arg)
			if !ok {
				warnings = append(warnings, "could not parse macro definition "+opt.arg)
			} else {
				o.macros = append(o.macros, m)
			}
			continue
		}
		if err := o.set(d, opt); err != nil {
			return warnings, err
		}
	}
	return warnings, o.check(g.args)
}

// parseMacro splits "name=value" at the last "=", as pfctl does.
func parseMacro(s string) (conf.Macro, bool) {
	i := strings.LastIndexByte(s, '=')
	if i < 0 {
		return conf.Macro{}, false
	}
	return conf.Macro{Name: s[:i], Value: s[i+1:]}, true
}

// set takes one option. Letters that mean different things are taken apart in
// setOpenBSD and setFreeBSD.
func (o *options) set(d *dialect, opt option) error {
	modifier := func(dst *string, list []string, what string) error {
		found, ambiguous := lookup(opt.arg, list)
		switch {
		case ambiguous && o.dialect == conf.OpenBSD:
			return failure{opt.arg + " is ambigious"}
		case found == "":
			return usageError{fmt.Sprintf("Unknown %s '%s'", what, opt.arg)}
		}
		*dst = found
		return nil
	}
	twice := func(list *[]string) error {
		// The word nat comes before up to two hosts.
		if len(*list) >= 2 && !(len(*list) == 2 && (*list)[0] == "nat") {
			return usageError{fmt.Sprintf("can only specify -%c twice", opt.flag)}
		}
		*list = append(*list, opt.arg)
		return nil
	}
	switch opt.flag {
	case 'a':
		o.anchor = opt.arg
		if opt.arg == "" {
			return failure{"anchor name must not be empty"}
		}
	case 'd':
		o.disable = true
	case 'e':
		o.enable = true
	case 'q':
		o.quiet = true
	case 'F':
		return modifier(&o.flush, d.flush, "flush modifier")
	case 'i':
		o.iface = opt.arg
	case 'k':
		return twice(&o.kill)
	case 'K':
		return twice(&o.killNodes)
	case 'n':
		o.noAction = true
	case 'r':
		o.useDNS = true
	case 'f':
		o.rules, o.hasRules = opt.arg, true
	case 'g':
		o.debug = true
	case 'o':
		return modifier(&o.optimize, optimizations, "optimization")
	case 'P':
		o.swapPorts = true
	case 'p':
		o.device = opt.arg
	case 's':
		if opt.arg == showAudit { // not one of the BSDs', so never shortened
			o.show = showAudit
			return nil
		}
		return modifier(&o.show, d.show, "show modifier")
	case 't':
		o.table = opt.arg
	case 'T':
		return modifier(&o.command, d.table, "table command")
	case 'v':
		o.verbose++
	case 'x':
		return modifier(&o.debugTo, d.debug, "debug level")
	case 'z':
		o.zero = true
	case 'h':
		return usageError{}
	default:
		if o.dialect == conf.OpenBSD {
			return o.setOpenBSD(opt)
		}
		o.setFreeBSD(opt)
	}
	return nil
}

func (o *options) setOpenBSD(opt option) error {
	switch opt.flag {
	case 'N':
		o.noDNS = true
	case 'R':
		n, reason := number(opt.arg, -1, math.MaxInt64)
		if reason != "" {
			return usageError{"invalid rule id: " + reason}
		}
		o.ruleID = n
	case 'V':
		n, reason := number(opt.arg, 0, 255)
		if reason != "" {
			return usageError{"Invalid rdomain: " + reason}
		}
		o.rdomain = int(n)
	case 'S':
		o.saveTo = opt.arg
	case 'L':
		o.loadFrom = opt.arg
	}
	return nil
}

func (o *options) setFreeBSD(opt option) {
	switch opt.flag {
	case 'm':
		o.merge = true
	case 'M':
		o.killMatching = true
	case 'N':
		o.sections |= conf.SectionNat
	case 'A':
		o.sections |= conf.SectionQueues
	case 'R':
		o.sections |= conf.SectionFilter
	case 'O':
		o.sections |= conf.SectionOptions
	case 'S':
		o.noDNS = true
	}
}

// number reads a number as strtonum(3).
func number(s string, low, high int64) (n int64, reason string) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil && strings.Contains(err.Error(), "range") && n > 0:
		return 0, "too large"
	case err != nil && strings.Contains(err.Error(), "range"):
		return 0, "too small"
	case err != nil:
		return 0, "invalid"
	case n < low:
		return 0, "too small"
	case n > high:
		return 0, "too large"
	}
	return n, ""
}

// writes reports whether the options change the instance.
func (o *options) writes() bool {
	return o.disable || o.enable || o.flush != "" || len(o.kill) > 0 || len(o.killNodes) > 0 ||
		o.hasRules || o.debugTo != "" || o.zero || o.loadFrom != ""
}

// check finds contradictions, in the order of pfctl.
func (o *options) check(rest []string) error {
	if o.noDNS && o.useDNS {
		return failure{"-N and -r are mutually exclusive"}
	}
	if (o.command == "") != (o.table == "") && o.command != "load" {
		return usageError{}
	}
	writes := o.writes()
	switch {
	case o.command == "load":
		o.sections |= conf.SectionTables
		o.command = ""
	case o.command != "":
		o.args = rest
		writes = o.command != "show" && o.command != "test"
	case len(rest) > 0:
		return usageError{fmt.Sprintf("unknown command line argument: %s ...", rest[0])}
	}
	return o.checkAnchor(writes)
}

func (o *options) checkAnchor(writes bool) error {
	if o.anchor == "" {
		return nil
	}
	if !writes && o.show == "" && o.command == "" {
		return usageError{"anchors apply to -f, -F, -s, and -T only"}
	}
	if writes && o.command == "" && (o.anchor[0] == '_' || strings.Contains(o.anchor, "/_")) {
		return failure{"anchor names beginning with '_' cannot be modified from the command line"}
	}
	if name, ok := strings.CutSuffix(o.anchor, "*"); ok {
		o.anchor = strings.TrimSuffix(name, "/")
		o.recurse = true
	}
	if len(o.anchor) >= 1024 {
		return failure{fmt.Sprintf("anchor name '%s' too long", o.anchor)}
	}
	if o.dialect != conf.OpenBSD {
		only := conf.SectionFilter | conf.SectionNat | conf.SectionTables | conf.SectionEther
		if o.sections == 0 {
			o.sections = conf.SectionAll
		}
		o.sections &= only
	}
	return nil
}
