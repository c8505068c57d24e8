package engine

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// AddressCounters are those of an address of a table: in and out, each blocked
// and passed.
type AddressCounters struct {
	Packets [2][2]uint64 `json:"packets"`
	Bytes   [2][2]uint64 `json:"bytes"`
}

// TableCounters are those of a table: in and out, each blocked, passed, and
// passed by a state whose address is no longer in the table.
type TableCounters struct {
	Packets [2][3]uint64 `json:"packets"`
	Bytes   [2][3]uint64 `json:"bytes"`
	// Match and NoMatch count how often a rule asked the table.
	Match   uint64 `json:"match"`
	NoMatch uint64 `json:"noMatch"`
}

// setCounters begins or ends the counting for a table and its addresses.
func (e *Engine) setCounters(t *table, on bool) error {
	if t.counters == on {
		return nil
	}
	if on {
		if err := e.clearTable(t); err != nil {
			return err
		}
	} else {
		if err := e.dropCounters(t); err != nil {
			return err
		}
	}
	t.counters = on
	numbers := e.newCounters(on, len(t.entries))
	var list []conf.TablePrefix
	for prefix, old := range t.entries {
		old.counters = numbers.at(len(list))
		t.entries[prefix] = old
		list = append(list, conf.TablePrefix{Prefix: prefix, Not: old.not})
	}
	return e.putEntries(t.number, list, numbers)
}

// counterNumbers are numbers for the counters of addresses, which the data
// path makes when it first counts: from this one on, or 0 for none.
type counterNumbers uint32

func (n counterNumbers) at(i int) uint32 {
	if n == 0 {
		return 0
	}
	return uint32(n) + uint32(i)
}

// newCounters gives out numbers for so many addresses, with wanted.
func (e *Engine) newCounters(wanted bool, count int) counterNumbers {
	if !wanted {
		return 0
	}
	if uint64(e.nextEntry)+uint64(count) >= uint64(bpf.PFEntryNot) {
		e.nextEntry = 0
	}
	first := e.nextEntry + 1
	e.nextEntry += uint32(count)
	return counterNumbers(first)
}

// clearTable sets the counters of a table to zero.
func (e *Engine) clearTable(t *table) error {
	t.cleared = now()
	if err := e.maps.TableCounts.Put(bigEndian(t.number), make([]bpf.PFTableCounters, ebpf.MustPossibleCPU())); err != nil {
		return fmt.Errorf("counters of table <%s>: %w", t.path, err)
	}
	return nil
}

// clearEntry sets the counters of an address to zero.
func (e *Engine) clearEntry(old entry) error {
	if old.counters == 0 {
		return nil
	}
	return ignoreMissing(e.maps.EntryCounts.Delete(old.counters))
}

// dropCounters ends the counting for a table that is not to be asked any more.
func (e *Engine) dropCounters(t *table) error {
	errs := []error{ignoreMissing(e.maps.TableCounts.Delete(bigEndian(t.number)))}
	for _, old := range t.entries {
		errs = append(errs, e.clearEntry(old))
	}
	return errors.Join(errs...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// entryCounters reads the counters of an address.
func (e *Engine) entryCounters(number uint32) (*AddressCounters, error) {
	sum := &AddressCounters{}
	var perCPU []bpf.PFEntryCounters
	if err := e.maps.EntryCounts.Lookup(number, &perCPU); err != nil {
		return sum, ignoreMissing(err)
	}
	for _, c := range perCPU {
		for i := range c.Packets {
			sum.Packets[i/2][i%2] += c.Packets[i]
			sum.Bytes[i/2][i%2] += c.Bytes[i]
		}
	}
	return sum, nil
}

// tableCounters reads the counters of a table.
func (e *Engine) tableCounters(t *table) (*TableCounters, error) {
	sum := &TableCounters{}
	var perCPU []bpf.PFTableCounters
	if err := e.maps.TableCounts.Lookup(bigEndian(t.number), &perCPU); err != nil {
		return sum, ignoreMissing(err)
	}
	for _, c := range perCPU {
		sum.Match += c.Match
		sum.NoMatch += c.Nomatch
		for direction := range c.Packets {
			for op := range c.Packets[direction] {
				sum.Packets[direction][op] += c.Packets[direction][op]
				sum.Bytes[direction][op] += c.Bytes[direction][op]
			}
		}
	}
	return sum, nil
}

var (
	directionNames = [2]string{"In", "Out"}
	tableOps       = [3]string{"Block", "Pass", "XPass"}
)

func counterLine(direction, op int, packets, bytes uint64) string {
	return fmt.Sprintf("\t%-12s [ Packets: %-18d Bytes: %-18d ]", directionNames[direction]+"/"+tableOps[op]+":", packets, bytes)
}

// Details are the lines that pfctl -T show -v has below an address.
func (a *TableAddress) Details() []string {
	lines := []string{"\tCleared:     " + a.Cleared.Format(time.ANSIC)}
	if a.Counters == nil {
		return lines
	}
	for direction := range a.Counters.Packets {
		for op, packets := range a.Counters.Packets[direction] {
			lines = append(lines, counterLine(direction, op, packets, a.Counters.Bytes[direction][op]))
		}
	}
	return lines
}

func (c *TableCounters) show(w io.Writer) {
	fmt.Fprintf(w, "\tEvaluations: [ NoMatch: %-18d Match: %-18d ]\n", c.NoMatch, c.Match)
	for direction := range c.Packets {
		for op, packets := range c.Packets[direction] {
			fmt.Fprintln(w, counterLine(direction, op, packets, c.Bytes[direction][op]))
		}
	}
}
