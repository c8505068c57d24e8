package pfctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// call is one run of pfctl.
type call struct {
	args   string // split at blanks; "@" is an empty argument
	stdin  string
	env    map[string]string
	files  map[string]string
	engine *fakeEngine
}

func (c call) run() (stdout, stderr string, status int) {
	args := strings.Fields(c.args)
	for i, a := range args {
		if a == "@" {
			args[i] = ""
		}
	}
	var out, errs bytes.Buffer
	h := Host{
		Getenv: func(name string) string { return c.env[name] },
		Open: func(name string) (io.ReadCloser, error) {
			text, ok := c.files[name]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(strings.NewReader(text)), nil
		},
	}
	if c.engine != nil {
		h.Engine = func(context.Context) (Engine, error) { return c.engine, nil }
	}
	status = Main(context.Background(), args, strings.NewReader(c.stdin), &out, &errs, h)
	return out.String(), errs.String(), status
}

// fakeEngine notes what is asked of it.
type fakeEngine struct {
	dialect conf.Dialect
	calls   []string
	loaded  *LoadRequest
	err     error
}

func (e *fakeEngine) note(format string, args ...any) error {
	e.calls = append(e.calls, fmt.Sprintf(format, args...))
	return e.err
}

func (e *fakeEngine) Dialect() conf.Dialect { return e.dialect }
func (e *fakeEngine) Interfaces(context.Context) (*conf.InterfaceTable, error) {
	return conf.ReadInterfaces(strings.NewReader("em0 192.0.2.1/24\n"), "instance")
}
func (e *fakeEngine) Enable(context.Context) error  { return e.note("enable") }
func (e *fakeEngine) Disable(context.Context) error { return e.note("disable") }
func (e *fakeEngine) Load(_ context.Context, r LoadRequest) error {
	e.loaded = &r
	return e.note("load %d merge=%v sections=%d", len(r.Rulesets), r.Merge, r.Sections)
}
func (e *fakeEngine) Packets(string, *conf.Rule) (uint64, bool) { return 0, false }
func (e *fakeEngine) Show(_ context.Context, w io.Writer, r ShowRequest) error {
	fmt.Fprintln(w, "shown")
	return e.note("show %s anchor=%q recurse=%v verbose=%d", r.Modifier, r.Anchor, r.Recurse, r.Verbose)
}
func (e *fakeEngine) Flush(_ context.Context, r FlushRequest) (int, error) {
	return 7, e.note("flush %s anchor=%q", r.Modifier, r.Anchor)
}
func (e *fakeEngine) KillStates(_ context.Context, r KillRequest) (KillResult, error) {
	return KillResult{Killed: 3, Sources: 1, Destinations: 1}, e.note("kill %v %v %v", r.Keys, r.Sources, r.Destinations)
}
func (e *fakeEngine) KillSources(_ context.Context, r KillRequest) (KillResult, error) {
	return KillResult{Killed: 2, Sources: 1}, e.note("kill sources %v", r.Keys)
}
func (e *fakeEngine) Table(_ context.Context, r TableRequest) (TableResult, error) {
	n := len(r.Addresses)
	return TableResult{Added: n, Deleted: n, Matched: n - 1, Lines: []string{"   10.0.0.1"}},
		e.note("table %s %s %v", r.Command, r.Table, r.Addresses)
}
func (e *fakeEngine) ZeroRules(_ context.Context, anchor string, _ bool) error {
	return e.note("zero %q", anchor)
}
func (e *fakeEngine) SetDebug(_ context.Context, level string) error {
	return e.note("debug %s", level)
}
func (e *fakeEngine) SaveStates(context.Context, io.Writer) error { return e.note("save") }
func (e *fakeEngine) LoadStates(context.Context, io.Reader) error { return e.note("restore") }

