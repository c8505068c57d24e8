package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"syscall"
)

// tableStatement parses and loads a table definition.
func (p *parser) tableStatement(s *Statement) {
	t := &Table{Pos: p.statementPos}
	p.expectSymbol('<')
	t.Name = p.numberName()
	p.expectSymbol('>')
	for !p.failed && p.tableOption(t) {
	}
	if p.failed {
		return
	}
	s.Name, s.Table = t.Name, t
	if len(t.Name) > maxTableName {
		p.fail("table name too long, max %d chars", maxTableName)
		return
	}
	for _, source := range t.Sources {
		if source.File != "" && !p.loadTable(t, source.File) {
			return
		}
		if !p.fillTable(t, source.Addrs) {
			return
		}
	}
	p.addTable(t)
}

func (p *parser) tableOption(t *Table) bool {
	token := p.peek()
	switch {
	case token.is("file"):
		p.take()
		t.Initialized = true
		t.Sources = append(t.Sources, TableSource{File: p.str()})
	case token.symbol('{'):
		p.take()
		t.Initialized = true
		p.skipNewlines()
		if p.acceptSymbol('}') {
			return true
		}
		p.tableList(t)
	case p.isString(token):
		p.take()
		switch token.text {
		case "const":
			t.Const = true
		case "persist":
			t.Persist = true
		case "counters":
			t.Counters = true
		default:
			p.fail("invalid table option '%s'", token.text)
		}
	default:
		return false
	}
	return true
}

// tableList parses a list of addresses after its brace.
func (p *parser) tableList(t *Table) {
	var hosts []host
	if p.dialect == OpenBSD {
		hosts = list(p, p.tableHost)
	} else {
		hosts = list(p, func() []host { return p.weight(p.hostSpec()) })
	}
	if p.failed {
		return
	}
	for _, h := range hosts {
		switch h.addr.Kind {
		case AddrPrefix, AddrAny:
			continue
		case AddrRange:
			p.fail("address ranges are not permitted inside tables")
		case AddrInterface:
			p.fail("dynamic addresses are not permitted inside tables")
		case AddrTable:
			p.fail("tables cannot contain tables")
		case AddrNoRoute:
			p.fail("\"no-route\" is not permitted inside tables")
		case AddrURPFFailed:
			p.fail("\"urpf-failed\" is not permitted inside tables")
		default:
			p.fail("unknown address type %d", kernelRouteLabel)
		}
		return
	}
	source := TableSource{}
	for _, h := range hosts {
		source.Addrs = append(source.Addrs, tableEntry(h))
	}
	t.Sources = append(t.Sources, source)
}

// kernelRouteLabel is PF_ADDR_RTLABEL of the kernel.
const kernelRouteLabel = 5

func (p *parser) tableHost() []host {
	if p.acceptSymbol('{') {
		return list(p, p.tableHost)
	}
	return p.weight(p.negatedHost())
}

func tableEntry(h host) TableEntry {
	e := TableEntry{Addr: h.addr, Not: h.not, Weight: h.weight, Interface: h.ifname, family: h.family}
	e.tooLong = h.family == Inet && h.mask > 32
	return e
}

func (t *Table) append(h host) {
	if len(t.Sources) == 0 {
		t.Sources = []TableSource{{}}
	}
	t.Sources[0].Addrs = append(t.Sources[0].Addrs, tableEntry(h))
	t.Prefixes = append(t.Prefixes, tablePrefix(tableEntry(h)))
}

// automaticTable is the next table made from a pool or by the optimizer.
func (p *parser) automaticTable() *Table {
	t := &Table{
		Name: fmt.Sprintf("__automatic_%d", p.automatic), Pos: p.statementPos,
		Const: true, Automatic: true, Initialized: true,
	}
	p.automatic++
	return t
}

// addTable gives a table to the anchor being read.
func (p *parser) addTable(t *Table) {
	p.out.Directives = append(p.out.Directives, Directive{
		Pos: t.Pos, Kind: DirectiveTable, Anchor: p.target.Path, Table: t, holder: p.target,
	})
	p.target.addTable(t)
}

// addTable adds a table; a later definition of a name replaces an earlier one.
func (a *Anchor) addTable(t *Table) {
	for i, old := range a.Tables {
		if old.Name == t.Name {
			a.Tables[i] = t
			return
		}
	}
	a.Tables = append(a.Tables, t)
}

// fillTable adds the addresses of a list.
func (p *parser) fillTable(t *Table, entries []TableEntry) bool {
	for _, e := range entries {
		if e.tooLong || e.family == Unspecified {
			p.fail("cannot create address buffer: Invalid argument")
			return false
		}
		t.Prefixes = append(t.Prefixes, tablePrefix(e))
	}
	return true
}

func tablePrefix(e TableEntry) TablePrefix {
	prefix := netip.PrefixFrom(e.Addr.IP, int(e.Addr.Bits))
	if e.Addr.Kind == AddrAny {
		ip := netip.IPv6Unspecified()
		if e.family == Inet {
			ip = netip.IPv4Unspecified()
		}
		prefix = netip.PrefixFrom(ip, 0)
	}
	return TablePrefix{Prefix: prefix, Not: e.Not, Weight: e.Weight}
}

// SystemError is the reason of a failed file operation in the words of errno.
func SystemError(err error) string {
	var e syscall.Errno
	switch {
	case errors.As(err, &e):
		text := e.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.Is(err, fs.ErrPermission):
		return "Permission denied"
	}
	return err.Error()
}
