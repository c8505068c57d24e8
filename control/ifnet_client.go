package control

import (
	"context"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Ifnet is the interfaces of an instance behind the control socket.
type Ifnet struct{ *Client }

var _ api.Backend = Ifnet{}

func (i Ifnet) do(ctx context.Context, name string, request any) error {
	_, err := Call[None](ctx, i.Client, name, request)
	return err
}

// Interfaces implements api.Backend.
func (i Ifnet) Interfaces(ctx context.Context, r api.Name) ([]api.Interface, error) {
	return Call[[]api.Interface](ctx, i.Client, "ifnet/list", r)
}

// Create implements api.Backend.
func (i Ifnet) Create(ctx context.Context, r []api.CreateRequest) ([]string, error) {
	return Call[[]string](ctx, i.Client, "ifnet/create", r)
}

// Destroy implements api.Backend.
func (i Ifnet) Destroy(ctx context.Context, r []api.Name) error { return i.do(ctx, "ifnet/destroy", r) }

// Cloners implements api.Backend.
func (i Ifnet) Cloners(ctx context.Context) ([]string, error) {
	return Call[[]string](ctx, i.Client, "ifnet/cloners", None{})
}

// AddAddress implements api.Backend.
func (i Ifnet) AddAddress(ctx context.Context, r api.AddressRequest) error {
	return i.do(ctx, "ifnet/address/add", r)
}

// DeleteAddress implements api.Backend.
func (i Ifnet) DeleteAddress(ctx context.Context, r api.AddressRequest) error {
	return i.do(ctx, "ifnet/address/delete", r)
}

// SetFlags implements api.Backend.
func (i Ifnet) SetFlags(ctx context.Context, r api.FlagsRequest) error {
	return i.do(ctx, "ifnet/flags", r)
}

// SetNd6 implements api.Backend.
func (i Ifnet) SetNd6(ctx context.Context, r api.Nd6Request) error { return i.do(ctx, "ifnet/nd6", r) }

// SetMTU implements api.Backend.
func (i Ifnet) SetMTU(ctx context.Context, r api.NumberRequest) error {
	return i.do(ctx, "ifnet/mtu", r)
}

// SetMetric implements api.Backend.
func (i Ifnet) SetMetric(ctx context.Context, r api.NumberRequest) error {
	return i.do(ctx, "ifnet/metric", r)
}

// SetDescription implements api.Backend.
func (i Ifnet) SetDescription(ctx context.Context, r api.TextRequest) error {
	return i.do(ctx, "ifnet/description", r)
}

// SetName implements api.Backend.
func (i Ifnet) SetName(ctx context.Context, r api.TextRequest) error {
	return i.do(ctx, "ifnet/name", r)
}

// SetLladdr implements api.Backend.
func (i Ifnet) SetLladdr(ctx context.Context, r api.TextRequest) error {
	return i.do(ctx, "ifnet/lladdr", r)
}

// AddGroup implements api.Backend.
func (i Ifnet) AddGroup(ctx context.Context, r api.TextRequest) error {
	return i.do(ctx, "ifnet/group/add", r)
}

// DeleteGroup implements api.Backend.
func (i Ifnet) DeleteGroup(ctx context.Context, r api.TextRequest) error {
	return i.do(ctx, "ifnet/group/delete", r)
}

// SetCapabilities implements api.Backend.
func (i Ifnet) SetCapabilities(ctx context.Context, r api.CapabilitiesRequest) error {
	return i.do(ctx, "ifnet/capabilities", r)
}

// SetVlan implements api.Backend.
func (i Ifnet) SetVlan(ctx context.Context, r api.VlanRequest) error {
	return i.do(ctx, "ifnet/vlan", r)
}
