package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Text is the rule as pfctl of the dialect prints it, without the rules of an
// inline anchor.
func (r *Rule) Text(d Dialect, o FormatOptions) string { return r.text(d, o) }

// lineWriter builds the line of a rule.
type lineWriter struct {
	strings.Builder
	dialect Dialect
	options FormatOptions
}

func (w *lineWriter) printf(format string, args ...any) { fmt.Fprintf(&w.Builder, format, args...) }

func (w *lineWriter) word(set bool, text string) {
	if set {
		w.WriteString(text)
	}
}

func (r *Rule) text(d Dialect, o FormatOptions) string {
	w := lineWriter{dialect: d, options: o}
	w.Grow(128)
	if o.Numbers {
		w.WriteByte('@')
		w.WriteString(strconv.Itoa(r.Number))
		w.WriteByte(' ')
	}
	w.action(r)
	switch r.Direction {
	case In:
		w.WriteString(" in")
	case Out:
		w.WriteString(" out")
	}
	w.log(r)
	w.word(r.Quick, " quick")
	w.iface(r)
	if d != OpenBSD {
		w.route(r)
	}
	if r.Family != Unspecified {
		w.WriteString(" " + r.Family.String())
	}
	if r.Protocol != 0 {
		name := protocolName(r.Protocol)
		if !isDigit(int(name[0])) && nameText(name) != name {
			name = strconv.Itoa(int(r.Protocol)) // "a/n" is not read
		}
		w.WriteString(" proto " + name)
	}
	w.addresses(r)
	if r.ReceivedOn != "" {
		w.WriteByte(' ')
		w.word(r.ReceivedOnNot, "!")
		w.WriteString("received-on " + r.ReceivedOn)
	}
	w.id("user", r.User)
	w.id("group", r.Group)
	w.flags(r)
	w.icmp(r)
	w.word(r.TOS != 0, fmt.Sprintf(" tos 0x%02x", r.TOS))
	if v, ok := r.Prio.Get(); ok {
		w.printf(" prio %d", v)
	}
	if r.PacketRate.Limit != 0 {
		w.printf(" max-pkt-rate %d/%d", r.PacketRate.Limit, r.PacketRate.Seconds)
	}
	if r.PacketSize != 0 {
		w.printf(" max-pkt-size %d", r.PacketSize)
	}
	w.set(r)
	w.state(r)
	w.word(r.Fragment, " fragment")
	if d == OpenBSD {
		w.tailOpenBSD(r)
	} else {
		w.tailFreeBSD(r)
	}
	return w.String()
}

func (w *lineWriter) action(r *Rule) {
	if c := r.Anchor; c != nil {
		w.WriteString(r.Action.anchorKeyword())
		if c.Printed != "" {
			w.WriteString(" " + quote(c.shown(w.options)))
		}
		return
	}
	w.WriteString(r.Action.String())
	w.word(r.NatPass, " pass")
	if r.Action != Block {
		return
	}
	switch r.Return {
	case ReturnNone:
		w.WriteString(" drop")
	case ReturnAuto:
		w.WriteString(" return")
	case ReturnRST:
		w.WriteString(" return-rst")
		if r.ReturnTTL != 0 {
			w.printf("(ttl %d)", r.ReturnTTL)
		}
	case ReturnICMP:
		code := returnCodeText(r.ReturnICMP, Inet, w.dialect)
		code6 := returnCodeText(r.ReturnICMP6, Inet6, w.dialect)
		switch r.Family {
		case Inet:
			w.WriteString(" return-icmp(" + code + ")")
		case Inet6:
			w.WriteString(" return-icmp6(" + code6 + ")")
		default:
			w.WriteString(" return-icmp(" + code + ", " + code6 + ")")
		}
	}
}

func returnCodeText(v uint16, f AddressFamily, d Dialect) string {
	if name, ok := icmpCodeText(uint8(v>>8), uint8(v), f, d); ok {
		return name
	}
	return strconv.Itoa(int(uint8(v)))
}

func (w *lineWriter) log(r *Rule) {
	if !r.logged() {
		return
	}
	w.WriteString(" log")
	var words []string
	if r.Log&LogAll != 0 {
		words = append(words, "all")
	}
	if r.Log&LogMatches != 0 {
		words = append(words, "matches")
	}
	if r.Log&LogUser != 0 {
		words = append(words, "user")
	}
	if r.LogIf != 0 {
		words = append(words, fmt.Sprintf("to pflog%d", r.LogIf))
	}
	if words != nil {
		w.WriteString(" (" + strings.Join(words, ", ") + ")")
	}
}

