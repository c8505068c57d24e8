package ifnet

// SetDHCP says whether a DHCP client of bsdnet runs on an interface: its
// packets pass by the filters.
func (t *Table) SetDHCP(index int, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dhcp[index] == on {
		return
	}
	delete(t.dhcp, index)
	if on {
		t.dhcp[index] = true
	}
	if ifp, ok := t.byIndex[index]; ok {
		t.write(ifp)
	}
}
