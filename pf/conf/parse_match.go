package conf

import (
	"strings"
)

// idKind tells users from groups.
type idKind struct {
	word, short string
	lookup      func(*Config, string) (uint32, bool)
}

var (
	userKind  = idKind{"user", "uid", (*Config).userID}
	groupKind = idKind{"group", "gid", (*Config).groupID}
)

func (p *parser) ids(k idKind) []IDRange {
	return oneOrList(p, func() []IDRange { return []IDRange{p.idItem(k)} })
}

func (p *parser) idItem(k idKind) IDRange {
	unknown := k.word + " unknown requires operator = or !="
	if op := p.comparison(); op != OpNone {
		id := p.id(k)
		if id == UnknownID && op != OpEqual && op != OpNot {
			p.fail("%s", unknown)
		}
		return IDRange{Op: op, Low: id, High: id}
	}
	low := p.id(k)
	if op := p.binary(); op != OpNone {
		high := p.id(k)
		if low == UnknownID || high == UnknownID {
			p.fail("%s", unknown)
		}
		return IDRange{Op: op, Low: low, High: high}
	}
	return IDRange{Op: OpEqual, Low: low, High: low}
}

func (p *parser) id(k idKind) uint32 {
	if p.peek().kind == tokenNumber {
		n := p.number()
		if n < 0 || n >= UnknownID {
			p.fail("illegal %s value %d", k.short, n)
		}
		return uint32(n)
	}
	name := p.str()
	if p.failed || name == "unknown" {
		return UnknownID
	}
	id, ok := k.lookup(p.cfg, name)
	if !ok {
		p.fail("unknown %s %s", k.word, name)
	}
	return id
}

// tcpFlagLetters are the TCP flags from bit 0 up.
const tcpFlagLetters = "FSRPAUEW"

func parseTCPFlags(s string) (uint8, bool) {
	var flags uint8
	for _, c := range s {
		i := strings.IndexRune(tcpFlagLetters, c)
		if i < 0 {
			return 0, false
		}
		flags |= 1 << i
	}
	if flags == 0 {
		return 0xff, true
	}
	return flags, true
}

func (p *parser) tcpFlagSet() uint8 {
	s := p.str()
	if p.failed {
		return 0
	}
	f, ok := parseTCPFlags(s)
	if !ok {
		p.fail("bad flags %s", s)
	}
	return f
}

// tcpFlags parses "S/SA", "/S" or "any" after the word flags.
func (p *parser) tcpFlags() (flags, set uint8) {
	switch {
	case p.accept("any"):
		return 0, 0
	case p.acceptSymbol('/'):
		return 0, p.tcpFlagSet()
	}
	flags = p.tcpFlagSet()
	if p.expectSymbol('/') {
		set = p.tcpFlagSet()
	}
	return flags, set
}

// icmpItem is a type and code; protocol 0 is no restriction.
type icmpItem struct {
	protocol  uint8
	typ, code Optional
}

// icmpItems parses what follows icmp-type or icmp6-type.
func (p *parser) icmpItems(f AddressFamily) []icmpItem {
	return oneOrList(p, func() []icmpItem { return []icmpItem{p.icmpItem(f)} })
}

func (p *parser) icmpItem(f AddressFamily) icmpItem {
	word, protocol := "icmp", uint8(protocolICMP)
	if f == Inet6 {
		word, protocol = "icmp6", protocolICMPv6
	}
	var typ uint8
	if p.peek().kind == tokenNumber {
		n := p.number()
		if n < 0 || n > 255 {
			p.fail("illegal %s-type %d", word, n)
		}
		typ = uint8(n)
	} else {
		name := p.str()
		var ok bool
		if typ, ok = icmpTypeNumber(name, f); !ok {
			p.fail("unknown %s-type %s", word, name)
		}
	}
	item := icmpItem{protocol: protocol, typ: Some(typ)}
	if !p.accept("code") {
		return item
	}
	if p.peek().kind == tokenNumber {
		n := p.number()
		if n < 0 || n > 255 {
			// Of both families.
			p.fail("illegal icmp-code %d", n)
		}
		item.code = Some(uint8(n))
		return item
	}
	name := p.str()
	code, ok := icmpCodeNumber(typ, name, f)
	if !ok {
		p.fail("unknown %s-code %s", word, name)
	}
	item.code = Some(code)
	return item
}

// tos parses a name, a number or a hexadecimal number.
func (p *parser) tos() uint8 {
	if p.peek().kind == tokenNumber {
		n := p.number()
		if n < 0 || n > 255 {
			p.fail("illegal tos value %d", n)
		}
		return uint8(n)
	}
	s := p.str()
	if p.failed {
		return 0
	}
	if v, ok := tosNumber(s); ok {
		return v
	}
	if strings.HasPrefix(s, "0x") {
		if v, ok := parseNumber(s); ok && v <= 255 {
			return uint8(v)
		}
	}
	p.fail("illegal tos value %s", s)
	return 0
}

