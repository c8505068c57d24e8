package netif

import (
	"context"

	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/rc"
)

// tunnel makes a gif(4) or gre(4) what the plan says; n.mu is held. What old
// plans said and this one does not is taken back.
func (n *Netif) tunnel(ctx context.Context, ifp *rc.Interface, is *ifapi.Interface, was *rc.Interface, report *Report) {
	if is.Tunnel == nil || ifp.Tunnel == nil && (was == nil || was.Tunnel == nil) {
		return
	}
	want := ifapi.TunnelRequest{}
	if ifp.Tunnel != nil {
		want = *ifp.Tunnel
	}
	r, differs := tunnelDifference(want, is)
	if !differs {
		return
	}
	if err := n.config.Ifnet.SetTunnel(ctx, r); err != nil {
		report.failed(ifp.Position, err, "%s: tunnel", ifp.Name)
		return
	}
	report.changed("%s: tunnel", ifp.Name)
}

// tunnelDifference makes the request that brings a tunnel to what is wanted.
func tunnelDifference(want ifapi.TunnelRequest, is *ifapi.Interface) (r ifapi.TunnelRequest, differs bool) {
	have := is.Tunnel
	r.Name = is.Name
	if want.Source != have.Source || want.Destination != have.Destination {
		r.Source, r.Destination, r.Delete, differs = want.Source, want.Destination, !want.Source.IsValid(), true
	}
	r.Set, r.Clear = want.Set&^have.Options, have.Options&^want.Set
	if is.Cloner == "gre" {
		key := uint32(0)
		if want.Key != nil {
			key = *want.Key
		}
		if key != have.Key {
			r.Key, differs = &key, true
		}
		if want.Port != nil && *want.Port != have.Port {
			r.Port, differs = want.Port, true
		}
	} else if want.Key != nil || want.Port != nil {
		r.Key, r.Port, differs = want.Key, want.Port, true // for the error
	}
	return r, differs || r.Set != 0 || r.Clear != 0
}
