package ifnet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Clone is an interface that a cloner made.
type Clone struct {
	Cloner  string    `json:"cloner"`
	Name    string    `json:"name"`
	Index   int       `json:"index"`
	Stack   int       `json:"stack,omitempty"`   // index of its end in the private namespace
	Partner int       `json:"partner,omitempty"` // index of the other end of an epair
	Vlan    *api.Vlan `json:"vlan,omitempty"`    // attached: its tag
	Parent  int       `json:"parent,omitempty"`  // index
	Lladdr  string    `json:"lladdr,omitempty"`  // that it last took from its parent
	Wg      *CloneWg  `json:"wg,omitempty"`      // of a wg(4)

	Tunnel *api.Tunnel `json:"tunnel,omitempty"` // of a tunnel
}

// Cloner makes interfaces of one kind. Calls do not overlap.
type Cloner interface {
	// Name is the prefix of the names of its interfaces.
	Name() string
	// Create makes interfaces, all or none, and fills in their indexes. Units
	// and names have been checked.
	Create(clones []*Clone) error
	// Destroy takes interfaces away.
	Destroy(clones []*Clone) error
}

// matcher is a cloner that takes names of another form, too, as vlan(4) does
// with em0.5.
type matcher interface {
	Match(name string) (*api.Vlan, bool)
}

// mtuLimiter is a cloner whose interfaces may not have any MTU.
type mtuLimiter interface{ MTULimit(ifp *Ifnet) int }

// mtuMinimum is a cloner whose interfaces need a least MTU.
type mtuMinimum interface{ MTUMinimum() int }

// flagFollower is a cloner to whose interfaces flags mean something that mean
// nothing to Linux.
type flagFollower interface{ FlagsChanged(clone *Clone) error }

// adopter is a cloner with interfaces that outlive the daemon. It puts right
// what it can and returns those that are lost.
type adopter interface {
	Adopt(clones []*Clone) (lost []*Clone)
}

// renamer is a cloner that is told when a device has another name.
type renamer interface {
	Renamed(clone *Clone, before string) error
}

// mourner is a cloner that is told of a device that somebody else deleted.
type mourner interface{ Gone(clone *Clone) }

// dependent is a cloner whose interfaces depend on others. It is told which
// interfaces changed and reports whether clones did.
type dependent interface {
	Changed(indexes map[int]bool, clones []*Clone) bool
}

// unitMax is the largest unit, IF_MAXUNIT.
const unitMax = 0x7fff

// Register adds a cloner (if_clone_attach). EEXIST: the prefix is taken.
func (i *Ioctl) Register(c Cloner) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cloner(c.Name()) != nil {
		return fmt.Errorf("register cloner %s: %w", c.Name(), errno.EEXIST)
	}
	i.cloners = append(i.cloners, c)
	slices.SortFunc(i.cloners, func(a, b Cloner) int { return strings.Compare(a.Name(), b.Name()) })
	return nil
}

