package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/bsdnet/bsdnet/control"
)

const sysctlUsage = `usage: sysctl [-deNnq] name[=value] ...
       sysctl [-deNnq] -a`

// sysctlMain is sysctl(8) for the variables of the stack.
func sysctlMain(ctx context.Context, args []string) int {
	flags := make(map[rune]bool)
	request := control.SysctlRequest{Set: make(map[string]string)}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && len(args[0]) > 1 {
		if args[0] == "--json" {
			flags['j'] = true
		} else {
			for _, letter := range args[0][1:] {
				if !strings.ContainsRune("adeNnq", letter) {
					fmt.Fprintf(os.Stderr, "sysctl: illegal option -- %c\n%s\n", letter, sysctlUsage)
					return exitError
				}
				flags[letter] = true
			}
		}
		args = args[1:]
	}
	for _, arg := range args {
		if name, value, ok := strings.Cut(arg, "="); ok {
			request.Set[name] = value
		} else {
			request.Names = append(request.Names, arg)
		}
	}
	request.All = flags['a']
	if !request.All && len(args) == 0 {
		fmt.Fprintln(os.Stderr, sysctlUsage)
		return exitError
	}
	client, err := control.Dial()
	if err != nil {
		return report("sysctl", err)
	}
	values, err := control.Call[[]control.SysctlValue](ctx, client, "sysctl", request)
	if err != nil {
		var failure *control.APIError
		if flags['q'] && errors.As(err, &failure) && failure.Code == "unknown_name" {
			return exitError
		}
		return report("sysctl", err)
	}
	if flags['j'] {
		if err := printJSON(os.Stdout, values); err != nil {
			return report("sysctl", err)
		}
		return 0
	}
	separator := ": "
	if flags['e'] {
		separator = "="
	}
	for _, v := range values {
		text := v.Value
		switch {
		case flags['d']:
			text = v.Description
		case v.Old != "":
			text = v.Old + " -> " + v.Value
		}
		switch {
		case flags['N']:
			fmt.Println(v.Name)
		case flags['n']:
			fmt.Println(text)
		default:
			fmt.Println(v.Name + separator + text)
		}
	}
	return 0
}
