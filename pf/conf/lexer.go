package conf

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
)

// maxTokenBytes is the size of pfctl's token buffer.
const maxTokenBytes = 8096

type tokenKind uint8

const (
	tokenEOF tokenKind = iota
	tokenNewline
	tokenString
	tokenNumber
	tokenSymbol // one character in text
	tokenNotEqual
	tokenLessEqual
	tokenMoreEqual
	tokenInside  // ><
	tokenOutside // <>
	tokenArrow   // ->
	// tokenError follows a message of the lexer; no grammar takes it.
	tokenError
)

type token struct {
	kind   tokenKind
	quoted bool
	text   string
	number int64
}

// is reports whether the token is an unquoted word of this text.
func (t token) is(word string) bool {
	return t.kind == tokenString && !t.quoted && t.text == word
}

func (t token) symbol(c byte) bool {
	return t.kind == tokenSymbol && t.text[0] == c
}

// The stack of pushed back characters holds bytes and these marks, which tell
// where the text of a macro starts and ends.
const (
	endOfFile   = -1
	expandStart = -2
	expandEnd   = -3
)

// source is one open file.
type source struct {
	name    string
	data    []byte
	pos     int
	line    int
	ended   bool // the newline after the last line was given
	pending []int16
	// expanding is set while the text of a macro is read: a "$" is literal.
	expanding bool
}

// lexer turns the files into tokens. It keeps the rules of pfctl's lexer
// exactly, as they decide which line an error is reported on.
type lexer struct {
	cfg    *Config
	limits Limits
	files  []*source // the last is current
	macros map[string]*macro
	order  []*macro // in the order of definition
	// line is the line of the last token.
	line  int
	buf   []byte
	total int64 // bytes of all files read
	// expanded counts the bytes that macros put in.
	expanded int64
	report   func(Position, Severity, string)
}

type macro struct {
	name, value string
	used        bool
	persistent  bool
}

func (l *lexer) file() *source { return l.files[len(l.files)-1] }

// position is where pfctl would report an error now.
func (l *lexer) position() Position {
	return Position{File: l.file().name, Line: l.line}
}

func (l *lexer) errorf(format string, args ...any) {
	l.report(l.position(), SeverityError, fmt.Sprintf(format, args...))
}

// open reads a whole file.
func (l *lexer) open(name string) ([]byte, error) {
	var r io.ReadCloser
	var err error
	if l.cfg.Open != nil {
		r, err = l.cfg.Open(name)
	} else {
		r, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readLimited(r, l.limits.FileBytes)
}

// readLimited reads everything, or fails when there is more than max.
func readLimited(r io.Reader, max int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("file larger than %d bytes", max)
	}
	return data, err
}

// include makes name the current file.
func (l *lexer) include(name string) error {
	if len(l.files) > l.limits.IncludeDepth {
		return fmt.Errorf("%s: more than %d nested includes", name, l.limits.IncludeDepth)
	}
	data, err := l.open(name)
	if err != nil {
		return err
	}
	// A file that includes many others many times is as bad as a large one.
	if l.total += int64(len(data)) + 1; l.total > l.limits.FileBytes {
		return fmt.Errorf("%s: files larger than %d bytes together", name, l.limits.FileBytes)
	}
	f := &source{name: name, data: data}
	// The statement "include" still needs its newline.
	f.pending = append(f.pending, '\n')
	l.files = append(l.files, f)
	return nil
}

func (l *lexer) define(name, value string, persistent bool) {
	if old, ok := l.macros[name]; ok {
		if old.persistent {
			return
		}
		for i, m := range l.order {
			if m == old {
				l.order = append(l.order[:i], l.order[i+1:]...)
				break
			}
		}
	}
	m := &macro{name: name, value: value, persistent: persistent}
	l.macros[name] = m
	l.order = append(l.order, m)
}

func (l *lexer) unget(c int) {
	if c != endOfFile {
		f := l.file()
		f.pending = append(f.pending, int16(c))
	}
}

