package conf

import (
	"fmt"
	"strings"
)

// StatementKind tells what a statement of a configuration is.
type StatementKind string

// The kinds of statement.
const (
	StatementMacro     StatementKind = "macro"
	StatementInclude   StatementKind = "include"
	StatementOption    StatementKind = "option"
	StatementTable     StatementKind = "table"
	StatementAnchor    StatementKind = "anchor"
	StatementLoad      StatementKind = "load anchor"
	StatementRule      StatementKind = "rule"
	StatementScrub     StatementKind = "scrub"
	StatementNat       StatementKind = "translation"
	StatementAntispoof StatementKind = "antispoof"
	StatementALTQ      StatementKind = "altq"
	StatementQueue     StatementKind = "queue"
	StatementEther     StatementKind = "ether"
	StatementBad       StatementKind = "error" // with a message for its lines
)

// Statement is a node of the syntax tree: one statement as written, and what it
// expanded to.
type Statement struct {
	Kind StatementKind `json:"kind"`
	Pos  Position      `json:"position"`
	// End is the last line of the statement, which lists and braces stretch.
	End Position `json:"end"`
	// Name of a macro, table, anchor, queue, option or included file.
	Name string `json:"name,omitempty"`
	// Value of a macro.
	Value string `json:"value,omitempty"`
	// Rules and EtherRules are those that the statement expanded to.
	Rules      []*Rule      `json:"-"`
	EtherRules []*EtherRule `json:"-"`
	Table      *Table       `json:"-"`
	// Body holds the statements of an inline anchor.
	Body []*Statement `json:"body,omitempty"`
}

// File is a parsed configuration: the syntax tree and the messages. Statements
// of included files follow the include statement.
type File struct {
	Name       string       `json:"name"`
	Statements []*Statement `json:"statements"`
	// Messages are the errors, warnings and remarks in the order found.
	Messages ErrorList `json:"messages,omitempty"`

	cfg      Config
	ruleset  *Ruleset
	complete bool
}

// parser reads statements and expands them at once, in the order of pfctl: its
// messages depend on what was read before.
type parser struct {
	lexer
	resolver
	cfg     *Config
	dialect Dialect

	current  token
	isPeeked bool
	// failed is set by an error in a statement, until its line is skipped.
	failed bool
	// quiet counts tokens: like every parser that yacc makes, pfctl does not
	// report a second syntax error before three tokens were good.
	quiet int

	messages ErrorList
	out      *Ruleset
	complete bool // all rules were read
	builder
	// Of the rule in hand; here, so that not every rule leaves two on the heap.
	spec     ruleSpec
	expanded expansion
}

// fail reports an error that ends the statement.
func (p *parser) fail(format string, args ...any) {
	if p.failed {
		return
	}
	p.errorf(format, args...)
	p.abandon()
}

// abandon ends the statement without a message of its own.
func (p *parser) abandon() {
	p.failed = true
	p.quiet = 3
}

func (p *parser) syntaxError() {
	if p.failed {
		return
	}
	if p.quiet == 0 {
		p.errorf("syntax error")
	}
	p.abandon()
}

// message keeps a message, up to the limit.
func (p *parser) message(pos Position, s Severity, text string) {
	switch n := len(p.messages); {
	case n < p.limits.Errors:
		p.messages = append(p.messages, &Error{Pos: pos, Text: text, Severity: s})
	case n == p.limits.Errors:
		p.messages = append(p.messages, &Error{Pos: pos, Text: "too many errors"})
	}
}

func (p *parser) warn(s Severity, format string, args ...any) {
	p.message(Position{}, s, fmt.Sprintf(format, args...))
}

// peek is the next token. After a failure it is one that nothing takes.
func (p *parser) peek() token {
	if p.failed {
		return token{kind: tokenError}
	}
	return p.lookahead()
}

func (p *parser) lookahead() token {
	if !p.isPeeked {
		p.current = p.lexer.next()
		p.isPeeked = true
	}
	return p.current
}

func (p *parser) take() token {
	t := p.peek()
	if !p.failed {
		p.isPeeked = false
		if p.quiet > 0 {
			p.quiet--
		}
	}
	return t
}

// accept takes the next token if it is this word.
func (p *parser) accept(word string) bool {
	if p.peek().is(word) {
		p.take()
		return true
	}
	return false
}

func (p *parser) acceptSymbol(c byte) bool {
	if p.peek().symbol(c) {
		p.take()
		return true
	}
	return false
}

func (p *parser) acceptKind(k tokenKind) bool {
	if p.peek().kind == k {
		p.take()
		return true
	}
	return false
}

