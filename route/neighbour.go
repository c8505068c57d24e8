package route

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/route/api"
)

// NeighbourEvent says that a neighbour can be reached, or could not be.
type NeighbourEvent struct {
	Ifslot uint32
	Addr   netip.Addr // without zone
	Lladdr [6]byte    // valid when Valid
	Valid  bool       // false: it did not answer
}

// llinfo is what the mirror knows of one neighbour.
type llinfo struct {
	linuxNeighbour
	changed time.Time // of state or link address
	asked   time.Time // when the kernel was last asked to confirm it
}

// linkKey names a neighbour as Linux does.
type linkKey struct {
	ifindex int
	addr    netip.Addr
}

const (
	// confirmAfter is how long an entry may be STALE before the kernel is
	// asked to confirm it. Traffic in XDP refreshes nothing, so without this
	// a host that moved would be sent to its old address for ever, and an
	// idle entry would fall to the kernel's gc_stale_time of 60 seconds.
	confirmAfter = 30 * time.Second

	// confirmBurst limits confirmations a second, and with them the ARP
	// requests on a large network.
	confirmBurst = 200

	// resolveAgain is how soon the kernel is asked again for a neighbour that
	// is being resolved; its own probes are a second apart.
	resolveAgain = time.Second
)

// neighbourTable mirrors the kernel's neighbours into arp and nd6. The caller
// locks.
type neighbourTable struct {
	path     dataPath
	now      func() time.Time
	hostDown time.Duration // how long an entry stays FAILED

	slotOf  func(ifindex int) (slot uint32, ok bool)
	changed func(neighbourKey, bpf.Llentry) // told of every entry written
	notify  func(NeighbourEvent)

	known    map[linkKey]*llinfo
	written  map[neighbourKey]bpf.Llentry
	gateways map[neighbourKey]struct{} // in use, to be kept confirmed
	failed   map[neighbourKey]time.Time
}

func newNeighbourTable(path dataPath, now func() time.Time, hostDown time.Duration) *neighbourTable {
	return &neighbourTable{
		path:     path,
		now:      now,
		hostDown: hostDown,
		known:    make(map[linkKey]*llinfo),
		written:  make(map[neighbourKey]bpf.Llentry),
		gateways: make(map[neighbourKey]struct{}),
		failed:   make(map[neighbourKey]time.Time),
	}
}

// adopt reads what a previous daemon left in the maps.
func (t *neighbourTable) adopt() error {
	return t.path.neighbours(func(key neighbourKey, ll bpf.Llentry) { t.written[key] = ll })
}

// llentry returns what the data path should know of a neighbour; ok is false
// where it should know nothing.
func (n *linuxNeighbour) llentry() (ll bpf.Llentry, ok bool) {
	switch {
	case n.flags&ntfProxy != 0 || n.addr.IsMulticast():
		return ll, false // answered for, not a neighbour
	case n.state&nudUsable != 0 && len(n.lladdr) == len(ll.Lladdr):
		copy(ll.Lladdr[:], n.lladdr)
		ll.State = uint16(bpf.NeighbourValid)
		return ll, true
	case n.state&unix.NUD_FAILED != 0:
		ll.State = uint16(bpf.NeighbourFailed)
		return ll, true
	}
	return ll, false
}

// update takes what the kernel tells of a neighbour.
func (t *neighbourTable) update(n linuxNeighbour, deleted bool) error {
	key := linkKey{n.ifindex, n.addr}
	old := t.known[key]
	if deleted || n.state == unix.NUD_NONE && n.flagsExt&ntfExtManaged == 0 && n.flags&ntfProxy == 0 {
		delete(t.known, key)
		n.state = unix.NUD_NONE
	} else {
		info := &llinfo{linuxNeighbour: n, changed: t.now()}
		if old != nil {
			info.asked = old.asked
		}
		t.known[key] = info
	}
	return t.write(n)
}

// write brings the map entry of a neighbour up to date.
func (t *neighbourTable) write(n linuxNeighbour) error {
	slot, ok := t.slotOf(n.ifindex)
	if !ok {
		return nil
	}
	key := neighbourKey{slot, n.addr}
	ll, ok := n.llentry()
	if !ok {
		return t.erase(key)
	}
	was, had := t.written[key]
	if ll.State == uint16(bpf.NeighbourFailed) {
		t.failed[key] = t.now()
	} else {
		delete(t.failed, key)
	}
	if had && was == ll {
		if ll.State == uint16(bpf.NeighbourFailed) {
			t.tell(key, ll) // somebody may have asked again
		}
		return nil
	}
	if err := t.path.setNeighbour(key, ll); err != nil {
		return err
	}
	t.written[key] = ll
	t.changed(key, ll)
	t.tell(key, ll)
	return nil
}

