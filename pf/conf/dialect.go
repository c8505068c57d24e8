package conf

import "fmt"

// Dialect is the BSD whose defaults, warnings and printed form are used.
type Dialect uint8

// The dialects. The zero value is FreeBSD, the default of an instance.
const (
	FreeBSD Dialect = iota
	OpenBSD
	DragonFly
)

var dialectNames = [...]string{FreeBSD: "freebsd", OpenBSD: "openbsd", DragonFly: "dragonfly"}

func (d Dialect) String() string {
	if int(d) < len(dialectNames) {
		return dialectNames[d]
	}
	return fmt.Sprintf("dialect(%d)", uint8(d))
}

// ParseDialect reads "openbsd", "freebsd" or "dragonfly".
func ParseDialect(name string) (Dialect, error) {
	for d, n := range dialectNames {
		if n == name {
			return Dialect(d), nil
		}
	}
	return 0, fmt.Errorf("unknown dialect %q: use openbsd, freebsd or dragonfly", name)
}

// MarshalText writes the name of the dialect.
func (d Dialect) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the name of a dialect.
func (d *Dialect) UnmarshalText(text []byte) error {
	v, err := ParseDialect(string(text))
	if err == nil {
		*d = v
	}
	return err
}
