package pfctl

import (
	"fmt"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// getopt gives options one by one as getopt(3) does: flags may be joined, an
// argument may follow its flag at once, and the first word that is no option
// ends them.
type getopt struct {
	spec string
	args []string // the rest after the options, once next reports false
	word string   // flags left in the current word
}

// option is a flag with its argument.
type option struct {
	flag byte
	arg  string
}

// optionError is an option that getopt(3) complains about.
type optionError struct {
	flag    byte
	missing bool // its argument
}

func (e *optionError) text(d conf.Dialect) string {
	switch {
	case e.missing:
		return fmt.Sprintf("option requires an argument -- %c", e.flag)
	case d == conf.OpenBSD:
		return fmt.Sprintf("unknown option -- %c", e.flag)
	}
	return fmt.Sprintf("illegal option -- %c", e.flag)
}

func (g *getopt) next() (o option, ok bool, bad *optionError) {
	if g.word == "" {
		if len(g.args) == 0 || len(g.args[0]) < 2 || g.args[0][0] != '-' {
			return option{}, false, nil
		}
		g.word = g.args[0][1:]
		g.args = g.args[1:]
		if g.word == "-" {
			g.word = ""
			return option{}, false, nil
		}
	}
	o.flag = g.word[0]
	g.word = g.word[1:]
	i := strings.IndexByte(g.spec, o.flag)
	if i < 0 || o.flag == ':' {
		return o, false, &optionError{flag: o.flag}
	}
	if i+1 == len(g.spec) || g.spec[i+1] != ':' {
		return o, true, nil
	}
	switch {
	case g.word != "":
		o.arg, g.word = g.word, ""
	case len(g.args) == 0:
		return o, false, &optionError{flag: o.flag, missing: true}
	default:
		o.arg, g.args = g.args[0], g.args[1:]
	}
	return o, true, nil
}
