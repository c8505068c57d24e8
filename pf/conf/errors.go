package conf

import (
	"fmt"
	"strings"
)

// Position is a line of a configuration file. Standard input is "stdin".
type Position struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// IsValid reports whether the position names a line.
func (p Position) IsValid() bool { return p.File != "" }

// Severity tells an error, which refuses the ruleset, from a remark.
type Severity uint8

const (
	// SeverityError refuses the ruleset.
	SeverityError Severity = iota
	// SeverityWarning is always shown.
	SeverityWarning
	// SeverityVerbose is shown by pfctl -vv only.
	SeverityVerbose
)

func (s Severity) String() string {
	switch s {
	case SeverityError:
		return "error"
	case SeverityWarning:
		return "warning"
	}
	return "verbose"
}

// MarshalText writes the name of the severity.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Error is one message about a configuration, in the words of pfctl(8).
//
// Messages without a valid position are those that pfctl writes without
// file and line, such as "no IP address found for x".
type Error struct {
	Pos      Position `json:"position"`
	Text     string   `json:"text"`
	Severity Severity `json:"severity"`
}

func (e *Error) Error() string {
	if !e.Pos.IsValid() {
		return e.Text
	}
	return e.Pos.String() + ": " + e.Text
}

// ErrorList holds every message of a configuration in the order found.
type ErrorList []*Error

func (l ErrorList) Error() string {
	lines := make([]string, 0, len(l))
	for _, e := range l {
		if e.Severity == SeverityError {
			lines = append(lines, e.Error())
		}
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single errors to [errors.Is] and [errors.As].
func (l ErrorList) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

// failed reports whether the list refuses the ruleset.
func (l ErrorList) failed() bool {
	for _, e := range l {
		if e.Severity == SeverityError {
			return true
		}
	}
	return false
}
