package ifnet

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Adopt gives the clones that an earlier daemon made to their cloners, and
// forgets those that are gone. The interfaces that carry them should be
// bsdnet's again by then.
func (i *Ioctl) Adopt() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.cloners {
		a, ok := c.(adopter)
		if !ok {
			continue
		}
		for _, lost := range a.Adopt(i.clones(c)) {
			i.forget(lost.Index)
		}
	}
	return errors.Join(i.table.PruneVlans(), i.state.write())
}

// Count returns how many clones there are, by cloner. It does not wait for
// requests that are at work.
func (t *Table) Count() map[string]int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	count := make(map[string]int)
	for _, ifp := range t.byIndex {
		if ifp.Cloner != "" {
			count[ifp.Cloner]++
		}
	}
	return count
}

// clones returns those of a cloner.
func (i *Ioctl) clones(c Cloner) []*Clone {
	var clones []*Clone
	for _, k := range i.state.kept {
		if k.Clone != nil && k.Clone.Cloner == c.Name() {
			clones = append(clones, k.Clone)
		}
	}
	return clones
}

// Follow keeps clones true to the interfaces that they are on until ctx ends.
// report gets errors that no request is there to return.
func (i *Ioctl) Follow(ctx context.Context, report func(error)) {
	cancel := i.table.Subscribe(func(e Event) {
		i.noted.Lock()
		i.changed[e.If.Index] = true
		i.noted.Unlock()
		select {
		case i.wake <- struct{}{}:
		default:
		}
	})
	go func() {
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				return
			case <-i.wake:
			}
			if err := i.follow(); err != nil && ctx.Err() == nil {
				report(fmt.Errorf("keep clones true to their interfaces: %w", err))
			}
		}
	}()
}

func (i *Ioctl) follow() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.noted.Lock()
	changed := i.changed
	i.changed = make(map[int]bool)
	i.noted.Unlock()
	dirty := false
	for index := range changed {
		// A device that somebody else deleted.
		if k := i.state.kept[index]; k != nil {
			if _, there := i.table.ByIndex(index); !there {
				if k.Clone != nil {
					if c, ok := i.cloner(k.Clone.Cloner).(mourner); ok {
						c.Gone(k.Clone)
					}
				}
				i.forget(index)
				dirty = true
			}
		}
	}
	for _, c := range i.cloners {
		if f, ok := c.(dependent); ok && f.Changed(changed, i.clones(c)) {
			dirty = true
		}
	}
	if !dirty {
		return nil
	}
	return i.state.write()
}

// Force switches flags of an interface for the sake of clones on it, beside
// what the user wants of them. It is for cloners, within their methods.
func (i *Ioctl) Force(index int, flags api.Flags) error {
	ifp, ok := i.table.ByIndex(index)
	if !ok {
		return nil
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil // gone a moment ago
	}
	k := i.state.of(ifp)
	var errs []error
	for _, f := range forcible {
		want, forced := flags&f.flag != 0, k.Forced&f.flag != 0
		switch {
		case want && !forced && link.Attrs().RawFlags&f.linux == 0:
			errs = append(errs, f.on(link))
			k.Forced |= f.flag
		case !want && forced:
			errs = append(errs, f.off(link))
			k.Forced &^= f.flag
		}
	}
	return errors.Join(errs...)
}

// Forced returns the indexes of interfaces with flags that Force switched. It
// is for cloners, within their methods.
func (i *Ioctl) Forced() []int {
	var indexes []int
	for index, k := range i.state.kept {
		if k.Forced != 0 {
			indexes = append(indexes, index)
		}
	}
	return indexes
}

// Restore gives interfaces the flags back that they had before clones came.
// path is the file of NewIoctl.
func Restore(path string) error {
	state, err := readState(path)
	if err != nil {
		return err
	}
	var errs []error
	for index, k := range state.kept {
		link, err := netlink.LinkByIndex(index)
		if err != nil {
			continue
		}
		for _, f := range forcible {
			if k.Forced&f.flag != 0 {
				errs = append(errs, f.off(link))
			}
		}
		if k.Flags&api.IffStaticarp != 0 {
			errs = append(errs, staticARP(k.Device, false)(link))
		}
	}
	return errors.Join(errs...)
}
