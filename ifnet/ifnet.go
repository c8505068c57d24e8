// Package ifnet keeps the one model of every interface, physical or cloned,
// that bsdnet knows, and mirrors it into the ifnet map of the data path.
//
// The source of the truth for devices and addresses is the kernel: the table
// follows rtnetlink and tells its subscribers what changed.
package ifnet

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Addr is one address of an interface.
type Addr struct {
	Prefix    netip.Prefix // the address itself with its prefix length, not masked
	Broadcast netip.Addr   // IPv4 directed broadcast, or zero
	Peer      netip.Addr   // far end of a point-to-point link, or zero
	Scope     int          // RT_SCOPE_* as rtnetlink has it
}

// Ifnet describes one interface at one moment. Values are immutable: a change
// makes a new one.
type Ifnet struct {
	Index   int    // Linux interface index
	Slot    uint32 // slot in the ifnet map, valid when HasSlot
	HasSlot bool
	Name    string // the BSD name: the device's own, unless renamed in rc.conf
	Device  string // the Linux device name
	Owned   bool   // input and output are bsdnet's
	TC      bool   // input runs the TC build
	XDPXmit bool   // takes frames redirected by XDP
	Role    Role

	Up           bool // administratively up
	Running      bool // has a carrier
	LinkLosses   int  // how often Running ended since the table knows it, however shortly
	Loopback     bool
	PointToPoint bool
	Broadcast    bool
	Multicast    bool
	NoARP        bool
	Monitor      bool // what comes in is counted and dropped, nothing goes out
	Promisc      bool

	MTU         int    // bytes of IP packet
	Lladdr      []byte // link address, may be empty
	Type        string // Linux link kind: "veth", "device", "tun" ...
	Encap       string // link layer as the kernel names it: "ether", "loopback", "none" ...
	Master      int    // index of a master device, 0 if none
	Parent      int    // index of the device below, 0 if none
	Groups      []string
	Description string
	Addrs       []Addr
	Vlan        *Vlan  // of a vlan(4)
	Cloner      string // that made it

	carrierDowns uint32 // as the kernel counts them
}

// Vlan says which tag on which interface a vlan(4) stands for. Values are
// immutable.
type Vlan struct {
	Parent    int    // index, 0: detached
	Proto     uint16 // 0x8100 or 0x88a8
	VID       uint16
	PCP       uint8
	StackSlot uint32 // of its end in the private namespace
}

// ErrNotFound reports an interface that does not exist.
var ErrNotFound = errors.New("interface does not exist")

// EventKind says what happened to an interface.
type EventKind int

// The events. Every event carries the interface as it is now; Detach carries
// it as it was.
const (
	Attach EventKind = iota // appeared
	Detach                  // disappeared
	Link                    // flags, carrier, MTU, link address, ownership
	Rename
	AddressAdd
	AddressDelete
)

// Event is a change of one interface.
type Event struct {
	Kind EventKind
	If   *Ifnet
	Addr Addr // for AddressAdd and AddressDelete
}

// Table holds all interfaces of one network namespace. Its methods may be
// called concurrently.
type Table struct {
	mu      sync.RWMutex
	byIndex map[int]*Ifnet
	subs    map[int]func(Event)
	nextSub int
	aliases map[string]string // BSD names by device name
	groups  map[string]uint32 // bits of interface groups in the data path
	skip    map[string]bool   // interfaces and groups that pf does not filter
	slots   map[uint32]int    // interface index by slot of the ifnet map; 0: of another namespace
	foreign map[int]*Ifnet    // devices of other namespaces with a slot
	rounds  map[uint32]uint32 // how often a slot went to a clone
	cursor  uint32            // where the search for a slot for a clone goes on
	uppers  map[int]int       // devices of the host that are stacked on an index

	children map[int]map[int]bool // vlans by the index of their parent
	tagged   map[Tag]int          // vlans by their tag
	vlanKeys map[int]bpf.VlanKey  // what the data path knows of each
	mirror   Mirror
	report   func(error)
	dhcp     map[int]bool // indexes of interfaces with a DHCP client

	settling sync.Mutex        // held while one interface is read anew; before mu
	settled  map[int]time.Time // when, by index
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		byIndex: make(map[int]*Ifnet), subs: make(map[int]func(Event)), aliases: map[string]string{"lo": "lo0"},
		groups: make(map[string]uint32), dhcp: make(map[int]bool), settled: make(map[int]time.Time),
		slots: make(map[uint32]int), foreign: make(map[int]*Ifnet),
		rounds: make(map[uint32]uint32), cursor: bpf.IfnetSlots / 2, uppers: make(map[int]int),
		children: make(map[int]map[int]bool), tagged: make(map[Tag]int), vlanKeys: make(map[int]bpf.VlanKey),
	}
}

