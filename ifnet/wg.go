package ifnet

import (
	"context"
	"maps"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// CloneWg is what is kept of a wg(4) beside what WireGuard itself keeps.
type CloneWg struct {
	Kernel       bool                 `json:"kernel,omitempty"` // WireGuard is in the kernel
	Descriptions map[api.WgKey]string `json:"descriptions,omitempty"`
}

// Describe takes over the descriptions of a request that was done.
func (w *CloneWg) Describe(r *api.WgRequest) {
	next := maps.Clone(w.Descriptions)
	if next == nil || r.ReplacePeers {
		next = make(map[api.WgKey]string)
	}
	for _, p := range r.Peers {
		switch {
		case p.Remove, p.Description != nil && *p.Description == "":
			delete(next, p.PublicKey)
		case p.Description != nil:
			next[p.PublicKey] = *p.Description
		}
	}
	w.Descriptions = next
}

// WgCloner is the cloner of wg(4). device is the interface's name in Linux.
type WgCloner interface {
	GetWg(clone *Clone, device string, keys bool) *api.Wg
	SetWg(clone *Clone, device string, r api.WgRequest) error
}

// SetWg implements api.Backend.
func (i *Ioctl) SetWg(_ context.Context, r api.WgRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, err := i.find(r.Name)
	if err != nil {
		return err
	}
	c, ok := i.clonerOf(ifp).(WgCloner)
	if !ok {
		return errno.EINVAL
	}
	if err := c.SetWg(i.state.kept[ifp.Index].Clone, ifp.Device, r); err != nil {
		return err
	}
	return i.state.write()
}

// wgOf is what there is to say of a wg(4), nil of others.
func (i *Ioctl) wgOf(ifp *Ifnet, clone *Clone, keys bool) *api.Wg {
	if c, ok := i.cloner(clone.Cloner).(WgCloner); ok {
		return c.GetWg(clone, ifp.Device, keys)
	}
	return nil
}
