package control

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/loader"
)

// chooseInterfaces turns the names of a request into devices. Every name must
// be there, but for a boot; nothing is changed.
func chooseInterfaces(request LoadRequest) ([]netlink.Link, error) {
	if request.Any {
		return anyInterfaces()
	}
	var devices []netlink.Link
	var errs []error
	for _, name := range request.Interfaces {
		device, err := netlink.LinkByName(name)
		if err != nil {
			if !request.Boot {
				errs = append(errs, fmt.Errorf("interface %s does not exist", name))
			}
			continue
		}
		if name == loader.NetisrName || device.Attrs().Group == loader.CloneGroup {
			errs = append(errs, fmt.Errorf("interface %s is bsdnet's own", name))
			continue
		}
		devices = append(devices, device)
	}
	return devices, errors.Join(errs...)
}

// anyInterfaces returns what `-i any` means: every device with an Ethernet
// link that is not a part of another.
func anyInterfaces() ([]netlink.Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var devices []netlink.Link
	for _, device := range all {
		if isEthernet(device) {
			devices = append(devices, device)
		}
	}
	if len(devices) == 0 {
		return nil, errors.New("no Ethernet interface found")
	}
	return devices, nil
}

// preflight looks for things of the host that bsdnet would bypass. They are
// an error, or with takeover a warning.
func preflight(request LoadRequest) ([]string, error) {
	found := conflicts()
	if len(found) == 0 {
		return nil, nil
	}
	texts := make([]string, len(found))
	for i, conflict := range found {
		texts[i] = conflict.What
	}
	if !request.Takeover {
		return nil, fmt.Errorf("Linux decides about forwarded packets here: %s; --takeover loads all the same, and forwarded packets then pass these by", strings.Join(texts, "; "))
	}
	for i := range texts {
		texts[i] = "taken over: " + texts[i]
	}
	return texts, nil
}

// EthernetDevices returns the names of the devices that `-i any` would take.
func EthernetDevices() ([]string, error) {
	devices, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var names []string
	for _, device := range devices {
		if isEthernet(device) {
			names = append(names, device.Attrs().Name)
		}
	}
	return names, nil
}

// isEthernet reports whether a device has an Ethernet link and is not a part
// of another.
func isEthernet(device netlink.Link) bool {
	attrs := device.Attrs()
	if attrs.EncapType != "ether" || attrs.MasterIndex != 0 || attrs.Name == loader.NetisrName || attrs.Group == loader.CloneGroup {
		return false
	}
	switch device.Type() {
	case "bridge", "bond", "team", "macvlan", "ipvlan", "vlan", "vxlan", "dummy":
		return false
	}
	return true
}
