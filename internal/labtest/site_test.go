package labtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// site is a line of hosts whose router can run bsdnet.
type site struct {
	*lab.Line
	t    testing.TB
	mode string // "tc" or "xdp"
}

// eachMode runs a test in both builds.
func eachMode(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, mode := range []string{"tc", "xdp"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, mode))
		})
	}
}

// loaded is eachMode with the data path on both interfaces of the router and
// forwarding on.
func loaded(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	eachMode(t, func(t *testing.T, s *site) {
		s.load()
		s.forward()
		test(t, s)
	})
}

// newSite builds a line that is taken away when the test ends, after it has
// been shown that unload leaves nothing.
func newSite(t testing.TB, mode string) *site {
	t.Helper()
	line, err := lab.NewLine("t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{Line: line, t: t, mode: mode}
	if mode == "xdp" {
		for _, host := range []*lab.Host{s.Left, s.Right} {
			prepareXDP(t, host, "em0")
		}
	}
	s.settle()
	before := s.footprint()
	t.Cleanup(func() { s.checkResidue(before) })
	return s
}

// prepareXDP makes a host's end of a veth fit for a router in XDP: whole
// checksums in what it sends, and polling for what XDP sends to it.
func prepareXDP(t testing.TB, host *lab.Host, device string) {
	t.Helper()
	if err := host.Offloads(device, false, "tx"); err != nil {
		t.Fatal(err)
	}
	if err := host.Offloads(device, true, "gro"); err != nil {
		t.Fatal(err)
	}
}

// settle waits until no address of the router is tentative any more.
func (s *site) settle() {
	s.t.Helper()
	for _, host := range []*lab.Host{s.Left, s.Router, s.Right} {
		eventually(s.t, 5*time.Second, "addresses settled", func() bool {
			out, err := host.Run("ip", "-6", "addr", "show", "tentative")
			return err == nil && strings.TrimSpace(out) == ""
		})
	}
}

// eventually waits until what holds.
func eventually(t testing.TB, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// try runs bsdnet in the router and returns what it printed and its status.
func (s *site) try(args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	return runProgram(s.t, s.Router, args...)
}

func runProgram(t testing.TB, host *lab.Host, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return runCommand(t, host.Command(ctx, program, args...))
}

func runCommand(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// bsdnet runs bsdnet in the router; it must succeed.
func (s *site) bsdnet(args ...string) string {
	s.t.Helper()
	out, errs, status := s.try(args...)
	if status != 0 {
		s.t.Fatalf("bsdnet %s: status %d: %s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

// load puts both interfaces of the router under the data path.
func (s *site) load(args ...string) {
	s.t.Helper()
	s.bsdnet(append([]string{"load", "-i", "em0", "-i", "em1", "--mode", s.mode}, args...)...)
}

func (s *site) forward() {
	s.t.Helper()
	s.bsdnet("sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
}

// instance is the folder of the router's instance below /run/bsdnet, also
// without one.
func (s *site) instance() string { return filepath.Join("/run/bsdnet", s.Router.Name) }

// daemon returns the process of the router's daemon, 0 if there is none.
func (s *site) daemon() int {
	data, err := os.ReadFile(filepath.Join(s.instance(), "instance.json"))
	if err != nil {
		return 0
	}
	var record struct {
		PID int `json:"pid"`
	}
	if json.Unmarshal(data, &record) != nil || record.PID == 0 || !running(record.PID) {
		return 0
	}
	return record.PID
}

// running reports whether a process is there and not a zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	return ok && !strings.HasPrefix(rest, "Z")
}

// kill ends the daemon as the kernel does when it runs out of memory.
func (s *site) kill() {
	s.t.Helper()
	pid := s.daemon()
	if pid == 0 {
		s.t.Fatal("no daemon to kill")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, 5*time.Second, "daemon gone", func() bool { return !running(pid) })
}

// reasons returns why packets left the data path, by name.
func (s *site) reasons() map[string]uint64 {
	s.t.Helper()
	var list []struct {
		Name    string `json:"name"`
		Packets uint64 `json:"packets"`
	}
	s.json(&list, "netstat", "-s", "--json")
	counts := make(map[string]uint64, len(list))
	for _, r := range list {
		counts[r.Name] = r.Packets
	}
	return counts
}

// json runs bsdnet and reads the JSON that it prints.
func (s *site) json(into any, args ...string) {
	s.t.Helper()
	out := s.bsdnet(args...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		s.t.Fatalf("bsdnet %s: %v in %q", strings.Join(args, " "), err, out)
	}
}
