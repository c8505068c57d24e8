package difftest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// What rules and packets are made of: few enough values that they meet.
var (
	hosts = map[string][]string{
		inside + "4":  {"192.0.2.9", "192.0.2.10", "10.0.0.5", "10.0.1.6"},
		outside + "4": {"198.51.100.2", "203.0.113.7", "203.0.113.8"},
		inside + "6":  {"2001:db8::9", "2001:db8::a", "2001:db8:a::5"},
		outside + "6": {"2001:db8:1::2", "2001:db8:2::7", "2001:db8:2::8"},
	}
	routersOwn = map[string][]string{
		"4": {"192.0.2.1", "198.51.100.1"},
		"6": {"2001:db8::1", "2001:db8:1::1"},
	}
	prefixes = map[string][]string{
		"4": {"192.0.2.0/24", "10.0.0.0/8", "10.0.0.0/24", "203.0.113.0/28", "203.0.113.7", "192.0.2.9", "198.51.100.1", "192.0.2.1",
			"128.0.0.0/1", "192.0.2.8 - 192.0.2.10", "10.0.0.0 - 10.0.1.5"},
		"6": {"2001:db8::/64", "2001:db8::/32", "2001:db8:2::/48", "2001:db8::9", "2001:db8:2::7", "2001:db8:1::1", "2001:db8::9 - 2001:db8::b",
			"2001:db8:a::/61"},
	}
	natTargets = map[string][]string{
		"4": {"198.51.100.1", "203.0.113.100", "(em1)", "(egress)"},
		"6": {"2001:db8:1::1", "2001:db8:1::100", "(em1)"},
	}
	pools = map[string][]string{
		"4": {"{ 203.0.113.100, 203.0.113.101, 203.0.113.110/31 }", "203.0.113.96/29", "203.0.113.96/29 random", "203.0.113.96/30 round-robin",
			"203.0.113.64/26 source-hash 0x0123456789abcdef0123456789abcdef", "<p>", "<p> round-robin", "{ 198.51.100.1, (em1) }",
			"203.0.113.128/25 bitmask", "203.0.113.96/29 random sticky-address", "<p> round-robin sticky-address",
			"{ 203.0.113.100, 203.0.113.101, 203.0.113.110/31 } round-robin sticky-address", "203.0.113.96/30 round-robin sticky-address"},
		"6": {"{ 2001:db8:1::100, 2001:db8:1::200/127 }", "2001:db8:5::/64 random", "2001:db8:5::/48", "<p>",
			"2001:db8:5::/64 source-hash 0x0123456789abcdef0123456789abcdef", "2001:db8:5::/64 bitmask",
			"2001:db8:5::/64 random sticky-address", "<p> round-robin sticky-address"},
	}
	bitmaskTargets = map[string]string{"4": "203.0.113.128/25", "6": "2001:db8:5::/64"}
	ports          = []int{22, 53, 80, 443, 1000, 1024, 5000, 8080, 65535}
)

