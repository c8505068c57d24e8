package netif

import (
	"maps"
	"slices"

	"github.com/bsdnet/bsdnet/dhclient"
)

// Status is how a plan fares.
type Status struct {
	// Started: there is a plan; Routing: its routes are in force.
	Started    bool              `json:"started"`
	Routing    bool              `json:"routing"`
	Source     string            `json:"source,omitempty"` // rc.conf of the plan
	Interfaces []InterfaceStatus `json:"interfaces,omitempty"`
	// Pending are the routes and endpoints that wait, with why.
	Pending []string `json:"pending,omitempty"`
	// Resolvconf says why resolv.conf is not written, if it is not.
	Resolvconf string `json:"resolvconf,omitempty"`
}

// InterfaceStatus is how an interface of the plan fares.
type InterfaceStatus struct {
	Name        string           `json:"name"`
	Device      string           `json:"device,omitempty"`
	Present     bool             `json:"present"`
	Up          bool             `json:"up"`
	AcceptRTAdv bool             `json:"accept_rtadv,omitempty"`
	NoAuto      bool             `json:"noauto,omitempty"`
	Addresses   []string         `json:"addresses,omitempty"`
	DHCP        *dhclient.Status `json:"dhcp,omitempty"`
	Note        string           `json:"note,omitempty"`
}

// Status reports how the plan in force fares.
func (n *Netif) Status() *Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	status := &Status{Started: n.state.Plan != nil, Routing: n.state.Routing}
	if n.state.Plan == nil {
		return status
	}
	status.Source = n.state.Plan.Source
	n.leases.mu.Lock()
	notes := maps.Clone(n.leases.notes)
	status.Resolvconf = n.leases.resolv
	n.leases.mu.Unlock()
	for _, ifp := range n.state.Plan.Interfaces {
		is := InterfaceStatus{Name: ifp.Name, Device: ifp.Device, AcceptRTAdv: ifp.AcceptRTAdv, NoAuto: ifp.NoAuto, Note: notes[ifp.Name]}
		if have, ok := n.config.Devices.ByName(ifp.Name); ok {
			is.Present, is.Up = true, have.Up
			for _, a := range have.Addrs {
				is.Addresses = append(is.Addresses, a.Prefix.String())
			}
		}
		if c := n.clients[ifp.Name]; c != nil {
			dhcp := c.Status()
			is.DHCP = &dhcp
		}
		status.Interfaces = append(status.Interfaces, is)
	}
	for r, why := range n.pending {
		status.Pending = append(status.Pending, r.Position.String()+": route "+r.Text+": "+why)
	}
	for name := range n.lookups {
		status.Pending = append(status.Pending, name+": endpoints are looked up")
	}
	slices.Sort(status.Pending)
	return status
}
