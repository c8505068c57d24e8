package labtest

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// With the daemon killed under load the fast path loses nothing; what needs
// the daemon is dropped and counted; load adopts everything.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		port := serveIperf(t, s.Right)
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
		}
		administrator := openSession(t, s.Left, s.Router, inet.routerLeft)
		var running []*pingProcess
		for _, f := range families {
			running = append(running, startPing(t, s.Left, "-i", "0.002", "-c", "1500", "-W", "1", f.right))
		}
		stream := startIperf(t, s.Left, inet.right, port, "-t", "4", "-b", "100M")
		time.Sleep(time.Second)
		s.kill()
		if out, _, status := s.try("status"); status != 3 {
			t.Errorf("status with a dead daemon: %d: %s", status, out)
		}
		// For the daemon: time exceeded. Nobody answers, nothing passes.
		for _, f := range families {
			if p := ping(t, s.Left, "-t", "1", "-c", "3", "-i", "0.1", "-W", "0.3", f.right); p.received > 0 || len(p.text) == 0 {
				t.Errorf("answered with the daemon dead: %s", p.text)
			}
		}
		s.load()
		for _, p := range running {
			if p := p.wait(t); p.received < p.sent {
				t.Errorf("%d of %d pings lost", p.sent-p.received, p.sent)
			}
		}
		if _, err := stream.wait(); err != nil {
			t.Error(err)
		}
		if n := s.reasons()["netisr_down"]; n < 6 {
			t.Errorf("netisr_down %d, want 6 at least", n)
		}
		if out, _, status := s.try("status"); status != 0 {
			t.Errorf("status after load: %d: %s", status, out)
		}
		// Forwarding is still on, and the slow path works again.
		for _, f := range families {
			mustPing(t, s.Left, "-c", "2", "-i", "0.05", "-W", "2", f.right)
			if p := ping(t, s.Left, "-t", "1", "-c", "1", "-W", "2", f.right); p.received > 0 || !containsFold(p.text, "exceeded") {
				t.Errorf("no time exceeded after load: %s", p.text)
			}
		}
		s.Router.MustRun(t, "ip", "neigh", "flush", "dev", "em1")
		mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
		s.bsdnet("unload")
		s.load()
		administrator.end(t)
	})
}

// A daemon killed in the middle of anything leaves a state from which load or
// unload works.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		random := rand.New(rand.NewPCG(1, uint64(len(s.mode))))
		for n := range 30 {
			after := time.Duration(random.IntN(1200)) * time.Millisecond
			args := [][]string{
				{"load", "-i", "em0", "-i", "em1", "--mode", s.mode, "--foreground"},
				{"route", "add", "100.64.0.0/24", "192.0.2.2"},
				{"unload"},
			}[n%3]
			if n%3 != 0 { // something to be killed in
				s.load()
				after /= 8
			}
			s.killDuring(args, after)
			if n%2 == 0 {
				s.load()
				s.forward()
				mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
			}
			if s.unload(); t.Failed() {
				t.Fatalf("round %d: %v killed after %v", n, args, after)
			}
			_, _ = s.Router.Run("ip", "route", "del", "100.64.0.0/24")
		}
	})
}

// killDuring starts a command and kills it and the daemon after a while.
func (s *site) killDuring(args []string, after time.Duration) {
	s.t.Helper()
	cmd := s.Router.Command(s.t.Context(), program, args...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(after)
	if pid := s.daemon(); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for pid := s.daemon(); pid != 0; pid = s.daemon() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		time.Sleep(10 * time.Millisecond)
	}
}

// Loads and unloads at the same time come out one after the other.
func TestConcurrentLoads(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		together := func(commands ...[]string) (statuses []int, texts []string) {
			type outcome struct {
				status int
				text   string
			}
			outcomes := make([]chan outcome, len(commands))
			for i, args := range commands {
				outcomes[i] = make(chan outcome, 1)
				go func() {
					out, err := s.Router.Command(t.Context(), program, args...).CombinedOutput()
					o := outcome{text: string(out)}
					var exit *exec.ExitError
					if errors.As(err, &exit) {
						o.status = exit.ExitCode()
					}
					outcomes[i] <- o
				}()
			}
			for _, c := range outcomes {
				o := <-c
				statuses, texts = append(statuses, o.status), append(texts, o.text)
			}
			return statuses, texts
		}
		for range 3 {
			statuses, texts := together([]string{"load", "-i", "em0", "--mode", s.mode}, []string{"load", "-i", "em1", "--mode", s.mode})
			if statuses[0] != 0 || statuses[1] != 0 {
				t.Fatalf("two loads: %v %q", statuses, texts)
			}
			s.forward()
			mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
			statuses, texts = together([]string{"unload"}, []string{"unload"})
			for i, status := range statuses {
				if status != 0 && status != 4 {
					t.Errorf("two unloads: %v %q", status, texts[i])
				}
			}
			if s.unload(); t.Failed() {
				return
			}
		}
	})
}

// The short form of TestDaemonKilled, for slow machines: the fast path lives
// on without its daemon, and load adopts it.
func TestKilledAndAdopted(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
		}
		for range 2 {
			s.kill()
			for _, f := range families {
				mustPing(t, s.Left, "-c", "5", "-i", "0.02", "-W", "3", f.right)
			}
			if out := s.bsdnet("load"); !strings.Contains(out, "adopted") {
				t.Errorf("load after kill: %s", out)
			}
			for _, f := range families {
				mustPing(t, s.Left, "-c", "5", "-i", "0.02", "-W", "3", f.right)
				if p := ping(t, s.Left, "-t", "1", "-c", "1", "-W", "3", f.right); !containsFold(p.text, "exceeded") {
					t.Errorf("no time exceeded after load: %s", p.text)
				}
			}
		}
	})
}
