package conf

import (
	"fmt"
	"sort"
	"strings"
)

// loadAnchor is a "load anchor" statement, done after the rest of the file.
type loadAnchor struct {
	pos    Position
	anchor string
	file   string
}

// anchorName parses an optional name and checks it as OpenBSD does, where it
// stands.
func (p *parser) anchorName() (name string, given bool) {
	if !p.isWord(p.peek()) {
		return "", false
	}
	name = p.take().text
	if p.dialect != OpenBSD {
		return name, name != ""
	}
	switch {
	case name == "":
		p.fail("anchor name must not be empty")
	case len(p.target.Path)+1+len(name) > maxAnchorPath:
		p.fail("anchor name is longer than %d", maxAnchorPath)
	case reservedAnchor(name):
		p.fail("anchor names beginning with '_' are reserved for internal use")
	}
	return name, true
}

func reservedAnchor(name string) bool {
	return strings.HasPrefix(name, "_") || strings.Contains(name, "/_")
}

// anchorStatement parses a call of an anchor, or an anchor with its rules.
func (p *parser) anchorStatement(s *Statement) {
	var r ruleSpec
	name, named := p.anchorName()
	s.Name = name
	r.direction = p.direction()
	r.quick = p.accept("quick")
	r.interfaces = p.interfaces()
	r.family = p.addressFamily()
	r.protocols = p.protocolList()
	r.fromTo = p.fromTo()
	p.filterOptions(&r.filter)
	parent := p.target
	var body *Anchor
	if p.acceptSymbol('{') {
		body = p.anchorBody(s)
	}
	if !p.inOrder(orderFilter) {
		return
	}
	if p.dialect != OpenBSD && named && reservedAnchor(name) {
		p.fail("anchor names beginning with '_' are reserved for internal use")
		return
	}
	call := p.anchorCall(parent, body, name, named, false)
	if p.failed {
		return
	}
	base := p.baseRule(&r)
	base.Anchor = call
	p.anchorOptions(&base, &r)
	if p.failed {
		return
	}
	decideFamily(r.fromTo.src.hosts, &base.Family)
	decideFamily(r.fromTo.dst.hosts, &base.Family)
	e := p.expansion(base, &r)
	s.Rules = p.expand(&e)
}

// anchorBody parses the statements of an inline anchor after its brace, and
// gives the anchor that holds its rules until its name is known.
func (p *parser) anchorBody(s *Statement) *Anchor {
	if p.depth+1 >= maxAnchorDepth {
		p.fail("anchors nested more than %d deep", maxAnchorDepth)
		return nil
	}
	if !p.acceptKind(tokenNewline) {
		p.syntaxError()
		return nil
	}
	p.unnamed++
	parent := p.target
	holder := &Anchor{Path: parent.Path}
	holder.name = fmt.Sprintf("_%d", p.unnamed)
	p.target = holder
	p.depth++
	pos := p.statementPos
	for !p.failed {
		p.skipNewlines()
		if p.acceptSymbol('}') {
			break
		}
		if inner := p.statement(true); inner != nil {
			s.Body = append(s.Body, inner)
		}
	}
	p.statementPos = pos
	if p.failed {
		return nil
	}
	p.depth--
	p.target = parent
	return holder
}

// anchorCall settles what an anchor rule calls and puts the rules of an inline
// anchor in their place.
func (p *parser) anchorCall(parent, body *Anchor, name string, named, ether bool) *AnchorCall {
	if body == nil {
		if !named {
			p.fail("anchors without explicit rules must specify a name")
			return nil
		}
		if strings.HasSuffix(name, "/") && p.dialect == OpenBSD {
			p.fail("anchorrule: bad anchor name %s", name)
			return nil
		}
		return p.callOf(parent, name)
	}
	if strings.Contains(name, "/") {
		p.fail("anchor paths containing '/' cannot be used for inline anchors.")
		return nil
	}
	printed := name
	if !named || name == "" {
		name, printed = body.name, ""
	}
	target := parent.child(name)
	key := definedAnchor{target, ether}
	if p.defined[key] {
		p.fail("inline anchor '%s' already exists", name)
		return nil
	}
	if body.counter > 0 {
		p.defined[key] = true
	}
	target.name = name
	body.moveTo(target)
	body.moved = target
	return &AnchorCall{Path: target.Path, Printed: printed, Inline: true, Target: target}
}

// moveTo gives the rules, tables and anchors of an inline anchor to the anchor
// of its name.
func (a *Anchor) moveTo(target *Anchor) {
	target.counter += a.counter
	target.Ether = append(target.Ether, a.Ether...)
	target.Scrub = append(target.Scrub, a.Scrub...)
	target.Nat = append(target.Nat, a.Nat...)
	target.Rdr = append(target.Rdr, a.Rdr...)
	target.Binat = append(target.Binat, a.Binat...)
	target.Filter = append(target.Filter, a.Filter...)
	for _, t := range a.Tables {
		target.addTable(t)
	}
	target.etherCounter += a.etherCounter
	target.Children = append(target.Children, a.Children...)
	target.repath()
}

