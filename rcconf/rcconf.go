// Package rcconf reads rc.conf(5): assignments of shell variables. The file is
// parsed, never executed; anything but assignments is an error.
package rcconf

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"
)

// Variable is the value of one variable and where it was last assigned.
type Variable struct {
	Name  string
	Value string
	File  string
	Line  int
}

// Config is a set of variables in the order of their first assignment.
type Config struct {
	Variables []*Variable
	byName    map[string]*Variable
}

// SyntaxError is one thing wrong in a file.
type SyntaxError struct {
	File    string
	Line    int
	Message string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// Get returns the value of a variable, "" if it is not set.
func (c *Config) Get(name string) string {
	if v, ok := c.byName[name]; ok {
		return v.Value
	}
	return ""
}

// Lookup returns a variable.
func (c *Config) Lookup(name string) (*Variable, bool) {
	v, ok := c.byName[name]
	return v, ok
}

// Yes reports whether a variable is set to yes, true, on or 1, as checkyesno
// of rc.subr does; anything but those and their opposites is an error.
func (c *Config) Yes(name string) (bool, error) {
	v, ok := c.byName[name]
	if !ok {
		return false, nil
	}
	switch strings.ToLower(v.Value) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0", "":
		return false, nil
	}
	return false, &SyntaxError{v.File, v.Line, fmt.Sprintf("%s is not set properly: %q, want YES or NO", name, v.Value)}
}

// ParseFiles reads files one after the other, as rc(8) reads rc.conf and then
// rc.conf.local: variables of the first can be used and added to in the next.
// The first must be there.
func ParseFiles(path string, more ...string) (*Config, error) {
	config := newConfig()
	var errs []error
	for i, path := range append([]string{path}, more...) {
		data, err := os.ReadFile(path)
		if err != nil {
			if i == 0 || !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		errs = append(errs, config.parse(path, string(data)))
	}
	return config, errors.Join(errs...)
}

// Parse reads the text of a file. All that is wrong is reported, not only the
// first; name stands for the file in positions.
func Parse(name, text string) (*Config, error) {
	config := newConfig()
	return config, config.parse(name, text)
}

func newConfig() *Config { return &Config{byName: make(map[string]*Variable)} }

func (c *Config) parse(name, text string) error {
	p := &parser{file: name, text: text, line: 1, config: c}
	for p.at < len(p.text) {
		p.statement()
	}
	return errors.Join(p.errs...)
}

type parser struct {
	file   string
	text   string
	at     int
	line   int
	config *Config
	errs   []error
}

func (p *parser) errorf(line int, format string, args ...any) {
	p.errs = append(p.errs, &SyntaxError{p.file, line, fmt.Sprintf(format, args...)})
}

// statement reads up to the end of a line or a semicolon.
func (p *parser) statement() {
	p.space()
	if p.at >= len(p.text) {
		return
	}
	switch c := p.text[p.at]; {
	case c == '\n' || c == ';':
		p.next()
	case c == '#':
		p.skipLine()
	default:
		p.assignment()
	}
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch {
		case p.text[p.at] == ' ' || p.text[p.at] == '\t' || p.text[p.at] == '\r':
			p.at++
		case strings.HasPrefix(p.text[p.at:], "\\\n"):
			p.at += 2
			p.line++
		default:
			return
		}
	}
}

func (p *parser) next() {
	if p.text[p.at] == '\n' {
		p.line++
	}
	p.at++
}

func (p *parser) skipLine() {
	for p.at < len(p.text) && p.text[p.at] != '\n' {
		p.at++
	}
}

func nameByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

