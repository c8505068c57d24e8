package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
)

// listen opens the sockets: the daemon's and that of wg(8).
func (e *Engine) listen() error {
	os.Remove(e.socket()) // of an engine that was killed: the tun is this one's
	private, err := net.Listen("unix", e.socket())
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	e.listeners = append(e.listeners, private)
	go e.serve(private, true)
	e.mu.Lock()
	err = e.listenPublic()
	e.mu.Unlock()
	if err != nil {
		e.logger().Errorf("wg(8) does not see this interface: %v", err)
	}
	return nil
}

// listenPublic opens the socket of wg(8), unless a process of another network
// namespace has it; e.mu is held.
func (e *Engine) listenPublic() error {
	path := publicSocket(e.name)
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("%s is of another process", path)
	}
	os.Remove(path)
	public, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	e.listeners, e.public = append(e.listeners, public), true
	go e.serve(public, false)
	return nil
}

func (e *Engine) serve(listener net.Listener, daemon bool) {
	// By the time that it is closed, its name may be another's.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go e.handle(conn, daemon)
	}
}

// handle speaks the protocol of WireGuard's cross-platform interface; the
// daemon may ask for more.
func (e *Engine) handle(conn net.Conn, daemon bool) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		op, err := r.ReadString('\n')
		if err != nil {
			return
		}
		op = strings.TrimSuffix(op, "\n")
		var answer strings.Builder
		rename, isRename := strings.CutPrefix(op, "rename=")
		switch {
		case op == "set=1":
			err = e.set(r)
		case op == "get=1":
			if err = end(r); err == nil {
				err = e.device.IpcGetOperation(&answer)
			}
		case op == "stats=1" && daemon:
			if err = end(r); err == nil {
				e.counts.write(&answer)
			}
		case isRename && daemon:
			if err = end(r); err == nil {
				err = e.rename(rename)
			}
		default:
			return
		}
		fmt.Fprintf(&answer, "errno=%d\n\n", code(err))
		if _, err := io.WriteString(conn, answer.String()); err != nil {
			return
		}
	}
}

// end reads the empty line after a request.
func end(r *bufio.Reader) error {
	if b, err := r.ReadByte(); err != nil || b != '\n' {
		return unix.EINVAL
	}
	return nil
}

func code(err error) int64 {
	var ipc *device.IPCError
	var number unix.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ipc):
		return ipc.ErrorCode()
	case errors.As(err, &number):
		return -int64(number)
	}
	return -int64(unix.EIO)
}

// set changes the configuration. A port that is taken leaves the socket where
// it was.
func (e *Engine) set(r io.Reader) error {
	before, err := e.device.IpcGet()
	if err != nil {
		return err
	}
	if err := e.device.IpcSetOperation(r); err != nil {
		if code(err) == -int64(unix.EADDRINUSE) {
			_ = e.device.IpcSet("listen_port=" + valueOf(before, "listen_port") + "\n")
		}
		return err
	}
	return e.save()
}

// rename follows the interface to another name.
func (e *Engine) rename(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if name == "" || strings.ContainsAny(name, "/.") {
		return unix.EINVAL
	}
	old := e.name
	errs := []error{os.Rename(Socket(e.dir, old), Socket(e.dir, name))}
	if err := os.Rename(ConfigFile(e.dir, old), ConfigFile(e.dir, name)); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	e.name = name
	if e.public {
		errs = append(errs, os.Rename(publicSocket(old), publicSocket(name)))
	} else {
		errs = append(errs, e.listenPublic())
	}
	return errors.Join(errs...)
}

// settings are the lines of a get answer that make the same configuration when
// they are set.
func settings(answer string) string {
	var b strings.Builder
	for line := range strings.Lines(answer) {
		switch key, _, _ := strings.Cut(line, "="); key {
		case "private_key", "listen_port", "fwmark", "public_key", "preshared_key", "endpoint", "persistent_keepalive_interval", "allowed_ip":
			b.WriteString(line)
		}
	}
	return b.String()
}

// valueOf is the first value of a key in a get answer, "0" without one.
func valueOf(answer, key string) string {
	for line := range strings.Lines(answer) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return "0"
}
