package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Guest is a user-mode Linux: another kernel, with drivers that the host's may
// lack, as a process. Its files are the host's, to be read only; its only NIC,
// vec0, is at the other end of a tap device.
type Guest struct {
	dir  string // shared with the guest
	cmd  *exec.Cmd
	next int // number of the next script
}

// ErrNoUML says that user-mode Linux is not installed.
var ErrNoUML = errors.New("lab: no linux.uml: the package user-mode-linux is not installed")

//go:embed uml-init.sh
var umlInit string

// NewGuest makes the tap device in a host, up, and starts a guest behind it.
// It does not wait for the guest, which boots in some seconds.
func NewGuest(h *Host, tap string) (*Guest, error) {
	uml, err := exec.LookPath("linux.uml")
	if err != nil {
		return nil, ErrNoUML
	}
	// Each guest has a folder of its own for its sockets, too.
	dir, err := os.MkdirTemp("", "bsdnet-uml-")
	if err != nil {
		return nil, err
	}
	g := &Guest{dir: dir}
	init := filepath.Join(dir, "init")
	err = os.WriteFile(init, []byte(strings.ReplaceAll(umlInit, "@DIR@", dir)), 0o700)
	for _, args := range [][]string{{"tuntap", "add", tap, "mode", "tap"}, {"link", "set", tap, "up"}} {
		if err == nil {
			_, err = h.Run("ip", args...)
		}
	}
	if err == nil {
		g.cmd = h.Command(context.Background(), uml, "mem=128M", "rootfstype=hostfs", "root=/dev/root", "ro", "quiet",
			"init="+init, "uml_dir="+dir, "con=null", "con0=null", "vec0:transport=tap,ifname="+tap)
		g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		err = g.cmd.Start()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start user-mode Linux: %w", err)
	}
	return g, nil
}

// Run runs a script of sh(1) in the guest to its end, and returns what it
// printed.
func (g *Guest) Run(script string) (string, error) {
	path := filepath.Join(g.dir, strconv.Itoa(g.next))
	g.next++
	if err := os.WriteFile(path+".new", []byte(script+"\n"), 0o600); err != nil {
		return "", err
	}
	if err := os.Rename(path+".new", path+".sh"); err != nil {
		return "", err
	}
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		status, err := os.ReadFile(path + ".status")
		if err != nil {
			continue
		}
		out, err := os.ReadFile(path + ".out")
		if err == nil && strings.TrimSpace(string(status)) != "0" {
			err = fmt.Errorf("guest: status %s: %s", strings.TrimSpace(string(status)), out)
		}
		return string(out), err
	}
	out, _ := os.ReadFile(path + ".out")
	return string(out), fmt.Errorf("guest: no answer to %q: %s", script, out)
}

// Close ends the guest with all its processes.
func (g *Guest) Close() error {
	err := syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	_ = g.cmd.Wait() // killed
	return errors.Join(err, os.RemoveAll(g.dir))
}
