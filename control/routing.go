package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/bsdnet/bsdnet/route"
	"github.com/bsdnet/bsdnet/route/api"
)

// routeCalls is the routing system's part of the API.
func (d *Daemon) routeCalls() map[string]call {
	r := api.Backend(d.route)
	return map[string]call{
		"route/add":    typed(owner, r.RouteAdd),
		"route/change": typed(owner, r.RouteChange),
		"route/delete": typed(owner, r.RouteDelete),
		"route/get":    typed(reader, r.RouteGet),
		"route/flush":  typed(owner, r.RouteFlush),
		"route/list":   typed(reader, r.Routes),
		"route/load": {owner, func(_ context.Context, body *json.Decoder) (any, error) {
			return d.loadRoutes(body)
		}},
		"neighbour/list": typed(reader, r.Neighbours),
		"neighbour/set": typed(owner, func(ctx context.Context, q api.NeighbourRequest) (None, error) {
			return None{}, r.NeighbourSet(ctx, q)
		}),
		"neighbour/delete": typed(owner, func(ctx context.Context, q api.NeighbourFilter) (None, error) {
			return None{}, r.NeighbourDelete(ctx, q)
		}),
		"nd6/routers":  typed(reader, func(ctx context.Context, _ None) ([]api.Nd6Router, error) { return r.Nd6Routers(ctx) }),
		"nd6/prefixes": typed(reader, func(ctx context.Context, _ None) ([]api.Nd6Prefix, error) { return r.Nd6Prefixes(ctx) }),
	}
}

// monitor streams routing messages, one JSON object a line, until the peer
// hangs up.
func (d *Daemon) monitor(w http.ResponseWriter, r *http.Request) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		writeError(w, errNotPermitted)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	encoder := json.NewEncoder(w)
	_ = api.Backend(d.route).Monitor(r.Context(), func(message api.Message) error {
		if err := encoder.Encode(message); err != nil {
			return err
		}
		flusher.Flush()
		return nil
	})
}

// loadRoutes adds a stream of requests, all or none.
func (d *Daemon) loadRoutes(body *json.Decoder) (api.Loaded, error) {
	n, err := d.route.Load(func(yield func(api.RouteRequest, error) bool) {
		for {
			var line string
			err := body.Decode(&line)
			if errors.Is(err, io.EOF) {
				return
			}
			var q api.RouteRequest
			if err == nil {
				q, err = api.ParseLoad(line)
			}
			if !yield(q, err) || err != nil {
				return
			}
		}
	})
	loaded := api.Loaded{Routes: n}
	var wrong *route.LoadError
	var failed *api.Error
	if errors.As(err, &wrong) && errors.As(err, &failed) {
		return api.Loaded{Number: wrong.Number, Error: failed}, nil
	}
	return loaded, err
}