// ByIndex returns the interface with a Linux index.
func (t *Table) ByIndex(index int) (*Ifnet, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	ifp, ok := t.byIndex[index]
	return ifp, ok
}

// ByName returns the interface with a BSD or, failing that, a device name.
func (t *Table) ByName(name string) (*Ifnet, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var device *Ifnet
	for _, ifp := range t.byIndex {
		if ifp.Name == name {
			return ifp, true
		}
		if ifp.Device == name {
			device = ifp
		}
	}
	return device, device != nil
}

// BySlot returns the interface that holds a slot of the ifnet map.
func (t *Table) BySlot(slot uint32) (*Ifnet, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	index, taken := t.slots[slot]
	if !taken {
		return nil, false
	}
	ifp, ok := t.byIndex[index]
	return ifp, ok
}

// All returns every interface, ordered by index.
func (t *Table) All() []*Ifnet {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*Ifnet, 0, len(t.byIndex))
	for _, ifp := range t.byIndex {
		all = append(all, ifp)
	}
	slices.SortFunc(all, func(a, b *Ifnet) int { return a.Index - b.Index })
	return all
}

// Subscribe calls notify for every event from now on, in order, one at a
// time; notify must not call back into the table's changing methods. The
// returned function ends the subscription.
func (t *Table) Subscribe(notify func(Event)) (cancel func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.nextSub
	t.nextSub++
	t.subs[id] = notify
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.subs, id)
	}
}

// SetAlias gives a device its BSD name, without renaming the device; "" takes
// the name back.
func (t *Table) SetAlias(device, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.aliases, device)
	if name == "" {
		name = device
	} else {
		t.aliases[device] = name
	}
	for _, old := range t.byIndex {
		if old.Device == device && old.Name != name {
			next := *old
			next.Name = name
			t.byIndex[next.Index] = &next
			t.publish(Event{Kind: Rename, If: &next})
		}
	}
}

// LoopbackCloner is the name of the cloner whose interfaces are loopback
// interfaces to all but Linux.
const LoopbackCloner = "lo"

// WgName is the name of the cloner of wg(4).
const WgName = "wg"

// tunnelTypes are the cloners of interfaces whose packets the data path puts
// into packets, with their IFT_*.
var tunnelTypes = map[string]uint8{"gif": api.IftGif, "gre": api.IftTunnel, "stf": api.IftStf}

// Tunnel reports whether an interface is one whose packets the data path puts
// into packets.
func (ifp *Ifnet) Tunnel() bool { return tunnelTypes[ifp.Cloner] != 0 }

// clonedBy makes an interface what its cloner makes of it.
func (ifp *Ifnet) clonedBy(cloner string) {
	ifp.Cloner = cloner
	switch cloner {
	case LoopbackCloner:
		ifp.Loopback, ifp.Broadcast = true, false
	case WgName:
		ifp.PointToPoint = false // it has any number of far ends
	}
}

// setCloner says which cloner made an interface, whose group it is in under
// any name.
func (t *Table) setCloner(index int, cloner string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.byIndex[index]; ok {
		next := *old
		next.clonedBy(cloner)
		t.byIndex[index] = &next
		t.write(&next)
		if next.Loopback != old.Loopback {
			t.publish(Event{Kind: Link, If: &next})
		}
	}
}

// setMonitor switches IFF_MONITOR of an interface.
func (t *Table) setMonitor(index int, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byIndex[index]
	if !ok || old.Monitor == on {
		return
	}
	next := *old
	next.Monitor = on
	t.byIndex[index] = &next
	t.write(&next)
	t.publish(Event{Kind: Link, If: &next})
}

// setUserGroups makes the groups that a user named those of an interface.
func (t *Table) setUserGroups(index int, groups []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byIndex[index]
	if !ok {
		return
	}
	next := *old
	next.Groups = slices.Clone(groups)
	if slices.Contains(old.Groups, "egress") {
		next.Groups = append(next.Groups, "egress")
	}
	t.byIndex[index] = &next
	t.write(&next)
	t.publish(Event{Kind: Link, If: &next})
}

func (t *Table) alias(device string) string {
	if name, ok := t.aliases[device]; ok {
		return name
	}
	return device
}

// slotOf chooses the slot of an index: the first of the probe sequence for
// which taken says false.
func slotOf(index int, taken func(slot uint32) bool) (uint32, bool) {
	for i := range bpf.IfnetProbes {
		slot := (uint32(index) + i) % bpf.IfnetSlots
		if !taken(slot) {
			return slot, true
		}
	}
	return 0, false
}
