package ifnet

import (
	"fmt"

	"github.com/bsdnet/bsdnet/bpf"
)

// SetVlan makes an interface stand for a tag, and bsdnet's; or changes which.
func (t *Table) SetVlan(index int, vlan *Vlan) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byIndex[index]
	if !ok {
		return fmt.Errorf("interface %d: %w", index, ErrNotFound)
	}
	next := *old
	next.Owned, next.TC, next.Vlan = true, true, vlan
	if !next.HasSlot {
		if err := t.place(&next); err != nil {
			return fmt.Errorf("interface %s: %w", next.Name, err)
		}
	}
	t.byIndex[index] = &next
	if old.Vlan != nil {
		delete(t.children[old.Vlan.Parent], index)
		t.untag(index, old.Vlan)
	}
	if vlan.Parent != 0 {
		t.tagged[Tag{vlan.Parent, vlan.Proto, vlan.VID}] = index
		if t.children[vlan.Parent] == nil {
			t.children[vlan.Parent] = make(map[int]bool)
		}
		t.children[vlan.Parent][index] = true
	}
	if err := t.entry(&next); err != nil {
		return fmt.Errorf("interface %s: %w", next.Name, err)
	}
	t.writeChildren(index)
	t.publish(Event{Kind: Link, If: &next})
	return nil
}

// Tag is a tag on an interface.
type Tag struct {
	Parent int // index
	Proto  uint16
	VID    uint16
}

// Tagged returns the index of the vlan that stands for a tag.
func (t *Table) Tagged(tag Tag) (index int, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	index, ok = t.tagged[tag]
	return index, ok
}

// untag frees the tag that a vlan stood for.
func (t *Table) untag(index int, v *Vlan) {
	tag := Tag{v.Parent, v.Proto, v.VID}
	if t.tagged[tag] == index {
		delete(t.tagged, tag)
	}
}

// Children returns the indexes of the vlans on an interface.
func (t *Table) Children(index int) []int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	children := make([]int, 0, len(t.children[index]))
	for child := range t.children[index] {
		children = append(children, child)
	}
	return children
}

// carrier returns the parent of a vlan and the device at the bottom of the
// stack of vlans, or nil where one of them is missing or not bsdnet's; t.mu
// is held.
func (t *Table) carrier(ifp *Ifnet) (parent, carrier *Ifnet, tags int) {
	carrier = ifp
	for tags = 0; carrier.Vlan != nil; tags++ {
		below, ok := t.byIndex[carrier.Vlan.Parent]
		if !ok || !below.Owned || !below.HasSlot || tags >= int(bpf.EncapMax) {
			return nil, nil, 0
		}
		if parent == nil {
			parent = below
		}
		carrier = below
	}
	return parent, carrier, tags
}

// vlanEntry fills in what is special with a vlan. Without a carrier it has
// nothing to send on.
func (t *Table) vlanEntry(ifp *Ifnet, entry *bpf.Ifnet) {
	v := ifp.Vlan
	entry.IfFlags |= bpf.IfnetVlan | bpf.IfnetClone
	entry.IfFlags &^= bpf.IfnetXDPXmit
	entry.VlanTci, entry.VlanProto = uint16(v.PCP)<<13|v.VID, networkOrder(v.Proto)
	entry.InputIfindex, entry.InputPort = uint32(ifp.Index), v.StackSlot
	entry.TxIfindex, entry.L2Len = 0, 18
	parent, carrier, tags := t.carrier(ifp)
	if carrier == nil {
		return
	}
	entry.Parent, entry.TxPort, entry.TxIfindex = parent.Slot, carrier.Slot, uint32(carrier.Index)
	entry.L2Len = uint16(14 + 4*tags)
	if carrier.XDPXmit {
		entry.IfFlags |= bpf.IfnetXDPXmit
	}
}

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }

// syncVlan makes the data path find a vlan by its tag, or find it no more.
func (t *Table) syncVlan(ifp *Ifnet) error {
	if t.mirror == nil {
		return nil
	}
	have, was := t.vlanKeys[ifp.Index]
	var want bpf.VlanKey
	is := false
	if v := ifp.Vlan; v != nil && v.Parent != 0 {
		if parent, _, _ := t.carrier(ifp); parent != nil {
			want, is = bpf.VlanKey{Parent: parent.Slot, Proto: networkOrder(v.Proto), Vid: v.VID}, true
		}
	}
	if was && (!is || want != have) {
		delete(t.vlanKeys, ifp.Index)
		if err := t.mirror.DeleteVlan(have); err != nil {
			return err
		}
	}
	if is && (!was || want != have) {
		if err := t.mirror.PutVlan(want, ifp.Slot); err != nil {
			return err
		}
		t.vlanKeys[ifp.Index] = want
	}
	return nil
}

// writeChildren writes the vlans on an interface anew; t.mu is held.
func (t *Table) writeChildren(index int) {
	for child := range t.children[index] {
		if ifp, ok := t.byIndex[child]; ok && ifp.Vlan != nil {
			t.write(ifp)
		}
	}
}

// forgetVlan takes an interface that is gone out of what is known of vlans.
func (t *Table) forgetVlan(ifp *Ifnet) {
	if ifp.Vlan != nil {
		delete(t.children[ifp.Vlan.Parent], ifp.Index)
		t.untag(ifp.Index, ifp.Vlan)
		gone := *ifp
		gone.Vlan = &Vlan{}
		if err := t.syncVlan(&gone); err != nil && t.report != nil {
			t.report(fmt.Errorf("forget vlan %s: %w", ifp.Name, err))
		}
		t.clear(ifp.Vlan.StackSlot)
	}
	t.writeChildren(ifp.Index)
}

// Forget takes an interface out of the table that was deleted, before the
// event comes.
func (t *Table) Forget(index int) { t.remove(index) }

// PruneVlans takes tags out of the data path whose vlans are gone.
func (t *Table) PruneVlans() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys, err := t.mirror.Vlans()
	if err != nil {
		return err
	}
	wanted := make(map[bpf.VlanKey]bool)
	for _, key := range t.vlanKeys {
		wanted[key] = true
	}
	for _, key := range keys {
		if !wanted[key] {
			if err := t.mirror.DeleteVlan(key); err != nil {
				return err
			}
		}
	}
	return nil
}
