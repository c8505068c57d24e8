package control

import (
	"context"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// ifnetCalls is the part of the API that is about interfaces.
func (d *Daemon) ifnetCalls() map[string]call {
	b := api.Backend(d.ioctl)
	return map[string]call{
		"ifnet/list": typed(reader, func(ctx context.Context, r api.Name) ([]api.Interface, error) {
			r.Keys = r.Keys && isOwner(ctx)
			return b.Interfaces(ctx, r)
		}),
		"ifnet/create":  typed(owner, b.Create),
		"ifnet/destroy": done(b.Destroy),
		"ifnet/cloners": typed(reader, func(ctx context.Context, _ None) ([]string, error) { return b.Cloners(ctx) }),

		"ifnet/address/add":    done(b.AddAddress),
		"ifnet/address/delete": done(b.DeleteAddress),
		"ifnet/flags":          done(b.SetFlags),
		"ifnet/nd6":            done(b.SetNd6),
		"ifnet/mtu":            done(b.SetMTU),
		"ifnet/metric":         done(b.SetMetric),
		"ifnet/description":    done(b.SetDescription),
		"ifnet/name":           done(b.SetName),
		"ifnet/lladdr":         done(b.SetLladdr),
		"ifnet/group/add":      done(b.AddGroup),
		"ifnet/group/delete":   done(b.DeleteGroup),
		"ifnet/capabilities":   done(b.SetCapabilities),
		"ifnet/media":          done(b.SetMedia),
		"ifnet/vlan":           done(b.SetVlan),
		"ifnet/wg":             done(b.SetWg),
		"ifnet/tunnel":         done(b.SetTunnel),
	}
}

// done makes a call of a request that has no answer.
func done[Request any](f func(context.Context, Request) error) call {
	return typed(owner, func(ctx context.Context, r Request) (None, error) { return None{}, f(ctx, r) })
}
