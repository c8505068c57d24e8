package engine

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
)

// InterfaceStats is what set loginterface counts: IPv4 first, then IPv6.
type InterfaceStats struct {
	Name string         `json:"name"`
	In   DirectionStats `json:"in"`
	Out  DirectionStats `json:"out"`
}

// DirectionStats are the packets of one direction that pf looked at.
type DirectionStats struct {
	Bytes   [2]uint64 `json:"bytes"`
	Passed  [2]uint64 `json:"passed"`
	Blocked [2]uint64 `json:"blocked"`
}

// applyLogInterface has the packets of an interface counted, of none if it has
// no name or is not there. Those of another begin at zero.
func (e *Engine) applyLogInterface(name string) {
	place := &e.settings.Values[0].LogIfslot
	wanted := uint32(0)
	if slot, ok := e.interfaces.Slot(name); ok && name != "" {
		wanted = slot + 1
	}
	if wanted == atomic.LoadUint32(place) {
		return
	}
	atomic.StoreUint32(place, 0)
	if wanted != 0 && e.clearLogCounters() == nil {
		atomic.StoreUint32(place, wanted)
	}
}

func (e *Engine) clearLogCounters() error {
	if err := e.maps.LogStats.Put(uint32(0), make([]bpf.PFLogCounters, ebpf.MustPossibleCPU())); err != nil {
		return fmt.Errorf("clear counters of set loginterface: %w", err)
	}
	return nil
}

// interfaceStats reads what set loginterface counts; nil: nothing is set.
func (e *Engine) interfaceStats(name string) (*InterfaceStats, error) {
	if name == "" {
		return nil, nil
	}
	var perCPU []bpf.PFLogCounters
	if err := e.maps.LogStats.Lookup(uint32(0), &perCPU); err != nil {
		return nil, fmt.Errorf("read counters of set loginterface: %w", err)
	}
	stats := &InterfaceStats{Name: name}
	for _, c := range perCPU {
		for family := range 2 {
			for direction, to := range map[uint32]*DirectionStats{bpf.PfilIn: &stats.In, bpf.PfilOut: &stats.Out} {
				i := uint32(2*family) + direction
				to.Bytes[family] += c.SeenBytes[i]
				to.Passed[family] += c.Passed[i]
				to.Blocked[family] += c.Seen[i] - min(c.Passed[i], c.Seen[i])
			}
		}
	}
	return stats, nil
}

// show writes them as pfctl -s info does.
func (s *InterfaceStats) show(w io.Writer) {
	fmt.Fprintf(w, "Interface Stats for %-16s %5s %16s\n", s.Name, "IPv4", "IPv6")
	fmt.Fprintf(w, "  %-25s %14d %16d\n", "Bytes In", s.In.Bytes[0], s.In.Bytes[1])
	fmt.Fprintf(w, "  %-25s %14d %16d\n", "Bytes Out", s.Out.Bytes[0], s.Out.Bytes[1])
	for _, d := range []struct {
		title string
		*DirectionStats
	}{{"Packets In", &s.In}, {"Packets Out", &s.Out}} {
		fmt.Fprintf(w, "  %s\n", d.title)
		fmt.Fprintf(w, "    %-23s %14d %16d\n", "Passed", d.Passed[0], d.Passed[1])
		fmt.Fprintf(w, "    %-23s %14d %16d\n", "Blocked", d.Blocked[0], d.Blocked[1])
	}
	fmt.Fprintln(w)
}
