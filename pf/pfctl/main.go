package pfctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// The exit statuses.
const (
	exitOK         = 0
	exitError      = 1
	exitNoMatch    = 2 // pfctl -T test
	exitNoInstance = 4
)

// Host is where the command runs. Every field may be nil.
type Host struct {
	// Getenv gives the environment.
	Getenv func(string) string
	// Engine finds the running instance; [ErrNoInstance] says that there is
	// none.
	Engine func(context.Context) (Engine, error)
	// Interfaces is the interface table used without an instance.
	Interfaces func() (*conf.InterfaceTable, error)
	// Resolve finds the addresses of host names.
	Resolve func(context.Context, string) ([]netip.Addr, error)
	// Open opens files; nil is the operating system.
	Open func(string) (io.ReadCloser, error)
	// LookupUser and LookupGroup find numbers of names.
	LookupUser  func(string) (uint32, bool)
	LookupGroup func(string) (uint32, bool)
}

// Main runs pfctl with the arguments after the command's name and gives its
// exit status.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, h Host) int {
	c := &command{ctx: ctx, host: h, stdin: stdin, stdout: stdout, stderr: stderr}
	err := c.main(args)
	var usage usageError
	var fail failure
	switch {
	case err == nil:
		return c.status
	case errors.As(err, &usage):
		if usage.text != "" {
			c.warn("%s", usage.text)
		}
		fmt.Fprint(stderr, dialects[c.options.dialect].usage)
		return exitError
	case errors.As(err, &fail):
		c.warn("%s", fail.text)
		return exitError
	case errors.Is(err, ErrNoInstance):
		c.warn("%s", ErrNoInstance)
		return exitNoInstance
	case errors.Is(err, errReported):
		return exitError
	}
	c.warn("%s", err)
	return exitError
}

// errReported ends the command after its messages were written.
var errReported = errors.New("already reported")

type command struct {
	ctx            context.Context
	host           Host
	stdin          io.Reader
	stdout, stderr io.Writer
	args           []string
	options        options
	engine         Engine
	status         int
}

func (c *command) warn(format string, args ...any) {
	fmt.Fprintf(c.stderr, "pfctl: "+format+"\n", args...)
}

// say writes a message that -q silences.
func (c *command) say(format string, args ...any) {
	if !c.options.quiet {
		fmt.Fprintf(c.stderr, format+"\n", args...)
	}
}

func (c *command) main(args []string) error {
	getenv := c.host.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	c.args = args
	args, o, explicit, err := longOptions(args, getenv)
	c.options = o
	if err != nil {
		return err
	}
	engine, engineErr := c.findEngine()
	if engine != nil && !explicit {
		c.options.dialect = engine.Dialect()
	}
	if len(args) == 0 && !c.options.tries() {
		return usageError{}
	}
	warnings, err := c.options.parse(args)
	for _, w := range warnings {
		c.warn("%s", w)
	}
	if err != nil {
		return err
	}
	if c.options.tries() {
		if err := c.options.checkTry(); err != nil {
			return err
		}
	}
	if c.options.try != "" {
		c.engine = engine // for its interfaces, if it is there
		return c.try()
	}
	if c.options.noAction {
		return c.offline()
	}
	if engine == nil {
		return engineErr
	}
	if explicit && c.options.dialect != engine.Dialect() {
		return failure{fmt.Sprintf("the instance speaks %s (pf_dialect in rc.conf, bsdnet load --pf-dialect): another dialect works with -n only", engine.Dialect())}
	}
	c.engine = engine
	return c.online()
}

func (c *command) findEngine() (Engine, error) {
	if c.host.Engine == nil {
		return nil, ErrNoInstance
	}
	e, err := c.host.Engine(c.ctx)
	if err == nil && e == nil {
		err = ErrNoInstance
	}
	return e, err
}

// offline does what works without an instance: checking rulesets and tables.
// As in pfctl, -n turns -e, -d, -F, -s and -x off.
func (c *command) offline() error {
	if c.options.command != "" {
		return c.tableCommand()
	}
	if !c.options.hasRules {
		return nil
	}
	rulesets, err := c.loadRules()
	if err != nil {
		return err
	}
	return c.enforced(rulesets)
}
