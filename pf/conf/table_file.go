package conf

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
)

// errBadTable is data that is no list of addresses.
var errBadTable = errors.New("bad data")

// ReadTable reads addresses as in a table file: words, "!" before an address to
// negate it, "#" and ";" before comments, and "weight n" after one in OpenBSD.
// Names are resolved with the configuration.
func ReadTable(r io.Reader, cfg Config) ([]TablePrefix, error) {
	var messages ErrorList
	f := tableFile{
		dialect:  cfg.Dialect,
		resolver: resolver{cfg: &cfg, complain: func(text string) { messages = append(messages, &Error{Text: text}) }},
	}
	if err := f.read(r, cfg.Limits.withDefaults().TableBytes); err != nil {
		if len(messages) > 0 {
			return nil, messages
		}
		return nil, err
	}
	return f.prefixes, nil
}

// loadTable adds the addresses of a file to a table.
func (p *parser) loadTable(t *Table, name string) bool {
	var r io.ReadCloser
	var err error
	if p.cfg.Open != nil {
		r, err = p.cfg.Open(name)
	} else {
		r, err = os.Open(name)
	}
	if err != nil {
		p.fail("cannot load \"%s\": %s", name, SystemError(err))
		return false
	}
	defer r.Close()
	f := tableFile{dialect: p.dialect, resolver: p.resolver, prefixes: t.Prefixes}
	switch err := f.read(r, p.limits.TableBytes); {
	case errors.Is(err, errBadTable):
		p.fail("file \"%s\" contains bad data", name)
	case err != nil:
		p.fail("cannot load \"%s\": %s", name, SystemError(err))
	}
	t.Prefixes = f.prefixes
	return !p.failed
}

// tableFile is the state of reading one file.
type tableFile struct {
	resolver
	dialect    Dialect
	prefixes   []TablePrefix
	wantWeight bool
	last       int // index of the first prefix that a weight is for
}

// errTableSize is a file over the limit.
var errTableSize = errors.New("File too large")

func (f *tableFile) read(r io.Reader, limit int64) error {
	scanner := bufio.NewScanner(io.LimitReader(r, limit+1))
	scanner.Buffer(nil, 1<<20)
	var total int64
	for scanner.Scan() {
		line := scanner.Bytes()
		total += int64(len(line)) + 1
		if i := bytes.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		for word := range bytes.FieldsFuncSeq(line, func(r rune) bool { return r <= ' ' }) {
			if !f.word(string(word)) {
				return errBadTable
			}
		}
	}
	switch err := scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return errBadTable
	case err != nil:
		return err
	case total > limit+1:
		return errTableSize
	}
	return nil
}

func (f *tableFile) word(s string) bool {
	if f.wantWeight {
		n, reason := strtonum(s, 1, 65535)
		if reason != "" {
			f.complain("failed to convert weight " + s)
			return false
		}
		for i := f.last; i < len(f.prefixes); i++ {
			f.prefixes[i].Weight = uint16(n)
		}
		f.wantWeight = false
		return true
	}
	if s == "weight" && f.dialect == OpenBSD {
		f.wantWeight = true
		return true
	}
	not := false
	for s != "" && s[0] == '!' {
		not, s = !not, s[1:]
	}
	f.last = len(f.prefixes)
	if h, ok := plainHost(s); ok {
		return f.add(h, not)
	}
	hosts := f.host(s)
	for _, h := range hosts {
		if !f.add(h, not) {
			return false
		}
	}
	return hosts != nil
}

func (f *tableFile) add(h host, not bool) bool {
	if h.family == Inet && h.mask > 32 {
		return false
	}
	h.not = not
	f.prefixes = append(f.prefixes, tablePrefix(tableEntry(h)))
	return true
}
