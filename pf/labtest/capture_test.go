package labtest

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// capture is a tcpdump at work.
type capture struct {
	cmd    *exec.Cmd
	out    strings.Builder
	failed chan error
}

// listen starts tcpdump on a host's em0 and waits until it captures.
func listen(t *testing.T, on *lab.Host, args ...string) *capture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c := &capture{failed: make(chan error, 1)}
	c.cmd = on.Command(ctx, "tcpdump", append([]string{"-n", "-l", "-i", "em0", "--immediate-mode"}, args...)...)
	c.cmd.Stdout = &c.out
	errs, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(errs)
	for lines.Scan() && !strings.Contains(lines.Text(), "listening on") {
	}
	go func() {
		_, err := io.Copy(io.Discard, errs)
		c.failed <- err
	}()
	return c
}

// stop ends the capture and returns what it printed.
func (c *capture) stop(t *testing.T) string {
	t.Helper()
	time.Sleep(200 * time.Millisecond)
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-c.failed; err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return c.out.String()
}
