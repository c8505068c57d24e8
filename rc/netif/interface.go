package netif

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/bsdnet/bsdnet/errno"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/rc"
)

// loopback brings lo0 up, which netif does whatever the file says.
func (n *Netif) loopback(ctx context.Context, report *Report) {
	if lo, ok := n.config.Devices.ByName("lo0"); ok && !lo.Up {
		if err := n.config.Ifnet.SetFlags(ctx, ifapi.FlagsRequest{Name: "lo0", Set: ifapi.IffUp}); err != nil {
			report.failed(rc.Position{}, err, "lo0: up")
		}
	}
}

// clones makes the clones that are not there and moves the vlans that have
// another tag; n.mu is held.
func (n *Netif) clones(ctx context.Context, plan *rc.Plan, report *Report) {
	for _, c := range plan.Clones {
		if c.Name == "lo0" {
			continue
		}
		if _, ok := n.config.Devices.ByName(c.Name); ok {
			n.retag(ctx, c, report)
			continue
		}
		if c.Vlan != nil {
			if _, ok := n.config.Devices.ByName(c.Vlan.Parent); !ok {
				report.warn("%s: %s waits for %s", c.Position, c.Name, c.Vlan.Parent)
				continue
			}
		}
		if err := n.create(ctx, c); err != nil {
			report.failed(c.Position, err, "%s", c.Name)
			continue
		}
		report.changed("%s: created", c.Name)
		if !slices.Contains(n.state.Clones, c.Name) {
			n.state.Clones = append(n.state.Clones, c.Name)
		}
	}
}

// create makes a clone. A vlan of another name than its cloner's is made as
// the next one and renamed.
func (n *Netif) create(ctx context.Context, c *rc.Clone) error {
	request := ifapi.CreateRequest{Name: c.CreateName(), Vlan: vlanOf(c.Vlan)}
	_, err := n.config.Ifnet.Create(ctx, []ifapi.CreateRequest{request})
	if err == nil || c.Vlan == nil || !errors.Is(err, errno.EINVAL) {
		return err
	}
	request.Name = "vlan"
	names, err := n.config.Ifnet.Create(ctx, []ifapi.CreateRequest{request})
	if err != nil {
		return err
	}
	if err := n.config.Ifnet.SetName(ctx, ifapi.TextRequest{Name: names[0], Value: c.Name}); err != nil {
		return errors.Join(err, n.config.Ifnet.Destroy(ctx, []ifapi.Name{{Name: names[0]}}))
	}
	return nil
}

func vlanOf(v *rc.Vlan) *ifapi.Vlan {
	if v == nil {
		return nil
	}
	vlan := &ifapi.Vlan{Parent: v.Parent, Tag: v.ID, PCP: v.Priority, Proto: ifapi.Vlan8021Q}
	if v.Protocol == "802.1ad" {
		vlan.Proto = ifapi.Vlan8021AD
	}
	return vlan
}

// retag gives a vlan that is there its tag.
func (n *Netif) retag(ctx context.Context, c *rc.Clone, report *Report) {
	if c.Vlan == nil {
		return
	}
	is, err := n.config.Ifnet.Interfaces(ctx, ifapi.Name{Name: c.Name})
	if err != nil || len(is) != 1 {
		return
	}
	want := vlanOf(c.Vlan)
	if is[0].Vlan != nil && *is[0].Vlan == *want {
		return
	}
	if is[0].Vlan != nil && is[0].Vlan.Parent != "" {
		if err := n.config.Ifnet.SetVlan(ctx, ifapi.VlanRequest{Name: c.Name}); err != nil {
			report.failed(c.Position, err, "%s: detach", c.Name)
			return
		}
	}
	if err := n.config.Ifnet.SetVlan(ctx, ifapi.VlanRequest{Name: c.Name, Vlan: *want}); err != nil {
		report.failed(c.Position, err, "%s: vlan %d of %s", c.Name, c.Vlan.ID, c.Vlan.Parent)
		return
	}
	report.changed("%s: vlan %d of %s", c.Name, c.Vlan.ID, c.Vlan.Parent)
}

// configure makes one interface what it shall be, and reports whether it is
// there; n.mu is held. What old says and the plan does not is taken back.
func (n *Netif) configure(ctx context.Context, ifp *rc.Interface, old *rc.Plan, report *Report) bool {
	have, ok := n.config.Devices.ByName(ifp.Name)
	if !ok {
		delete(n.configured, ifp.Name)
		return false
	}
	all, err := n.config.Ifnet.Interfaces(ctx, ifapi.Name{Name: ifp.Name, Keys: true})
	if err != nil || len(all) != 1 {
		report.failed(ifp.Position, errors.Join(err, errno.ENXIO), "%s", ifp.Name)
		return true
	}
	is := &all[0]
	var was *rc.Interface
	if old != nil {
		was, _ = old.Interface(ifp.Name)
	}
	if _, ok := n.state.Before[ifp.Name]; !ok {
		n.state.Before[ifp.Name] = before{is.MTU, is.Nd6&ifapi.Nd6AcceptRtadv != 0}
	}
	n.configured[ifp.Name] = have.Index
	n.wg(ctx, ifp, is, was, report)
	n.tunnel(ctx, ifp, is, was, report)
	n.settings(ctx, ifp, is, was, report)
	n.rtadv(ctx, ifp, is, report)
	n.addresses(ctx, ifp, is, was, report)
	n.upDown(ctx, ifp, is, report)
	n.dhcp(ifp, have.Index, is.Lladdr, report)
	return true
}