func (i *Ioctl) cloner(name string) Cloner {
	for _, c := range i.cloners {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// clonerOf returns the cloner that made an interface, or nil.
func (i *Ioctl) clonerOf(ifp *Ifnet) Cloner {
	k := i.state.kept[ifp.Index]
	if k == nil || k.Clone == nil {
		return nil
	}
	return i.cloner(k.Clone.Cloner)
}

// Cloners implements api.Backend.
func (i *Ioctl) Cloners(context.Context) ([]string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	names := make([]string, len(i.cloners))
	for n, c := range i.cloners {
		names[n] = c.Name()
	}
	return names, nil
}

// parseUnit splits a name into prefix and unit; unit -1: none is given.
func parseUnit(name string) (prefix string, unit int, err error) {
	prefix = strings.TrimRight(name, "0123456789")
	digits := name[len(prefix):]
	if digits == "" {
		return prefix, -1, nil
	}
	if len(digits) > 1 && digits[0] == '0' {
		return "", 0, errno.EINVAL
	}
	unit, err = strconv.Atoi(digits)
	if err != nil || unit > math.MaxInt32 {
		return "", 0, errno.EINVAL
	}
	return prefix, unit, nil
}

// ifcName checks the name of a request and chooses a unit where none is given.
func (i *Ioctl) ifcName(r api.CreateRequest, taken map[string]bool) (Cloner, *Clone, error) {
	for _, c := range i.cloners {
		if m, ok := c.(matcher); ok {
			if vlan, fits := m.Match(r.Name); fits {
				if taken[r.Name] {
					return nil, nil, errno.EEXIST
				}
				switch {
				case r.Vlan == nil:
				case r.Vlan.Parent != "": // what is said overrules the name
					vlan = r.Vlan
				default:
					vlan.PCP = r.Vlan.PCP
					if r.Vlan.Proto != 0 {
						vlan.Proto = r.Vlan.Proto
					}
				}
				return c, &Clone{Cloner: c.Name(), Name: r.Name, Vlan: vlan}, checkName(r.Name)
			}
		}
	}
	prefix, unit, err := parseUnit(r.Name)
	if err != nil {
		return nil, nil, err
	}
	c := i.cloner(prefix)
	if c == nil {
		return nil, nil, errno.EINVAL
	}
	if r.Vlan != nil && c.Name() != "vlan" {
		return nil, nil, errno.EINVAL
	}
	if unit > unitMax {
		return nil, nil, errno.ENXIO
	}
	clone := &Clone{Cloner: c.Name(), Vlan: r.Vlan}
	if unit >= 0 {
		clone.Name = prefix + strconv.Itoa(unit)
		if taken[clone.Name] {
			return nil, nil, errno.EEXIST
		}
		return c, clone, nil
	}
	for unit = 0; unit <= unitMax; unit++ {
		clone.Name = prefix + strconv.Itoa(unit)
		if !taken[clone.Name] {
			return c, clone, nil
		}
	}
	return nil, nil, errno.ENOSPC
}

// names returns all names of interfaces; an epair takes the name of the pair, too.
func (i *Ioctl) names() map[string]bool {
	taken := make(map[string]bool)
	for _, ifp := range i.table.All() {
		taken[ifp.Name], taken[ifp.Device] = true, true
		if k := i.state.kept[ifp.Index]; k != nil && k.Clone != nil && k.Clone.Partner != 0 {
			taken[strings.TrimRight(k.Clone.Name, "ab")] = true
		}
	}
	return taken
}

// Create implements api.Backend.
func (i *Ioctl) Create(_ context.Context, requests []api.CreateRequest) ([]string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.names()
	byCloner := make(map[Cloner][]*Clone)
	var order []*Clone
	for _, r := range requests {
		c, clone, err := i.ifcName(r, taken)
		if err != nil {
			return nil, err
		}
		taken[clone.Name] = true
		byCloner[c] = append(byCloner[c], clone)
		order = append(order, clone)
	}
	var made []*Clone
	for _, c := range i.cloners {
		if len(byCloner[c]) == 0 {
			continue
		}
		if err := c.Create(byCloner[c]); err != nil {
			return nil, i.undo(made, err)
		}
		made = append(made, byCloner[c]...)
	}
	for _, clone := range made {
		i.table.setCloner(clone.Index, clone.Cloner)
		i.state.kept[clone.Index] = &Kept{Index: clone.Index, Device: clone.Name, Clone: clone}
		if clone.Partner != 0 {
			other := *clone
			other.Index, other.Partner, other.Name = clone.Partner, clone.Index, strings.TrimSuffix(clone.Name, "a")+"b"
			i.table.setCloner(other.Index, other.Cloner)
			i.state.kept[other.Index] = &Kept{Index: other.Index, Device: other.Name, Clone: &other}
		}
	}
	names := make([]string, len(order))
	for n, clone := range order {
		names[n] = clone.Name
	}
	return names, i.state.write()
}

// undo destroys what was made before an error.
func (i *Ioctl) undo(made []*Clone, err error) error {
	for _, clone := range made {
		if c := i.cloner(clone.Cloner); c != nil {
			_ = c.Destroy([]*Clone{clone}) // the first error says why
		}
	}
	return err
}

// Destroy implements api.Backend.
func (i *Ioctl) Destroy(_ context.Context, names []api.Name) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var first error
	doomed := make(map[Cloner][]*Clone)
	seen := make(map[int]bool)
	for _, name := range names {
		clone, err := i.doomed(name.Name)
		if err != nil {
			first = either(first, err)
			continue
		}
		if seen[clone.Index] || clone.Partner != 0 && seen[clone.Partner] {
			continue
		}
		seen[clone.Index] = true
		c := i.cloner(clone.Cloner)
		doomed[c] = append(doomed[c], clone)
	}
	for c, clones := range doomed {
		if err := c.Destroy(clones); err != nil {
			first = either(first, err)
			continue
		}
		for _, clone := range clones {
			i.forget(clone.Index)
			if clone.Partner != 0 {
				i.forget(clone.Partner)
			}
		}
	}
	return either(first, i.state.write())
}

func (i *Ioctl) forget(index int) {
	if k := i.state.kept[index]; k != nil && k.Name != "" {
		i.table.SetAlias(k.Device, "")
	}
	delete(i.state.kept, index)
	i.table.remove(index)
}

// doomed finds the clone of a name.
func (i *Ioctl) doomed(name string) (*Clone, error) {
	ifp, err := i.find(name)
	if err != nil {
		return nil, err
	}
	k := i.state.kept[ifp.Index]
	if k == nil || k.Clone == nil || i.cloner(k.Clone.Cloner) == nil {
		return nil, errno.EINVAL
	}
	return k.Clone, nil
}

// either returns the first error there is.
func either(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// SetVlan implements api.Backend.
func (i *Ioctl) SetVlan(_ context.Context, r api.VlanRequest) error {
	return setClone(i, r.Name, func(c interface{ SetVlan(*Clone, api.Vlan) error }, clone *Clone) error {
		return c.SetVlan(clone, r.Vlan)
	})
}

// SetTunnel implements api.Backend.
func (i *Ioctl) SetTunnel(_ context.Context, r api.TunnelRequest) error {
	return setClone(i, r.Name, func(c interface {
		SetTunnel(*Clone, api.TunnelRequest) error
	}, clone *Clone) error {
		return c.SetTunnel(clone, r)
	})
}

// setClone changes a clone by its cloner and keeps what it is from then on;
// EINVAL: the interface is of no cloner that can do that.
func setClone[C any](i *Ioctl, name string, set func(cloner C, clone *Clone) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, err := i.find(name)
	if err != nil {
		return err
	}
	c, ok := any(i.clonerOf(ifp)).(C)
	if !ok {
		return errno.EINVAL
	}
	if err := set(c, i.state.kept[ifp.Index].Clone); err != nil {
		return err
	}
	return i.state.write()
}

// Flags returns the flags of an interface that mean nothing to Linux. It is
// for cloners, within their methods.
func (i *Ioctl) Flags(index int) api.Flags {
	if k := i.state.kept[index]; k != nil {
		return k.Flags
	}
	return 0
}

// Clones returns the interfaces of a cloner. It is for cloners, within their
// methods.
func (i *Ioctl) Clones(c Cloner) []*Clone { return i.clones(c) }
