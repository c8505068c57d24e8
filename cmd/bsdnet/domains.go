package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
)

func domainsCommand() *cli.Command {
	return &cli.Command{
		Name:  "domains",
		Usage: "show the protocol families and their protocol switches, who has them and what they count",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON"}},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 0 {
				return usageError{fmt.Errorf("domains: unexpected argument: %s", c.Args().First())}
			}
			client, err := control.Dial()
			if err != nil {
				return err
			}
			list, err := control.Call[[]control.Domain](c.Context, client, "domains", control.None{})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(os.Stdout, list)
			}
			return printDomains(os.Stdout, list)
		},
	}
}

// printDomains prints a line for each protocol, and the families without a
// stack at the end.
func printDomains(w io.Writer, list []control.Domain) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "Domain\tFamily\tType\tProtocol\tName\tWhere\tInput\tError\tTimer\tCounters")
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	var absent []string
	for _, d := range list {
		if !d.Present {
			absent = append(absent, fmt.Sprintf("%s (%d)", d.Name, d.Family))
			continue
		}
		for _, p := range d.Protosws {
			var counters []string
			for _, name := range slices.Sorted(maps.Keys(p.Counters)) {
				counters = append(counters, fmt.Sprintf("%s %d", name, p.Counters[name]))
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Name, d.Family, dash(p.Type), p.Protocol, p.Name, p.Where,
				dash(p.Input), dash(p.Error), dash(p.Timer), dash(strings.Join(counters, ", ")))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "No stack here (EAFNOSUPPORT): %s\n", strings.Join(absent, ", "))
	return err
}