// raw is the next character of the current file.
func (l *lexer) raw() int {
	f := l.file()
	for n := len(f.pending); n > 0; n = len(f.pending) {
		c := f.pending[n-1]
		f.pending = f.pending[:n-1]
		switch c {
		case expandStart:
			f.expanding = true
		case expandEnd:
			f.expanding = false
		default:
			return int(c)
		}
	}
	if f.pos < len(f.data) {
		f.pos++
		return int(f.data[f.pos-1])
	}
	return endOfFile
}

// pop leaves an included file; it reports false in the outermost one.
func (l *lexer) pop() bool {
	if len(l.files) == 1 {
		return false
	}
	l.files = l.files[:len(l.files)-1]
	return true
}

// getc joins continued lines and leaves included files at their end.
func (l *lexer) getc() int {
	c := l.raw()
	for c == '\\' {
		next := l.raw()
		if next != '\n' {
			c = next
			break
		}
		f := l.file()
		l.line = f.line
		f.line++
		c = l.raw()
	}
	for c == endOfFile {
		f := l.file()
		if !f.ended {
			f.ended = true
			return '\n'
		}
		if !l.pop() {
			return endOfFile
		}
		c = l.raw()
	}
	return c
}

// quotedc is the next character within quotes.
func (l *lexer) quotedc(quote int) int {
	c := l.raw()
	if c == endOfFile {
		l.errorf("reached end of file while parsing quoted string")
		if !l.pop() {
			return endOfFile
		}
		return quote
	}
	return c
}

// skipLine goes on after the next newline.
func (l *lexer) skipLine() token {
	for {
		switch l.getc() {
		case '\n':
			l.file().line++
			return token{kind: tokenError}
		case endOfFile:
			return token{kind: tokenError}
		}
	}
}

func isDigit(c int) bool { return c >= '0' && c <= '9' }
func isAlpha(c int) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// inString tells the characters of unquoted words.
func inString(c int) bool {
	if isDigit(c) || isAlpha(c) {
		return true
	}
	switch c {
	case '(', ')', '{', '}', '<', '>', '!', '=', '/', '#', ',':
		return false
	}
	return c > ' ' && c < 0x7f
}

func endsNumber(c int) bool {
	switch c {
	case ' ', '\t', '\n', '\v', '\f', '\r', ')', ',', '/', '}', '=', endOfFile:
		return true
	}
	return false
}

// next is the next token.
func (l *lexer) next() token {
	for {
		c := l.getc()
		for c == ' ' || c == '\t' {
			c = l.getc()
		}
		l.line = l.file().line
		if c == '#' {
			for c = l.getc(); c != '\n' && c != endOfFile; c = l.getc() {
			}
		}
		if c == '$' && !l.file().expanding {
			if t, ok := l.expand(); !ok {
				return t
			}
			continue
		}
		return l.token(c)
	}
}

// expand puts the text of a macro in the place of its name. It reports false
// with an error token if there is none.
func (l *lexer) expand() (token, bool) {
	l.buf = l.buf[:0]
	for {
		c := l.getc()
		if c == endOfFile {
			return token{}, false
		}
		if len(l.buf)+1 >= maxTokenBytes-1 {
			l.errorf("string too long")
			return l.skipLine(), false
		}
		if !isDigit(c) && !isAlpha(c) && c != '_' {
			l.unget(c)
			break
		}
		l.buf = append(l.buf, byte(c))
	}
	m, ok := l.macros[string(l.buf)]
	if !ok {
		l.errorf("macro '%s' not defined", l.buf)
		return l.skipLine(), false
	}
	m.used = true
	if l.expanded += int64(len(m.value)); l.expanded > l.limits.FileBytes {
		l.errorf("macros expand to more than %d bytes", l.limits.FileBytes)
		return l.skipLine(), false
	}
	f := l.file()
	f.pending = append(f.pending, expandEnd)
	for i := len(m.value) - 1; i >= 0; i-- {
		f.pending = append(f.pending, int16(m.value[i]))
	}
	f.pending = append(f.pending, expandStart)
	return token{}, true
}

