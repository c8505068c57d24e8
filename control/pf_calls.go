package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
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
		"pf/load":    typed(owner, f.loadCall),
		"pf/enable":  typed(owner, func(context.Context, None) (*PFReply, error) { return f.switchCall(true) }),
		"pf/disable": typed(owner, func(context.Context, None) (*PFReply, error) { return f.switchCall(false) }),
		"pf/show":    typed(reader, f.show),
		"pf/flush":   typed(owner, f.flush),
		"pf/kill":    typed(owner, f.kill),
		"pf/table":   typed(reader, f.table),
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

func (f *filter) show(_ context.Context, r pfctl.ShowRequest) (*PFText, error) {
	var out bytes.Buffer
	o := engine.ShowOptions{Verbose: r.Verbose, SwapPorts: r.SwapPorts, Anchor: r.Anchor, Recurse: r.Recurse, Debug: r.Debug}
	states := func() error { return f.engine.ShowStates(&out, o, f.interfaceName, nil) }
	var err error
	switch r.Modifier {
	case "rules":
		err = f.engine.ShowRules(&out, o, conf.Pass, conf.Block, conf.Match)
	case "nat":
		err = f.engine.ShowRules(&out, o, conf.Nat, conf.NoNat, conf.Rdr, conf.NoRdr)
	case "states":
		err = states()
	case "info":
		err = f.engine.ShowInfo(&out, f.enabled())
	case "labels":
		err = f.engine.ShowLabels(&out, o)
	case "timeouts":
		f.engine.ShowTimeouts(&out)
	case "memory":
		f.engine.ShowMemory(&out)
	case "Tables":
		f.engine.ShowTables(&out, o)
	case "Interfaces":
		for _, ifp := range f.daemon.ifnet.All() {
			if ifp.Owned || ifp.Loopback {
				fmt.Fprintln(&out, ifp.Name)
			}
		}
	case "Running":
	case "all":
		fmt.Fprintln(&out, "TRANSLATION RULES:")
		err = f.engine.ShowRules(&out, o, conf.Nat, conf.NoNat, conf.Rdr, conf.NoRdr)
		fmt.Fprintln(&out, "\nFILTER RULES:")
		err = errors.Join(err, f.engine.ShowRules(&out, o, conf.Pass, conf.Block, conf.Match))
		fmt.Fprintln(&out, "\nSTATES:")
		err = errors.Join(err, states())
		fmt.Fprintln(&out, "\nINFO:")
		err = errors.Join(err, f.engine.ShowInfo(&out, f.enabled()))
		fmt.Fprintln(&out, "\nTIMEOUTS:")
		f.engine.ShowTimeouts(&out)
		fmt.Fprintln(&out, "\nLIMITS:")
		f.engine.ShowMemory(&out)
		fmt.Fprintln(&out, "\nTABLES:")
		f.engine.ShowTables(&out, engine.ShowOptions{})
	default:
		return nil, fmt.Errorf("-s %s is not there yet", r.Modifier)
	}
	return &PFText{Text: out.String(), Running: f.enabled()}, err
}

func (f *filter) flush(_ context.Context, r pfctl.FlushRequest) (*PFReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.Modifier {
	case "states":
		return &PFReply{Count: f.engine.Kill(func(*engine.State) bool { return true })}, nil
	case "rules":
		return &PFReply{}, f.flushSections(r, conf.SectionFilter)
	case "nat":
		return &PFReply{}, f.flushSections(r, conf.SectionNat)
	case "Tables":
		count, err := f.flushTables(r)
		return &PFReply{Count: count}, err
	case "info":
		return &PFReply{}, f.engine.ClearStatus()
	case "Sources", "queue", "osfp", "ethernet":
		return &PFReply{}, nil // there are none
	}
	return nil, fmt.Errorf("-F %s is not there yet", r.Modifier)
}

// kill ends states by host or network, as -k does with one or two arguments.
func (f *filter) kill(_ context.Context, r pfctl.KillRequest) (*PFReply, error) {
	var prefixes []netip.Prefix
	for _, key := range r.Keys {
		p, err := parseHost(key)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, p)
	}
	if len(prefixes) == 0 || len(prefixes) > 2 {
		return nil, fmt.Errorf("want one or two hosts")
	}
	killed := f.engine.Kill(func(s *engine.State) bool {
		source, destination := s.Wire[0].Addr(), s.Wire[1].Addr()
		if s.Direction == conf.Out {
			source, destination = s.Stack[1].Addr(), s.Stack[0].Addr()
		}
		return prefixes[0].Contains(source) && (len(prefixes) == 1 || prefixes[1].Contains(destination))
	})
	result := pfctl.KillResult{Killed: killed, Sources: 1}
	if len(prefixes) == 2 {
		result.Destinations = 1
	}
	return &PFReply{Killed: result}, nil
}

func parseHost(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s: want an address or a network", text)
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}
