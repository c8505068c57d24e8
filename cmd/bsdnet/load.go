package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/rcconf"
)

// readyFile is the descriptor on which a background daemon tells how its
// start went: one line of JSON.
const readyFile = 3

func loadCommand() *cli.Command {
	return &cli.Command{
		Name:      "load",
		Usage:     "put interfaces under the data path, and start the daemon if it does not run",
		UsageText: "bsdnet load [-i IF ... | -i any] [-f rc.conf] [--mode auto|xdp|tc] [--states N] [--takeover] [--boot] [--foreground]",
		Description: "Returns when the fast path is ready. Without -i, the interfaces named in rc.conf are taken.\n" +
			"A second load adds interfaces. Nothing is forwarded until net.inet.ip.forwarding (gateway_enable)\n" +
			"or net.inet6.ip6.forwarding (ipv6_gateway_enable) is on.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "interface", Aliases: []string{"i"}, Usage: "interface to take, or any; may be given several times"},
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "configuration in the form of rc.conf(5)"},
			&cli.StringFlag{Name: "mode", Value: "auto", Usage: "build to use: auto, xdp (native) or tc"},
			&cli.BoolFlag{Name: "takeover", Usage: "load also where Linux filters or translates forwarded packets, and replace other XDP programs"},
			&cli.UintFlag{Name: "states", Usage: "make pf's table large enough for `N` states (set limit states); 256 bytes each"},
			&cli.BoolFlag{Name: "boot", Usage: "fail closed: with pf_enable, block by the built-in policy until pf_rules is loaded; interfaces may come later"},
			&cli.BoolFlag{Name: "foreground", Usage: "stay in the foreground; for service managers (Type=notify)"},
		},
		Action: load,
	}
}

