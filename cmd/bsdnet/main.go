// Command bsdnet is the BSD network stack for a Linux host.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/ifnet/wg"
)

// version is set by the build.
var version = "development"

// Exit codes beyond those that a BSD command defines for itself.
const (
	exitError      = 1
	exitDegraded   = 3
	exitNoInstance = 4
	exitUsage      = 64
)

func main() { os.Exit(run(os.Args)) }

// run is main with the arguments given; it returns the exit status.
func run(args []string) int {
	name := filepath.Base(args[0])
	if front, ok := frontEnds[name]; ok {
		return front(context.Background(), args[1:])
	}
	if len(args) > 1 && args[1] == wg.Command {
		return wgProcess(args[2:])
	}
	if len(args) > 1 {
		if front, ok := frontEnds[args[1]]; ok {
			return front(context.Background(), args[2:])
		}
	}
	if err := app().Run(args); err != nil {
		return report("bsdnet", err)
	}
	return 0
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// statusError carries an exit status; its text, if any, has been printed.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// report prints an error the way that err(3) does and returns the exit status.
func report(program string, err error) int {
	var status statusError
	if errors.As(err, &status) {
		return int(status)
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "%s: %s\n", program, line)
	}
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, control.ErrNoInstance):
		return exitNoInstance
	}
	return exitError
}

func app() *cli.App {
	return &cli.App{
		Name:            "bsdnet",
		Usage:           "the BSD network stack for a Linux host",
		Version:         version,
		HideHelpCommand: true,
		Description: "Loads the data path into the kernel as XDP and TC programs and runs the daemon behind it.\n" +
			"BSD commands are there by their own names: bsdnet ifconfig, route, netstat, arp, ndp, pfctl, pflogd, pfilctl, sysctl.",
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   wrongUsage,
		CommandNotFound: func(_ *cli.Context, name string) {
			fmt.Fprintf(os.Stderr, "bsdnet: no such command: %s (try bsdnet --help)\n", name)
			os.Exit(exitUsage)
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 0 {
				return usageError{fmt.Errorf("no such command: %s (try bsdnet --help)", c.Args().First())}
			}
			return cli.ShowAppHelp(c)
		},
		Commands: append(ownCommands(), frontEndCommands()...),
	}
}

// wrongUsage keeps the library from printing the whole help for one wrong flag.
func wrongUsage(c *cli.Context, err error, _ bool) error {
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != "bsdnet" {
		err = fmt.Errorf("%s: %w (try %s --help)", c.Command.Name, err, c.Command.HelpName)
	}
	return usageError{err}
}

func ownCommands() []*cli.Command {
	commands := []*cli.Command{loadCommand(), unloadCommand(), rcCommand(), netstartCommand(), checkCommand(), statusCommand(), mountCommand(), installLinksCommand(),
		commitCommand(), confirmCommand(), rollbackCommand(), metricsCommand(), domainsCommand()}
	for _, command := range commands {
		command.OnUsageError, command.HideHelpCommand = wrongUsage, true
	}
	return commands
}

// frontEnds are the BSD commands, which parse their own arguments.
var frontEnds map[string]func(ctx context.Context, args []string) int

func init() {
	frontEnds = map[string]func(ctx context.Context, args []string) int{
		"sysctl":    sysctlMain,
		"pfilctl":   pfilctlMain,
		"netstat":   netstatMain,
		"route":     routeMain,
		"ifconfig":  ifconfigMain,
		"arp":       arpMain,
		"ndp":       ndpMain,
		"pfctl":     pfctlMain,
		"pflogd":    pflogdMain,
		"bsdnet-wg": wgQuickMain,
	}
}

// frontEndUsage is the help line of each BSD command.
var frontEndUsage = map[string]string{
	"sysctl":   "get and set kernel state of the stack: sysctl [-adeNnq] name[=value] ...",
	"pfctl":    "control the packet filter: pfctl -e | -d | -f file | -nf file | -s modifier | -t table -T command",
	"pflogd":   "write packets that pf logs to a file: pflogd [-f file] [-i pflogN] [-s size] [-n count]",
	"pfilctl":  "manage packet filter hooks: pfilctl heads | hooks | link | unlink",
	"netstat":  "show network status: netstat -rn | -i | -s | -Q | -w wait",
	"ifconfig": "configure interfaces, make and destroy clones: ifconfig [-adlmuLC] [interface [words]]",
	"route":    "manipulate the routing tables: route [-dnqtv] command [[modifiers] args]",
	"arp":      "display and control the ARP table: arp [-n] -a | host | -d | -s",
	"ndp":      "display and control the neighbour discovery table: ndp -a | host | -d | -s",
}

func frontEndCommands() []*cli.Command {
	var commands []*cli.Command
	for _, name := range []string{"ifconfig", "route", "arp", "ndp", "netstat", "pfctl", "pflogd", "pfilctl", "sysctl"} {
		commands = append(commands, &cli.Command{
			Name: name, Usage: frontEndUsage[name], Category: "BSD commands", SkipFlagParsing: true,
			Action: func(c *cli.Context) error {
				if status := frontEnds[name](c.Context, c.Args().Slice()); status != 0 {
					return statusError(status)
				}
				return nil
			},
		})
	}
	return commands
}