func (p *parser) assignment() {
	line, start := p.line, p.at
	for p.at < len(p.text) && nameByte(p.text[p.at], p.at == start) {
		p.at++
	}
	name := p.text[start:p.at]
	add := strings.HasPrefix(p.text[p.at:], "+=")
	switch {
	case name == "" || !add && !strings.HasPrefix(p.text[p.at:], "="):
		p.skipLine()
		p.errorf(line, "not an assignment: %s", printable(excerpt(p.text[start:p.at])))
		return
	case add:
		p.at += 2
	default:
		p.at++
	}
	value, ok := p.value(line)
	if !ok {
		p.skipLine()
		return
	}
	p.space()
	if p.at < len(p.text) && p.text[p.at] == '#' {
		p.skipLine()
	}
	if p.at < len(p.text) && p.text[p.at] != '\n' && p.text[p.at] != ';' {
		rest := p.at
		p.skipLine()
		p.errorf(line, "a command after %s: %s", name, excerpt(p.text[rest:p.at]))
		return
	}
	p.set(name, value, add, line)
}

func (p *parser) set(name, value string, add bool, line int) {
	v, ok := p.config.byName[name]
	if !ok {
		v = &Variable{Name: name}
		p.config.byName[name] = v
		p.config.Variables = append(p.config.Variables, v)
	}
	if add {
		value = v.Value + value
	}
	v.Value, v.File, v.Line = value, p.file, line
}

// value reads one word of the shell: bare, quoted, or pieces of both.
func (p *parser) value(line int) (string, bool) {
	var b strings.Builder
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\r', '\n', ';':
			return b.String(), true
		case '\'':
			end := strings.IndexByte(p.text[p.at+1:], '\'')
			if end < 0 {
				p.at = len(p.text)
				p.errorf(line, "unterminated quote")
				return "", false
			}
			b.WriteString(p.text[p.at+1 : p.at+1+end])
			p.line += strings.Count(p.text[p.at:p.at+1+end], "\n")
			p.at += end + 2
		case '"':
			if !p.quoted(&b, line) {
				return "", false
			}
		case '\\':
			p.escape(&b, false)
		case '$':
			if !p.expand(&b, line) {
				return "", false
			}
		case '`', '(', ')', '|', '&', '<', '>':
			p.errorf(line, "%q: shell code is not run here", string(c))
			return "", false
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return b.String(), true
}

func (p *parser) quoted(b *strings.Builder, line int) bool {
	p.at++
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '"':
			p.at++
			return true
		case '\\':
			p.escape(b, true)
		case '$':
			if !p.expand(b, line) {
				return false
			}
		case '`':
			p.errorf(line, "%q: shell code is not run here", string(c))
			return false
		default:
			b.WriteByte(c)
			p.next()
		}
	}
	p.errorf(line, "unterminated quote")
	return false
}

// escape takes a backslash and what follows it. In double quotes it stands
// for itself but before $, `, ", \ and the end of a line.
func (p *parser) escape(b *strings.Builder, quoted bool) {
	p.at++
	if p.at >= len(p.text) {
		b.WriteByte('\\')
		return
	}
	c := p.text[p.at]
	if c != '\n' {
		if quoted && !strings.ContainsRune("$`\"\\", rune(c)) {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	p.next()
}

// expand takes $name or ${name} of a variable assigned before.
func (p *parser) expand(b *strings.Builder, line int) bool {
	p.at++
	braced := p.at < len(p.text) && p.text[p.at] == '{'
	if braced {
		p.at++
	}
	start := p.at
	for p.at < len(p.text) && nameByte(p.text[p.at], p.at == start) {
		p.at++
	}
	name := p.text[start:p.at]
	if braced {
		if p.at >= len(p.text) || p.text[p.at] != '}' {
			p.errorf(line, "${%s: only plain variables are expanded here", name)
			return false
		}
		p.at++
	}
	if name == "" {
		p.errorf(line, "$: shell code is not run here")
		return false
	}
	b.WriteString(p.config.Get(name))
	return true
}

func excerpt(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > 60 {
		text = text[:60] + " ..."
	}
	return text
}

// printable is a text as it is, or quoted where a terminal would not show it.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }) {
		return strconv.Quote(text)
	}
	return text
}
