package engine

import (
	"fmt"
	"io"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// SrcNodeInfo is a source node for programs.
type SrcNodeInfo struct {
	Address    string `json:"address"`
	Redirect   string `json:"redirect,omitempty"`
	States     uint32 `json:"states"`
	AgeSeconds int    `json:"ageSeconds"`
	// Expires is of those that have no states.
	Expires int    `json:"expiresSeconds,omitempty"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Rule and Identity are of the rule that made it.
	Rule     int    `json:"rule"`
	Identity string `json:"identity,omitempty"`
}

// SrcNodeInfos returns the source nodes.
func (e *Engine) SrcNodeInfos() []SrcNodeInfo {
	_, p := e.Rules()
	rules := rulesByCounters(p)
	list := []SrcNodeInfo{}
	for _, n := range e.SrcNodes() {
		info := SrcNodeInfo{Address: n.Addr.String(), Redirect: n.Redirect.String(), States: n.States, AgeSeconds: int(n.Age.Seconds()),
			Expires: int(n.Expires.Seconds()), Packets: n.Packets, Bytes: n.Bytes, Rule: -1}
		if r := rules[n.Rule]; r != nil {
			info.Rule, info.Identity = r.Number, string(r.Identity)
		}
		list = append(list, info)
	}
	return list
}

// ShowSrcNodes writes the source nodes as pfctl -s Sources does.
func (e *Engine) ShowSrcNodes(w io.Writer, o ShowOptions) {
	_, p := e.Rules()
	rules := rulesByCounters(p)
	for _, n := range e.SrcNodes() {
		// Only limits of connections, which are not enforced, count these.
		fmt.Fprintf(w, "%s -> %s ( states %d, connections 0, rate 0.0/0s )\n", n.Addr, n.Redirect, n.States)
		if o.Verbose == 0 {
			continue
		}
		fmt.Fprintf(w, "   age %s", clockText(n.Age))
		if n.States == 0 {
			fmt.Fprintf(w, ", expires in %s", clockText(n.Expires))
		}
		fmt.Fprintf(w, ", %d pkts, %d bytes", n.Packets, n.Bytes)
		if r := rules[n.Rule]; r != nil {
			fmt.Fprintf(w, ", %s rule %d", ruleKind(r), r.Number)
		}
		fmt.Fprintln(w)
	}
}

// ruleKind is what pfctl -s Sources calls the rule of a node.
func ruleKind(r *program.Rule) string {
	switch r.Action {
	case conf.Nat:
		return "nat"
	case conf.Rdr:
		return "rdr"
	}
	return "filter"
}
