package command

import (
	"fmt"
	"strings"
)

// option is one option of a command line with its value, if it takes one.
type option struct {
	option rune
	value  string
}

type parsedOptions struct {
	options []option
	rest    []string
}

// getopt parses options as getopt(3) does: bundled letters, values attached
// or apart, an end at the first argument that is none or at "--". spec lists
// the letters, with a colon behind those that take a value.
func getopt(args []string, spec string) (parsedOptions, error) {
	var p parsedOptions
	for len(args) > 0 {
		arg := args[0]
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		args = args[1:]
		if arg == "--" {
			break
		}
		letters := []rune(arg[1:])
		for i, letter := range letters {
			at := strings.IndexRune(spec, letter)
			if at < 0 || letter == ':' {
				return p, fmt.Errorf("illegal option -- %c", letter)
			}
			if at+1 == len(spec) || spec[at+1] != ':' {
				p.options = append(p.options, option{option: letter})
				continue
			}
			value := string(letters[i+1:])
			if value == "" {
				if len(args) == 0 {
					return p, fmt.Errorf("option requires an argument -- %c", letter)
				}
				value, args = args[0], args[1:]
			}
			p.options = append(p.options, option{letter, value})
			break
		}
	}
	p.rest = args
	return p, nil
}
