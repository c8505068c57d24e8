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

// ShowRules writes the rules of some actions of an anchor, as pfctl -s rules
// and -s nat do, with counters where asked.
func (e *Engine) ShowRules(w io.Writer, o ShowOptions, actions ...conf.Action) error {
	rs, p := e.Rules()
	if p == nil {
		return nil
	}
	wanted := make(map[conf.Action]bool)
	for _, action := range actions {
		wanted[action] = true
	}
	for _, r := range p.Rules {
		if r.Anchor != o.Anchor || !wanted[r.Action] {
			continue
		}
		fmt.Fprintln(w, r.Text(rs.Dialect, conf.FormatOptions{Numbers: o.Verbose > 1, SwapPorts: o.SwapPorts}))
		if o.Verbose == 0 {
			continue
		}
		counters, err := e.RuleCounters(r.Counters)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  [ Evaluations: %-8d  Packets: %-8d  Bytes: %-10d  States: %-6d]\n", counters.Evaluations,
			counters.Packets[0]+counters.Packets[1], counters.Bytes[0]+counters.Bytes[1], e.statesOf(r.Counters))
		fmt.Fprintf(w, "  [ Inserted: uid 0 pid 0 State Creations: %-6d]\n", counters.States)
	}
	return nil
}

func (e *Engine) statesOf(counters uint32) (n int) {
	for _, s := range e.States() {
		if s.Rule == counters {
			n++
		}
	}
	return n
}

// ShowLabels writes the counters of rules with a label, as pfctl -s labels.
func (e *Engine) ShowLabels(w io.Writer, o ShowOptions) error {
	_, p := e.Rules()
	if p == nil {
		return nil
	}
	for _, r := range p.Rules {
		if r.Anchor != o.Anchor || r.Labels[0] == "" {
			continue
		}
		c, err := e.RuleCounters(r.Counters)
		if err != nil {
			return err
		}
		for _, label := range r.Labels {
			if label != "" {
				fmt.Fprintf(w, "%s %d %d %d %d %d %d %d %d\n", label, c.Evaluations, c.Packets[0]+c.Packets[1], c.Bytes[0]+c.Bytes[1],
					c.Packets[0], c.Bytes[0], c.Packets[1], c.Bytes[1], c.States)
			}
		}
	}
	return nil
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

// ShowStates writes states as pfctl -s states does. names gives the name of
// an interface's slot.
func (e *Engine) ShowStates(w io.Writer, o ShowOptions, names func(slot uint32) string, match func(*State) bool) error {
	_, p := e.Rules()
	numbers := ruleNumbers(p)
	for _, s := range e.States() {
		if match != nil && !match(&s) {
			continue
		}
		e.showState(w, o, &s, names, numbers)
	}
	return nil
}

func ruleNumbers(p *program.Program) map[uint32]int {
	numbers := make(map[uint32]int)
	if p != nil {
		for _, r := range p.Rules {
			numbers[r.Counters] = r.Number
		}
	}
	return numbers
}

func (e *Engine) showState(w io.Writer, o ShowOptions, s *State, names func(uint32) string, numbers map[uint32]int) {
	name := "all"
	if s.Interface != bpf.IfnetSlots {
		name = names(s.Interface)
	}
	near, far, arrow, first, second := s.Wire, s.Stack, "->", 0, 1
	if s.Direction == conf.In {
		near, far, arrow, first, second = s.Stack, s.Wire, "<-", 1, 0
	}
	host := func(i int) string {
		text := hostText(near[i])
		if near[i] != far[i] {
			text += " (" + hostText(far[i]) + ")"
		}
		return text
	}
	fmt.Fprintf(w, "%s %s %s %s %s       %s\n", name, conf.ProtocolName(s.Protocol), host(1), arrow, host(0),
		peerStates(s.Protocol, s.Peers[first], s.Peers[second]))
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
	if number, ok := numbers[s.Rule]; ok {
		fmt.Fprintf(w, ", rule %d", number)
	}
	fmt.Fprintln(w)
	if o.Verbose > 1 {
		fmt.Fprintf(w, "   id: %016x creatorid: %08x\n", s.ID, uint32(e.head.Values[0].Seed))
	}
}

func clockText(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// ShowInfo writes the status as pfctl -s info does.
func (e *Engine) ShowInfo(w io.Writer, running bool) error {
	status, err := e.Status()
	if err != nil {
		return err
	}
	rs, _ := e.Rules()
	debug := "urgent"
	if rs != nil {
		debug = rs.Options.Debug
	}
	since := time.Since(e.since)
	word := "Disabled"
	if running {
		word = "Enabled"
	}
	seconds := int(since.Seconds())
	line := fmt.Sprintf("Status: %s for %d days %02d:%02d:%02d", word, seconds/86400, seconds/3600%24, seconds/60%60, seconds%60)
	fmt.Fprintf(w, "%-44s%15s\n\n", line, "Debug: "+debug)
	count, _ := e.Count()
	fmt.Fprintf(w, "%-27s %14s %16s\n", "State Table", "Total", "Rate")
	fmt.Fprintf(w, "  %-25s %14d %14s\n", "current entries", count, "")
	rate := func(name string, n uint64) {
		fmt.Fprintf(w, "  %-25s %14d ", name, n)
		if seconds > 0 {
			fmt.Fprintf(w, "%14.1f/s\n", float64(n)/float64(seconds))
		} else {
			fmt.Fprintf(w, "%14s\n", "")
		}
	}
	rate("searches", status.Searches)
	rate("inserts", status.Inserts)
	rate("removals", status.Inserts-count)
	fmt.Fprintln(w, "Counters")
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"match", status.Match}, {"bad-offset", status.BadOffset}, {"fragment", status.Fragment}, {"short", status.TooShort},
		{"normalize", status.Normalize}, {"memory", status.Memory}, {"bad-timestamp", 0}, {"congestion", 0},
		{"ip-option", status.IpOption}, {"proto-cksum", status.ProtoCksum}, {"state-mismatch", status.StateMismatch},
		{"state-insert", status.StateInsert}, {"state-limit", status.StateLimit}, {"src-limit", 0}, {"synproxy", 0},
		{"map-failed", status.Translate},
	} {
		rate(c.name, c.n)
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
