package conf

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// FingerprintMod says how a number of a fingerprint is compared.
type FingerprintMod uint8

// The comparisons.
const (
	FingerprintExact    FingerprintMod = iota // n
	FingerprintAny                            // *
	FingerprintMultiple                       // %n
	FingerprintMSS                            // Sn: n times the MSS
	FingerprintMTU                            // Tn: n times the MTU
)

// FingerprintNumber is a number with its comparison.
type FingerprintNumber struct {
	Mod   FingerprintMod
	Value uint16
}

// Fingerprint is the look of a SYN packet of one operating system, a line of
// pf.os(5).
type Fingerprint struct {
	Pos     Position
	ID      uint32 // what Fingerprints.Number gives for its full name
	Window  FingerprintNumber
	TTL     uint8
	DF      bool
	Size    FingerprintNumber
	MSS     FingerprintNumber
	WScale  FingerprintNumber
	NoStamp bool // T0: the timestamp is zero
	// Options are the letters of the TCP options in order: M, N, W, T, S, E.
	Options string

	Class, Version, Subtype string
	Description             string
}

// Fingerprints is a read pf.os(5) file.
type Fingerprints struct {
	Entries []Fingerprint
	numbers map[string]uint32
}

// Numbers that are no name: of SYN packets that fit no entry, and of rules that
// no packet fits since their name is not known.
const (
	FingerprintUnknown uint32 = math.MaxUint32
	FingerprintNoMatch uint32 = math.MaxUint32 - 1
)

// The numbers of a name: a class alone matches all its versions, a version all
// its subtypes.
const (
	fingerprintClassShift   = 20
	fingerprintVersionShift = 10
	fingerprintFieldMax     = 1<<10 - 1
)

// Number is the number of a name such as "OpenBSD" or "Windows XP SP1": ten
// bits each of class, version and subtype, zero where the name has none.
func (f *Fingerprints) Number(name string) (uint32, bool) {
	if f == nil {
		return 0, false
	}
	n, ok := f.numbers[strings.ToLower(name)]
	return n, ok
}

// Match reports whether a packet recognised as id satisfies a rule's number.
func (f *Fingerprints) Match(rule, id uint32) bool {
	mask := uint32(fingerprintFieldMax) << fingerprintClassShift
	if rule>>fingerprintVersionShift&fingerprintFieldMax != 0 {
		mask |= fingerprintFieldMax << fingerprintVersionShift
	}
	if rule&fingerprintFieldMax != 0 {
		mask |= fingerprintFieldMax
	}
	return rule&mask == id&mask
}

// ReadFingerprints reads pf.os(5). Bad lines are reported and left out, as
// pfctl does; the error is of reading only.
func ReadFingerprints(r io.Reader, name string) (*Fingerprints, ErrorList, error) {
	f := &Fingerprints{numbers: map[string]uint32{"unknown": FingerprintUnknown}}
	var bad ErrorList
	scanner := bufio.NewScanner(r)
	for line := 1; scanner.Scan(); line++ {
		text, _, _ := strings.Cut(scanner.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		pos := Position{File: name, Line: line}
		if err := f.add(text, pos); err != nil {
			bad = append(bad, &Error{Pos: pos, Text: err.Error()})
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, bad, fmt.Errorf("read %s: %w", name, err)
	}
	return f, bad, nil
}

func (f *Fingerprints) add(line string, pos Position) error {
	parts := strings.SplitN(line, ":", 9)
	if len(parts) < 8 {
		return fmt.Errorf("%d fields instead of 9", len(parts))
	}
	e := Fingerprint{Pos: pos, Class: parts[5], Version: parts[6], Subtype: parts[7]}
	if len(parts) == 9 {
		e.Description = parts[8]
	}
	var err error
	if e.Window, err = fingerprintNumber(parts[0]); err != nil {
		return fmt.Errorf("window size: %w", err)
	}
	ttl, err := strconv.ParseUint(parts[1], 10, 8)
	if err != nil {
		return fmt.Errorf("ttl: not a number from 0 to 255: %s", parts[1])
	}
	e.TTL = uint8(ttl)
	switch parts[2] {
	case "0":
	case "1":
		e.DF = true
	default:
		return fmt.Errorf("don't fragment: not 0 or 1: %s", parts[2])
	}
	if e.Size, err = fingerprintNumber(parts[3]); err != nil {
		return fmt.Errorf("packet size: %w", err)
	}
	if err := e.options(parts[4]); err != nil {
		return err
	}
	// "@Linux" and "-Linux" are guesses and userland tools; the marks are no
	// part of the name.
	e.Class = strings.TrimLeft(e.Class, "@*-")
	if e.Class == "" {
		return fmt.Errorf("no class")
	}
	e.ID = f.number(e.Class, e.Version, e.Subtype)
	f.Entries = append(f.Entries, e)
	return nil
}

func fingerprintNumber(s string) (FingerprintNumber, error) {
	if s == "*" {
		return FingerprintNumber{Mod: FingerprintAny}, nil
	}
	var n FingerprintNumber
	if s != "" {
		switch s[0] {
		case '%':
			n.Mod, s = FingerprintMultiple, s[1:]
		case 'S':
			n.Mod, s = FingerprintMSS, s[1:]
		case 'T':
			n.Mod, s = FingerprintMTU, s[1:]
		}
	}
	v, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return n, fmt.Errorf("not a number from 0 to 65535: %s", s)
	}
	n.Value = uint16(v)
	return n, nil
}

func (e *Fingerprint) options(s string) error {
	if s == "." {
		return nil
	}
	var letters strings.Builder
	for _, o := range strings.Split(s, ",") {
		if o == "" {
			return fmt.Errorf("tcp options: empty option")
		}
		var err error
		switch o[0] {
		case 'N', 'S', 'E':
		case 'T':
			e.NoStamp = o == "T0"
		case 'M':
			e.MSS, err = fingerprintNumber(o[1:])
		case 'W':
			e.WScale, err = fingerprintNumber(o[1:])
		default:
			err = fmt.Errorf("unknown option %s", o)
		}
		if err != nil {
			return fmt.Errorf("tcp options: %w", err)
		}
		letters.WriteByte(o[0])
	}
	e.Options = letters.String()
	return nil
}

// number finds or makes the number of a name.
func (f *Fingerprints) number(class, version, subtype string) uint32 {
	get := func(name string, parent uint32, shift int) uint32 {
		name = strings.ToLower(name)
		if n, ok := f.numbers[name]; ok {
			return n
		}
		var used uint32
		for _, n := range f.numbers {
			field := n >> shift & fingerprintFieldMax
			if n != 1<<32-1 && n>>(shift+10)<<(shift+10) == parent && field > used {
				used = field
			}
		}
		n := parent | (used+1)&fingerprintFieldMax<<shift
		f.numbers[name] = n
		return n
	}
	n := get(class, 0, fingerprintClassShift)
	name := class
	if version != "" {
		name += " " + version
		n = get(name, n, fingerprintVersionShift)
	}
	if subtype != "" {
		name += " " + subtype
		n = get(name, n, 0)
	}
	return n
}
