package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// kill ends states as -k says.
func (f *filter) kill(_ context.Context, r pfctl.KillRequest) (*PFReply, error) {
	match, err := f.killMatch(&r)
	if err != nil {
		return nil, err
	}
	if on := f.onInterface(r.Interface); on != nil {
		inner := match
		match = func(s *engine.State) bool { return on(s) && inner(s) }
	}
	type flow struct{ source, destination netip.AddrPort }
	twins := make(map[flow]bool)
	killed := f.engine.Kill(func(s *engine.State) bool {
		if !match(s) {
			return false
		}
		source, destination := s.Source(true)
		twins[flow{source, destination}] = true
		return true
	})
	if r.Matching {
		killed += f.engine.Kill(func(s *engine.State) bool {
			source, destination := s.Source(true)
			return twins[flow{source, destination}]
		})
	}
	return &PFReply{Killed: pfctl.KillResult{Killed: killed, Sources: len(r.Sources), Destinations: len(r.Destinations)}}, nil
}

func (f *filter) killMatch(r *pfctl.KillRequest) (func(*engine.State) bool, error) {
	if len(r.Keys) == 0 {
		return nil, errors.New("want one or two hosts")
	}
	switch r.Keys[0] {
	case "label":
		return f.matchLabel(r.Keys[1]), nil
	case "id":
		return f.matchID(r.Keys[1])
	case "key":
		return matchKey(r.Keys[1])
	case "gateway":
		return nil, errors.New("-k gateway: no state has a gateway: route-to and reply-to are not enforced yet")
	}
	return func(s *engine.State) bool {
		source, destination := s.Source(r.Keys[0] == "nat")
		return contains(r.Sources, source.Addr()) && (len(r.Destinations) == 0 || contains(r.Destinations, destination.Addr()))
	}, nil
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// killSources ends source nodes as -K says: by their source, and by the address
// that they were given.
func (f *filter) killSources(_ context.Context, r pfctl.KillRequest) (*PFReply, error) {
	killed := f.engine.KillSrcNodes(func(source, redirect netip.Addr) bool {
		return contains(r.Sources, source) && (len(r.Destinations) == 0 || contains(r.Destinations, redirect))
	})
	return &PFReply{Killed: pfctl.KillResult{Killed: killed, Sources: len(r.Sources), Destinations: len(r.Destinations)}}, nil
}

func (f *filter) matchLabel(label string) func(*engine.State) bool {
	_, p := f.engine.Rules()
	slots := make(map[uint32]bool)
	if p != nil {
		for _, r := range p.Rules {
			if slices.Contains(r.Labels[:], label) {
				slots[r.Counters] = true
			}
		}
	}
	return func(s *engine.State) bool { return slots[s.Rule] }
}

// matchID matches an id as -vv -s states shows it, with or without the
// creator's.
func (f *filter) matchID(text string) (func(*engine.State) bool, error) {
	idText, creatorText, given := strings.Cut(text, "/")
	id, err := strconv.ParseUint(idText, 16, 64)
	creator := uint64(f.engine.CreatorID())
	if given && err == nil {
		creator, err = strconv.ParseUint(creatorText, 16, 32)
	}
	if err != nil {
		return nil, fmt.Errorf("wrong id format specified: %s", text)
	}
	return func(s *engine.State) bool { return s.ID == id && creator == uint64(f.engine.CreatorID()) }, nil
}

// matchKey matches "protocol host:port direction host:port" as -s states
// shows it.
func matchKey(text string) (func(*engine.State) bool, error) {
	wrong := fmt.Errorf("wrong key format specified: %s: want \"protocol host:port <- host:port\"", text)
	words := strings.Fields(text)
	if len(words) != 4 || words[2] != "<-" && words[2] != "->" {
		return nil, wrong
	}
	left, err := parseEnd(words[1])
	if err != nil {
		return nil, wrong
	}
	right, err := parseEnd(words[3])
	if err != nil {
		return nil, wrong
	}
	return func(s *engine.State) bool {
		l, arrow, r := s.Shown()
		return strings.EqualFold(conf.ProtocolName(s.Protocol), words[0]) && l == left && arrow == words[2] && r == right
	}, nil
}

// parseEnd reads an address with a port: 192.0.2.1:80, 2001:db8::1[80], or
// without port.
func parseEnd(text string) (netip.AddrPort, error) {
	if host, port, ok := strings.Cut(strings.TrimSuffix(text, "]"), "["); ok && host != "" {
		addr, err := netip.ParseAddr(host)
		n, portErr := strconv.ParseUint(port, 10, 16)
		return netip.AddrPortFrom(addr, uint16(n)), errors.Join(err, portErr)
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr, 0), nil
	}
	return netip.ParseAddrPort(text)
}
