package engine

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// ShowOptions choose how much is shown, as pfctl's -v does.
type ShowOptions struct {
	Verbose   int
	SwapPorts bool
	Anchor    string
	Recurse   bool // also below the anchor
	Debug     bool
}

var (
	tcpStates   = []string{"CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1", "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT"}
	otherStates = []string{"NO_TRAFFIC", "SINGLE", "MULTIPLE"}
)

// peerStates names the states of the two peers of a protocol.
func peerStates(protocol, a, b uint8) string {
	var names []string
	switch protocol {
	case 6:
		names = tcpStates
	case 1, 58:
	default:
		names = otherStates
	}
	if int(a) < len(names) && int(b) < len(names) {
		return names[a] + ":" + names[b]
	}
	return fmt.Sprintf("%d:%d", a, b)
}

func hostText(h netip.AddrPort) string {
	if h.Port() == 0 {
		return h.Addr().String()
	}
	if h.Addr().Is4() {
		return h.String()
	}
	return fmt.Sprintf("%s[%d]", h.Addr(), h.Port())
}

// StateInfo is a state for programs.
type StateInfo struct {
	ID        string `json:"id"`
	CreatorID string `json:"creatorID"`
	Interface string `json:"interface"`
	Protocol  string `json:"protocol"`
	Direction string `json:"direction"`
	// Source and Destination are those of the first packet on the wire,
	// Untranslated what they are behind a translation.
	Source       string    `json:"source"`
	Destination  string    `json:"destination"`
	Untranslated []string  `json:"untranslated,omitempty"`
	State        string    `json:"state"`
	AgeSeconds   int       `json:"ageSeconds"`
	Expires      int       `json:"expiresSeconds"`
	Packets      [2]uint64 `json:"packets"`
	Bytes        [2]uint64 `json:"bytes"`
	// Rule and Identity are of the rule that made it.
	Rule     int    `json:"rule"`
	Anchor   string `json:"anchor,omitempty"`
	Identity string `json:"identity,omitempty"`
}

// CreatorID is the number of this host in states.
func (e *Engine) CreatorID() uint32 { return uint32(e.head.Values[0].Seed) }

// Source returns where the first packet of a state came from and went to, on
// the wire or behind a translation.
func (s *State) Source(stack bool) (source, destination netip.AddrPort) {
	key := s.Wire
	if stack {
		key = s.Stack
	}
	if s.Direction == conf.Out {
		return key[1], key[0]
	}
	return key[0], key[1]
}

// StateInfos returns the states that match, all without match.
func (e *Engine) StateInfos(names func(slot uint32) string, match func(*State) bool) []StateInfo {
	_, p := e.Rules()
	rules := rulesByCounters(p)
	list := []StateInfo{}
	for _, s := range e.States() {
		if match != nil && !match(&s) {
			continue
		}
		source, destination := s.Source(false)
		info := StateInfo{
			ID: fmt.Sprintf("%016x", s.ID), CreatorID: fmt.Sprintf("%08x", e.CreatorID()), Interface: s.interfaceName(names),
			Protocol: conf.ProtocolName(s.Protocol), Direction: s.Direction.String(), Source: hostText(source), Destination: hostText(destination),
			State: s.peers(), AgeSeconds: int(s.Age.Seconds()), Expires: int(s.Expires.Seconds()), Packets: s.Packets, Bytes: s.Bytes, Rule: -1,
		}
		if s.Wire != s.Stack {
			source, destination = s.Source(true)
			info.Untranslated = []string{hostText(source), hostText(destination)}
		}
		if r := rules[s.Rule]; r != nil {
			info.Rule, info.Anchor, info.Identity = r.Number, r.Anchor, string(r.Identity)
		}
		list = append(list, info)
	}
	return list
}

func rulesByCounters(p *program.Program) map[uint32]*program.Rule {
	rules := make(map[uint32]*program.Rule)
	if p != nil {
		for _, r := range p.Rules {
			rules[r.Counters] = r
		}
	}
	return rules
}

func (s *State) interfaceName(names func(uint32) string) string {
	if s.Interface == bpf.IfnetSlots {
		return "all"
	}
	return names(s.Interface)
}

// order says which of the two peers pfctl shows first.
func (s *State) order() (first, second int) {
	if s.Direction == conf.In {
		return 1, 0
	}
	return 0, 1
}