// tell notifies those who wait for a neighbour.
func (t *neighbourTable) tell(key neighbourKey, ll bpf.Llentry) {
	t.notify(NeighbourEvent{
		Ifslot: key.slot,
		Addr:   key.addr,
		Lladdr: ll.Lladdr,
		Valid:  ll.State == uint16(bpf.NeighbourValid),
	})
}

// erase takes a neighbour out of the map.
func (t *neighbourTable) erase(key neighbourKey) error {
	delete(t.failed, key)
	if _, had := t.written[key]; !had {
		return nil
	}
	if err := t.path.deleteNeighbour(key); err != nil {
		return err
	}
	delete(t.written, key)
	t.changed(key, bpf.Llentry{})
	return nil
}

// reconcile makes the maps hold exactly the known neighbours. fresh is what a
// dump of the kernel gave.
func (t *neighbourTable) reconcile(fresh []linuxNeighbour) error {
	var errs []error
	seen := make(map[linkKey]struct{}, len(fresh))
	for _, n := range fresh {
		key := linkKey{n.ifindex, n.addr}
		seen[key] = struct{}{}
		if old := t.known[key]; old != nil && sameNeighbour(old.linuxNeighbour, n) {
			errs = append(errs, t.write(n))
			continue
		}
		errs = append(errs, t.update(n, false))
	}
	for key, info := range t.known {
		if _, ok := seen[key]; !ok {
			errs = append(errs, t.update(info.linuxNeighbour, true))
		}
	}
	return errors.Join(append(errs, t.prune())...)
}

func sameNeighbour(a, b linuxNeighbour) bool {
	return a.state == b.state && a.flags == b.flags && a.flagsExt == b.flagsExt && string(a.lladdr) == string(b.lladdr)
}

// prune erases entries that no known neighbour stands behind, such as those
// of an interface that has lost its slot.
func (t *neighbourTable) prune() error {
	backed := make(map[neighbourKey]struct{}, len(t.known))
	for key := range t.known {
		if slot, ok := t.slotOf(key.ifindex); ok {
			backed[neighbourKey{slot, key.addr}] = struct{}{}
		}
	}
	var errs []error
	for key := range t.written {
		if _, ok := backed[key]; !ok {
			errs = append(errs, t.erase(key))
		}
	}
	return errors.Join(errs...)
}

// interfaceChanged rewrites the neighbours of an interface whose slot may
// have changed.
func (t *neighbourTable) interfaceChanged(ifindex int) error {
	var errs []error
	for key, info := range t.known {
		if key.ifindex == ifindex {
			errs = append(errs, t.write(info.linuxNeighbour))
		}
	}
	return errors.Join(append(errs, t.prune())...)
}

// expire erases FAILED entries after their time, so that the next packet
// makes the kernel try again.
func (t *neighbourTable) expire() error {
	var errs []error
	for key, at := range t.failed {
		if t.now().Sub(at) >= t.hostDown {
			errs = append(errs, t.erase(key))
		}
	}
	return errors.Join(errs...)
}

// unconfirmed returns neighbours that the kernel should confirm, and gateways
// in use that it does not manage, at most burst. It takes them for asked.
func (t *neighbourTable) unconfirmed(burst int) []linkKey {
	now := t.now()
	var keys []linkKey
	for key, info := range t.known {
		if len(keys) == burst {
			break
		}
		slot, ok := t.slotOf(key.ifindex)
		if !ok || info.state&unix.NUD_STALE == 0 || info.state&nudStatic != 0 || info.flags&ntfProxy != 0 {
			continue
		}
		wait := confirmAfter
		if _, gateway := t.gateways[neighbourKey{slot, key.addr}]; gateway && info.flagsExt&ntfExtManaged == 0 {
			wait = resolveAgain
		}
		if now.Sub(info.changed) < wait || now.Sub(info.asked) < wait {
			continue
		}
		info.asked = now
		keys = append(keys, key)
	}
	return keys
}

// nudStates are the letters of ndp(8) for the kernel's states.
var nudStates = []struct {
	nud   uint16
	state api.NeighbourState
}{
	{unix.NUD_INCOMPLETE, api.Incomplete},
	{unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE, api.Reachable},
	{unix.NUD_STALE, api.Stale},
	{unix.NUD_DELAY, api.Delay},
	{unix.NUD_PROBE, api.Probe},
	{unix.NUD_FAILED, api.Failed},
}

func nudState(nud uint16) api.NeighbourState {
	for _, s := range nudStates {
		if nud&s.nud != 0 {
			return s.state
		}
	}
	return api.Nostate
}

func lladdrString(lladdr []byte) string { return net.HardwareAddr(lladdr).String() }