// generator writes rulesets and traffic from one source of randomness.
type generator struct {
	*rand.Rand
	tables int
	tagged bool // rules of this set tag packets
	scrubs bool // it has scrub rules
	// translating says that filter rules of this set translate.
	translating bool
	plain       bool // it has many rules, and none that changes what others see
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// maybe returns a text or nothing.
func (g *generator) maybe(percent int, text string) string {
	if g.chance(percent) {
		return text
	}
	return ""
}

func (g *generator) family() string { return pick(g, []string{"4", "4", "4", "6", "6"}) }

// ruleset writes a whole configuration.
func (g *generator) ruleset() string {
	var b strings.Builder
	if g.chance(6) {
		g.sticky(&b)
		return b.String()
	}
	if g.chance(8) {
		g.seldom(&b)
		return b.String()
	}
	g.options(&b)
	g.tables, g.tagged = g.IntN(3), g.chance(30)
	for i := range g.tables {
		g.table(&b, i)
	}
	if g.scrubs = g.chance(20); g.scrubs {
		g.scrub(&b)
	}
	b.WriteString("table <p> { 203.0.113.200/29, ! 203.0.113.202, 203.0.113.220, 2001:db8:6::/126, ! 2001:db8:6::1, 10.0.1.6 }\n")
	g.translating = g.chance(60)
	if g.chance(60) {
		for range g.IntN(4) {
			g.translation(&b)
		}
	}
	count := 1 + g.IntN(8)
	if g.plain = g.chance(25); g.plain {
		count, g.tagged = 10+g.IntN(120), false
	}
	for range count {
		g.filter(&b, 0)
	}
	return b.String()
}

// stickyPools are pools that keep a source at its address.
var stickyPools = []string{"203.0.113.96/29 random sticky-address", "203.0.113.96/30 round-robin sticky-address", "203.0.113.64/26 sticky-address",
	"{ 203.0.113.100, 203.0.113.101, 203.0.113.110/31 } round-robin sticky-address",
	"203.0.113.64/26 source-hash 0x0123456789abcdef0123456789abcdef sticky-address", "203.0.113.128/25 bitmask sticky-address"}

// sticky writes rules with which a source keeps its address: few sources, each
// with many states that end soon.
func (g *generator) sticky(b *strings.Builder) {
	b.WriteString(g.maybe(60, fmt.Sprintf("set timeout src.track %d\n", pick(g, []int{10, 120, 3600}))))
	b.WriteString(g.maybe(70, "set timeout { tcp.first 12, tcp.opening 12, tcp.established 20, tcp.closed 4, udp.first 5, udp.single 5, udp.multiple 9, icmp.first 6 }\n"))
	inside := pick(g, []string{"192.0.2.0/24", "any", "10.0.0.0/8"})
	nat := func() string {
		return withPort(pick(g, stickyPools), pick(g, []string{"", " static-port", " port 3000:9000", " port 2000:2003"}))
	}
	to := pick(g, []string{"{ 10.0.0.5, 10.0.1.6, 192.0.2.10 } round-robin sticky-address", "192.0.2.8/30 random sticky-address"})
	switch g.IntN(3) {
	case 0:
		fmt.Fprintf(b, "nat on em1 inet from %s to any -> %s\n", inside, nat())
		b.WriteString(g.maybe(50, "rdr on em1 inet proto { tcp, udp } from any to any -> "+to+"\n"))
	case 1:
		fmt.Fprintf(b, "match out on em1 inet from %s to any nat-to %s\n", inside, nat())
		b.WriteString(g.maybe(30, "match out on em1 inet proto tcp nat-to "+nat()+"\n"))
	case 2:
		fmt.Fprintf(b, "pass out quick on em1 inet proto tcp from any to any nat-to %s\n", nat())
		fmt.Fprintf(b, "pass in quick on em1 inet from any to any rdr-to %s keep state (src.track 30)\n", to)
	}
	b.WriteString(g.maybe(20, "block in proto tcp to port 22\n"))
	b.WriteString(pick(g, []string{"pass\n", "pass no state\n", "pass keep state (sloppy, src.track 15)\n"}))
}

// scrub writes rules that come before all others.
func (g *generator) scrub(b *strings.Builder) {
	for range 1 + g.IntN(3) {
		family := pick(g, []string{"", "4", "6"})
		b.WriteString(g.maybe(20, "no ") + "scrub" + pick(g, []string{"", " in", " out"}))
		g.head(b, g.on(), family)
		for _, option := range g.scrubOptions() {
			b.WriteString(" " + option)
		}
		b.WriteString(pick(g, []string{" fragment no reassemble", " fragment no reassemble", " fragment reassemble", ""}) + "\n")
	}
}

// scrubOptions are those that a scrub rule and a filter rule may have.
func (g *generator) scrubOptions() (options []string) {
	for _, option := range []string{"no-df", "random-id", fmt.Sprintf("min-ttl %d", 1+g.IntN(90)),
		fmt.Sprintf("max-mss %d", pick(g, []int{500, 1301, 1440})), "set-tos " + pick(g, []string{"0x10", "0x08", "0x14"})} {
		if g.chance(35) {
			options = append(options, option)
		}
	}
	return options
}

func (g *generator) options(b *strings.Builder) {
	if g.chance(15) {
		fmt.Fprintf(b, "set state-policy %s\n", pick(g, []string{"if-bound", "floating"}))
	}
	if g.chance(15) {
		fmt.Fprintf(b, "set block-policy %s\n", pick(g, []string{"drop", "return"}))
	}
	if g.chance(15) {
		b.WriteString("set fail-policy return\n")
	}
	if g.chance(40) {
		fmt.Fprintf(b, "set timeout src.track %d\n", pick(g, []int{10, 120, 3600}))
	}
	if g.chance(4) {
		fmt.Fprintf(b, "set skip on %s\n", pick(g, []string{inside, outside, "egress"}))
	}
	switch {
	case g.chance(6):
		fmt.Fprintf(b, "set limit states %d\n", 1+g.IntN(6))
	case g.chance(6):
		fmt.Fprintf(b, "set timeout { adaptive.start %d, adaptive.end %d }\n", g.IntN(3), 4+g.IntN(12))
	}
	if g.chance(15) {
		fmt.Fprintf(b, "set timeout { tcp.first %d, tcp.opening %d, tcp.established %d, udp.first %d, udp.multiple %d, icmp.first %d }\n",
			10+g.IntN(100), 10+g.IntN(100), 60+g.IntN(10000), 10+g.IntN(100), 10+g.IntN(100), 10+g.IntN(50))
	}
}

func (g *generator) table(b *strings.Builder, i int) {
	var entries []string
	for range g.IntN(6) {
		entry := pick(g, prefixes[g.family()])
		if !strings.Contains(entry, " - ") {
			entries = append(entries, g.maybe(25, "! ")+entry)
		}
	}
	fmt.Fprintf(b, "table <t%d>%s { %s }\n", i, g.maybe(30, " counters"), strings.Join(entries, ", "))
}

// address writes one side of a rule.
func (g *generator) address(family string, source bool) string {
	not := g.maybe(15, "! ")
	switch n := g.IntN(10); {
	case n < 4:
		return "any"
	case n < 5 && g.tables > 0:
		return not + fmt.Sprintf("<t%d>", g.IntN(g.tables))
	case n == 5 && g.chance(30):
		return pick(g, []string{"no-route", not + "no-route", not + map[bool]string{true: "urpf-failed", false: "no-route"}[source]})
	case n == 6:
		return not + pick(g, []string{"(em0)", "(em1)", "(em0:network)", "(em1:network)", "(egress)"})
	case family == "":
		return "any"
	}
	return not + pick(g, prefixes[family])
}

func (g *generator) port() string {
	a, b := pick(g, ports), pick(g, ports)
	low, high := min(a, b), max(a, b)
	if low == high {
		low--
	}
	switch g.IntN(13) {
	case 0:
		return fmt.Sprintf(" port != %d", a)
	case 1:
		return fmt.Sprintf(" port < %d", a)
	case 2:
		return fmt.Sprintf(" port <= %d", a)
	case 3:
		return fmt.Sprintf(" port > %d", a)
	case 4:
		return fmt.Sprintf(" port >= %d", a)
	case 5:
		return fmt.Sprintf(" port %d:%d", low, high)
	case 6:
		return fmt.Sprintf(" port %d >< %d", low, high)
	case 7:
		return fmt.Sprintf(" port %d <> %d", low, high)
	}
	return fmt.Sprintf(" port %d", a)
}

func familyWord(family string) string {
	switch family {
	case "4":
		return " inet"
	case "6":
		return " inet6"
	}
	return ""
}

// head writes what all rules have alike: interface, family, protocol, ends.
// It returns the protocol.
func (g *generator) head(b *strings.Builder, on, family string) (protocol string) {
	b.WriteString(on + familyWord(family))
	protocol = pick(g, []string{"", "", "tcp", "tcp", "udp", "icmp", "icmp", "{ tcp udp }", "47"})
	if protocol == "icmp" {
		switch family {
		case "":
			protocol = ""
		case "6":
			protocol = "icmp6"
		}
	}
	if protocol != "" {
		b.WriteString(" proto " + protocol)
	}
	withPorts := strings.Contains(protocol, "tcp") || protocol == "udp"
	from, to := g.address(family, true), g.address(family, false)
	if withPorts && g.chance(35) {
		from += g.port()
	}
	if withPorts && g.chance(40) {
		to += g.port()
	}
	fmt.Fprintf(b, " from %s to %s", from, to)
	return protocol
}

func (g *generator) on() string {
	return pick(g, []string{"", "", "", " on em0", " on em1", " on ! em0", " on egress", " on inside", " on nowhere0"})
}

func (g *generator) tagOptions(b *strings.Builder) {
	if g.tagged && g.chance(40) {
		b.WriteString(" tag " + pick(g, []string{"RED", "BLUE"}))
	}
	if g.tagged && g.chance(40) {
		b.WriteString(g.maybe(30, " !") + " tagged " + pick(g, []string{"RED", "BLUE"}))
	}
}

// filter writes a filter rule or an anchor with rules in it.
func (g *generator) filter(b *strings.Builder, depth int) {
	family := pick(g, []string{"", "", "4", "4", "6"})
	if depth < 3 && !g.plain && g.chance(12) {
		g.anchor(b, depth, family)
		return
	}
	var rule strings.Builder
	quick := 25
	if g.plain {
		quick = 8
	}
	action := pick(g, []string{"pass", "pass", "pass", "pass", "pass", "block", "block", "match"})
	if g.translating && g.chance(25) {
		action = "match"
	}
	if g.plain && action == "match" {
		action = "block"
	}
	if action == "block" {
		action += pick(g, []string{"", "", "", " drop", " return", " return-icmp"})
	}
	direction := pick(g, []string{"", " in", " out", " out"})
	rule.WriteString(action + direction)
	if !strings.HasPrefix(action, "match") {
		rule.WriteString(g.maybe(quick, " quick"))
	}
	protocol := g.head(&rule, g.on(), family)
	g.matchers(&rule, family, protocol)
	translates := g.translating && family != "" && direction != "" && !strings.HasPrefix(action, "block") && g.chance(70)
	if translates {
		g.translateTo(&rule, family, protocol)
	}
	// pfctl takes no-df and random-id of IPv6 only where nothing is translated.
	if options := g.scrubOptions(); !strings.HasPrefix(action, "block") && len(options) > 0 && g.chance(30) && !(translates && family == "6") {
		fmt.Fprintf(&rule, " scrub (%s)", strings.Join(options, " "))
	}
	if action == "pass" {
		if !translates {
			rule.WriteString(g.maybe(12, " no state"))
		}
		if !strings.HasSuffix(rule.String(), "no state") {
			rule.WriteString(pick(g, []string{"", "", "", "", " keep state (sloppy)", " keep state (if-bound)", " keep state (floating)",
				fmt.Sprintf(" keep state (max %d)", 1+g.IntN(3)), fmt.Sprintf(" keep state (udp.first %d, tcp.established %d, tcp.first 40, src.track 30)", 10+g.IntN(90), 60+g.IntN(9000)),
				fmt.Sprintf(" keep state (adaptive.start %d, adaptive.end %d)", 1+g.IntN(2), 4+g.IntN(4))}))
		}
		rule.WriteString(g.maybe(20, " allow-opts"))
	}
	rule.WriteString(g.maybe(8, pick(g, []string{" received-on em0", " received-on em1", " received-on egress", " ! received-on em0"})))
	g.tagOptions(&rule)
	b.WriteString(rule.String() + "\n")
}

// matchers writes what a rule may ask of headers.
func (g *generator) matchers(b *strings.Builder, family, protocol string) {
	switch {
	case protocol == "tcp" && g.chance(40):
		b.WriteString(pick(g, []string{" flags S/SA", " flags any", " flags any", " flags A/A", " flags /S", " flags SA/SA", " flags R/R"}))
	case protocol == "icmp" && g.chance(75):
		b.WriteString(pick(g, []string{" icmp-type echoreq", " icmp-type echoreq", " icmp-type echorep", " icmp-type unreach", " icmp-type unreach code 1", " icmp-type unreach code 2",
			" icmp-type unreach code 3", " icmp-type timereq"}))
	case protocol == "icmp6" && g.chance(75):
		b.WriteString(pick(g, []string{" icmp6-type echoreq", " icmp6-type echorep", " icmp6-type unreach", " icmp6-type unreach code 3"}))
	case protocol == "" && g.chance(25):
		b.WriteString(" fragment")
	}
	if g.chance(12) {
		b.WriteString(" tos 0x10")
	}
}

func (g *generator) anchor(b *strings.Builder, depth int, family string) {
	name := fmt.Sprintf("%c%d", 'a'+depth, g.IntN(1000000))
	if g.chance(20) {
		// Children of an anchor that nothing enters, called by a wildcard.
		fmt.Fprintf(b, "anchor \"%s\" proto 99 {\n", name)
		for i := range 1 + g.IntN(2) {
			fmt.Fprintf(b, "anchor \"x%d\" {\n", i)
			g.filter(b, depth+2)
			b.WriteString("}\n")
		}
		b.WriteString("}\n")
		fmt.Fprintf(b, "anchor \"%s/*\"%s%s\n", name, pick(g, []string{"", " in", " out"}), g.maybe(30, " quick"))
		return
	}
	fmt.Fprintf(b, "anchor \"%s\"%s%s", name, pick(g, []string{"", " in", " out"}), g.maybe(30, " quick"))
	if g.chance(40) {
		g.head(b, g.on(), family)
		g.tagOptions(b)
	}
	b.WriteString(" {\n")
	for range 1 + g.IntN(4) {
		g.filter(b, depth+1)
	}
	b.WriteString("}\n")
}

// seldom writes rules that few packets meet among others.
func (g *generator) seldom(b *strings.Builder) {
	state := pick(g, []string{"", " no state", " keep state (sloppy)"})
	switch g.IntN(8) {
	case 0: // no address, or few ports
		b.WriteString("table <none> { 2001:db8:6::1 }\n")
		fmt.Fprintf(b, "nat on em1 inet from any to any -> %s\n", pick(g, []string{"<none>", "203.0.113.100 port 2000:2001"}))
		b.WriteString("pass\n")
	case 2:
		b.WriteString("pass in tag RED" + state + "\n")
		b.WriteString(g.maybe(50, "match in proto udp tag BLUE\n"))
		fmt.Fprintf(b, "%s out tagged %s\n", pick(g, []string{"pass", "block", "block return"}), pick(g, []string{"RED", "BLUE"}))
		b.WriteString(g.maybe(50, "pass out quick proto tcp tagged RED"+state+"\n"))
	case 1:
		fmt.Fprintf(b, "no rdr on em1 inet proto %s from any to any\n", pick(g, []string{"tcp", "udp", "icmp"}))
		b.WriteString("rdr on em1 inet from any to 203.0.113.100 -> 192.0.2.10\n")
		b.WriteString("match out on em1 inet from 192.0.2.0/24 to any nat-to 203.0.113.0/24 static-port\n")
		b.WriteString("match out on em1 inet6 from 2001:db8::/64 to any nat-to 2001:db8:5::/64 static-port\n")
		b.WriteString("pass" + state + "\n")
	default: // errors about packets that have no state
		b.WriteString("pass no state\n")
		for code := range 4 {
			for _, kind := range []string{"unreach", "timex", "paramprob"} {
				b.WriteString(g.maybe(80, fmt.Sprintf("%s inet proto icmp icmp-type %s code %d\n", pick(g, []string{"block", "block quick", "block return"}), kind, code)))
			}
			b.WriteString(g.maybe(80, fmt.Sprintf("block inet6 proto icmp6 icmp6-type unreach code %d\n", code)))
		}
	}
}

// translation writes a nat or rdr rule.
func (g *generator) translation(b *strings.Builder) {
	family := g.family()
	switch {
	case g.chance(15):
		g.binat(b)
		return
	case g.chance(50):
		g.nat(b, family)
		return
	}
	var rule strings.Builder
	no := g.chance(10)
	rule.WriteString(g.maybe(100*btoi(no), "no ") + "rdr" + g.maybe(20*btoi(!no), " pass"))
	rule.WriteString(pick(g, []string{"", " on em0", " on em1"}) + familyWord(family))
	protocol := pick(g, []string{"", "tcp", "tcp", "udp", "icmp"})
	if protocol == "icmp" && family == "6" {
		protocol = "icmp6"
	}
	if protocol != "" {
		rule.WriteString(" proto " + protocol)
	}
	ported, ranged := protocol == "tcp" || protocol == "udp", false
	fmt.Fprintf(&rule, " from %s to %s", g.address(family, true), pick(g, append(append([]string{"any"}, prefixes[family]...), routersOwn[family]...)))
	low := pick(g, ports[:len(ports)-1])
	if ported {
		ranged = g.chance(40)
		if ranged {
			fmt.Fprintf(&rule, " port %d:%d", low, low+1+g.IntN(500))
		} else {
			rule.WriteString(g.maybe(60, fmt.Sprintf(" port %d", low)))
		}
	}
	rule.WriteString(g.maybe(10, " tag RED"))
	if !no {
		target := pick(g, append(hosts[pick(g, []string{inside, outside})+family], routersOwn[family]...))
		if g.chance(15) {
			target = bitmaskTargets[family] + " bitmask"
			if ported {
				target = bitmaskTargets[family]
				rule.WriteString(" -> " + target + g.maybe(40, fmt.Sprintf(" port %d", pick(g, ports))) + " bitmask\n")
				b.WriteString(rule.String())
				return
			}
		}
		rule.WriteString(" -> " + target)
		switch {
		case ranged && g.chance(60):
			fmt.Fprintf(&rule, " port %d:%s", 1+g.IntN(9000), pick(g, []string{"*", "9100"}))
		case ported:
			rule.WriteString(g.maybe(60, fmt.Sprintf(" port %d", pick(g, ports))))
		}
	}
	b.WriteString(rule.String() + "\n")
}

// translateTo writes nat-to and rdr-to.
func (g *generator) translateTo(b *strings.Builder, family, protocol string) {
	ported := strings.Contains(protocol, "tcp") || protocol == "udp"
	kind := g.IntN(10)
	if networks := map[string][]string{"4": {"10.0.0.0/24", "192.0.2.0/24"}, "6": {"2001:db8::/64", "2001:db8:a::/64"}}[family]; g.chance(10) {
		// One network into another, as the halves of binat-to.
		fmt.Fprintf(b, " nat-to %s static-port", networks[g.IntN(2)])
		return
	}
	if kind < 6 {
		target := pick(g, natTargets[family])
		if g.chance(50) {
			target = pick(g, pools[family])
		}
		b.WriteString(" nat-to " + withPort(target, pick(g, []string{"", "", " static-port", " port 2000:2003", " port 3000:9000", " port 4000"})))
	}
	if kind > 4 {
		target := pick(g, append(hosts[pick(g, []string{inside, outside})+family], routersOwn[family]...))
		if g.chance(30) {
			target = pick(g, pools[family])
		}
		b.WriteString(" rdr-to " + withPort(target, g.maybe(60*btoi(ported), pick(g, []string{" port 80", " port 8080", " port 1000:1004"}))))
	}
}

// withPort puts a port, or an option behind it, where the grammar wants it:
// between the addresses of a pool and its type.
func withPort(target, port string) string {
	for _, kind := range []string{" random", " round-robin", " source-hash", " bitmask", " sticky-address"} {
		if i := strings.Index(target, kind); i >= 0 {
			return target[:i] + port + target[i:]
		}
	}
	return target + port
}

// binat writes binat rules.
func (g *generator) binat(b *strings.Builder) {
	rule := func() string {
		inside := pick(g, []string{"192.0.2.9", "192.0.2.10", "10.0.0.5", "10.0.0.0/24", "192.0.2.0/24", "2001:db8::9", "2001:db8::/64"})
		to := map[string][]string{"192.0.2.9": {"203.0.113.90", "(em1:0)"}, "192.0.2.10": {"203.0.113.91"}, "10.0.0.5": {"203.0.113.92"},
			"10.0.0.0/24": {"203.0.113.0/24"}, "192.0.2.0/24": {"203.0.114.0/24"}, "2001:db8::9": {"2001:db8:5::9"}, "2001:db8::/64": {"2001:db8:6::/64"}}
		on := pick(g, []string{"em1", "em1", "egress", "em0"})
		peer := pick(g, []string{"any", "any", "203.0.113.7", "! 203.0.113.8"})
		if strings.Contains(inside, ":") {
			peer = "any"
		}
		if g.chance(15) {
			return fmt.Sprintf("no binat on %s from %s to %s\n", on, inside, peer)
		}
		return fmt.Sprintf("binat on %s from %s to %s -> %s\n", on, inside, peer, pick(g, to[inside]))
	}
	b.WriteString(rule())
	b.WriteString(g.maybe(40, rule()))
}

func (g *generator) nat(b *strings.Builder, family string) {
	no := g.chance(10)
	b.WriteString(g.maybe(100*btoi(no), "no ") + "nat" + g.maybe(15*btoi(!no), " pass"))
	on := pick(g, []string{" on em1", " on em1", " on egress", " on em0", ""})
	if g.chance(60) {
		fmt.Fprintf(b, "%s%s from %s to any", on, familyWord(family), pick(g, append([]string{"any"}, prefixes[family][:2]...)))
	} else {
		g.head(b, on, family)
	}
	g.tagOptions(b)
	if !no {
		target := pick(g, natTargets[family])
		if g.chance(15) {
			target = bitmaskTargets[family]
			b.WriteString(" -> " + target + g.maybe(30, " port 2000:2002") + " bitmask" + "\n")
			return
		}
		if g.chance(40) {
			target = pick(g, pools[family])
		}
		b.WriteString(" -> " + withPort(target, pick(g, []string{"", "", " static-port", " port 2000:2003", " port 3000:9000", " port 4000"})))
	}
	b.WriteString("\n")
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}