func TestOffline(t *testing.T) {
	six := "pass in from { 10.0.0.1 10.0.0.3 10.0.0.5 10.0.0.7 10.0.0.9 10.0.0.11 }\n"
	for name, tt := range map[string]struct {
		call           call
		stdout, stderr string
		status         int
	}{
		"silent":  {call: call{args: "-nf -", stdin: "pass\n"}},
		"verbose": {call: call{args: "-nvf -", stdin: "pass\n"}, stdout: "pass all flags S/SA keep state\n"},
		"numbers": {
			call:   call{args: "-n -vv -f -", stdin: "block in\npass out\n"},
			stdout: "@0 block drop in all\n@1 pass out all flags S/SA keep state\n",
		},
		"file": {
			call:   call{args: "-nvf /etc/pf.conf", files: map[string]string{"/etc/pf.conf": "block\n"}},
			stdout: "block drop all\n",
		},
		"optimizer by default": {
			call: call{args: "-nvf -", stdin: six},
			stdout: "table <__automatic_0> const { 10.0.0.1 10.0.0.3 10.0.0.5 10.0.0.7 10.0.0.9 10.0.0.11 }\n" +
				"pass in inet from <__automatic_0> to any flags S/SA keep state\n",
		},
		"optimizer off": {
			call:   call{args: "-o none -nvf -", stdin: "pass\npass\n"},
			stdout: "pass all flags S/SA keep state\npass all flags S/SA keep state\n",
		},
		"optimizer off by the file": {
			call:   call{args: "-nvf - --dialect openbsd", stdin: "set ruleset-optimization none\npass\npass\n"},
			stdout: "pass all flags S/SA\npass all flags S/SA\n",
		},
		"optimizer shortened": {
			call:   call{args: "-ob -nvf -", stdin: "pass\npass\n"},
			stdout: "pass all flags S/SA keep state\n",
		},
		"macro": {
			call:   call{args: "-D if=em9 -nvf -", stdin: "pass in on $if\nif = em8\npass out on $if\n"},
			stdout: "if = \"em8\"\npass in on em9 all flags S/SA keep state\npass out on em9 all flags S/SA keep state\n",
		},
		"bad macro": {
			call:   call{args: "-D nothing -nf -", stdin: "pass\n"},
			stderr: "pfctl: could not parse macro definition nothing\n",
		},
		"dialect by option": {
			call:   call{args: "--dialect=openbsd -nvf -", stdin: "pass\n"},
			stdout: "pass all flags S/SA\n",
		},
		"dialect by environment": {
			call:   call{args: "-nvf -", stdin: "pass\n", env: map[string]string{"BSDNET_PF_DIALECT": "dragonfly"}},
			stdout: "pass all no state\n",
		},
		"option before environment": {
			call: call{args: "--dialect freebsd -nvf -", stdin: "block\n",
				env: map[string]string{"BSDNET_PF_DIALECT": "dragonfly"}},
			stdout: "block drop all\n",
		},
		"bad dialect": {
			call:   call{args: "--dialect netbsd -nf -"},
			stderr: "pfctl: unknown dialect \"netbsd\": use openbsd, freebsd or dragonfly\n", status: exitError,
		},
		"interfaces": {
			call: call{args: "--ifaddrs table -nvf -", stdin: "pass from em0\n",
				files: map[string]string{"table": "em0 192.0.2.7/24\n"}},
			stdout: "pass inet from 192.0.2.7 to any flags S/SA keep state\n",
		},
		"no interfaces": {
			call:   call{args: "--ifaddrs table -nvf -", stdin: "pass from em0\n"},
			stderr: "pfctl: file does not exist\n", status: exitError,
		},
		"errors": {
			call:   call{args: "-nf -", stdin: "pass in to port 80\nblock\npass foo\n"},
			stderr: "stdin:1: port only applies to tcp/udp\nstdin:1: skipping rule due to errors\nstdin:1: rule expands to no valid combination\nstdin:3: syntax error\n",
			status: exitError,
		},
		"not enforced": {
			call:   call{args: "-nvf -", stdin: "pass in\npass in proto tcp synproxy state\npass out route-to (em0 192.0.2.9)\n"},
			stdout: "pass in all flags S/SA keep state\npass in proto tcp all flags S/SA synproxy state\npass out route-to (em0 192.0.2.9) inet all flags S/SA keep state\n",
			stderr: "pfctl: stdin:2: synproxy state is not enforced yet\npfctl: stdin:3: route-to is not enforced yet\n",
			status: exitError,
		},
		"no file": {
			call:   call{args: "-nf nosuch"},
			stderr: "pfctl: nosuch: No such file or directory\npfctl: cannot open the main config file!: No such file or directory\n",
			status: exitError,
		},
		"load anchor": {
			call: call{args: "-nvf - --dialect openbsd", stdin: "anchor foo\nload anchor foo from \"x\"\n",
				files: map[string]string{"x": "block in\n"}},
			stdout: "anchor \"foo\" all\nblock drop in all\n",
			stderr: "\nLoading anchor foo from x\n",
		},
		"only nat": {
			call:   call{args: "-N -nvf -", stdin: "nat on em0 inet from any to any -> 10.0.0.1\npass\n"},
			stdout: "nat on em0 inet all -> 10.0.0.1\n",
		},
		"table": {
			call:   call{args: "-n -t bad -T add 10.0.0.1 10.1.0.0/16"},
			stderr: "0/2 addresses added (syntax only).\n",
		},
		"bad table address": {
			call:   call{args: "-n -t bad -T add 10.0.0.300"},
			stderr: "no IP address found for 10.0.0.300\npfctl: cannot decode address\n", status: exitError,
		},
		"nothing asked for": {call: call{args: "-n"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := tt.call.run()
			if diff := cmp.Diff(tt.stdout, stdout); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.stderr, stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
		})
	}
}