func (w *lineWriter) iface(r *Rule) {
	not := ""
	if r.InterfaceNot {
		not = "! "
	}
	if r.Interface != "" {
		w.WriteString(" on " + not + nameText(r.Interface))
	}
	if v, ok := r.RoutingDomain.Get(); ok {
		w.printf(" on %srdomain %d", not, v)
	}
}

// nameText quotes a name if it would not be read as one.
func nameText(name string) string {
	if name == "" || keyword(name) && name != "any" || !isAlpha(int(name[0])) && name[0] != '_' && name[0] != ':' && !isDigit(int(name[0])) {
		return quote(name)
	}
	digits := true
	for i := range len(name) {
		if !inString(int(name[i])) || name[i] == '$' || name[i] == '"' || name[i] == '\'' || name[i] == '\\' {
			return quote(name)
		}
		digits = digits && isDigit(int(name[i]))
	}
	if digits {
		return quote(name)
	}
	return name
}

// numberNameText leaves numbers alone, where [parser.numberName] reads them.
func numberNameText(name string) string {
	if n, err := strconv.ParseInt(name, 10, 64); err == nil && strconv.FormatInt(n, 10) == name {
		return name
	}
	return nameText(name)
}

func (w *lineWriter) addresses(r *Rule) {
	plain := func(a RuleAddr) bool { return a.Addr.Kind == AddrAny && !a.Not && a.Port.Op == OpNone }
	if plain(r.Src) && plain(r.Dst) && r.OS == "" {
		w.WriteString(" all")
		return
	}
	w.WriteString(" from ")
	w.address(r, &r.Src)
	if r.OS != "" {
		w.WriteString(" os " + quote(r.OS))
	}
	w.WriteString(" to ")
	w.address(r, &r.Dst)
}

func (w *lineWriter) address(r *Rule, a *RuleAddr) {
	if a.Not && a.Addr.Kind == AddrAny {
		// pfctl prints "! any" and does not read it.
		w.WriteString("! " + anyPrefix(r.Family))
	} else {
		w.word(a.Not, "! ")
		w.WriteString(a.Addr.text(r.Family, w.options.Numbers))
	}
	if a.Port.Op == OpNone {
		return
	}
	low := strconv.Itoa(int(a.Port.Low))
	if a.Port.Op == OpEqual || a.Port.Op == OpNot {
		if names := w.dialect != OpenBSD; names != w.options.SwapPorts {
			if name := serviceName(a.Port.Low, r.Protocol); name != "" {
				low = name
			}
		}
	}
	w.WriteString(" port")
	w.comparison(a.Port.Op, low, strconv.Itoa(int(a.Port.High)))
}

func (w *lineWriter) comparison(op Op, low, high string) {
	switch op {
	case OpInside, OpOutside:
		w.WriteString(" " + low + " " + op.String() + " " + high)
	case OpRange:
		w.WriteString(" " + low + ":" + high)
	default:
		w.WriteString(" " + op.String() + " " + low)
	}
}

func (w *lineWriter) id(word string, id IDRange) {
	if id.Op == OpNone {
		return
	}
	low := strconv.FormatUint(uint64(id.Low), 10)
	if id.Low == UnknownID && (id.Op == OpEqual || id.Op == OpNot) {
		low = "unknown"
	}
	w.WriteString(" " + word)
	w.comparison(id.Op, low, strconv.FormatUint(uint64(id.High), 10))
}

func flagText(flags uint8) string {
	var b strings.Builder
	for i := range len(tcpFlagLetters) {
		if flags&(1<<i) != 0 {
			b.WriteByte(tcpFlagLetters[i])
		}
	}
	return b.String()
}

func (w *lineWriter) flags(r *Rule) {
	if r.Flags != 0 || r.FlagSet != 0 {
		w.WriteString(" flags " + flagText(r.Flags) + "/" + flagText(r.FlagSet))
		return
	}
	states := r.Action == Pass || r.Action == Match && w.dialect == OpenBSD
	if states && (r.Protocol == 0 || r.Protocol == protocolTCP) && !r.Fragment && r.Anchor == nil && r.State != StateNone {
		w.WriteString(" flags any")
	}
}