// settings sets what differs.
func (n *Netif) settings(ctx context.Context, ifp *rc.Interface, is *ifapi.Interface, was *rc.Interface, report *Report) {
	do := func(what string, differs bool, set func() error) {
		if !differs {
			return
		}
		if err := set(); err != nil {
			report.failed(ifp.Position, err, "%s: %s", ifp.Name, what)
			return
		}
		report.changed("%s: %s", ifp.Name, what)
	}
	b := n.config.Ifnet
	do("link address "+ifp.Lladdr, ifp.Lladdr != "" && ifp.Lladdr != is.Lladdr, func() error {
		is.Lladdr = ifp.Lladdr
		return b.SetLladdr(ctx, ifapi.TextRequest{Name: ifp.Name, Value: ifp.Lladdr})
	})
	mtu := ifp.MTU
	if mtu == 0 && was != nil && was.MTU != 0 {
		mtu = n.state.Before[ifp.Name].MTU
	}
	do("mtu", mtu != 0 && mtu != is.MTU, func() error {
		return b.SetMTU(ctx, ifapi.NumberRequest{Name: ifp.Name, Value: mtu})
	})
	do("metric", ifp.Metric != is.Metric && (ifp.Metric != 0 || was != nil && was.Metric != 0), func() error {
		return b.SetMetric(ctx, ifapi.NumberRequest{Name: ifp.Name, Value: ifp.Metric})
	})
	do("description", ifp.Description != is.Description && (ifp.Description != "" || was != nil && was.Description != ""), func() error {
		return b.SetDescription(ctx, ifapi.TextRequest{Name: ifp.Name, Value: ifp.Description})
	})
	do("media", mediaDiffers(ifp.Media, is.Media, was), func() error {
		r := *ifp.Media
		r.Name = ifp.Name
		return b.SetMedia(ctx, r)
	})
	for _, group := range ifp.Groups {
		do("group "+group, !slices.Contains(is.Groups, group), func() error {
			return b.AddGroup(ctx, ifapi.TextRequest{Name: ifp.Name, Value: group})
		})
	}
	if was != nil {
		for _, group := range was.Groups {
			do("no group "+group, !slices.Contains(ifp.Groups, group) && slices.Contains(is.Groups, group), func() error {
				return b.DeleteGroup(ctx, ifapi.TextRequest{Name: ifp.Name, Value: group})
			})
		}
	}
	for name, on := range withdrawn(ifp.Flags, was) {
		flag, inverted := flagOf(name)
		set := on != inverted
		do(name, (is.Flags&flag != 0) != set, func() error {
			request := ifapi.FlagsRequest{Name: ifp.Name, Clear: flag}
			if set {
				request = ifapi.FlagsRequest{Name: ifp.Name, Set: flag}
			}
			return b.SetFlags(ctx, request)
		})
	}
}

// mediaDiffers reports whether a medium is to be set, which ends the link for a
// moment. What negotiates and comes to the same is left alone.
func mediaDiffers(want *ifapi.MediaRequest, is *ifapi.Media, was *rc.Interface) bool {
	if want == nil || was != nil && reflect.DeepEqual(was.Media, want) {
		return false
	}
	if is == nil || want.Subtype == "" || want.Subtype == "autoselect" {
		return is == nil || is.Current != ifapi.MediaAuto || want.Subtype == ""
	}
	half := want.Full != nil && !*want.Full
	for _, text := range []string{strings.TrimPrefix(is.Current, "Ethernet "), is.Active} {
		if strings.HasPrefix(text, want.Subtype+" ") && strings.Contains(text, "half") == half {
			return false
		}
	}
	return true
}

// withdrawn are flags with those of before that are not said any more, which
// go back to what they are without: arp is on, the others are off.
func withdrawn(flags map[string]bool, was *rc.Interface) map[string]bool {
	all := make(map[string]bool)
	if was != nil {
		for name := range was.Flags {
			all[name] = name == "arp"
		}
	}
	maps.Copy(all, flags)
	return all
}

// flagOf is the flag of a word of ifconfig(8); arp clears one.
func flagOf(word string) (flag ifapi.Flags, inverted bool) {
	switch word {
	case "arp":
		return ifapi.IffNoarp, true
	case "promisc":
		return ifapi.IffPpromisc, false
	case "debug":
		return ifapi.IffDebug, false
	case "staticarp":
		return ifapi.IffStaticarp, false
	case "monitor":
		return ifapi.IffMonitor, false
	case "link0":
		return ifapi.IffLink0, false
	case "link1":
		return ifapi.IffLink1, false
	}
	return ifapi.IffLink2, false
}

