package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
)

func commitCommand() *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "run a command of bsdnet whose changes are taken back unless they are confirmed in time",
		UsageText: "bsdnet commit --confirm SECONDS -- COMMAND [ARGUMENT ...]",
		Description: "COMMAND is one of bsdnet's own: pfctl, route, ifconfig, rc, sysctl ... If it fails, what it did is\n" +
			"taken back at once. The daemon waits, also over its own restart.",
		Flags: []cli.Flag{&cli.IntFlag{Name: "confirm", Value: 60, Usage: "take back after `SECONDS` without `bsdnet confirm`"}},
		Action: func(c *cli.Context) error {
			if c.Args().Len() == 0 {
				return usageError{errors.New("commit: want a command")}
			}
			return commit(c.Context, c.Int("confirm"), c.Args().Slice())
		},
	}
}

func commit(ctx context.Context, seconds int, words []string) error {
	if app().Command(words[0]) == nil || words[0] == "commit" || words[0] == "unload" {
		return usageError{fmt.Errorf("commit: %s is not a command of bsdnet that can be taken back", words[0])}
	}
	client, err := control.Dial()
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	what := strings.Join(words, " ")
	if _, err := control.Call[*control.Pending](ctx, client, "confirm/begin", control.ConfirmBegin{Seconds: seconds, What: what}); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	self, err := os.Executable()
	if err == nil {
		command := exec.CommandContext(ctx, self, words...)
		command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = command.Run()
	}
	if err == nil {
		fmt.Fprintf(os.Stderr, "bsdnet: taken back in %d seconds unless confirmed: bsdnet confirm\n", seconds)
		return nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = statusError(exit.ExitCode())
	}
	if _, back := control.Call[control.None](ctx, client, "confirm/rollback", control.None{}); back != nil {
		fmt.Fprintln(os.Stderr, "bsdnet: commit: roll back:", back)
	}
	return err
}

func confirmCommand() *cli.Command {
	return &cli.Command{
		Name:  "confirm",
		Usage: "keep the change that waits for its confirmation",
		Description: "Over ssh it wants a connection that was opened after the change: one that was open before lives on by its\n" +
			"state, whatever the new rules say.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "anyway", Usage: "confirm also over a connection that was open before the change"}},
		Action: func(c *cli.Context) error {
			client, err := control.Dial()
			if err != nil {
				return fmt.Errorf("confirm: %w", err)
			}
			request := control.ConfirmRequest{Connection: sshConnection(), Anyway: c.Bool("anyway")}
			if _, err := control.Call[control.None](c.Context, client, "confirm/confirm", request); err != nil {
				return fmt.Errorf("confirm: %w", err)
			}
			return nil
		},
	}
}

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:  "rollback",
		Usage: "take the change back that waits for its confirmation, now",
		Action: func(c *cli.Context) error {
			client, err := control.Dial()
			if err != nil {
				return fmt.Errorf("rollback: %w", err)
			}
			if _, err := control.Call[control.None](c.Context, client, "confirm/rollback", control.None{}); err != nil {
				return fmt.Errorf("rollback: %w", err)
			}
			return nil
		},
	}
}

// sshConnection is the ssh connection that this command came by, or nil. Where
// sudo has emptied the environment, that of an ancestor tells.
func sshConnection() *control.ConfirmConnection {
	if c := parseConnection(os.Getenv("SSH_CONNECTION")); c != nil {
		return c
	}
	for pid := os.Getppid(); pid > 1; pid = parentOf(pid) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			return nil
		}
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			if value, ok := strings.CutPrefix(variable, "SSH_CONNECTION="); ok {
				return parseConnection(value)
			}
		}
	}
	return nil
}

// parseConnection reads "client port server port".
func parseConnection(text string) *control.ConfirmConnection {
	words := strings.Fields(text)
	if len(words) != 4 {
		return nil
	}
	client, err1 := endpoint(words[0], words[1])
	server, err2 := endpoint(words[2], words[3])
	if errors.Join(err1, err2) != nil {
		return nil
	}
	return &control.ConfirmConnection{Client: client, Server: server}
}

func endpoint(address, port string) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(ip.Unmap().WithZone(""), uint16(n)), err
}

// parentOf is the parent of a process, 0 if it cannot be told.
func parentOf(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything.
	_, rest, ok := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}
