package rcconf

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Setting is one line of sysctl.conf(5).
type Setting struct {
	Name  string
	Value string
	File  string
	Line  int
}

// ParseSysctlFile reads a sysctl.conf(5). A file that is not there has no
// settings.
func ParseSysctlFile(path string) ([]Setting, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseSysctl(path, string(data))
}

// ParseSysctl reads lines of name=value; # begins a comment.
func ParseSysctl(name, text string) ([]Setting, error) {
	var settings []Setting
	var errs []error
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		oid, value, ok := strings.Cut(line, "=")
		oid, value = strings.TrimSpace(oid), strings.Trim(strings.TrimSpace(value), `"`)
		if !ok || oid == "" || strings.ContainsAny(oid, " \t") {
			errs = append(errs, &SyntaxError{name, i + 1, fmt.Sprintf("not a setting: %s", excerpt(line))})
			continue
		}
		settings = append(settings, Setting{oid, value, name, i + 1})
	}
	return settings, errors.Join(errs...)
}