// logSpec are the options of log.
type logSpec struct {
	flags LogFlags
	iface uint8
}

// logQuick parses log and quick in either order.
func (p *parser) logQuick() (l logSpec, quick bool) {
	quick = p.accept("quick")
	if p.peek().is("log") {
		l = p.log()
		if !quick {
			quick = p.accept("quick")
		}
	}
	return l, quick
}

func (p *parser) log() logSpec {
	p.take()
	l := logSpec{flags: LogFirst}
	if !p.acceptSymbol('(') {
		return l
	}
	for {
		switch {
		case p.accept("all"):
			l.flags |= LogAll
		case p.accept("matches"):
			l.flags |= LogMatches
		case p.accept("user"), p.dialect != OpenBSD && p.accept("group"):
			l.flags |= LogUser
		case p.accept("to"):
			if n := p.logInterface(); n != 0 {
				l.iface = n
			}
		default:
			p.syntaxError()
		}
		if p.failed || p.acceptSymbol(')') {
			return l
		}
		p.acceptComma()
	}
}

func (p *parser) logInterface() uint8 {
	name := p.words()
	if p.failed {
		return 0
	}
	digits, ok := strings.CutPrefix(name, "pflog")
	if !ok {
		p.fail("%s: should be a pflog interface", name)
		return 0
	}
	n, reason := strtonum(digits, 0, 255)
	if reason != "" {
		p.fail("%s: %s", name, reason)
	}
	return uint8(n)
}

func (p *parser) direction() Direction {
	switch {
	case p.accept("in"):
		return In
	case p.accept("out"):
		return Out
	}
	return InOut
}

// actionSpec is what stands before the direction.
type actionSpec struct {
	action      Action
	answer      ReturnKind
	ttl         uint8
	icmp, icmp6 uint16
}

// The ICMP answers: port unreachable.
const (
	defaultReturnICMP  = 3<<8 | 3
	defaultReturnICMP6 = 1<<8 | 4
)

func (p *parser) action(word string) actionSpec {
	a := actionSpec{icmp: defaultReturnICMP, icmp6: defaultReturnICMP6}
	switch word {
	case "pass":
		a.action = Pass
		if p.dialect == FreeBSD {
			a.answer = p.out.Options.FailPolicy
		}
		return a
	case "match":
		a.action = Match
		return a
	}
	a.action = Block
	switch {
	case p.accept("drop"):
		return actionSpec{action: Block}
	case p.accept("return"):
		a.answer = ReturnAuto
	case p.accept("return-rst"):
		a = actionSpec{action: Block, answer: ReturnRST}
		if p.acceptSymbol('(') {
			p.expect("ttl")
			n := p.number()
			if p.expectSymbol(')') && (n < 0 || n > 255) {
				p.fail("illegal ttl value %d", n)
			}
			a.ttl = uint8(n)
		}
	case p.accept("return-icmp"):
		a.answer = ReturnICMP
		if p.acceptSymbol('(') {
			a.icmp = p.returnCode(Inet)
			// Without a code for inet6 pfctl takes 3<<8 | 3 of inet by mistake.
			if !p.peek().symbol(')') {
				p.acceptComma()
				a.icmp6 = p.returnCode(Inet6)
			}
			p.expectSymbol(')')
		}
	case p.accept("return-icmp6"):
		a.answer = ReturnICMP
		if p.acceptSymbol('(') {
			a.icmp6 = p.returnCode(Inet6)
			p.expectSymbol(')')
		}
	default:
		a.answer = p.out.Options.BlockPolicy
	}
	return a
}

// returnCode parses a code of ICMP unreachable.
func (p *parser) returnCode(f AddressFamily) uint16 {
	typ := uint16(defaultReturnICMP >> 8)
	if f == Inet6 {
		typ = defaultReturnICMP6 >> 8
	}
	var code uint64
	if p.peek().kind == tokenNumber {
		code = uint64(p.number())
		if code > 255 {
			p.fail("invalid icmp code %d", int64(code))
		}
		return typ<<8 | uint16(code)
	}
	name := p.str()
	if p.failed {
		return 0
	}
	code, ok := parseNumber(name)
	if !ok {
		c, ok := icmpCodeNumber(uint8(typ), name, f)
		if !ok {
			p.fail("unknown icmp code %s", name)
		}
		code = uint64(c)
	}
	if code > 255 {
		p.fail("invalid icmp code %d", code)
	}
	return typ<<8 | uint16(code)
}
