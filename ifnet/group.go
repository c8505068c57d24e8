package ifnet

import (
	"slices"
	"strings"
)

// clonedDrivers are those whose interfaces are members of a group of the
// driver's name, as ifconfig create makes them.
var clonedDrivers = []string{
	"bridge", "epair", "gif", "gre", "lagg", "lo", "pppoe", "stf", "tap", "tun", "vlan", "wg",
}

// InGroup reports whether an interface is a member of a group.
func (ifp *Ifnet) InGroup(group string) bool {
	if slices.Contains(ifp.Groups, group) || ifp.Cloner != "" && ifp.Cloner == group {
		return true
	}
	return group != ifp.Name && slices.Contains(clonedDrivers, group) &&
		strings.TrimRight(ifp.Name, "0123456789") == group
}

// Group returns the bit by which the data path knows a group, and whether any
// interface is in it. There are 32 bits; they are never taken back.
func (t *Table) Group(name string) (bit uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	bit, known := t.groups[name]
	if !known {
		if len(t.groups) >= 32 || !t.anyInGroup(name) {
			return 0, false
		}
		bit = 1 << len(t.groups)
		t.groups[name] = bit
		for _, ifp := range t.byIndex {
			if ifp.InGroup(name) {
				t.write(ifp)
			}
		}
	}
	return bit, true
}

func (t *Table) anyInGroup(name string) bool {
	if name == "egress" {
		return true
	}
	for _, ifp := range t.byIndex {
		if ifp.InGroup(name) {
			return true
		}
	}
	return false
}

// groupBits are the bits of the groups that an interface is in; t.mu is held.
func (t *Table) groupBits(ifp *Ifnet) (bits uint32) {
	for name, bit := range t.groups {
		if ifp.InGroup(name) {
			bits |= bit
		}
	}
	return bits
}

// SetGroup makes exactly the interfaces of indexes the members of a group.
func (t *Table) SetGroup(name string, indexes []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for index, old := range t.byIndex {
		member := slices.Contains(old.Groups, name)
		if member == slices.Contains(indexes, index) {
			continue
		}
		next := *old
		next.Groups = slices.DeleteFunc(slices.Clone(old.Groups), func(g string) bool { return g == name })
		if !member {
			next.Groups = append(next.Groups, name)
		}
		t.byIndex[index] = &next
		t.write(&next)
		t.publish(Event{Kind: Link, If: &next})
	}
}

// SetSkip says which interfaces and groups pf does not filter.
func (t *Table) SetSkip(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skip = make(map[string]bool)
	for _, name := range names {
		t.skip[name] = true
	}
	for _, ifp := range t.byIndex {
		t.write(ifp)
	}
}

func (t *Table) skipped(ifp *Ifnet) bool {
	for name := range t.skip {
		if name == ifp.Name || ifp.InGroup(name) {
			return true
		}
	}
	return false
}
