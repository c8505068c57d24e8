package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/pfil"
	"github.com/bsdnet/bsdnet/route/api"
)

// ReaderGroup is the group whose members may read everything and change
// nothing.
const ReaderGroup = "bsdnet"

// APIError is how an error crosses the socket: its words, and what the
// command's exit status depends on.
type APIError struct {
	Message string     `json:"error"`
	Code    string     `json:"code,omitempty"`
	Request *api.Error `json:"errno,omitempty"` // of a request to the stack
}

func (e *APIError) Error() string { return e.Message }

const codeNoInstance = "no_instance"

// Unwrap gives back what the error was on the daemon's side: that of a request
// with its errno, or ErrNoInstance.
func (e *APIError) Unwrap() error {
	switch {
	case e.Request != nil:
		return e.Request
	case e.Code == codeNoInstance:
		return ErrNoInstance
	}
	return nil
}

// access is who may use a call.
type access int

const (
	reader access = iota // root and ReaderGroup
	owner                // root
)

type peerKey struct{}

type peer struct{ uid, gid uint32 }

// call is one function of the API: JSON in, JSON out.
type call struct {
	who    access
	handle func(ctx context.Context, body *json.Decoder) (any, error)
}

// typed makes a call of a function with a typed request.
func typed[Request, Reply any](who access, f func(context.Context, Request) (Reply, error)) call {
	return call{who, func(ctx context.Context, body *json.Decoder) (any, error) {
		var request Request
		if err := body.Decode(&request); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
		return f(ctx, request)
	}}
}

// None is the request or the reply of calls without one.
type None struct{}

// PfilRequest links or unlinks a hook.
type PfilRequest struct {
	Hook   string `json:"hook"`
	Head   string `json:"head"`
	Out    bool   `json:"out,omitempty"`
	Append bool   `json:"append,omitempty"`
}

func (d *Daemon) calls() map[string]call {
	calls := map[string]call{
		"load":   typed(owner, func(_ context.Context, r LoadRequest) (*LoadReply, error) { return d.Load(r) }),
		"unload": typed(owner, func(context.Context, None) (None, error) { return None{}, d.Unload() }),
		"status": typed(reader, func(context.Context, None) (*Status, error) { return d.Status() }),
		"sysctl": typed(reader, func(ctx context.Context, r SysctlRequest) ([]SysctlValue, error) {
			if len(r.Set) > 0 && !isOwner(ctx) {
				return nil, errNotPermitted
			}
			return d.Sysctl(r)
		}),
		"confirm/begin":    typed(owner, d.confirm.begin),
		"confirm/confirm":  typed(owner, d.confirm.confirm),
		"confirm/rollback": typed(owner, d.confirm.rollback),
		"pfil/heads":       typed(reader, func(context.Context, None) ([]pfil.Head, error) { return d.pfil.Heads(d.ownedNames()), nil }),
		"pfil/hooks":       typed(reader, func(context.Context, None) ([]pfil.Hook, error) { return d.pfil.Hooks(), nil }),
		"pfil/link":        typed(owner, d.pfilLink),
		"pfil/unlink":      typed(owner, d.pfilUnlink),
		"reasons":          typed(reader, func(context.Context, None) ([]ReasonCount, error) { return d.Reasons() }),
		"interfaces":       typed(reader, func(context.Context, None) ([]InterfaceCounters, error) { return d.Interfaces() }),
	}
	for name, c := range d.ifnetCalls() {
		calls[name] = c
	}
	for name, c := range d.routeCalls() {
		calls[name] = c
	}
	for name, c := range d.rtsockCalls() {
		calls[name] = c
	}
	for name, c := range d.slow.calls() {
		calls[name] = c
	}
	for name, c := range d.pf.calls() {
		calls[name] = c
	}
	for name, c := range d.rcCalls() {
		calls[name] = c
	}
	return calls
}

func (d *Daemon) ownedNames() []string {
	var names []string
	for _, ifp := range d.ifnet.All() {
		if ifp.Owned {
			names = append(names, ifp.Name)
		}
	}
	return names
}

func (d *Daemon) pfilLink(_ context.Context, r PfilRequest) (None, error) {
	if err := d.checkHead(r.Head); err != nil {
		return None{}, err
	}
	return None{}, d.pfil.Link(r.Hook, r.Head, direction(r.Out), r.Append)
}

func (d *Daemon) pfilUnlink(_ context.Context, r PfilRequest) (None, error) {
	if err := d.checkHead(r.Head); err != nil {
		return None{}, err
	}
	return None{}, d.pfil.Unlink(r.Hook, r.Head, direction(r.Out))
}