func (s *State) peers() string {
	first, second := s.order()
	return peerStates(s.Protocol, s.Peers[first], s.Peers[second])
}

// Shown returns the two ends of a state in the order in which pfctl shows
// them, with the arrow between them.
func (s *State) Shown() (left netip.AddrPort, arrow string, right netip.AddrPort) {
	if s.Direction == conf.In {
		return s.Stack[1], "<-", s.Stack[0]
	}
	return s.Wire[1], "->", s.Wire[0]
}

// ShowStates writes the states that match as pfctl -s states does, all without
// match. names gives the name of an interface's slot.
func (e *Engine) ShowStates(w io.Writer, o ShowOptions, names func(slot uint32) string, match func(*State) bool) {
	_, p := e.Rules()
	rules := rulesByCounters(p)
	for _, s := range e.States() {
		if match == nil || match(&s) {
			e.showState(w, o, &s, names, rules)
		}
	}
}

func (e *Engine) showState(w io.Writer, o ShowOptions, s *State, names func(uint32) string, rules map[uint32]*program.Rule) {
	far := s.Stack
	if s.Direction == conf.In {
		far = s.Wire
	}
	host := func(near, far netip.AddrPort) string {
		if near == far {
			return hostText(near)
		}
		return hostText(near) + " (" + hostText(far) + ")"
	}
	first, second := s.order()
	left, arrow, right := s.Shown()
	fmt.Fprintf(w, "%s %s %s %s %s       %s\n", s.interfaceName(names), conf.ProtocolName(s.Protocol), host(left, far[1]), arrow,
		host(right, far[0]), s.peers())
	if o.Verbose == 0 {
		return
	}
	if s.Protocol == 6 {
		seq := func(i int) string {
			text := fmt.Sprintf("[%d + %d]", s.SeqLo[i], s.SeqHi[i]-s.SeqLo[i])
			if s.WScale[0] != 0 && s.WScale[1] != 0 {
				text += fmt.Sprintf(" wscale %d", s.WScale[i]&0xf)
			}
			return text
		}
		fmt.Fprintf(w, "   %s  %s\n", seq(first), seq(second))
	}
	fmt.Fprintf(w, "   age %s, expires in %s, %d:%d pkts, %d:%d bytes", clockText(s.Age), clockText(s.Expires),
		s.Packets[0], s.Packets[1], s.Bytes[0], s.Bytes[1])
	if r := rules[s.Rule]; r != nil {
		if r.Anchor != "" {
			fmt.Fprintf(w, ", anchor %s", r.Anchor)
		}
		fmt.Fprintf(w, ", rule %d", r.Number)
	}
	fmt.Fprintln(w)
	if o.Verbose > 1 {
		fmt.Fprintf(w, "   id: %016x creatorid: %08x\n", s.ID, e.CreatorID())
	}
}

