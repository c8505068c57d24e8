package control

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// flush does one modifier of -F.
func (f *filter) flush(_ context.Context, r pfctl.FlushRequest) (*PFReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.Modifier {
	case "states":
		match := f.onInterface(r.Interface)
		if match == nil {
			match = func(*engine.State) bool { return true }
		}
		return &PFReply{Count: f.engine.Kill(match)}, nil
	case "rules":
		return &PFReply{}, f.flushSections(r, conf.SectionFilter)
	case "nat":
		return &PFReply{}, f.flushSections(r, conf.SectionNat)
	case "Tables":
		count, err := f.flushTables(r)
		return &PFReply{Count: count}, err
	case "info":
		if r.Interface != "" {
			return &PFReply{}, f.engine.ClearInterface(r.Interface)
		}
		return &PFReply{}, f.engine.ClearStatus()
	case "Reset":
		return &PFReply{}, f.setOptions("", false)
	case "Sources":
		return &PFReply{Count: f.engine.KillSrcNodes(func(netip.Addr, netip.Addr) bool { return true })}, nil
	case "queue", "osfp", "ethernet":
		return &PFReply{}, nil // there are none
	}
	return nil, fmt.Errorf("-F %s is %w", r.Modifier, errNotYet)
}

// setOptions puts set lines in force, with merge besides those that are.
func (f *filter) setOptions(lines string, merge bool) error {
	source := &PFSource{Dialect: f.dialect, Sections: conf.SectionOptions, Options: lines}
	if _, err := f.load([]*PFSource{source}, merge); err != nil {
		return err
	}
	return f.save()
}

// PFZero asks for the counters of an anchor's rules to be cleared.
type PFZero struct {
	Anchor  string `json:"anchor,omitempty"`
	Recurse bool   `json:"recurse,omitempty"`
}

func (f *filter) zero(_ context.Context, r PFZero) (*PFReply, error) {
	return &PFReply{}, f.engine.ZeroRules(r.Anchor, r.Recurse)
}

// PFDebug asks for a level of messages (-x).
type PFDebug struct {
	Level string `json:"level"`
}

func (f *filter) debug(_ context.Context, r PFDebug) (*PFReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &PFReply{}, f.setOptions(fmt.Sprintf("set debug %s\n", r.Level), true)
}
