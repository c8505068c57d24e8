// Package lab builds hosts out of network namespaces for tests and the demo:
// namespaces, veth pairs between them, addresses, and commands run inside.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is one network namespace. It goes with everything in it when closed.
type Host struct {
	Name   string
	handle netns.NsHandle
}

var serial atomic.Int32

// NewHost creates a network namespace with lo up. The name is made unique for
// this process.
func NewHost(name string) (*Host, error) {
	h := &Host{Name: fmt.Sprintf("lab%d-%d-%s", os.Getpid(), serial.Add(1), name)}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in the new namespace
		var err error
		if h.handle, err = netns.NewNamed(h.Name); err == nil {
			err = errors.Join(loopbackUp(), noDetection())
		}
		result <- err
	}()
	if err := <-result; err != nil {
		return nil, fmt.Errorf("create host %s: %w", name, err)
	}
	return h, nil
}

// noDetection turns off the search for duplicate addresses: until it ends,
// Linux asks for no neighbour from the address, which takes a second or two.
func noDetection() error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// MustHost is NewHost for a test, closed when the test ends.
func MustHost(t testing.TB, name string) *Host {
	t.Helper()
	h, err := NewHost(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Close removes the namespace.
func (h *Host) Close() error {
	h.handle.Close()
	if err := netns.DeleteNamed(h.Name); err != nil {
		return fmt.Errorf("remove host %s: %w", h.Name, err)
	}
	return nil
}

// Path is the file that holds the namespace.
func (h *Host) Path() string { return filepath.Join("/run/netns", h.Name) }

// Do runs f on a thread inside the namespace.
func (h *Host) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := netns.Get()
		if err != nil {
			result <- err
			return
		}
		defer own.Close()
		if err := netns.Set(h.handle); err != nil {
			result <- err
			return
		}
		err = f()
		if netns.Set(own) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Command prepares a command that runs inside the namespace. Unlike
// ip-netns-exec it stays in the caller's mount namespace.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + h.Path(), name}, args...)...)
}

// Run runs a command to its end and returns what it printed, both streams.
func (h *Host) Run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	out, err := h.Command(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %s %s: %w: %s", h.Name, name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// MustRun is Run for a test that fails with the command.
func (h *Host) MustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := h.Run(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Join connects two hosts by a veth pair, both ends up. The ends fill in
// checksums themselves unless offload is wanted, so that XDP sees whole frames.
func Join(a *Host, aName string, b *Host, bName string) error {
	err := a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: aName}, PeerName: bName, PeerNamespace: netlink.NsFd(int(b.handle)),
		})
	})
	if err != nil {
		return fmt.Errorf("join %s and %s: %w", a.Name, b.Name, err)
	}
	for host, name := range map[*Host]string{a: aName, b: bName} {
		if _, err := host.Run("ip", "link", "set", name, "up"); err != nil {
			return err
		}
	}
	return nil
}

// MustJoin is Join for a test.
func MustJoin(t testing.TB, a *Host, aName string, b *Host, bName string) {
	t.Helper()
	if err := Join(a, aName, b, bName); err != nil {
		t.Fatal(err)
	}
}

// Offloads switches offloads of a device, ethtool's names: "tx", "gro" ...
func (h *Host) Offloads(device string, on bool, names ...string) error {
	word := "off"
	if on {
		word = "on"
	}
	for _, name := range names {
		if _, err := h.Run("ethtool", "-K", device, name, word); err != nil {
			return err
		}
	}
	return nil
}

// MountBPF mounts a bpffs for a test and returns its path.
func MountBPF(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "bsdnet-lab-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpffs", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		os.Remove(dir)
	})
	return dir
}
