package ifnet

import (
	"errors"
	"fmt"

	"github.com/bsdnet/bsdnet/bpf"
)

// Role is the part that a device of bsdnet's own plays.
type Role int

// The roles.
const (
	RoleNone   Role = iota
	RoleNetisr      // the host's end of the netisr veth
	RoleFunnel      // its daemon's end
)

// Mirror is the data path's picture of the interfaces. Implementations write
// entries in place, 64-bit word by word.
type Mirror interface {
	PutIfnet(slot uint32, entry *bpf.Ifnet) error
	// SetPort makes frames redirected to the slot go out by a device; 0 clears it.
	SetPort(slot uint32, ifindex int) error
	// SetForeignPort does so for a device of the instance's private namespace.
	SetForeignPort(slot uint32, ifindex int) error
	// PutVlan makes frames with a tag those of the interface in a slot.
	PutVlan(key bpf.VlanKey, slot uint32) error
	DeleteVlan(key bpf.VlanKey) error
	// Vlans returns the tags that have an interface.
	Vlans() ([]bpf.VlanKey, error)
	// XDPXmit reports whether a device takes frames that XDP redirects to it.
	XDPXmit(ifindex int) bool
}

// ErrNoSlot reports that the ifnet map has no place for another interface.
var ErrNoSlot = errors.New("no free slot in the ifnet map")

// SetMirror connects the table to the data path. It must be called before
// Follow and Own. report gets errors of later writes.
func (t *Table) SetMirror(mirror Mirror, report func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mirror, t.report = mirror, report
}

// Own makes an interface bsdnet's: its entry in the data path is written and
// kept up to date. tc says that its input runs the TC build.
func (t *Table) Own(index int, tc bool) error {
	return t.change(index, func(next *Ifnet) { next.Owned, next.TC = true, tc })
}

// Place gives an interface a slot without owning it, for a role.
func (t *Table) Place(index int, role Role) error {
	return t.change(index, func(next *Ifnet) { next.Role = role })
}

// PlaceForeign gives a slot to a device of another network namespace, such as
// the stack's end of a clone, and returns it.
func (t *Table) PlaceForeign(index int, role Role) (uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ifp := &Ifnet{Index: index, Role: role, Up: true, XDPXmit: true, MTU: 65535, Lladdr: make([]byte, 6)}
	if err := t.place(ifp); err != nil {
		return 0, err
	}
	t.slots[ifp.Slot] = 0
	t.foreign[index] = ifp
	return ifp.Slot, t.entry(ifp)
}

// SetStackPort makes frames redirected to a slot go out by a clone's end in
// the private namespace.
func (t *Table) SetStackPort(slot uint32, index int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mirror.SetForeignPort(slot, index)
}

// Disown gives an interface back to the host.
func (t *Table) Disown(index int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byIndex[index]
	if !ok {
		return nil
	}
	next := *old
	next.Owned, next.TC, next.HasSlot = false, false, false
	t.byIndex[index] = &next
	if old.HasSlot {
		t.clear(old.Slot)
	}
	t.writeChildren(index)
	t.publish(Event{Kind: Link, If: &next})
	return nil
}

func (t *Table) change(index int, change func(*Ifnet)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byIndex[index]
	if !ok {
		return fmt.Errorf("interface %d: %w", index, ErrNotFound)
	}
	next := *old
	change(&next)
	if !next.HasSlot {
		if err := t.place(&next); err != nil {
			return fmt.Errorf("interface %s: %w", next.Name, err)
		}
	}
	t.byIndex[index] = &next
	if err := t.entry(&next); err != nil {
		return fmt.Errorf("interface %s: %w", next.Name, err)
	}
	t.writeChildren(index)
	t.publish(Event{Kind: Link, If: &next})
	return nil
}

// place finds a slot for an interface.
func (t *Table) place(ifp *Ifnet) error {
	slot, ok := slotOf(ifp.Index, func(slot uint32) bool {
		owner, taken := t.slots[slot]
		return taken && owner != ifp.Index
	})
	if !ok {
		return ErrNoSlot
	}
	t.slots[slot] = ifp.Index
	ifp.Slot, ifp.HasSlot = slot, true
	return nil
}

// Refresh asks the mirror again how devices can be reached, which no event
// tells on older kernels.
func (t *Table) Refresh() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for index, ifp := range t.byIndex {
		if ifp.HasSlot && ifp.Vlan == nil && t.mirror != nil && t.mirror.XDPXmit(index) != ifp.XDPXmit {
			next := *ifp // readers may hold the old one
			t.byIndex[index] = &next
			t.write(&next)
		}
	}
}

// write puts an interface's entry into the data path and reports failure.
func (t *Table) write(ifp *Ifnet) {
	if !ifp.HasSlot || t.mirror == nil {
		return
	}
	if err := t.entry(ifp); err != nil && t.report != nil {
		t.report(fmt.Errorf("write interface %s: %w", ifp.Name, err))
	}
	t.writeChildren(ifp.Index)
}

func (t *Table) entry(ifp *Ifnet) error {
	if t.mirror == nil {
		return nil
	}
	if ifp.Role != RoleFunnel && ifp.Vlan == nil {
		ifp.XDPXmit = t.mirror.XDPXmit(ifp.Index)
	}
	entry := &bpf.Ifnet{
		IfIndex:   uint32(ifp.Index),
		IfFlags:   t.flags(ifp),
		IfMtu:     uint32(ifp.MTU),
		Parent:    ifp.Slot,
		Lladdr:    hardwareAddr(ifp.Lladdr),
		L2Len:     14,
		TxPort:    ifp.Slot,
		TxIfindex: uint32(ifp.Index),
		Groups:    t.groupBits(ifp),
	}
	if len(ifp.Lladdr) != 6 {
		entry.L2Len = 0
	}
	if ifp.Vlan != nil {
		t.vlanEntry(ifp, entry)
		return errors.Join(t.mirror.PutIfnet(ifp.Slot, entry), t.syncVlan(ifp))
	}
	if ifp.Tunnel() {
		entry.InputIfindex, entry.InputPort = uint32(ifp.Index), ifp.Slot
	}
	port := t.mirror.SetPort
	if ifp.Role == RoleFunnel {
		port = t.mirror.SetForeignPort
	}
	if err := port(ifp.Slot, ifp.Index); err != nil {
		return err
	}
	return t.mirror.PutIfnet(ifp.Slot, entry)
}

// clear frees a slot.
func (t *Table) clear(slot uint32) {
	delete(t.slots, slot)
	if t.mirror == nil {
		return
	}
	if err := errors.Join(t.mirror.PutIfnet(slot, &bpf.Ifnet{}), t.mirror.SetPort(slot, 0)); err != nil && t.report != nil {
		t.report(fmt.Errorf("clear interface slot %d: %w", slot, err))
	}
}
