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
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/rc"
)

// readyFile is the descriptor on which a background daemon tells how its
// start went: one line of JSON.
const readyFile = 3

func loadCommand() *cli.Command {
	return &cli.Command{
		Name:      "load",
		Usage:     "put interfaces under the data path, and start the daemon if it does not run",
		UsageText: "bsdnet load [-i IF ... | -i any | -i none] [-f rc.conf] [--mode auto|xdp|tc] [--states N] [--pf-dialect NAME] [--takeover] [--boot] [--foreground]",
		Description: "Returns when the fast path is ready. Without -i, rc.conf is applied, as by bsdnet rc start.\n" +
			"A second load adds interfaces. Nothing is forwarded until net.inet.ip.forwarding (gateway_enable)\n" +
			"or net.inet6.ip6.forwarding (ipv6_gateway_enable) is on.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "interface", Aliases: []string{"i"}, Usage: "interface to take, any, or none to begin with; may be given several times"},
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "configuration in the form of rc.conf(5), applied as a whole"},
			&cli.StringFlag{Name: "mode", Value: "auto", Usage: "build to use: auto, xdp (native) or tc"},
			&cli.BoolFlag{Name: "takeover", Usage: "load also where Linux filters or translates forwarded packets, and replace other XDP programs"},
			&cli.StringFlag{Name: "pf-dialect", Usage: "whose pf.conf pf speaks: freebsd, openbsd or dragonfly; as pf_dialect in rc.conf"},
			&cli.UintFlag{Name: "states", Usage: "make pf's table large enough for `N` states (set limit states); 512 bytes each"},
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
	request, plan, err := loadRequest(c)
	var boot *bootRules
	if c.Bool("boot") {
		request, plan, boot = bootRequest(request, plan, err)
	} else if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		if _, err := control.Dial(); err == nil {
			return errors.New("load: operation not permitted")
		}
		return errors.New("load: must be root")
	}
	if c.Bool("foreground") {
		return foreground(c.Context, request, plan, boot)
	}
	if _, err := control.Dial(); c.Bool("boot") && err != nil {
		return background(c.Context, bootArguments(c)) // the daemon does all of it, and goes on trying
	}
	client, err := ensureLoaded(c.Context, request)
	if err != nil || plan == nil {
		return err
	}
	return applyPlan(c.Context, client, plan, nil)
}

// bootArguments are the arguments of load --boot as they were given.
func bootArguments(c *cli.Context) []string {
	args := []string{"--boot"}
	for _, name := range []string{"file", "mode", "pf-dialect", "states"} {
		if c.IsSet(name) {
			args = append(args, "--"+name, fmt.Sprint(c.Value(name)))
		}
	}
	for _, name := range c.StringSlice("interface") {
		args = append(args, "-i", name)
	}
	if c.Bool("takeover") {
		args = append(args, "--takeover")
	}
	return args
}

