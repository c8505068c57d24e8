package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
)

// Line is a host, a router and a host in a row:
//
//	left em0 192.0.2.2 - 192.0.2.1 em0 router em1 198.51.100.1 - 198.51.100.2 em0 right
//
// with 2001:db8::/64 and 2001:db8:1::/64 alike, and default routes towards the
// router.
type Line struct{ Left, Router, Right *Host }

// NewLine builds a line. Whoever calls it closes it.
func NewLine(name string) (*Line, error) {
	l := &Line{}
	var err error
	for _, h := range []struct {
		host **Host
		name string
	}{{&l.Left, "left"}, {&l.Router, "router"}, {&l.Right, "right"}} {
		if *h.host, err = NewHost(name + "-" + h.name); err != nil {
			return nil, closeAfter(l, err)
		}
	}
	if err := Join(l.Left, "em0", l.Router, "em0"); err != nil {
		return nil, closeAfter(l, err)
	}
	if err := Join(l.Router, "em1", l.Right, "em0"); err != nil {
		return nil, closeAfter(l, err)
	}
	for _, c := range []struct {
		host *Host
		args []string
	}{
		{l.Left, []string{"addr", "add", "192.0.2.2/24", "dev", "em0"}},
		{l.Left, []string{"addr", "add", "2001:db8::2/64", "dev", "em0", "nodad"}},
		{l.Router, []string{"addr", "add", "192.0.2.1/24", "dev", "em0"}},
		{l.Router, []string{"addr", "add", "2001:db8::1/64", "dev", "em0", "nodad"}},
		{l.Router, []string{"addr", "add", "198.51.100.1/24", "dev", "em1"}},
		{l.Router, []string{"addr", "add", "2001:db8:1::1/64", "dev", "em1", "nodad"}},
		{l.Right, []string{"addr", "add", "198.51.100.2/24", "dev", "em0"}},
		{l.Right, []string{"addr", "add", "2001:db8:1::2/64", "dev", "em0", "nodad"}},
		{l.Left, []string{"route", "add", "default", "via", "192.0.2.1"}},
		{l.Left, []string{"route", "add", "default", "via", "2001:db8::1"}},
		{l.Right, []string{"route", "add", "default", "via", "198.51.100.1"}},
		{l.Right, []string{"route", "add", "default", "via", "2001:db8:1::1"}},
	} {
		if _, err := c.host.Run("ip", c.args...); err != nil {
			return nil, closeAfter(l, err)
		}
	}
	return l, nil
}

func closeAfter(l *Line, err error) error {
	_ = l.Close() // what failed first says more
	return err
}

// Close removes the hosts.
func (l *Line) Close() error {
	var first error
	for _, h := range []*Host{l.Left, l.Router, l.Right} {
		if h == nil {
			continue
		}
		if err := h.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Lladdr returns the link address of a device.
func (h *Host) Lladdr(device string) (net.HardwareAddr, error) {
	var address net.HardwareAddr
	err := h.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		address = i.HardwareAddr
		return nil
	})
	return address, err
}

// Binary returns the path of the bsdnet program built by make.
func Binary() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", fmt.Errorf("find source folder")
	}
	path := filepath.Join(filepath.Dir(file), "..", "..", "bin", "bsdnet")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run make build first", err)
	}
	return path, nil
}