func (p *parser) expect(word string) bool {
	if !p.accept(word) {
		p.syntaxError()
	}
	return !p.failed
}

func (p *parser) expectSymbol(c byte) bool {
	if !p.acceptSymbol(c) {
		p.syntaxError()
	}
	return !p.failed
}

// isString reports whether a token may be a name: a word that is no keyword of
// the dialect, or in quotes.
func (p *parser) isString(t token) bool {
	return t.kind == tokenString && (t.quoted || !reserved[p.dialect][t.text])
}

func (p *parser) peekString() bool { return p.isString(p.peek()) }

// str takes a name.
func (p *parser) str() string {
	if !p.peekString() {
		p.syntaxError()
		return ""
	}
	return p.take().text
}

// isWord reports whether a token continues a text of several words: such a
// text ends at a keyword of any dialect.
func (p *parser) isWord(t token) bool {
	return t.kind == tokenString && (t.quoted || !keyword(t.text))
}

// words takes a text of one or more words.
func (p *parser) words() string {
	s := p.str()
	for p.isWord(p.peek()) {
		s += " " + p.take().text
	}
	return s
}

func (p *parser) number() int64 {
	if p.peek().kind != tokenNumber {
		p.syntaxError()
		return 0
	}
	return p.take().number
}

// numberOrString takes a number that may be written in hexadecimal.
func (p *parser) numberOrString() uint64 {
	if p.peek().kind == tokenNumber {
		return uint64(p.take().number)
	}
	s := p.str()
	if p.failed {
		return 0
	}
	n, ok := parseNumber(s)
	if !ok {
		p.fail("%s is not a number", s)
	}
	return n
}

// numberString takes a number or name as text.
func (p *parser) numberString() string {
	if p.peek().kind == tokenNumber {
		return fmt.Sprint(p.take().number)
	}
	return p.str()
}

// numberName takes a name that may be a number, as pfctl prints such names of
// tables, tags and queues without the quotes that it wants to read.
func (p *parser) numberName() string { return p.numberString() }

// tagWords takes the words of a tag.
func (p *parser) tagWords() string {
	if p.peek().kind == tokenNumber {
		return p.numberName()
	}
	return p.words()
}

func (p *parser) skipNewlines() {
	for p.acceptKind(tokenNewline) {
	}
}

func (p *parser) acceptComma() { p.acceptSymbol(',') }

func (p *parser) acceptNot() bool { return p.acceptSymbol('!') }

// list parses "{ item, item ... }" after the opening brace. Commas are
// optional; newlines may stand before one and after the first brace.
func list[T any](p *parser, item func() []T) []T {
	var all []T
	p.skipNewlines()
	for !p.failed {
		all = append(all, item()...)
		p.skipNewlines()
		if p.acceptSymbol('}') {
			break
		}
		p.acceptComma()
	}
	return all
}

// oneOrList parses an item or a list of them in braces.
func oneOrList[T any](p *parser, item func() []T) []T {
	if p.acceptSymbol('{') {
		return list(p, item)
	}
	return item()
}

// parse reads the statements of the file.
func (p *parser) parse() []*Statement {
	var statements []*Statement
	for {
		switch p.peek().kind {
		case tokenNewline:
			p.take()
			continue
		case tokenEOF:
			return statements
		}
		s := p.statement(false)
		if s != nil {
			statements = append(statements, s)
		}
		if p.failed && !p.recover() {
			return statements
		}
	}
}

// recover skips the line of an error, and reports whether there is more.
func (p *parser) recover() bool {
	p.depth, p.onlyEther = 0, false
	p.target = p.root
	p.failed = false
	for {
		t := p.lookahead()
		p.isPeeked = false
		switch t.kind {
		case tokenNewline:
			p.quiet = 2
			return true
		case tokenEOF:
			return false
		}
	}
}

// statement parses and expands one statement with its newline. Within an inline
// anchor only some are allowed.
func (p *parser) statement(inline bool) *Statement {
	t := p.peek()
	s := &Statement{Pos: p.position()}
	p.statementPos = s.Pos
	before := len(p.messages)
	switch {
	case t.kind != tokenString:
		p.syntaxError()
	case t.quoted || !keyword(t.text):
		p.macroStatement(s, inline)
	case reserved[p.dialect][t.text]:
		p.take()
		p.keywordStatement(s, t.text, inline)
	default:
		// A keyword of another BSD may be the name of a macro here.
		p.take()
		if p.peek().symbol('=') && !inline {
			p.macroValue(s, t)
		} else {
			p.keywordStatement(s, t.text, inline)
		}
	}
	if !p.failed && !p.acceptKind(tokenNewline) {
		p.syntaxError()
	}
	s.End = p.position()
	if p.failed && s.Kind == "" {
		s.Kind = StatementBad
	}
	if p.statementTooLarge || len(p.messages) > before && s.Kind == "" {
		s.Kind = StatementBad
	}
	return s
}

