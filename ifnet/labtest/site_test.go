package labtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// site is a line of hosts of which the left one and the router run bsdnet.
type site struct {
	*lab.Line
	t    testing.TB
	mode string
}

// eachMode runs a test in both builds.
func eachMode(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, mode := range []string{"tc", "xdp"} {
		t.Run(mode, func(t *testing.T) { test(t, newSite(t, mode)) })
	}
}

func newSite(t testing.TB, mode string) *site {
	t.Helper()
	line, err := lab.NewLine("if")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{line, t, mode}
	t.Cleanup(func() {
		for _, host := range []*lab.Host{s.Left, s.Router} {
			s.must(host, "unload")
			if left := strings.TrimSpace(s.ip(host, "-br", "link", "show", "group", "46544")); left != "" {
				t.Errorf("left behind: %s", left)
			}
		}
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, host := range []*lab.Host{s.Left, s.Router, s.Right} {
		if mode == "xdp" {
			for _, device := range strings.Fields("em0 em1") {
				if device == "em1" && host != s.Router {
					continue
				}
				if err := host.Offloads(device, false, "tx", "txvlan"); err != nil {
					t.Fatal(err)
				}
				if err := host.Offloads(device, true, "gro"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	s.must(s.Left, "load", "-i", "em0", "--mode", mode)
	s.must(s.Router, "load", "-i", "em0", "-i", "em1", "--mode", mode)
	return s
}

func (s *site) ip(host *lab.Host, args ...string) string {
	s.t.Helper()
	return host.MustRun(s.t, "ip", args...)
}

// run runs bsdnet in a host.
func (s *site) run(host *lab.Host, args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := host.Command(ctx, program, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if failure := cmd.Run(); failure != nil && cmd.ProcessState == nil {
		s.t.Fatal(failure)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

func (s *site) must(host *lab.Host, args ...string) string {
	s.t.Helper()
	out, err, status := s.run(host, args...)
	if status != 0 {
		s.t.Fatalf("bsdnet %s: status %d: %s", strings.Join(args, " "), status, err)
	}
	return out
}

// ifconfig runs ifconfig with a line of words.
func (s *site) ifconfig(host *lab.Host, format string, args ...any) string {
	s.t.Helper()
	return s.must(host, append([]string{"ifconfig"}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

// refused wants ifconfig to fail with a text.
func (s *site) refused(host *lab.Host, text, words string) {
	s.t.Helper()
	_, stderr, status := s.run(host, append([]string{"ifconfig"}, strings.Fields(words)...)...)
	if status != 1 || strings.TrimSpace(stderr) != "ifconfig: "+text {
		s.t.Errorf("ifconfig %s: status %d, %q, want %q", words, status, stderr, text)
	}
}

func (s *site) ping(host *lab.Host, args ...string) {
	s.t.Helper()
	out, err := host.Run("ping", append([]string{"-n", "-c", "3", "-i", "0.2", "-W", "5"}, args...)...)
	if err != nil {
		s.t.Errorf("%v: %s", err, out)
	}
}

// capture shows what tcpdump decodes on a device while f runs.
func (s *site) capture(host *lab.Host, device, filter string, f func()) string {
	s.t.Helper()
	return s.tcpdump(host, device, "-Q out "+filter, f)
}

// captureBoth is capture of what comes in, too.
func (s *site) captureBoth(host *lab.Host, device, filter string, f func()) string {
	s.t.Helper()
	return s.tcpdump(host, device, filter, f)
}

func (s *site) tcpdump(host *lab.Host, device, words string, f func()) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := host.Command(ctx, "tcpdump", append([]string{"-i", device, "-e", "-n", "-l", "--immediate-mode"}, strings.Fields(words)...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Second)
	f()
	time.Sleep(500 * time.Millisecond)
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	return out.String()
}

// tcp sends a megabyte by TCP and wants it to arrive whole.
func (s *site) tcp(from, to *lab.Host, address string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	server := to.Command(ctx, "iperf3", "-s", "-1", "-p", "5301")
	if err := server.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	out, err := from.Run("iperf3", "-c", address, "-p", "5301", "-n", "20M", "--connect-timeout", "5000")
	if err != nil {
		s.t.Errorf("TCP to %s: %v: %s", address, err, out)
		_ = server.Process.Kill()
	}
	_ = server.Wait()
}

// interfaceOf is all that the daemon tells of an interface of the router.
func (s *site) interfaceOf(name string) api.Interface {
	s.t.Helper()
	var list []api.Interface
	if err := json.Unmarshal([]byte(s.must(s.Router, "ifconfig", "--json", name)), &list); err != nil || len(list) != 1 {
		s.t.Fatalf("ifconfig --json %s: %v", name, err)
	}
	return list[0]
}

// kill ends the daemon of a host as a crash would.
func (s *site) kill(host *lab.Host) {
	s.t.Helper()
	var status struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(s.must(host, "status", "--json")), &status); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Kill(status.PID, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}
