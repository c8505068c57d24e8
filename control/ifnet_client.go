package control

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Ifnet is the interfaces of an instance behind the control socket.
type Ifnet struct{ *Client }

var _ api.Backend = Ifnet{}

func (i Ifnet) do(ctx context.Context, name string, request any) error {
	_, err := Call[None](ctx, i.Client, name, request)
	return err
}

// Interfaces implements api.Backend. Who has a tun open is looked up here: the
// daemon may not look into processes.
func (i Ifnet) Interfaces(ctx context.Context, r api.Name) ([]api.Interface, error) {
	list, err := Call[[]api.Interface](ctx, i.Client, "ifnet/list", r)
	if !slices.ContainsFunc(list, func(ifp api.Interface) bool { return ifp.Tuntap }) {
		return list, err
	}
	openers := tunOpeners()
	for n := range list {
		list[n].OpenedBy = openers[list[n].Device]
	}
	return list, err
}

// tunOpeners finds the processes that have a tun or tap open, by device. Those
// that the caller may not look into are not known.
func tunOpeners() map[string]int {
	openers := make(map[string]int)
	files, err := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	if err != nil {
		return openers
	}
	for _, file := range files {
		target, err := os.Readlink(strings.Replace(file, "fdinfo", "fd", 1))
		if err != nil || target != "/dev/net/tun" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if device, ok := strings.CutPrefix(line, "iff:\t"); ok {
				openers[strings.TrimSpace(device)], _ = strconv.Atoi(strings.Split(file, "/")[2])
			}
		}
	}
	return openers
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

// SetWg implements api.Backend.
func (i Ifnet) SetWg(ctx context.Context, r api.WgRequest) error { return i.do(ctx, "ifnet/wg", r) }

// SetTunnel implements api.Backend.
func (i Ifnet) SetTunnel(ctx context.Context, r api.TunnelRequest) error {
	return i.do(ctx, "ifnet/tunnel", r)
}

// SetMedia implements api.Backend.
func (i Ifnet) SetMedia(ctx context.Context, r api.MediaRequest) error {
	return i.do(ctx, "ifnet/media", r)
}