func (d *Daemon) checkHead(name string) error {
	switch name {
	case pfil.Inet, pfil.Inet6, pfil.Ethernet:
		return nil
	}
	if ifp, ok := d.ifnet.ByName(name); !ok || !ifp.Owned {
		return fmt.Errorf("head %s: %w", name, pfil.ErrNotFound)
	}
	return nil
}

func direction(out bool) pfil.Direction {
	if out {
		return pfil.Out
	}
	return pfil.In
}

var errNotPermitted = errors.New("operation not permitted")

func isOwner(ctx context.Context) bool {
	p, ok := ctx.Value(peerKey{}).(peer)
	return ok && p.uid == 0
}

// listen opens the control socket. Commands may come from then on, and wait
// for Serve.
func (d *Daemon) listen() error {
	if err := os.Remove(d.instance.Socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.instance.Socket(), Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	// By the time that it is closed, the path may be another daemon's.
	listener.SetUnlinkOnClose(false)
	d.listener = listener
	return protectSocket(d.instance.Socket())
}

// Serve answers commands until ctx ends or the instance is unloaded.
func (d *Daemon) Serve(ctx context.Context) error {
	mux := http.NewServeMux()
	for name, c := range d.calls() {
		mux.HandleFunc("POST /v1/"+name, c.serve)
	}
	mux.Handle("GET /metrics", d.metricsHandler())
	mux.HandleFunc("POST /v1/route/monitor", d.monitor)
	mux.HandleFunc("POST /v1/pf/log", d.pf.stream)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(c))
		},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(d.listener) }()
	select {
	case <-ctx.Done():
	case <-d.unloaded:
	case err := <-done:
		d.close()
		return err
	}
	shutdown, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := server.Shutdown(shutdown)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	d.close()
	return err
}

// protectSocket lets root write and, where it exists, the reader group.
func protectSocket(path string) error {
	mode, gid := os.FileMode(0o600), 0
	if group, err := user.LookupGroup(ReaderGroup); err == nil {
		if id, err := strconv.Atoi(group.Gid); err == nil {
			mode, gid = 0o660, id
		}
	}
	if err := os.Chown(path, 0, gid); err != nil {
		return fmt.Errorf("protect control socket: %w", err)
	}
	return os.Chmod(path, mode)
}

// peerOf asks the kernel who is at the other end.
func peerOf(c net.Conn) peer {
	nobody := peer{^uint32(0), ^uint32(0)}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return nobody
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return nobody
	}
	p := nobody
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p = peer{cred.Uid, cred.Gid}
		}
	})
	return p
}

// How long a request may be. That of the owner has room for as many addresses
// as tables can hold.
const (
	requestBytes      = 8 << 20
	ownerRequestBytes = 1 << 28
)

func (c call) serve(w http.ResponseWriter, r *http.Request) {
	if c.who == owner && !isOwner(r.Context()) {
		writeError(w, errNotPermitted)
		return
	}
	limit := int64(requestBytes)
	if isOwner(r.Context()) {
		limit = ownerRequestBytes
	}
	reply, err := c.handle(r.Context(), json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)))
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // the peer went away
}

func writeError(w http.ResponseWriter, err error) {
	out := &APIError{Message: err.Error()}
	var routing *api.Error
	var number api.Errno
	var unknown *UnknownNameError
	status := http.StatusBadRequest
	switch {
	case errors.As(err, &routing):
		out.Request = routing
	case errors.As(err, &number):
		out.Request = &api.Error{Errno: number}
	case errors.As(err, &unknown):
		out.Code = "unknown_name"
	case errors.Is(err, ErrNoInstance):
		out.Code = codeNoInstance
	case errors.Is(err, errNotPermitted):
		out.Code, status = "not_permitted", http.StatusForbidden
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

// Unload takes the instance away while its daemon runs; the daemon ends.
func (d *Daemon) Unload() error {
	release, err := lock()
	if err != nil {
		return err
	}
	defer release()
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.unloaded:
		return ErrNoInstance // somebody else was first
	default:
	}
	d.confirm.drop()
	d.netif.Close()
	err = restore(d.instance, d.record)
	d.cancel()
	d.slow.close()
	d.rtsock.Close()
	err = errors.Join(err, d.route.Close()) // it would ask for the gateways again
	removeDir := d.instance.removeDir
	if d.confined.Load() > 0 {
		removeDir = d.instance.removeFiles // the command does the rest: FinishUnload
	}
	err = errors.Join(err, d.instance.releaseGateways(), d.instance.remove(removeDir), removeLog(d.instance))
	close(d.unloaded)
	return err
}