// ensureLoaded loads what a request asks for into the instance, which it
// starts if there is none.
func ensureLoaded(ctx context.Context, request control.LoadRequest) (*control.Client, error) {
	client, err := control.Dial()
	if err == nil {
		err = loadMore(ctx, client, request)
		if !errors.Is(err, control.ErrDaemonDown) {
			return client, err
		}
	}
	err = background(ctx, loadArguments(request))
	if err != nil && !errors.Is(err, control.ErrLoaded) {
		return nil, err
	}
	loaded := errors.Is(err, control.ErrLoaded) // by somebody else, a moment ago
	if client, err = control.Dial(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if loaded {
		return client, loadMore(ctx, client, request)
	}
	return client, nil
}

// loadArguments are the arguments of load that make a request.
func loadArguments(request control.LoadRequest) []string {
	args := []string{"--mode", string(request.Mode)}
	if request.Any {
		args = append(args, "-i", "any")
	}
	for _, name := range request.Interfaces {
		args = append(args, "-i", name)
	}
	if request.None {
		args = append(args, "-i", "none")
	}
	if request.Takeover {
		args = append(args, "--takeover")
	}
	if request.States != 0 {
		args = append(args, "--states", strconv.FormatUint(uint64(request.States), 10))
	}
	return args
}

// loadRequest makes the request out of flags, and the plan of rc.conf, nil if
// none is asked for.
func loadRequest(c *cli.Context) (control.LoadRequest, *rc.Plan, error) {
	mode, err := loader.ParseMode(c.String("mode"))
	if err != nil {
		return control.LoadRequest{}, nil, usageError{fmt.Errorf("load: %w", err)}
	}
	states := c.Uint("states")
	if states > control.StatesMax {
		return control.LoadRequest{}, nil, usageError{fmt.Errorf("load: --states: at most %d", control.StatesMax)}
	}
	request := control.LoadRequest{Mode: mode, Takeover: c.Bool("takeover"), States: uint32(states)}
	if name := c.String("pf-dialect"); name != "" {
		if _, err := conf.ParseDialect(name); err != nil {
			return request, nil, usageError{fmt.Errorf("load: --pf-dialect: %w", err)}
		}
		request.PFDialect = name
	}
	for _, name := range c.StringSlice("interface") {
		switch name {
		case "any":
			request.Any = true
		case "none":
			request.None = true
		default:
			request.Interfaces = append(request.Interfaces, name)
		}
	}
	path := c.String("file")
	if path == "" && len(c.StringSlice("interface")) == 0 {
		if _, err := os.Stat(control.RcConf); err == nil {
			path = control.RcConf
		}
	}
	if path == "" {
		return request, nil, nil
	}
	options := rcOptions{file: path, takeover: request.Takeover}
	if c.IsSet("mode") {
		options.mode = string(mode)
	}
	plan, err := readPlan(options)
	if err != nil {
		return request, nil, err
	}
	if !c.Bool("boot") { // which goes on with other rules
		if err := checkRules(c.Context, plan); err != nil {
			return request, nil, err
		}
	}
	request.None, request.Takeover = true, plan.Takeover
	if request.States == 0 {
		request.States = plan.PF.States
	}
	return request, plan, nil
}

func loadMore(ctx context.Context, client *control.Client, request control.LoadRequest) error {
	reply, err := control.Call[*control.LoadReply](ctx, client, "load", request)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	printLoaded(os.Stdout, os.Stderr, reply)
	return nil
}

// ready is what a daemon tells the one who started it.
type ready struct {
	Error  string             `json:"error,omitempty"`
	Loaded bool               `json:"loaded,omitempty"` // the error is control.ErrLoaded
	Reply  *control.LoadReply `json:"reply,omitempty"`
}

// background starts this program again as the daemon and waits until the fast
// path is ready.
func background(_ context.Context, args []string) error {
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
	daemon := exec.Command(self, append([]string{"load", "--foreground"}, args...)...)
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

// foreground is the daemon. A plan is applied once it serves.
func foreground(ctx context.Context, request control.LoadRequest, plan *rc.Plan, boot *bootRules) error {
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
	if err := loadPlan(ctx, log, plan, boot, reply.Adopted); err != nil { // the instance goes on: what filters there are stay
		log.Error("rc.conf not wholly applied", "err", err)
	}
	if err := daemon.Restrict(); err != nil { // it can serve, with more than it needs
		log.Error("the daemon keeps privileges that it does not need", "err", err)
	}
	tellReady(reply, nil)
	return <-served
}

// loadPlan applies the plan of a daemon that starts. At a boot, something
// filters whatever goes wrong.
func loadPlan(ctx context.Context, log *slog.Logger, plan *rc.Plan, boot *bootRules, adopted bool) error {
	if plan == nil {
		if boot != nil {
			boot.load(ctx, log, adopted)
		}
		return nil
	}
	client, err := control.Dial()
	if err != nil {
		return err
	}
	return applyPlan(ctx, client, plan, func() error {
		if boot == nil {
			return applyRules(ctx, client, plan)
		}
		boot.load(ctx, log, adopted)
		return nil
	})
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
