package api

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"strings"
)

// Loader is a Backend that takes many routes at once.
type Loader interface {
	// RouteLoad adds routes, all or none. An error of requests ends it.
	RouteLoad(ctx context.Context, requests iter.Seq2[RouteRequest, error]) (Loaded, error)
}

// Loaded is what became of routes that were added at once.
type Loaded struct {
	Routes int    `json:"routes"`           // added
	Number int    `json:"number,omitempty"` // of the request that could not be, from 1
	Error  *Error `json:"error,omitempty"`  // and why
}

// loadFlags are those of the requests that have a short form.
const loadFlags = Static | Gateway

// FormatLoad returns a request as it is sent, a JSON string on a line of its
// own. That of a plain route to a gateway is two words.
func FormatLoad(q RouteRequest) string {
	plain := RouteRequest{Dst: q.Dst, Gateway: q.Gateway, Flags: q.Flags}
	if q == plain && q.Gateway.IsValid() && q.Flags&^Host == loadFlags {
		return `"` + q.Dst.String() + " " + q.Gateway.String() + "\"\n"
	}
	long, _ := json.Marshal(q) // has only fields that can be
	line, _ := json.Marshal(string(long))
	return string(line) + "\n"
}

// ParseLoad reads what FormatLoad wrote.
func ParseLoad(line string) (RouteRequest, error) {
	var q RouteRequest
	if strings.HasPrefix(line, "{") {
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			return q, fmt.Errorf("read request: %w", err)
		}
		return q, nil
	}
	dst, gateway, _ := strings.Cut(line, " ")
	var err error
	if q.Dst, err = netip.ParsePrefix(dst); err != nil {
		return q, fmt.Errorf("read request: %w", err)
	}
	if q.Gateway, err = netip.ParseAddr(gateway); err != nil {
		return q, fmt.Errorf("read request: %w", err)
	}
	q.Flags = loadFlags
	if q.Dst.IsSingleIP() {
		q.Flags |= Host
	}
	return q, nil
}