func (w *lineWriter) icmp(r *Rule) {
	typ, ok := r.ICMPType.Get()
	if !ok {
		return
	}
	if r.Family == Inet6 {
		w.WriteString(" icmp6-type ")
	} else {
		w.WriteString(" icmp-type ")
	}
	if name, ok := icmpTypeName(typ, r.Family); ok {
		w.WriteString(name)
	} else {
		w.printf("%d", typ)
	}
	code, ok := r.ICMPCode.Get()
	if !ok {
		return
	}
	if name, ok := icmpCodeText(typ, code, r.Family, w.dialect); ok {
		w.WriteString(" code " + name)
	} else {
		w.printf(" code %d", code)
	}
}

// set writes the options that change packets: prio, queue, tos, delay. FreeBSD
// has queue apart and other blanks.
func (w *lineWriter) set(r *Rule) {
	var items []string
	if a, ok := r.SetPrio[0].Get(); ok {
		b, _ := r.SetPrio[1].Get()
		if a == b {
			items = append(items, fmt.Sprintf("prio %d", a))
		} else {
			items = append(items, fmt.Sprintf("prio(%d, %d)", a, b))
		}
	}
	if r.Queue != "" && w.dialect == OpenBSD {
		if r.AckQueue != "" {
			items = append(items, fmt.Sprintf("queue(%s, %s)", numberNameText(r.Queue), numberNameText(r.AckQueue)))
		} else {
			items = append(items, "queue "+numberNameText(r.Queue))
		}
	}
	// A scrub rule prints set-tos instead.
	if v, ok := r.Scrub.SetTOS.Get(); ok && r.Action != Scrub && r.Action != NoScrub {
		items = append(items, fmt.Sprintf("tos 0x%02x", v))
	}
	if r.HasSetDelay {
		items = append(items, fmt.Sprintf("delay %d", r.SetDelay))
	}
	switch {
	case items == nil:
	case w.dialect == OpenBSD:
		w.WriteString(" set (" + strings.Join(items, ", ") + ")")
	default:
		w.WriteString(" set ( " + strings.Join(items, ", ") + " )")
	}
}

// state writes how states are made, with the probability of the rule between
// the words and their options, as pfctl does.
func (w *lineWriter) state(r *Rule) {
	options := w.stateOptions(r)
	switch {
	case r.State == StateNone && r.Action == Pass && r.Anchor == nil:
		w.WriteString(" no state")
	case r.State == StateKeep && w.dialect == OpenBSD && options == nil:
	case r.State != StateNone:
		w.WriteString(" " + r.State.String())
	}
	if r.Probability != 0 {
		w.WriteString(" probability " + probabilityText(r.Probability) + "%")
	}
	if options != nil {
		w.WriteString(" (" + strings.Join(options, ", ") + ")")
	}
}

func probabilityText(p uint32) string {
	s := strconv.FormatFloat(float64(p)*100/(math.MaxUint32+1.0), 'f', 6, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func (w *lineWriter) stateOptions(r *Rule) []string {
	o := &r.StateOptions
	var list []string
	add := func(set bool, format string, args ...any) {
		if set {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	if *o == (StateOptions{}) && !r.AllowRelated {
		return nil
	}
	add(o.Pickup != PickupUnspecified, "%s", pickupNames[o.Pickup])
	add(o.Max != 0, "max %d", o.Max)
	add(o.NoSync, "no-sync")
	add(o.SourceTrack == SourceTrackRule, "source-track rule")
	add(o.SourceTrack == SourceTrackGlobal, "source-track global")
	add(o.SrcStates != 0, "max-src-states %d", o.SrcStates)
	add(o.SrcConn != 0, "max-src-conn %d", o.SrcConn)
	add(o.SrcConnRate.Limit != 0, "max-src-conn-rate %d/%d", o.SrcConnRate.Limit, o.SrcConnRate.Seconds)
	add(o.SrcNodes != 0, "max-src-nodes %d", o.SrcNodes)
	if o.Overload.Table != "" {
		s := "overload <" + numberNameText(o.Overload.Table) + ">"
		if o.Overload.Flush {
			s += " flush"
		}
		if o.Overload.FlushGlobal {
			s += " global"
		}
		add(true, "%s", s)
	}
	add(o.IfBound, "if-bound")
	add(o.floating, "floating")
	add(o.Sloppy, "sloppy")
	add(o.Pflow, "pflow")
	add(r.AllowRelated, "allow-related")
	for t, v := range o.Timeouts {
		add(v != 0, "%s %d", Timeout(t), v)
	}
	return list
}