func load(c *cli.Context) error {
	if c.Args().Len() > 0 {
		return usageError{fmt.Errorf("load: unexpected argument: %s", c.Args().First())}
	}
	request, settings, err := loadRequest(c)
	var boot *bootRules
	if c.Bool("boot") {
		request, settings, boot = bootRequest(request, settings, err, rcFile(c))
	} else if err != nil {
		return err
	}
	if client, err := control.Dial(); err == nil && !c.Bool("foreground") {
		err := loadMore(c.Context, client, request, settings)
		if !errors.Is(err, control.ErrDaemonDown) {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("load: must be root")
	}
	if c.Bool("foreground") {
		return foreground(c.Context, request, settings, boot)
	}
	err = background(c.Context)
	if errors.Is(err, control.ErrLoaded) { // by somebody else, a moment ago
		client, err := control.Dial()
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		return loadMore(c.Context, client, request, settings)
	}
	return err
}

// loadRequest makes the request out of flags and rc.conf, and the sysctl
// settings that rc.conf asks for.
func loadRequest(c *cli.Context) (control.LoadRequest, map[string]string, error) {
	mode, err := loader.ParseMode(c.String("mode"))
	if err != nil {
		return control.LoadRequest{}, nil, usageError{fmt.Errorf("load: %w", err)}
	}
	states := c.Uint("states")
	if states > control.StatesMax {
		return control.LoadRequest{}, nil, usageError{fmt.Errorf("load: --states: at most %d", control.StatesMax)}
	}
	request := control.LoadRequest{Mode: mode, Takeover: c.Bool("takeover"), States: uint32(states)}
	for _, name := range c.StringSlice("interface") {
		if name == "any" {
			request.Any = true
			continue
		}
		request.Interfaces = append(request.Interfaces, name)
	}
	path := rcFile(c)
	settings := make(map[string]string)
	if path != "" {
		config, err := rcconf.ParseFile(path)
		if err != nil {
			return request, nil, err
		}
		if len(request.Interfaces) == 0 && !request.Any {
			request.Interfaces = config.Interfaces()
		}
		if settings, err = config.Forwarding(); err != nil {
			return request, nil, err
		}
		if v, ok := config.Lookup("pf_dialect"); ok {
			if _, err := conf.ParseDialect(v.Value); err != nil {
				return request, nil, fmt.Errorf("%s:%d: pf_dialect: %w", v.File, v.Line, err)
			}
			request.PFDialect = v.Value
		}
	}
	return request, settings, nil
}

// rcFile is the rc.conf to read, "" for none.
func rcFile(c *cli.Context) string {
	path := c.String("file")
	if path == "" && len(c.StringSlice("interface")) == 0 {
		if _, err := os.Stat(control.RcConf); err == nil {
			path = control.RcConf
		}
	}
	return path
}

func loadMore(ctx context.Context, client *control.Client, request control.LoadRequest, settings map[string]string) error {
	reply, err := control.Call[*control.LoadReply](ctx, client, "load", request)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := applySettings(ctx, client, settings); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	printLoaded(os.Stdout, os.Stderr, reply)
	return nil
}

func applySettings(ctx context.Context, client *control.Client, settings map[string]string) error {
	if len(settings) == 0 {
		return nil
	}
	_, err := control.Call[[]control.SysctlValue](ctx, client, "sysctl", control.SysctlRequest{Set: settings})
	return err
}

// ready is what a daemon tells the one who started it.
type ready struct {
	Error  string             `json:"error,omitempty"`
	Loaded bool               `json:"loaded,omitempty"` // the error is control.ErrLoaded
	Reply  *control.LoadReply `json:"reply,omitempty"`
}

// background starts this program again as the daemon and waits until the fast
// path is ready.
func background(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	instance, err := control.Current()
	if err != nil {
		return err
	}
	log, begun, err := openLog(instance)
	if err != nil {
		return err
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	daemon := exec.Command(self, append([]string{"load", "--foreground"}, os.Args[loadArgument():]...)...)
	daemon.ExtraFiles = []*os.File{write}
	daemon.Stdout, daemon.Stderr = log, log
	daemon.Env = append(os.Environ(), "BSDNET_READY=1")
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		write.Close()
		return fmt.Errorf("start daemon: %w", err)
	}
	write.Close()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err != nil {
		state, waitErr := daemon.Process.Wait()
		return fmt.Errorf("daemon ended before it was ready (%v): see %s", errors.Join(waitErr, stateError(state)), instance.Log())
	}
	var outcome ready
	if err := json.Unmarshal(line, &outcome); err != nil {
		return fmt.Errorf("read outcome of the daemon: %w", err)
	}
	if outcome.Error != "" {
		_, _ = daemon.Process.Wait()
		if !begun { // what it says has been told
			os.Remove(log.Name())
		}
		if outcome.Loaded {
			return control.ErrLoaded
		}
		return errors.New("load: " + outcome.Error)
	}
	printLoaded(os.Stdout, os.Stderr, outcome.Reply)
	return daemon.Process.Release()
}

func stateError(state *os.ProcessState) error {
	if state == nil {
		return nil
	}
	return errors.New(state.String())
}

// loadArgument is where the arguments after the word load begin.
func loadArgument() int {
	for i, arg := range os.Args {
		if arg == "load" {
			return i + 1
		}
	}
	return len(os.Args)
}

// openLog opens the file of a daemon without a supervisor, outside the
// instance's folder until that exists, and says whether an earlier daemon has
// begun it.
func openLog(instance control.Instance) (log *os.File, begun bool, err error) {
	if err := os.MkdirAll(control.RunDir, 0o755); err != nil {
		return nil, false, err
	}
	_, err = os.Stat(instance.Log())
	begun = err == nil
	log, err = os.OpenFile(instance.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	return log, begun, err
}

// foreground is the daemon.
func foreground(ctx context.Context, request control.LoadRequest, settings map[string]string, boot *bootRules) error {
	log := slog.New(logHandler())
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	daemon, reply, err := control.Start(ctx, log, request)
	if err != nil {
		tellReady(reply, err)
		return fmt.Errorf("load: %w", err)
	}
	for _, entry := range reply.Attached {
		log.Info("interface loaded", "interface", entry.Name, "mode", entry.Mode, "why", entry.Why)
	}
	for _, warning := range reply.Warnings {
		log.Warn(warning)
	}
	served := make(chan error, 1)
	go func() { served <- daemon.Serve(ctx) }()
	if boot != nil {
		boot.load(ctx, log, reply.Adopted)
	}
	// Forwarding opens when the filter is there.
	if _, err = daemon.Sysctl(control.SysctlRequest{Set: settings}); err != nil {
		err = fmt.Errorf("load: %w", err)
		stop()
	}
	tellReady(reply, err)
	return errors.Join(err, <-served)
}

func logHandler() slog.Handler {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return slog.NewTextHandler(os.Stderr, nil)
	}
	return slog.NewJSONHandler(os.Stderr, nil)
}

// tellReady tells the parent process or the service manager.
func tellReady(reply *control.LoadReply, err error) {
	if os.Getenv("BSDNET_READY") != "" {
		outcome := ready{Reply: reply}
		if err != nil {
			outcome.Error, outcome.Loaded = err.Error(), errors.Is(err, control.ErrLoaded)
		}
		file := os.NewFile(readyFile, "ready")
		_ = json.NewEncoder(file).Encode(outcome) // the parent may have gone
		file.Close()
		return
	}
	if err == nil {
		notifyService("READY=1")
	}
}

// notifyService speaks sd_notify(3), if a service manager listens.
func notifyService(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}

func printLoaded(stdout, stderr io.Writer, reply *control.LoadReply) {
	for _, entry := range reply.Attached {
		build := "native XDP"
		if entry.Mode == string(loader.ModeTC) {
			build = "TC"
		}
		fmt.Fprintf(stdout, "%s: %s (%s)\n", entry.Name, build, entry.Why)
	}
	if reply.Adopted {
		fmt.Fprintln(stdout, "adopted the data path that was loaded")
	}
	for _, warning := range reply.Warnings {
		fmt.Fprintf(stderr, "bsdnet: warning: %s\n", warning)
	}
}
