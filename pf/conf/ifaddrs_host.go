package conf

import (
	"fmt"
	"net"
	"net/netip"
)

// HostInterfaces is the interface table of this host. It knows no groups
// besides those that interfaces have by their name. The loopback interface of
// Linux has its BSD name in it, lo0, as it has in an instance.
func HostInterfaces() (*InterfaceTable, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	t := new(InterfaceTable)
	for _, ifi := range list {
		name := ifi.Name
		if name == "lo" {
			name = "lo0"
		}
		i := t.Add(name)
		i.Loopback = ifi.Flags&net.FlagLoopback != 0
		i.MTU = ifi.MTU
		addrs, err := ifi.Addrs()
		if err != nil {
			return nil, fmt.Errorf("addresses of %s: %w", ifi.Name, err)
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			bits, _ := n.Mask.Size()
			i.Addrs = append(i.Addrs, InterfaceAddr{Prefix: netip.PrefixFrom(ip.Unmap(), bits)})
		}
	}
	return t, nil
}
