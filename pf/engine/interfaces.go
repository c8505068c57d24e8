package engine

import (
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
)

// InterfaceStats is what pf counts of an interface, or of all of a group.
type InterfaceStats struct {
	Name string         `json:"name"`
	In   DirectionStats `json:"in"`
	Out  DirectionStats `json:"out"`
	// Cleared is when counting began.
	Cleared time.Time `json:"cleared,omitzero"`
}

// DirectionStats are the packets of one direction that pf looked at: IPv4
// first, then IPv6.
type DirectionStats struct {
	Bytes        [2]uint64 `json:"bytes"` // passed and blocked
	Passed       [2]uint64 `json:"passed"`
	Blocked      [2]uint64 `json:"blocked"`
	BlockedBytes [2]uint64 `json:"blockedBytes"`
}

// InterfaceStats reads the counters of an interface, of a group, or of "all".
// One that is not there has none.
func (e *Engine) InterfaceStats(name string) (*InterfaceStats, error) {
	stats := &InterfaceStats{Name: name}
	for _, slot := range e.interfaces.Members(name) {
		var perCPU []bpf.PFIfCounters
		if err := e.maps.IfCounts.Lookup(slot, &perCPU); err != nil {
			return nil, fmt.Errorf("counters of interface %s: %w", name, err)
		}
		for i := range perCPU {
			stats.In.add(&perCPU[i], bpf.PfilIn)
			stats.Out.add(&perCPU[i], bpf.PfilOut)
		}
		e.mu.Lock()
		if at := e.cleared[slot]; at.After(stats.Cleared) {
			stats.Cleared = at
		}
		e.mu.Unlock()
	}
	return stats, nil
}

func (d *DirectionStats) add(c *bpf.PFIfCounters, direction uint32) {
	for family := range uint32(2) {
		passed := 4*family + 2*direction
		blocked := passed + 1
		d.Bytes[family] += c.Bytes[passed] + c.Bytes[blocked]
		d.Passed[family] += c.Packets[passed]
		d.Blocked[family] += c.Packets[blocked]
		d.BlockedBytes[family] += c.Bytes[blocked]
	}
}

// ClearInterface sets the counters of an interface or of a group to zero.
func (e *Engine) ClearInterface(name string) error {
	if name == "" {
		return nil
	}
	for _, slot := range e.interfaces.Members(name) {
		if err := e.ClearSlot(slot); err != nil {
			return err
		}
	}
	return nil
}

// ClearSlot sets the counters of the interface in a slot to zero, as when
// another got it.
func (e *Engine) ClearSlot(slot uint32) error {
	if err := e.maps.IfCounts.Put(slot, make([]bpf.PFIfCounters, ebpf.MustPossibleCPU())); err != nil {
		return fmt.Errorf("clear counters of an interface: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleared[slot] = time.Now()
	return nil
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

// ShowCounters writes them as pfctl -vv -s Interfaces does.
func (s *InterfaceStats) ShowCounters(w io.Writer) {
	for family, version := range []string{"4", "6"} {
		for _, d := range []struct {
			title string
			*DirectionStats
		}{{"In", &s.In}, {"Out", &s.Out}} {
			title := d.title + version
			fmt.Fprintf(w, "\t%-12s [ Packets: %-18d Bytes: %-18d ]\n", title+"/Pass:", d.Passed[family], d.Bytes[family]-d.BlockedBytes[family])
			fmt.Fprintf(w, "\t%-12s [ Packets: %-18d Bytes: %-18d ]\n", title+"/Block:", d.Blocked[family], d.BlockedBytes[family])
		}
	}
}
