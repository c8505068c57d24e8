package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

// Client talks to the daemon of an instance.
type Client struct {
	http *http.Client
}

// Dial finds the daemon of the current network namespace. Without an instance
// it returns ErrNoInstance, with a dead daemon ErrDaemonDown.
func Dial() (*Client, error) {
	instance, err := Current()
	if err != nil {
		return nil, err
	}
	if _, err := instance.ReadRecord(); err != nil {
		return nil, err
	}
	conn, err := net.Dial("unix", instance.Socket())
	if err != nil {
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
			return nil, fmt.Errorf("talk to daemon: %w", err)
		}
		return nil, fmt.Errorf("%w: %w", ErrDaemonDown, err)
	}
	conn.Close()
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", instance.Socket())
		},
	}}}, nil
}

// ErrDaemonDown says that there is an instance whose daemon does not answer.
// The fast path goes on without it.
var ErrDaemonDown = errors.New("the bsdnet daemon is not running")

// Close ends the connections that are kept for the next request. Requests may
// follow all the same.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) post(ctx context.Context, name string, request any) (*http.Response, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, name, bytes.NewReader(body))
}

func (c *Client) send(ctx context.Context, name string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bsdnet/v1/"+name, body)
	if err != nil {
		return nil, err
	}
	reply, err := c.http.Do(r)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		// It took the connection and died before it answered.
		return nil, fmt.Errorf("%w: %w", ErrDaemonDown, err)
	}
	if reply.StatusCode == http.StatusOK {
		return reply, nil
	}
	defer reply.Body.Close()
	failure := &APIError{}
	if err := json.NewDecoder(reply.Body).Decode(failure); err != nil {
		return nil, fmt.Errorf("talk to daemon: %s", reply.Status)
	}
	return nil, failure
}

// dying is how long a process that was killed may take to let go of its socket.
const dying = 3 * time.Second

// answers reports whether a daemon serves the instance. One that has been
// killed accepts connections for a moment longer: it is waited for.
func (i Instance) answers(ctx context.Context) bool {
	for end := time.Now().Add(dying); ; time.Sleep(20 * time.Millisecond) {
		client, err := Dial()
		if err != nil {
			return false
		}
		call, cancel := context.WithTimeout(ctx, dying)
		_, err = Call[*Status](call, client, "status", None{})
		cancel()
		if !errors.Is(err, ErrDaemonDown) || time.Now().After(end) {
			return true
		}
	}
}

// Call makes one call of the API.
func Call[Reply any](ctx context.Context, c *Client, name string, request any) (Reply, error) {
	var out Reply
	reply, err := c.post(ctx, name, request)
	if err != nil {
		return out, err
	}
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("read reply: %w", err)
	}
	return out, nil
}

// Routing is the routing system behind the control socket.
type Routing struct{ *Client }

var _ api.Backend = Routing{}

// RouteAdd implements api.Backend.
func (r Routing) RouteAdd(ctx context.Context, q api.RouteRequest) (api.Rtentry, error) {
	return Call[api.Rtentry](ctx, r.Client, "route/add", q)
}

// RouteChange implements api.Backend.
func (r Routing) RouteChange(ctx context.Context, q api.RouteRequest) (api.Rtentry, error) {
	return Call[api.Rtentry](ctx, r.Client, "route/change", q)
}

// RouteDelete implements api.Backend.
func (r Routing) RouteDelete(ctx context.Context, q api.RouteRequest) (api.Rtentry, error) {
	return Call[api.Rtentry](ctx, r.Client, "route/delete", q)
}

// RouteGet implements api.Backend.
func (r Routing) RouteGet(ctx context.Context, q api.RouteRequest) (api.Rtentry, error) {
	return Call[api.Rtentry](ctx, r.Client, "route/get", q)
}

// RouteFlush implements api.Backend.
func (r Routing) RouteFlush(ctx context.Context, q api.RouteFilter) ([]api.Rtentry, error) {
	return Call[[]api.Rtentry](ctx, r.Client, "route/flush", q)
}

// Routes implements api.Backend.
func (r Routing) Routes(ctx context.Context, q api.RouteFilter) ([]api.Rtentry, error) {
	return Call[[]api.Rtentry](ctx, r.Client, "route/list", q)
}

// RouteLoad implements api.Loader.
func (r Routing) RouteLoad(ctx context.Context, requests iter.Seq2[api.RouteRequest, error]) (api.Loaded, error) {
	var loaded api.Loaded
	var wrong error // with a request, here
	body, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 1<<16)
		for q, err := range requests {
			if err == nil {
				_, err = out.WriteString(api.FormatLoad(q))
			}
			if err != nil {
				wrong = err
				w.CloseWithError(err)
				return
			}
		}
		w.CloseWithError(out.Flush()) // nil: end of file
	}()
	reply, err := r.send(ctx, "route/load", body)
	if err != nil {
		body.CloseWithError(err)
		if wrong != nil {
			return loaded, wrong
		}
		return loaded, err
	}
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(&loaded); err != nil {
		return loaded, fmt.Errorf("read reply: %w", err)
	}
	return loaded, nil
}

// Monitor implements api.Backend.
func (r Routing) Monitor(ctx context.Context, notify func(api.Message) error) error {
	reply, err := r.post(ctx, "route/monitor", None{})
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	decoder := json.NewDecoder(reply.Body)
	for {
		var message api.Message
		if err := decoder.Decode(&message); err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read message: %w", err)
		}
		if err := notify(message); err != nil {
			return err
		}
	}
}

// Neighbours implements api.Backend.
func (r Routing) Neighbours(ctx context.Context, q api.NeighbourFilter) ([]api.Neighbour, error) {
	return Call[[]api.Neighbour](ctx, r.Client, "neighbour/list", q)
}

// NeighbourSet implements api.Backend.
func (r Routing) NeighbourSet(ctx context.Context, q api.NeighbourRequest) error {
	_, err := Call[None](ctx, r.Client, "neighbour/set", q)
	return err
}

// NeighbourDelete implements api.Backend.
func (r Routing) NeighbourDelete(ctx context.Context, q api.NeighbourFilter) error {
	_, err := Call[None](ctx, r.Client, "neighbour/delete", q)
	return err
}

// Nd6Routers implements api.Backend.
func (r Routing) Nd6Routers(ctx context.Context) ([]api.Nd6Router, error) {
	return Call[[]api.Nd6Router](ctx, r.Client, "nd6/routers", None{})
}

// Nd6Prefixes implements api.Backend.
func (r Routing) Nd6Prefixes(ctx context.Context) ([]api.Nd6Prefix, error) {
	return Call[[]api.Nd6Prefix](ctx, r.Client, "nd6/prefixes", None{})
}
