// Package engine is the process behind a wg(4) where the kernel has no
// WireGuard: golang.zx2c4.com/wireguard on a tun of the instance. It outlives
// the daemon that started it, and goes with the tun.
package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// PublicDir is where wg(8) and others look for the sockets of WireGuard
// processes.
const PublicDir = "/var/run/wireguard"

// How the heap may grow between collections, and where they come more often.
const (
	gcPercent   = 400
	memoryLimit = 256 << 20
)

// saveInterval is how often endpoints that moved are written down.
const saveInterval = 30 * time.Second

// Engine is WireGuard on one interface.
type Engine struct {
	dir    string
	device *device.Device
	guard  *guard
	counts counters
	stop   chan struct{}

	mu        sync.Mutex // guards what follows, and the files
	name      string
	saved     string
	public    bool // the public socket is this process's
	listeners []net.Listener
}

// Start begins to serve the interface of a tun. Its socket and the file of its
// configuration, which is taken from there if there is one, are in dir. The
// file is the engine's from then on.
func Start(name, dir string, file *os.File) (*Engine, error) {
	unix.Umask(0o077)
	// Each collection empties the pools of packet buffers, which have to be
	// zeroed again.
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	mtu, err := mtuOf(name)
	if err != nil {
		return nil, err
	}
	native, err := tun.CreateTUNFromFile(file, mtu)
	if err != nil {
		return nil, fmt.Errorf("open tun: %w", err)
	}
	e := &Engine{name: name, dir: dir, stop: make(chan struct{})}
	e.guard = newGuard(name, &e.counts)
	bind := newBind(e.guard, &e.counts)
	e.device = device.NewDevice(&countedTun{Device: native, guard: e.guard, counts: &e.counts}, bind, e.logger())
	if err := e.restore(); err == nil {
		err = e.listen()
	}
	if err != nil {
		e.device.Close()
		return nil, err
	}
	go e.keep()
	return e, nil
}

func mtuOf(name string) (int, error) {
	ifp, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return ifp.MTU, nil
}

// Wait returns when the interface is gone or Close was called.
func (e *Engine) Wait() {
	<-e.device.Wait()
	close(e.stop)
	e.guard.close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, listener := range e.listeners {
		listener.Close()
	}
	// What is left is for the process after this one, if there is an interface.
	if _, err := net.InterfaceByName(e.name); err != nil {
		os.Remove(e.config())
		os.Remove(e.socket())
		if e.public {
			os.Remove(publicSocket(e.name))
		}
	}
}

// Close ends the engine. The interface stays.
func (e *Engine) Close() { e.device.Close() }

func (e *Engine) config() string { return ConfigFile(e.dir, e.name) }
func (e *Engine) socket() string { return Socket(e.dir, e.name) }

// ConfigFile is where the configuration of an interface is kept, in the form
// of a set request. There are keys in it.
func ConfigFile(dir, name string) string { return filepath.Join(dir, name+".conf") }

// Socket is where the engine of an interface listens to the daemon.
func Socket(dir, name string) string { return filepath.Join(dir, name+".sock") }

func publicSocket(name string) string { return filepath.Join(PublicDir, name+".sock") }

// restore takes the configuration that an engine before this one kept.
func (e *Engine) restore() error {
	data, err := os.ReadFile(e.config())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := e.device.IpcSet(string(data)); err != nil {
		return fmt.Errorf("configuration in %s: %w", e.config(), err)
	}
	e.saved = string(data)
	return nil
}

// keep writes down what changes without a request.
func (e *Engine) keep() {
	ticker := time.NewTicker(saveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-ticker.C:
			if err := e.save(); err != nil {
				e.logger().Errorf("keep configuration: %v", err)
			}
		}
	}
}

// save writes the configuration, for an engine after this one.
func (e *Engine) save() error {
	all, err := e.device.IpcGet()
	if err != nil {
		return err
	}
	text := settings(all)
	e.mu.Lock()
	defer e.mu.Unlock()
	if text == e.saved {
		return nil
	}
	path := e.config()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	e.saved = text
	return nil
}
