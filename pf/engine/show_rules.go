package engine

import (
	"fmt"
	"io"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// RuleInfo is a rule with its counters.
type RuleInfo struct {
	Anchor string `json:"anchor,omitempty"`
	Number int    `json:"number"`
	// Identity stays the same over reloads that keep the rule.
	Identity string   `json:"identity"`
	Text     string   `json:"text"`
	Labels   []string `json:"labels,omitempty"`
	// Evaluations counts how often the rule was looked at.
	Evaluations uint64 `json:"evaluations"`
	PacketsIn   uint64 `json:"packetsIn"`
	PacketsOut  uint64 `json:"packetsOut"`
	BytesIn     uint64 `json:"bytesIn"`
	BytesOut    uint64 `json:"bytesOut"`
	// States are those that it made and that live, StatesCreated all.
	States        int    `json:"states"`
	StatesCreated uint64 `json:"statesCreated"`
}

// ruleLists are the lists of an anchor that -s nat or -s rules shows.
func ruleLists(a *conf.Anchor, nat bool) [][]*conf.Rule {
	if nat {
		return [][]*conf.Rule{a.Nat, a.Rdr, a.Binat}
	}
	return [][]*conf.Rule{a.Scrub, a.Filter}
}

// ruleView reads rules of a program with their counters.
type ruleView struct {
	engine   *Engine
	rules    *conf.Ruleset
	compiled map[*conf.Rule]*program.Rule
	states   map[uint32]int // by slot of the counters
}

func (e *Engine) view() *ruleView {
	v := &ruleView{engine: e, compiled: make(map[*conf.Rule]*program.Rule), states: make(map[uint32]int)}
	rs, p := e.Rules()
	if p == nil {
		v.rules = conf.NewRuleset(conf.FreeBSD)
		return v
	}
	v.rules = rs
	for _, r := range p.Rules {
		v.compiled[r.Rule] = r
	}
	for _, s := range e.States() {
		v.states[s.Rule]++
	}
	return v
}

func (v *ruleView) info(path string, r *conf.Rule, o conf.FormatOptions) (RuleInfo, error) {
	info := RuleInfo{Anchor: path, Number: r.Number, Text: r.Text(v.rules.Dialect, o)}
	for _, label := range r.Labels {
		if label != "" {
			info.Labels = append(info.Labels, label)
		}
	}
	compiled := v.compiled[r]
	if compiled == nil {
		return info, nil // of an anchor that no rule calls
	}
	info.Identity, info.States = string(compiled.Identity), v.states[compiled.Counters]
	c, err := v.engine.RuleCounters(compiled.Counters)
	info.Evaluations, info.StatesCreated = c.Evaluations, c.States
	info.PacketsIn, info.PacketsOut, info.BytesIn, info.BytesOut = c.Packets[0], c.Packets[1], c.Bytes[0], c.Bytes[1]
	return info, err
}

// anchor finds the anchor that is asked for.
func (v *ruleView) anchor(path string) (*conf.Anchor, error) {
	if a := v.rules.Main.Lookup(path); a != nil {
		return a, nil
	}
	return nil, ErrNoAnchor
}

// RuleInfos returns the rules of an anchor and of all below it.
func (e *Engine) RuleInfos(o ShowOptions, nat bool) ([]RuleInfo, error) {
	v := e.view()
	anchor, err := v.anchor(o.Anchor)
	if err != nil {
		return nil, err
	}
	list := []RuleInfo{}
	anchor.Walk(func(a *conf.Anchor) {
		for _, rules := range ruleLists(a, nat) {
			for _, r := range rules {
				info, infoErr := v.info(a.Path, r, conf.FormatOptions{SwapPorts: o.SwapPorts, AnchorPaths: true})
				if infoErr != nil {
					err = infoErr
				}
				list = append(list, info)
			}
		}
	})
	return list, err
}

// ShowRules writes the rules of an anchor as pfctl -s rules and -s nat do, with
// counters where asked. Unnamed anchors show their rules in braces, all anchors
// with Recurse.
func (e *Engine) ShowRules(w io.Writer, o ShowOptions, nat bool) error {
	v := e.view()
	anchor, err := v.anchor(o.Anchor)
	if err != nil {
		return err
	}
	for i := range ruleLists(anchor, nat) {
		list := func(a *conf.Anchor) []*conf.Rule { return ruleLists(a, nat)[i] }
		if err := v.show(w, o, anchor, list, 0); err != nil {
			return err
		}
	}
	return nil
}

func (v *ruleView) show(w io.Writer, o ShowOptions, a *conf.Anchor, list func(*conf.Anchor) []*conf.Rule, depth int) error {
	indent := ""
	if o.Verbose == 0 {
		indent = strings.Repeat("  ", depth)
	}
	for _, r := range list(a) {
		info, err := v.info(a.Path, r, conf.FormatOptions{Numbers: o.Verbose > 1, SwapPorts: o.SwapPorts, AnchorPaths: true})
		if err != nil {
			return err
		}
		braces := r.Anchor != nil && (o.Recurse || r.Anchor.Inline && r.Anchor.Printed == "")
		end := ""
		if braces {
			end = " {"
		}
		fmt.Fprintf(w, "%s%s%s\n", indent, info.Text, end)
		if o.Verbose > 0 {
			fmt.Fprintf(w, "  [ Evaluations: %-8d  Packets: %-8d  Bytes: %-10d  States: %-6d]\n", info.Evaluations,
				info.PacketsIn+info.PacketsOut, info.BytesIn+info.BytesOut, info.States)
			fmt.Fprintf(w, "  [ Inserted: uid 0 pid 0 State Creations: %-6d]\n", info.StatesCreated)
		}
		if !braces {
			continue
		}
		if err := v.showCalled(w, o, r.Anchor, list, depth+1); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s}\n", indent)
	}
	return nil
}