// rtadv lets the kernel accept router advertisements or not. As on the BSDs,
// only interfaces that say so do.
func (n *Netif) rtadv(ctx context.Context, ifp *rc.Interface, is *ifapi.Interface, report *Report) {
	has := is.Nd6&ifapi.Nd6AcceptRtadv != 0
	if has == ifp.AcceptRTAdv || ifp.Name == "lo0" {
		return
	}
	request := ifapi.Nd6Request{Name: ifp.Name, Clear: ifapi.Nd6AcceptRtadv}
	what := "no router advertisements"
	if ifp.AcceptRTAdv {
		request = ifapi.Nd6Request{Name: ifp.Name, Set: ifapi.Nd6AcceptRtadv}
		what = "accepts router advertisements"
	}
	if err := n.config.Ifnet.SetNd6(ctx, request); err != nil {
		report.failed(ifp.Position, err, "%s: accept_rtadv", ifp.Name)
		return
	}
	report.changed("%s: %s", ifp.Name, what)
	if ifp.AcceptRTAdv && is.Flags&ifapi.IffUp != 0 {
		go solicit(is.Index, n.config.Log) // the kernel asks only when an interface comes up
	}
}

// addresses adds what is missing, and takes away what was of the plan before.
func (n *Netif) addresses(ctx context.Context, ifp *rc.Interface, is *ifapi.Interface, was *rc.Interface, report *Report) {
	if was != nil {
		for _, a := range was.Addresses {
			keep := slices.ContainsFunc(ifp.Addresses, func(b *rc.Address) bool { return b.Prefix.Addr() == a.Prefix.Addr() && b.EUI64 == a.EUI64 })
			if !keep {
				n.deleteAddress(ctx, ifp.Name, a, is.Lladdr, report)
			}
		}
	}
	for _, a := range ifp.Addresses {
		request := ifapi.AddressRequest{Name: ifp.Name, Prefix: wholeAddress(a, is.Lladdr), Broadcast: a.Broadcast, Destination: a.Peer}
		if slices.ContainsFunc(is.Addresses, func(b ifapi.Address) bool { return sameAddress(request, b) }) {
			continue
		}
		if err := n.config.Ifnet.AddAddress(ctx, request); err != nil {
			report.failed(a.Position, err, "%s: %s", ifp.Name, request.Prefix)
			continue
		}
		report.changed("%s: %s", ifp.Name, request.Prefix)
	}
}

// sameAddress reports whether an address is there as it is asked for.
func sameAddress(want ifapi.AddressRequest, have ifapi.Address) bool {
	return want.Prefix == have.Prefix && want.Destination.WithZone("") == have.Destination.WithZone("") &&
		(!want.Broadcast.IsValid() || want.Broadcast == have.Broadcast)
}

// wholeAddress fills in the low half by the link address where that is wanted.
func wholeAddress(a *rc.Address, lladdr string) netip.Prefix {
	mac, err := net.ParseMAC(lladdr)
	if !a.EUI64 || err != nil || len(mac) != 6 {
		return a.Prefix
	}
	ip := a.Prefix.Addr().As16()
	copy(ip[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.PrefixFrom(netip.AddrFrom16(ip), a.Prefix.Bits())
}

func (n *Netif) deleteAddress(ctx context.Context, name string, a *rc.Address, lladdr string, report *Report) {
	prefix := wholeAddress(a, lladdr)
	err := n.config.Ifnet.DeleteAddress(ctx, ifapi.AddressRequest{Name: name, Prefix: prefix})
	switch {
	case errors.Is(err, errno.EADDRNOTAVAIL) || errors.Is(err, errno.ENXIO):
	case err != nil:
		report.failed(a.Position, err, "%s: delete %s", name, prefix)
	default:
		report.changed("%s: no %s", name, prefix)
	}
}

// upDown marks the interface up, as netif does with all it configures.
func (n *Netif) upDown(ctx context.Context, ifp *rc.Interface, is *ifapi.Interface, report *Report) {
	up := is.Flags&ifapi.IffUp != 0
	if len(ifp.Addresses) > 0 { // an address may have done it
		if have, ok := n.config.Devices.ByName(ifp.Name); ok {
			up = have.Up
		}
	}
	if up == !ifp.Down {
		return
	}
	request, what := ifapi.FlagsRequest{Name: ifp.Name, Set: ifapi.IffUp}, "up"
	if ifp.Down {
		request, what = ifapi.FlagsRequest{Name: ifp.Name, Clear: ifapi.IffUp}, "down"
	}
	if err := n.config.Ifnet.SetFlags(ctx, request); err != nil {
		report.failed(ifp.Position, err, "%s: %s", ifp.Name, what)
		return
	}
	report.changed("%s: %s", ifp.Name, what)
}
