package fibalgo

import "github.com/bsdnet/bsdnet/bpf"

// writeArray gives an array its words, before readers know of it.
func (t *Table) writeArray(n *node) error {
	var err error
	if n.place, n.size, err = t.alloc.get(len(n.lengths)); err != nil {
		return err
	}
	for i := range n.lengths {
		word := n.cover
		if v, ok := n.pending[uint32(i)]; ok {
			word = v
		}
		if c := n.child(uint32(i)); c != nil {
			word = c.place | bpf.FibPointer
			if c.size == 0 && t.online {
				word = c.cover // until it is written
			}
		}
		t.store(n.place+uint32(i), word)
	}
	n.pending = nil
	return nil
}

// setWord changes where an index leads for the addresses without a deeper
// route.
func (t *Table) setWord(n *node, index, value uint32) error {
	if n.size == 0 || t.words[n.place+index]&bpf.FibPointer != 0 || len(t.dirty) > 0 {
		if c := n.child(index); c != nil {
			return t.recover(n, index, c, value)
		}
	}
	if n.size == 0 {
		if n.pending == nil {
			n.pending = make(map[uint32]uint32)
		}
		n.pending[index] = value
		return nil
	}
	if t.words[n.place+index] != value {
		t.store(n.place+index, value)
	}
	return nil
}

// fillArray enters a route of some bits into an array.
func (t *Table) fillArray(n *node, index uint32, bits uint8, value uint32) error {
	length := bits + 1
	for i := index; i < index+1<<(t.plan.levels[n.level].bits-int(bits)); i++ {
		if n.lengths[i] > length {
			continue
		}
		n.lengths[i] = length
		if err := t.setWord(n, i, value); err != nil {
			return err
		}
	}
	return nil
}

// clearArray takes a route out of an array; what it covered goes to a shorter
// one, of the given length as lengths has it.
func (t *Table) clearArray(n *node, index uint32, bits, length uint8, value uint32) error {
	for i := index; i < index+1<<(t.plan.levels[n.level].bits-int(bits)); i++ {
		if n.lengths[i] != bits+1 {
			continue
		}
		n.lengths[i] = length
		if err := t.setWord(n, i, value); err != nil {
			return err
		}
	}
	return nil
}

// recover tells the child at an index of an array or a list what covers it now.
func (t *Table) recover(up *node, index uint32, c *node, cover uint32) error {
	if c.cover == cover {
		return nil
	}
	c.cover = cover
	if c.size == 0 && up.size != 0 && up.lengths != nil && t.online {
		t.store(up.place+index, cover) // the child is not yet written
	}
	if c.lengths != nil {
		for i, length := range c.lengths {
			if length != 0 {
				continue
			}
			if err := t.setWord(c, uint32(i), cover); err != nil {
				return err
			}
		}
		return nil
	}
	if err := t.coverChildren(c, 0, 0); err != nil || c.size == 0 {
		return err
	}
	if err := t.writeList(c); err != nil {
		return err
	}
	if up.size != 0 && up.lengths != nil {
		t.store(up.place+index, c.place|bpf.FibPointer)
	}
	return nil
}
