package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/control"
)

const netstatUsage = `usage: netstat [-n] -r [-f inet | inet6] [--json]
       netstat -i [-I interface] [--json]
       netstat -s [-z] [--json]
       netstat -Q [--json]
       netstat -w wait [-I interface] [-q howmany]`

// netstatMain is netstat(1) for the data path.
func netstatMain(ctx context.Context, args []string) int {
	o, err := parseNetstat(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "netstat: %v\n%s\n", err, netstatUsage)
		return exitError
	}
	if o.routes {
		return netstatRoutes(ctx, args)
	}
	client, err := control.Dial()
	if err != nil {
		return report("netstat", err)
	}
	switch {
	case o.queues:
		err = netstatQueues(ctx, client, o)
	case o.statistics:
		err = netstatStatistics(ctx, client, o)
	case o.wait > 0:
		err = netstatWait(ctx, client, o)
	default:
		err = netstatInterfaces(ctx, client, o)
	}
	if err != nil {
		return report("netstat", err)
	}
	return 0
}

type netstatOptions struct {
	routes, interfaces, statistics, queues, json, zeros bool
	wait                                                int
	howMany                                             int
	interfaceName                                       string
}

func parseNetstat(args []string) (netstatOptions, error) {
	var o netstatOptions
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--json" || arg == "--libxo=json" {
			o.json = true
			continue
		}
		if len(arg) < 2 || arg[0] != '-' {
			return o, fmt.Errorf("unexpected argument: %s", arg)
		}
		for j := 1; j < len(arg); j++ {
			letter := arg[j]
			if strings.IndexByte("wIqf", letter) >= 0 {
				value := arg[j+1:]
				if value == "" {
					if i++; i >= len(args) {
						return o, fmt.Errorf("option requires an argument -- %c", letter)
					}
					value = args[i]
				}
				if err := o.value(letter, value); err != nil {
					return o, err
				}
				break
			}
			switch letter {
			case 'r':
				o.routes = true
			case 'i':
				o.interfaces = true
			case 's':
				o.statistics = true
			case 'Q':
				o.queues = true
			case 'z':
				o.zeros = true
			case 'n', 'W', 'b', 'd', '4', '6', 'a':
			default:
				return o, fmt.Errorf("illegal option -- %c", letter)
			}
		}
	}
	if !o.routes && !o.interfaces && !o.statistics && !o.queues && o.wait == 0 && o.interfaceName == "" {
		return o, fmt.Errorf("sockets are the host's: use ss(8)")
	}
	return o, nil
}

func (o *netstatOptions) value(letter byte, value string) error {
	switch letter {
	case 'I':
		o.interfaceName = value
		return nil
	case 'f':
		if value != "inet" && value != "inet6" {
			return fmt.Errorf("%s: unknown address family", value)
		}
		return nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return fmt.Errorf("illegal wait interval or count: %s", value)
	}
	if letter == 'w' {
		o.wait = n
	} else {
		o.howMany = n
	}
	return nil
}

func selectInterfaces(all []control.InterfaceCounters, name string) ([]control.InterfaceCounters, error) {
	if name == "" {
		return all, nil
	}
	for _, i := range all {
		if i.Name == name {
			return []control.InterfaceCounters{i}, nil
		}
	}
	return nil, fmt.Errorf("%s: unknown interface", name)
}

func interfaceCounters(ctx context.Context, client *control.Client, o netstatOptions) ([]control.InterfaceCounters, error) {
	all, err := control.Call[[]control.InterfaceCounters](ctx, client, "interfaces", control.None{})
	if err != nil {
		return nil, err
	}
	return selectInterfaces(all, o.interfaceName)
}

func netstatInterfaces(ctx context.Context, client *control.Client, o netstatOptions) error {
	all, err := interfaceCounters(ctx, client, o)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(os.Stdout, all)
	}
	const row = "%-8s %6s %-24s %-18s %10s %5s %5s %10s\n"
	fmt.Printf(row, "Name", "Mtu", "Network", "Address", "Ipkts", "Ierrs", "Idrop", "Opkts")
	for _, i := range all {
		name := i.Name
		if !i.Up {
			name += "*"
		}
		fmt.Printf(row, name, strconv.Itoa(i.MTU), "<Link>", i.Lladdr, strconv.FormatUint(i.Data.Ipackets, 10), "0",
			strconv.FormatUint(i.Data.Iqdrops, 10), strconv.FormatUint(i.Data.Opackets, 10))
		for _, network := range i.Network {
			fmt.Printf(row, name, "-", network, "", "-", "-", "-", "-")
		}
	}
	return nil
}

// netstatStatistics prints the reasons for which packets left the data path.
func netstatStatistics(ctx context.Context, client *control.Client, o netstatOptions) error {
	counts, err := control.Call[[]control.ReasonCount](ctx, client, "reasons", control.None{})
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(os.Stdout, counts)
	}
	for _, section := range []struct{ kind, title string }{
		{"passed", "packets let through:"}, {"netisr", "packets to the daemon:"}, {"dropped", "packets dropped:"},
	} {
		fmt.Println(section.title)
		for _, c := range counts {
			if c.Kind == section.kind && (c.Packets > 0 || !o.zeros) && c.Name != "unset" {
				fmt.Printf("\t%d %s\n", c.Packets, c.Text)
			}
		}
	}
	queue, err := control.HostInputQueue()
	if err != nil {
		return err
	}
	fmt.Println("input queue of the host's own stack, of the whole machine:")
	for _, c := range []struct {
		n    uint64
		text string
	}{{queue.Processed, "taken from it"}, {queue.Dropped, "dropped, it was full"}, {queue.Squeezed, "turns that left some in it"}} {
		if c.n > 0 || !o.zeros {
			fmt.Printf("\t%d %s\n", c.n, c.text)
		}
	}
	return nil
}

// netstatWait prints what passed in each interval.
func netstatWait(ctx context.Context, client *control.Client, o netstatOptions) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	name := o.interfaceName
	if name == "" {
		name = "(Total)"
	}
	previous, err := interfaceCounters(ctx, client, o)
	if err != nil {
		return err
	}
	for line := 0; o.howMany == 0 || line < o.howMany; line++ {
		if line%20 == 0 {
			fmt.Printf("%18s %12s %28s\n", "input", name, "output")
			fmt.Printf("%10s %5s %12s %10s %12s\n", "packets", "drops", "bytes", "packets", "bytes")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(o.wait) * time.Second):
		}
		now, err := interfaceCounters(ctx, client, o)
		if err != nil {
			return err
		}
		was, is := total(previous), total(now)
		fmt.Printf("%10d %5d %12d %10d %12d\n", is.Ipackets-was.Ipackets, is.Iqdrops-was.Iqdrops, is.Ibytes-was.Ibytes,
			is.Opackets-was.Opackets, is.Obytes-was.Obytes)
		previous = now
	}
	return nil
}
