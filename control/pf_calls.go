package control

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// PFReply is what a change of pf has to say.
type PFReply struct {
	Warnings []string         `json:"warnings,omitempty"`
	Count    int              `json:"count,omitempty"`
	Already  bool             `json:"already,omitempty"`
	Killed   pfctl.KillResult `json:"killed,omitzero"`
}

// PFText is what -s prints.
type PFText struct {
	Text    string `json:"text"`
	Running bool   `json:"running"`
}

// PFHost is what pfctl asks of the instance before it reads a file.
type PFHost struct {
	Dialect    conf.Dialect         `json:"dialect"`
	Interfaces *conf.InterfaceTable `json:"interfaces"`
}

func (f *filter) calls() map[string]call {
	return map[string]call{
		"pf/host": typed(reader, func(context.Context, None) (*PFHost, error) {
			return &PFHost{Dialect: f.dialect, Interfaces: f.interfaceTable()}, nil
		}),
		"pf/load":     typed(owner, f.loadCall),
		"pf/enable":   typed(owner, func(context.Context, None) (*PFReply, error) { return f.switchCall(true) }),
		"pf/disable":  typed(owner, func(context.Context, None) (*PFReply, error) { return f.switchCall(false) }),
		"pf/boot":     typed(reader, f.bootCall),
		"pf/fallback": typed(owner, f.fallback),
		"pf/show":     typed(reader, f.show),
		"pf/flush":    typed(owner, f.flush),
		"pf/kill":     typed(owner, f.kill),
		"pf/sources":  typed(owner, f.killSources),
		"pf/table":    typed(reader, f.table),
		"pf/zero":     typed(owner, f.zero),
		"pf/debug":    typed(owner, f.debug),
		"pf/audit":    typed(owner, f.auditCall),
	}
}

func (f *filter) switchCall(on bool) (*PFReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.enabled() == on {
		return &PFReply{Already: true}, nil
	}
	if on {
		if rs, _ := f.engine.Rules(); rs == nil {
			// As after boot: no rules, everything passes.
			if _, err := f.load([]*PFSource{{Dialect: f.dialect, Sections: conf.SectionAll}}, false); err != nil {
				return nil, err
			}
		}
		if err := f.adoptConnections(); err != nil {
			return nil, err
		}
	}
	f.engine.Switched()
	return &PFReply{}, f.setEnabled(on)
}

// stream sends logged packets, one JSON object a line, until the peer hangs up.
func (f *filter) stream(w http.ResponseWriter, r *http.Request) {
	flusher, ok := w.(http.Flusher)
	if !ok || !isOwner(r.Context()) {
		writeError(w, errNotPermitted)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	encoder := json.NewEncoder(w)
	for record := range f.log.Listen(r.Context()) {
		if encoder.Encode(record) != nil {
			return
		}
		flusher.Flush()
	}
}

func (f *filter) interfaceName(slot uint32) string {
	if ifp, ok := f.daemon.ifnet.BySlot(slot); ok {
		return ifp.Name
	}
	return strconv.Itoa(int(slot))
}
