package main

import (
	"context"
	"fmt"
	"os"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/pfil"
)

const pfilctlUsage = `usage: pfilctl heads
       pfilctl hooks
       pfilctl link -i | -o [-a] module:ruleset head
       pfilctl unlink -i | -o module:ruleset head`

// pfilctlMain is pfilctl(8).
func pfilctlMain(ctx context.Context, args []string) int {
	usage := func() int {
		fmt.Fprintln(os.Stderr, pfilctlUsage)
		return exitUsage
	}
	json := false
	if len(args) > 0 && args[0] == "--json" {
		json, args = true, args[1:]
	}
	if len(args) == 0 {
		return usage()
	}
	command, rest := args[0], args[1:]
	if len(rest) > 0 && rest[0] == "--json" {
		json, rest = true, rest[1:]
	}
	var request control.PfilRequest
	switch command {
	case "heads", "hooks":
		if len(rest) > 0 {
			return usage()
		}
	case "link", "unlink":
		var in bool
		for len(rest) > 0 && len(rest[0]) > 1 && rest[0][0] == '-' {
			for _, letter := range rest[0][1:] {
				switch {
				case letter == 'i':
					in = true
				case letter == 'o':
					request.Out = true
				case letter == 'a' && command == "link":
					request.Append = true
				default:
					return usage()
				}
			}
			rest = rest[1:]
		}
		if len(rest) != 2 || in == request.Out {
			return usage()
		}
		request.Hook, request.Head = rest[0], rest[1]
	default:
		return usage()
	}
	client, err := control.Dial()
	if err != nil {
		return report("pfilctl", err)
	}
	switch command {
	case "heads":
		heads, err := control.Call[[]pfil.Head](ctx, client, "pfil/heads", control.None{})
		if err != nil {
			return report("pfilctl", err)
		}
		if json {
			err = printJSON(os.Stdout, heads)
		} else {
			printHeads(heads)
		}
		if err != nil {
			return report("pfilctl", err)
		}
	case "hooks":
		hooks, err := control.Call[[]pfil.Hook](ctx, client, "pfil/hooks", control.None{})
		if err != nil {
			return report("pfilctl", err)
		}
		if json {
			if err := printJSON(os.Stdout, hooks); err != nil {
				return report("pfilctl", err)
			}
			return 0
		}
		fmt.Printf("%16s %8s\n", "Hook", "Type")
		for _, hook := range hooks {
			fmt.Printf("%16s %8s\n", hook.Name, hook.Type)
		}
	default:
		if _, err := control.Call[control.None](ctx, client, "pfil/"+command, request); err != nil {
			return report("pfilctl", err)
		}
	}
	return 0
}

func printHeads(heads []pfil.Head) {
	fmt.Printf("%16s %8s\n", "Intercept point", "Type")
	for _, head := range heads {
		fmt.Printf("%16s %8s\n", head.Name, head.Type)
		for _, hook := range head.In {
			fmt.Printf("\t%-3s %s\n", pfil.In, hook)
		}
		for _, hook := range head.Out {
			fmt.Printf("\t%-3s %s\n", pfil.Out, hook)
		}
	}
}