func (l *lexer) token(c int) token {
	switch c {
	case endOfFile:
		return token{kind: tokenEOF}
	case '\n':
		l.line = l.file().line
		l.file().line++
		return token{kind: tokenNewline}
	case '\'', '"':
		return l.quotedString(c)
	case '!':
		if l.follows('=') {
			return token{kind: tokenNotEqual}
		}
	case '<':
		if l.follows('>') {
			return token{kind: tokenOutside}
		}
		if l.follows('=') {
			return token{kind: tokenLessEqual}
		}
	case '>':
		if l.follows('<') {
			return token{kind: tokenInside}
		}
		if l.follows('=') {
			return token{kind: tokenMoreEqual}
		}
	case '-':
		if l.follows('>') {
			return token{kind: tokenArrow}
		}
	}
	l.buf = l.buf[:0]
	if c == '-' || isDigit(c) {
		l.buf = append(l.buf, byte(c))
		next := l.getc()
		for ; isDigit(next); next = l.getc() {
			l.buf = append(l.buf, byte(next))
			if len(l.buf) >= maxTokenBytes {
				l.errorf("string too long")
				return l.skipLine()
			}
		}
		if endsNumber(next) && (c != '-' || len(l.buf) > 1) {
			l.unget(next)
			return l.numberToken()
		}
		if c == '-' {
			l.unget(next)
			for i := len(l.buf) - 1; i > 0; i-- {
				l.unget(int(l.buf[i]))
			}
			return token{kind: tokenSymbol, text: "-"}
		}
		// Not a number: the digits begin a word.
		return l.word(next)
	}
	if isAlpha(c) || c == ':' || c == '_' {
		l.buf = append(l.buf, byte(c))
		return l.word(l.getc())
	}
	return token{kind: tokenSymbol, text: string([]byte{byte(c)})}
}

// follows consumes the next character if it is c.
func (l *lexer) follows(c int) bool {
	next := l.getc()
	if next == c {
		return true
	}
	l.unget(next)
	return false
}

// word reads on from the character c after what the buffer holds.
func (l *lexer) word(c int) token {
	for ; inString(c); c = l.getc() {
		l.buf = append(l.buf, byte(c))
		if len(l.buf) >= maxTokenBytes {
			l.errorf("string too long")
			return l.skipLine()
		}
	}
	l.unget(c)
	return token{kind: tokenString, text: string(l.buf)}
}

func (l *lexer) numberToken() token {
	n, err := strconv.ParseInt(string(l.buf), 10, 64)
	if err != nil {
		reason := "too large"
		if n == math.MinInt64 {
			reason = "too small"
		}
		l.errorf("\"%s\" invalid number: %s", l.buf, reason)
		return l.skipLine()
	}
	return token{kind: tokenNumber, number: n}
}

func (l *lexer) quotedString(quote int) token {
	l.buf = l.buf[:0]
	for {
		c := l.quotedc(quote)
		switch c {
		case endOfFile:
			return token{kind: tokenEOF}
		case '\n':
			l.file().line++
			continue
		case '\\':
			next := l.quotedc(quote)
			switch next {
			case endOfFile:
				return token{kind: tokenEOF}
			case quote, ' ', '\t':
				c = next
			case '\n':
				l.file().line++
				continue
			default:
				l.unget(next)
			}
		case quote:
			return token{kind: tokenString, quoted: true, text: string(l.buf)}
		case 0:
			l.errorf("syntax error")
			return l.skipLine()
		}
		if len(l.buf)+1 >= maxTokenBytes-1 {
			l.errorf("string too long")
			return l.skipLine()
		}
		l.buf = append(l.buf, byte(c))
	}
}
