package control

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
	"github.com/bsdnet/bsdnet/route/rtsock"
)

// RouteSocket is where programs find the routing sockets of a system.
func (i Instance) RouteSocket(system rtm.Version) string {
	if system == rtm.DragonFly {
		return filepath.Join(i.Dir(), "route-dragonfly.sock")
	}
	return filepath.Join(i.Dir(), "route.sock")
}

// DialRoute opens a routing socket of a system in the instance of the current
// network namespace. Every read gives one message.
func DialRoute(system rtm.Version) (*net.UnixConn, error) {
	instance, err := Current()
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: instance.RouteSocket(system), Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("open routing socket: %w", err)
	}
	return conn, nil
}

// rtsockInterfaces is what routing sockets ask of the interfaces.
type rtsockInterfaces struct {
	*ifnet.Ioctl
	table *ifnet.Table
}

func (r rtsockInterfaces) IndexToName(index int) (string, bool) {
	ifp, ok := r.table.ByIndex(index)
	if !ok {
		return "", false
	}
	return ifp.Name, true
}

// startRtsock opens the routing sockets.
func (d *Daemon) startRtsock() error {
	d.rtsock = rtsock.New(d.route, rtsockInterfaces{d.ioctl, d.ifnet}, d.log)
	for _, system := range []rtm.Version{rtm.FreeBSD, rtm.DragonFly} {
		if err := d.rtsock.Listen(d.instance.RouteSocket(system), system); err != nil {
			return err
		}
	}
	d.tellGroups() // what there is now is no news
	return nil
}

// tellGroups tells of the multicast groups that this host joined and left.
func (d *Daemon) tellGroups() {
	err := d.groups.Refresh(func(index int) (api.Link, bool) {
		ifp, ok := d.ifnet.ByIndex(index)
		if !ok {
			return api.Link{}, false
		}
		return route.LinkOf(ifp), true
	}, d.route.Publish)
	if err != nil {
		d.log.Error("multicast groups are not known", "err", err)
	}
}

// RtsockReply is what there is to say of the routing sockets.
type RtsockReply struct {
	Stats   rtsock.Stats    `json:"stats"`
	Sockets []rtsock.Socket `json:"sockets"`
}

func (d *Daemon) rtsockCalls() map[string]call {
	return map[string]call{
		"domains": typed(reader, d.Domains),
		"route/sockets": typed(reader, func(context.Context, None) (*RtsockReply, error) {
			return &RtsockReply{Stats: d.rtsock.Stats(), Sockets: d.rtsock.Sockets()}, nil
		}),
	}
}