// TestWithoutInstance holds for all that needs a running pf.
func TestWithoutInstance(t *testing.T) {
	for _, args := range []string{
		"-e", "-d", "-sr", "-s info", "-F all", "-k 10.0.0.1", "-K 10.0.0.1", "-f -", "-t x -T show", "-z", "-x loud",
	} {
		stdout, stderr, status := call{args: args, stdin: "pass\n"}.run()
		if status != exitNoInstance || stdout != "" || stderr != "pfctl: no bsdnet instance here\n" {
			t.Errorf("pfctl %s: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct{ dialect, args, first string }{
		{"freebsd", "", "usage: pfctl [-AdeghMmNnOPqRSrvz]"},
		{"openbsd", "-h", "usage: pfctl [-deghNnPqrvz]"},
		{"dragonfly", "-h", "usage: pfctl [-AdeghmNnOqRrvz]"},
		{"openbsd", "-n extra", "pfctl: unknown command line argument: extra ..."},
		{"freebsd", "-n extra", "pfctl: unknown command line argument: extra ..."},
		{"openbsd", "-A", "pfctl: unknown option -- A"},
		{"freebsd", "-V 3", "pfctl: illegal option -- V"},
		{"freebsd", "-f", "pfctl: option requires an argument -- f"},
		{"freebsd", "-s nosuch", "pfctl: Unknown show modifier 'nosuch'"},
		{"freebsd", "-F nosuch", "pfctl: Unknown flush modifier 'nosuch'"},
		{"freebsd", "-x debug", "pfctl: Unknown debug level 'debug'"},
		{"openbsd", "-x misc", "pfctl: Unknown debug level 'misc'"},
		{"freebsd", "-o nosuch", "pfctl: Unknown optimization 'nosuch'"},
		{"freebsd", "-t x -T nosuch", "pfctl: Unknown table command 'nosuch'"},
		{"freebsd", "-t x", "usage: pfctl"},
		{"freebsd", "-T show", "usage: pfctl"},
		{"freebsd", "-k a -k b -k c", "pfctl: can only specify -k twice"},
		{"freebsd", "-a foo -q", "pfctl: anchors apply to -f, -F, -s, and -T only"},
		{"openbsd", "-a @ -sr", "pfctl: anchor name must not be empty"},
		{"openbsd", "-a _x -Fr", "pfctl: anchor names beginning with '_' cannot be modified from the command line"},
		{"openbsd", "-N -r -sr", "pfctl: -N and -r are mutually exclusive"},
		{"openbsd", "-V 300", "pfctl: Invalid rdomain: too large"},
		{"openbsd", "-R x -sr", "pfctl: invalid rule id: invalid"},
		{"openbsd", "-s S", "pfctl: no bsdnet instance here"},
		{"openbsd", "-s s", "pfctl: no bsdnet instance here"},
		{"openbsd", "--nosuch", "pfctl: unknown option -- nosuch"},
		{"openbsd", "-n -t x -T expire soon", "pfctl: expiry number is invalid: soon"},
	} {
		_, stderr, status := call{args: tt.args, env: map[string]string{"BSDNET_PF_DIALECT": tt.dialect}}.run()
		line, _, _ := strings.Cut(stderr, "\n")
		if !strings.HasPrefix(line, tt.first) {
			t.Errorf("%s: pfctl %s: %q, want %q", tt.dialect, tt.args, line, tt.first)
		}
		if status == 0 {
			t.Errorf("%s: pfctl %s: status 0", tt.dialect, tt.args)
		}
	}
}

func TestOnline(t *testing.T) {
	for _, tt := range []struct {
		args, stdin string
		dialect     conf.Dialect
		calls       []string
		stderr      string
		status      int
	}{
		{args: "-e", calls: []string{"enable"}, stderr: "pf enabled\n"},
		{args: "-qe", calls: []string{"enable"}},
		{args: "-d", calls: []string{"disable"}, stderr: "pf disabled\n"},
		{args: "-sr", calls: []string{`show rules anchor="" recurse=false verbose=0`}},
		{args: "-a a/* -vvsr", calls: []string{`show rules anchor="a" recurse=true verbose=2`}},
		{args: "-ef -", stdin: "pass from em0\n", calls: []string{"load 1 merge=false sections=0", "enable"}, stderr: "pf enabled\n"},
		{args: "-mf -", stdin: "pass\n", calls: []string{"load 1 merge=true sections=0"}},
		{args: "-f -", stdin: "pass foo\n", status: exitError,
			stderr: "stdin:1: syntax error\npfctl: Syntax error in config file: pf rules not loaded\n"},
		{args: "-f -", stdin: "pass in proto tcp synproxy state\n", status: exitError,
			stderr: "pfctl: stdin:1: synproxy state is not enforced yet\n"},
		{args: "-Fs", calls: []string{`flush states anchor=""`}, stderr: "7 states cleared\n"},
		{args: "-FT -a x", calls: []string{`flush Tables anchor="x"`}, stderr: "7 tables deleted.\n"},
		{args: "-k 10.0.0.1", calls: []string{"kill [10.0.0.1] [10.0.0.1/32] []"}, stderr: "killed 3 states from 1 sources and 1 destinations\n"},
		{args: "-k nat -k 10.0.0.1 -k 0/0", calls: []string{"kill [nat 10.0.0.1 0/0] [10.0.0.1/32] [0.0.0.0/0 ::/0]"},
			stderr: "killed 3 states from 1 sources and 1 destinations\n"},
		{args: "-k label -k x", calls: []string{"kill [label x] [] []"}, stderr: "killed 3 states\n"},
		{args: "-K 10.0.0.1", calls: []string{"kill sources [10.0.0.1]"}, stderr: "killed 2 src nodes from 1 sources and 0 destinations\n"},
		{args: "-t x -T add 10.0.0.1", calls: []string{"table add x [{10.0.0.1/32 false 0}]"}, stderr: "1/1 addresses added.\n"},
		{args: "-t x -T test 10.0.0.1", calls: []string{"table test x [{10.0.0.1/32 false 0}]"}, stderr: "0/1 addresses match.\n", status: exitNoMatch},
		{args: "-x loud", calls: []string{"debug loud"}, stderr: "debug level set to 'loud'\n"},
		{args: "-z", calls: []string{`zero ""`}},
		{args: "--dialect openbsd -sr", status: exitError, stderr: "pfctl: the instance speaks freebsd (pf_dialect in rc.conf, bsdnet load --pf-dialect): another dialect works with -n only\n"},
		{args: "-n -e", dialect: conf.OpenBSD},
	} {
		e := &fakeEngine{dialect: tt.dialect}
		_, stderr, status := call{args: tt.args, stdin: tt.stdin, engine: e}.run()
		if diff := cmp.Diff(tt.calls, e.calls); diff != "" {
			t.Errorf("pfctl %s (-want +got):\n%s", tt.args, diff)
		}
		if stderr != tt.stderr || status != tt.status {
			t.Errorf("pfctl %s: status %d, want %d; %q, want %q", tt.args, status, tt.status, stderr, tt.stderr)
		}
	}
}

func TestAlready(t *testing.T) {
	for args, want := range map[string]string{"-e": "pfctl: pf already enabled\n", "-d": "pfctl: pf not enabled\n"} {
		_, stderr, status := call{args: args, engine: &fakeEngine{err: ErrAlready}}.run()
		if stderr != want || status != exitError {
			t.Errorf("pfctl %s: status %d, %q", args, status, stderr)
		}
	}
	_, stderr, status := call{args: "-F rules", engine: &fakeEngine{err: errors.New("out of order")}}.run()
	if stderr != "pfctl: out of order\n" || status != exitError {
		t.Errorf("status %d, %q", status, stderr)
	}
}

// TestLoadUsesInstance checks that a load reads the interfaces and the dialect
// of the instance.
func TestLoadUsesInstance(t *testing.T) {
	e := &fakeEngine{dialect: conf.OpenBSD}
	stdout, stderr, status := call{args: "-vf -", stdin: "pass from em0\n", engine: e}.run()
	if status != 0 || stderr != "" || stdout != "pass inet from 192.0.2.1 to any flags S/SA\n" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	if e.loaded == nil || len(e.loaded.Rulesets[0].Main.Filter) != 1 {
		t.Errorf("loaded %v", e.loaded)
	}
}

func TestJSON(t *testing.T) {
	stdout, _, status := call{args: "--json -nf -", stdin: "block in\nanchor a {\n pass\n}\n"}.run()
	var got struct {
		Complete bool
		Rules    []struct {
			Anchor, Text string
			Number       int
			Position     conf.Position
		}
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if status != 0 || !got.Complete || len(got.Rules) != 3 {
		t.Fatalf("status %d, %+v", status, got)
	}
	if r := got.Rules[2]; r.Anchor != "a" || r.Text != "pass all flags S/SA keep state" || r.Position.Line != 3 {
		t.Errorf("last rule %+v", r)
	}
	stdout, _, status = call{args: "--json -nf -", stdin: "pass foo\n"}.run()
	if status != exitError || !strings.Contains(stdout, `"syntax error"`) {
		t.Errorf("status %d, %s", status, stdout)
	}
}