// repath corrects the paths of children and of calls after a move.
func (a *Anchor) repath() {
	for _, rules := range a.lists() {
		for _, r := range rules {
			if c := r.Anchor; c != nil && !c.Inline && !c.absolute {
				c.Path = joinAnchor(a.Path, c.written)
			}
		}
	}
	for _, r := range a.Ether {
		if c := r.Anchor; c != nil && !c.Inline && !c.absolute {
			c.Path = joinAnchor(a.Path, c.written)
		}
	}
	sort.Slice(a.Children, func(i, j int) bool { return a.Children[i].name < a.Children[j].name })
	for _, c := range a.Children {
		c.Path = a.Path + "/" + c.name
		c.repath()
	}
	for _, rules := range a.lists() {
		for _, r := range rules {
			if c := r.Anchor; c != nil && c.Target != nil {
				c.Path = c.Target.Path
			}
		}
	}
	for _, r := range a.Ether {
		if c := r.Anchor; c != nil && c.Target != nil {
			c.Path = c.Target.Path
		}
	}
}

// joinAnchor resolves a name relative to an anchor; ".." goes up.
func joinAnchor(path, name string) string {
	var parts []string
	if path != "" {
		parts = strings.Split(path, "/")
	}
	for _, n := range strings.Split(name, "/") {
		switch n {
		case "":
		case "..":
			if len(parts) > 0 {
				parts = parts[:len(parts)-1]
			}
		default:
			parts = append(parts, n)
		}
	}
	return strings.Join(parts, "/")
}

// callOf is a call of a named anchor.
func (p *parser) callOf(parent *Anchor, name string) *AnchorCall {
	c := &AnchorCall{Printed: name, written: name}
	if strings.HasPrefix(name, "/") {
		c.absolute = true
		c.Path = joinAnchor("", name)
	} else {
		c.Path = joinAnchor(parent.Path, name)
	}
	if name == "*" || strings.HasSuffix(name, "/*") {
		c.Wildcard = true
	}
	// FreeBSD's and DragonFly's pfctl show the end of a path only.
	if i := strings.LastIndexByte(name, '/'); i >= 0 && p.dialect != OpenBSD {
		c.Printed = name[i:]
	}
	return c
}

// anchorOptions checks and sets the options of an anchor rule.
func (p *parser) anchorOptions(r *Rule, s *ruleSpec) {
	o := &s.filter
	if p.dialect == OpenBSD {
		p.checkTCP(s, "applies")
		if !p.failed {
			p.applyFilter(r, o)
		}
	} else {
		p.applyFilterFreeBSD(r, o)
		p.checkTCP(s, "applies")
	}
	switch {
	case o.keep.kind != StateNone:
		p.fail("cannot specify state handling on anchors")
	case o.routeKind != RouteNone:
		p.fail("cannot specify route handling on anchors")
	}
}

// loadStatement parses "load anchor name from file".
func (p *parser) loadStatement(s *Statement) {
	p.expect("anchor")
	var name string
	if p.dialect == OpenBSD {
		var given bool
		if name, given = p.anchorName(); !given && !p.peek().is("from") {
			p.syntaxError()
		}
	} else {
		name = p.words()
	}
	p.expect("from")
	file := p.words()
	if p.failed {
		return
	}
	if name == "" {
		p.fail("anchor name is missing")
		return
	}
	if len(p.target.Path)+1+len(name) > maxAnchorPath {
		p.fail("anchorname %s too long, max %d\n", name, maxAnchorPath)
		return
	}
	s.Name = name
	p.loads = append(p.loads, loadAnchor{pos: p.statementPos, anchor: joinAnchor(p.root.Path, name), file: file})
}

// translationAnchor parses nat-anchor, rdr-anchor and binat-anchor.
func (p *parser) translationAnchor(s *Statement, word string) {
	name := p.words()
	s.Name = name
	r := Rule{Pos: p.statementPos, Action: Nat}
	switch word {
	case "rdr-anchor":
		r.Action = Rdr
	case "binat-anchor":
		r.Action = Binat
	}
	e := expansion{interfaces: p.interfaces()}
	r.Family = p.addressFamily()
	e.protocols = p.protocolList()
	ft := p.fromTo()
	e.src, e.dst, e.oses = ft.src, ft.dst, ft.oses
	if p.accept("rtable") {
		r.RoutingTable = p.routingTable()
	}
	if !p.inOrder(orderNat) {
		return
	}
	if name == "" {
		p.fail("anchor name must not be empty")
		return
	}
	r.Anchor = p.callOf(p.target, name)
	if r.Action == Binat {
		p.binatAnchor(s, &r, &e)
		return
	}
	decideFamily(ft.src.hosts, &r.Family)
	decideFamily(ft.dst.hosts, &r.Family)
	if r.Action == Rdr {
		switch dst := ft.dst.ports; {
		case ft.src.ports != nil:
			p.fail("source port parameter not supported in rdr-anchor")
		case len(dst) > 1:
			p.fail("destination port list expansion not supported in rdr-anchor")
		case len(dst) == 1 && dst[0].Op != OpEqual:
			p.fail("destination port operators not supported in rdr-anchor")
		}
	}
	if p.failed {
		return
	}
	e.base = r
	s.Rules = p.expand(&e)
}

// binatAnchor adds the one rule of a binat-anchor. As in pfctl its interface is
// not kept.
func (p *parser) binatAnchor(s *Statement, r *Rule, e *expansion) {
	switch {
	case len(e.protocols) > 1:
		p.fail("proto list expansion not supported in binat-anchor")
	case e.src.hosts != nil || e.src.ports != nil || e.dst.hosts != nil || e.dst.ports != nil:
		p.fail("fromto parameter not supported in binat-anchor")
	}
	if p.failed {
		return
	}
	r.Protocol = pick(e.protocols, 0)
	if n := p.add(r); n != nil {
		s.Rules = []*Rule{n}
	}
}