// showCalled writes the rules of the anchors that a rule calls.
func (v *ruleView) showCalled(w io.Writer, o ShowOptions, call *conf.AnchorCall, list func(*conf.Anchor) []*conf.Rule, depth int) error {
	if !call.Wildcard {
		if called := v.rules.Main.Lookup(call.Path); called != nil {
			return v.show(w, o, called, list, depth)
		}
		return nil
	}
	parent := v.rules.Main.Lookup(strings.TrimSuffix(strings.TrimSuffix(call.Path, "*"), "/"))
	if parent == nil {
		return nil
	}
	indent := ""
	if o.Verbose == 0 {
		indent = strings.Repeat("  ", depth)
	}
	for _, child := range parent.Children {
		fmt.Fprintf(w, "%sanchor \"%s\" all {\n", indent, child.Path[strings.LastIndexByte(child.Path, '/')+1:])
		if err := v.show(w, o, child, list, depth+1); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s}\n", indent)
	}
	return nil
}

// ShowLabels writes the counters of rules with a label, as pfctl -s labels.
func (e *Engine) ShowLabels(w io.Writer, o ShowOptions) error {
	list, err := e.RuleInfos(o, false)
	if err != nil {
		return err
	}
	for _, r := range list {
		for _, label := range r.Labels {
			fmt.Fprintf(w, "%s %d %d %d %d %d %d %d %d\n", label, r.Evaluations, r.PacketsIn+r.PacketsOut, r.BytesIn+r.BytesOut,
				r.PacketsIn, r.BytesIn, r.PacketsOut, r.BytesOut, r.StatesCreated)
		}
	}
	return nil
}

// Anchors returns the paths of the anchors right below one, or with deep of
// all below it. Unnamed anchors are left out unless deep.
func (e *Engine) Anchors(path string, deep bool) ([]string, error) {
	v := e.view()
	anchor, err := v.anchor(path)
	if err != nil {
		return nil, err
	}
	paths := []string{}
	anchor.Walk(func(a *conf.Anchor) {
		rest := strings.TrimPrefix(strings.TrimPrefix(a.Path, path), "/")
		if a == anchor || !deep && (strings.Contains(rest, "/") || strings.HasPrefix(a.Path, "_")) {
			return
		}
		paths = append(paths, a.Path)
	})
	return paths, nil
}

// ZeroRules clears the counters of an anchor's rules, with recurse also of
// those below. Packets that are counted meanwhile may be lost or not.
func (e *Engine) ZeroRules(path string, recurse bool) error {
	v := e.view()
	anchor, err := v.anchor(path)
	if err != nil {
		return err
	}
	var slots []uint32
	anchor.Walk(func(a *conf.Anchor) {
		if a != anchor && !recurse {
			return
		}
		for _, nat := range []bool{false, true} {
			for _, rules := range ruleLists(a, nat) {
				for _, r := range rules {
					if compiled := v.compiled[r]; compiled != nil {
						slots = append(slots, compiled.Counters)
					}
				}
			}
		}
	})
	return e.clearRules(slots)
}