func clockText(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// Counter is a counter of pf by its name.
type Counter struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// Info is the status of pf.
type Info struct {
	Running  bool      `json:"running"`
	Seconds  int       `json:"seconds"` // since it was enabled or disabled
	Debug    string    `json:"debug"`
	HostID   string    `json:"hostID"`
	Entries  uint64    `json:"stateEntries"`
	SrcNodes int       `json:"srcNodeEntries"`
	Sources  []Counter `json:"srcNodes"`
	States   []Counter `json:"states"`
	Flows    uint64    `json:"flowPackets"` // that went the short way of established packets
	Counters []Counter `json:"counters"`
	Limits   []Counter `json:"limitCounters"`
	// Interface is that of set loginterface.
	Interface *InterfaceStats `json:"interface,omitempty"`
}

// Info reads the status.
func (e *Engine) Info(running bool) (*Info, error) {
	status, err := e.Status()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	since, options := e.since, e.currentOptions()
	if e.fragments != nil {
		status.Fragment += e.fragments.FragmentsDropped()
	}
	e.mu.Unlock()
	var stats *InterfaceStats
	if options.LogInterface != "" {
		if stats, err = e.InterfaceStats(options.LogInterface); err != nil {
			return nil, err
		}
	}
	count, _ := e.Count()
	nodes := e.srcNodeCount()
	return &Info{
		SrcNodes: nodes, Sources: []Counter{{"searches", status.SrcNodeSearches}, {"inserts", status.SrcNodeInserts},
			{"removals", status.SrcNodeInserts - min(uint64(nodes), status.SrcNodeInserts)}},
		Interface: stats,
		Running:   running, Seconds: int(time.Since(since).Seconds()), Debug: options.Debug, HostID: fmt.Sprintf("0x%08x", e.CreatorID()), Entries: count,
		States: []Counter{{"searches", status.Searches}, {"inserts", status.Inserts}, {"removals", status.Inserts - min(count, status.Inserts)}},
		Flows:  status.Flows,
		Counters: []Counter{
			{"match", status.Match}, {"bad-offset", status.BadOffset}, {"fragment", status.Fragment}, {"short", status.TooShort},
			{"normalize", status.Normalize}, {"memory", status.Memory}, {"bad-timestamp", 0}, {"congestion", 0},
			{"ip-option", status.IpOption}, {"proto-cksum", status.ProtoCksum}, {"state-mismatch", status.StateMismatch},
			{"state-insert", status.StateInsert}, {"state-limit", status.StateLimit}, {"src-limit", status.SrcLimit}, {"synproxy", 0},
			{"map-failed", status.Translate},
		},
		Limits: []Counter{{"max states per rule", status.MaxStates}},
	}, nil
}

// ShowInfo writes the status as pfctl -s info does.
func (e *Engine) ShowInfo(w io.Writer, running bool, o ShowOptions) error {
	info, err := e.Info(running)
	if err != nil {
		return err
	}
	word, seconds := "Disabled", info.Seconds
	if running {
		word = "Enabled"
	}
	line := fmt.Sprintf("Status: %s for %d days %02d:%02d:%02d", word, seconds/86400, seconds/3600%24, seconds/60%60, seconds%60)
	fmt.Fprintf(w, "%-44s%15s\n\n", line, "Debug: "+info.Debug)
	if o.Verbose > 0 {
		fmt.Fprintf(w, "Hostid:   %s\n\n", info.HostID)
	}
	if info.Interface != nil {
		info.Interface.show(w)
	}
	fmt.Fprintf(w, "%-27s %14s %16s\n", "State Table", "Total", "Rate")
	fmt.Fprintf(w, "  %-25s %14d %14s\n", "current entries", info.Entries, "")
	rates := func(list []Counter) {
		for _, c := range list {
			fmt.Fprintf(w, "  %-25s %14d ", c.Name, c.Count)
			if seconds > 0 {
				fmt.Fprintf(w, "%14.1f/s\n", float64(c.Count)/float64(seconds))
			} else {
				fmt.Fprintf(w, "%14s\n", "")
			}
		}
	}
	rates(info.States)
	if o.Verbose > 0 {
		fmt.Fprintf(w, "Source Tracking Table\n  %-25s %14d %14s\n", "current entries", info.SrcNodes, "")
		rates(info.Sources)
	}
	fmt.Fprintln(w, "Counters")
	rates(info.Counters)
	if o.Verbose > 0 {
		fmt.Fprintln(w, "Limit Counters")
		rates(info.Limits)
	}
	return nil
}

// ShowTimeouts writes the timers as pfctl -s timeouts does.
func (e *Engine) ShowTimeouts(w io.Writer) {
	o := e.options()
	for t := conf.Timeout(0); t < conf.TimeoutCount; t++ {
		unit := "s"
		if t == conf.TimeoutAdaptiveStart || t == conf.TimeoutAdaptiveEnd {
			unit = " states"
		}
		fmt.Fprintf(w, "%-20s %10d%s\n", t, o.Timeouts[t], unit)
	}
}

// ShowMemory writes the limits as pfctl -s memory does.
func (e *Engine) ShowMemory(w io.Writer) {
	o := e.options()
	for l := conf.Limit(0); l < conf.LimitCount; l++ {
		if o.Limits[l] != 0 {
			fmt.Fprintf(w, "%-13s hard limit %8d\n", l, o.Limits[l])
		}
	}
}

// Options returns the settings in force.
func (e *Engine) Options() conf.Options { return e.options() }

func (e *Engine) options() conf.Options {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.currentOptions()
}

// currentOptions is options for those who hold e.mu.
func (e *Engine) currentOptions() conf.Options {
	if e.ruleset != nil {
		return e.ruleset.Options
	}
	return defaultOptions()
}