func (p *parser) keywordStatement(s *Statement, word string, inline bool) {
	if p.onlyEther && word != "ether" {
		p.syntaxError()
		return
	}
	switch word {
	case "ether":
		if inline && !p.onlyEther {
			break
		}
		s.Kind = StatementEther
		p.etherStatement(s)
		return
	case "pass", "block", "match":
		s.Kind = StatementRule
		p.ruleStatement(s, word)
		return
	case "anchor":
		s.Kind = StatementAnchor
		p.anchorStatement(s)
		return
	case "nat-anchor", "rdr-anchor", "binat-anchor":
		s.Kind = StatementAnchor
		p.translationAnchor(s, word)
		return
	case "table":
		if inline && p.dialect != OpenBSD {
			break
		}
		s.Kind = StatementTable
		p.tableStatement(s)
		return
	case "include":
		if inline && p.dialect != OpenBSD {
			break
		}
		s.Kind = StatementInclude
		p.includeStatement(s)
		return
	}
	if inline {
		p.syntaxError()
		return
	}
	switch word {
	case "set":
		s.Kind = StatementOption
		p.optionStatement(s)
	case "antispoof":
		s.Kind = StatementAntispoof
		p.antispoofStatement(s)
	case "load":
		s.Kind = StatementLoad
		p.loadStatement(s)
	case "queue":
		s.Kind = StatementQueue
		p.queueStatement(s)
	case "altq":
		s.Kind = StatementALTQ
		p.altqStatement(s)
	case "scrub":
		s.Kind = StatementScrub
		p.scrubStatement(s, false)
	case "nat", "rdr":
		s.Kind = StatementNat
		p.natStatement(s, word, false)
	case "binat":
		s.Kind = StatementNat
		p.binatStatement(s, false)
	case "no":
		p.noStatement(s)
	default:
		p.syntaxError()
	}
}

func (p *parser) noStatement(s *Statement) {
	switch {
	case p.accept("scrub"):
		s.Kind = StatementScrub
		p.scrubStatement(s, true)
	case p.accept("nat"):
		s.Kind = StatementNat
		p.natStatement(s, "nat", true)
	case p.accept("rdr"):
		s.Kind = StatementNat
		p.natStatement(s, "rdr", true)
	case p.accept("binat"):
		s.Kind = StatementNat
		p.binatStatement(s, true)
	default:
		p.syntaxError()
	}
}

func (p *parser) includeStatement(s *Statement) {
	s.Name = p.str()
	if p.failed {
		return
	}
	// The next token must come from the included file, whose first character
	// is the newline of this statement.
	if err := p.include(s.Name); err != nil {
		p.warn(SeverityError, "pfctl: %s", p.fileError(s.Name, err))
		p.fail("failed to include file %s", s.Name)
	}
}

// fileError is how warn(3) shows that a file cannot be opened.
func (p *parser) fileError(name string, err error) string {
	text := SystemError(err)
	if p.dialect == OpenBSD {
		return "pushfile: " + name + ": " + text
	}
	return name + ": " + text
}

func (p *parser) macroStatement(s *Statement, inline bool) {
	name := p.take()
	if inline {
		p.syntaxError()
		return
	}
	p.macroValue(s, name)
}

func (p *parser) macroValue(s *Statement, token token) {
	name := token.text
	if !p.expectSymbol('=') {
		return
	}
	s.Kind = StatementMacro
	// A list of words joined with a space, which makes "{ a b }" out of three.
	var value strings.Builder
	value.WriteString(p.numberString())
	for p.peek().kind == tokenNumber || p.peekString() {
		value.WriteByte(' ')
		value.WriteString(p.numberString())
	}
	if p.failed {
		return
	}
	s.Name, s.Value = name, value.String()
	if len(s.Value) > p.limits.MacroBytes {
		p.fail("macro '%s' is longer than %d bytes", name, p.limits.MacroBytes)
		return
	}
	printed := name
	if token.quoted || strings.Contains(name, "\\") {
		printed = nameText(name)
	}
	p.directive(DirectiveMacro, printed+" = "+quote(s.Value))
	// As pfctl, a blank at the very start of the name passes.
	if len(name) > 1 && strings.ContainsAny(name[1:], " \t\n\v\f\r") {
		p.fail("macro name cannot contain whitespace")
		return
	}
	p.define(name, s.Value, false)
}
