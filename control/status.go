package control

import (
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/ifnet/wg"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/route"
)

// Status is the health of an instance.
type Status struct {
	Schema     int               `json:"schema"` // of this structure
	Instance   string            `json:"instance"`
	PID        int               `json:"pid"`
	Uptime     string            `json:"uptime"`
	Healthy    bool              `json:"healthy"`
	Problems   []string          `json:"problems,omitempty"`
	Forwarding map[string]bool   `json:"forwarding"`
	Generation uint64            `json:"generation"`
	Interfaces []InterfaceStatus `json:"interfaces"`
	Routes     route.Stats       `json:"routes"`
	Persistent bool              `json:"persistent"` // outlives the daemon
	Pending    *Pending          `json:"pending,omitempty"`
	Clones     map[string]int    `json:"clones,omitempty"` // how many, by cloner
	WireGuard  []wg.Engine       `json:"wireguard,omitempty"`
	TCX        bool              `json:"tcx"`
	// Landlock is the version by which the kernel confines the daemon to its
	// files, 0: it does not.
	Landlock int `json:"landlock"`
}

// InterfaceStatus is one owned interface.
type InterfaceStatus struct {
	Name    string   `json:"name"`
	Device  string   `json:"device"`
	Present bool     `json:"present"`
	Up      bool     `json:"up"`
	Mode    string   `json:"mode"`
	Why     string   `json:"why"`
	Output  string   `json:"output"` // how forwarded frames get out
	MTU     int      `json:"mtu"`
	Data    Counters `json:"data"`
}

// Counters are those of an interface in the data path, in packets and bytes.
type Counters struct {
	Ipackets uint64 `json:"ipackets"`
	Ibytes   uint64 `json:"ibytes"`
	Opackets uint64 `json:"opackets"`
	Obytes   uint64 `json:"obytes"`
	Imcasts  uint64 `json:"imcasts"`
	Omcasts  uint64 `json:"omcasts"`
	Iqdrops  uint64 `json:"iqdrops"`
	Noproto  uint64 `json:"noproto"`
}

func countersOf(d bpf.IfData) Counters {
	return Counters{d.Ipackets, d.Ibytes, d.Opackets, d.Obytes, d.Imcasts, d.Omcasts, d.Iqdrops, d.Noproto}
}

// Status reports how the instance is.
func (d *Daemon) Status() (*Status, error) {
	active := d.config.Active()
	status := &Status{
		Schema: 1, Instance: d.instance.Name, PID: d.record.PID,
		Uptime:     time.Since(d.started).Round(time.Second).String(),
		Forwarding: map[string]bool{"inet": active.Flags&bpf.ConfigIpforwarding != 0, "inet6": active.Flags&bpf.ConfigIp6forwarding != 0},
		Generation: active.Generation,
		Routes:     d.route.Stats(),
		Persistent: d.mounted == MountShared,
		TCX:        d.features.TCX,
		Pending:    d.confirm.status(),
		Landlock:   int(d.confined.Load()),
		Clones:     d.ifnet.Count(),
	}
	status.WireGuard = d.wg.Engines()
	for _, e := range status.WireGuard {
		if e.Engine == ifapi.WgDown {
			status.Problems = append(status.Problems, "the WireGuard process of "+e.Name+" does not run")
		}
	}
	if problem := d.pf.bootProblem(); problem != "" {
		status.Problems = append(status.Problems, problem)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range d.record.Interfaces {
		is := InterfaceStatus{Name: entry.Name, Device: entry.Name, Mode: entry.Mode, Why: entry.Why}
		ifp, ok := d.ifnet.ByIndex(entry.Index)
		if !ok {
			status.Problems = append(status.Problems, "interface "+entry.Name+" is gone")
			status.Interfaces = append(status.Interfaces, is)
			continue
		}
		is.Name, is.Device, is.Present, is.Up, is.MTU = ifp.Name, ifp.Device, true, ifp.Up, ifp.MTU
		is.Output = d.output(ifp)
		data, err := d.ifData(ifp.Slot)
		if err != nil {
			return nil, err
		}
		is.Data = countersOf(data)
		status.Interfaces = append(status.Interfaces, is)
	}
	for _, awaited := range d.record.Awaited {
		status.Problems = append(status.Problems, "interface "+awaited.Name+" is not there yet")
	}
	if d.slow == nil {
		status.Problems = append(status.Problems, "netisr is not running")
	}
	if status.Routes.MapErrors > 0 {
		status.Problems = append(status.Problems, "routes could not be written to the data path")
	}
	status.Healthy = len(status.Problems) == 0
	return status, nil
}

// output says how forwarded frames get out of an interface: by redirect, or
// through the netisr veth. TC sends on any
// device; XDP only on those that take its frames, and sends the others a way
// round. d.mu is held.
func (d *Daemon) output(ifp *ifnet.Ifnet) string {
	fromXDP := slices.ContainsFunc(d.record.Interfaces, func(entry *InterfaceRecord) bool {
		return entry.Mode == string(loader.ModeXDP)
	})
	if fromXDP && !ifp.XDPXmit {
		return loader.NetisrName
	}
	return "redirect"
}

// ifData sums the counters of an interface over the CPUs.
func (d *Daemon) ifData(slot uint32) (bpf.IfData, error) {
	var perCPU []bpf.IfData
	var sum bpf.IfData
	if err := d.dp.Maps["if_data"].Lookup(slot, &perCPU); err != nil {
		return sum, err
	}
	for _, one := range perCPU {
		sum.Ipackets += one.Ipackets
		sum.Ibytes += one.Ibytes
		sum.Opackets += one.Opackets
		sum.Obytes += one.Obytes
		sum.Imcasts += one.Imcasts
		sum.Iqdrops += one.Iqdrops
		sum.Noproto += one.Noproto
		sum.Omcasts += one.Omcasts
	}
	return sum, nil
}

// ReasonCount is how many packets left the data path for one reason.
type ReasonCount struct {
	Name    string `json:"name"`
	Text    string `json:"text"`
	Packets uint64 `json:"packets"`
	Kind    string `json:"kind"` // passed, netisr, dropped
}

// Reasons returns the counters of all reasons.
func (d *Daemon) Reasons() ([]ReasonCount, error) {
	var counts []ReasonCount
	for number := range bpf.Reasons {
		reason := bpf.Reason(number)
		var perCPU []uint64
		if err := d.dp.Maps["reasons"].Lookup(uint32(number), &perCPU); err != nil {
			return nil, err
		}
		count := ReasonCount{Name: reason.String(), Text: reason.Text(), Kind: "passed"}
		if reason.Dropped() {
			count.Kind = "dropped"
		} else if reason.Queued() {
			count.Kind = "netisr"
		}
		for _, n := range perCPU {
			count.Packets += n
		}
		counts = append(counts, count)
	}
	return counts, nil
}

// InterfaceCounters is one line of netstat -i.
type InterfaceCounters struct {
	Name    string   `json:"name"`
	MTU     int      `json:"mtu"`
	Lladdr  string   `json:"address,omitempty"`
	Owned   bool     `json:"owned"`
	Up      bool     `json:"up"`
	Network []string `json:"networks,omitempty"`
	Data    Counters `json:"data"`
}

// Interfaces returns the counters of every interface that has a place in the
// data path.
func (d *Daemon) Interfaces() ([]InterfaceCounters, error) {
	var all []InterfaceCounters
	for _, ifp := range d.ifnet.All() {
		if !ifp.Owned {
			continue
		}
		data, err := d.ifData(ifp.Slot)
		if err != nil {
			return nil, err
		}
		line := InterfaceCounters{Name: ifp.Name, MTU: ifp.MTU, Owned: ifp.Owned, Up: ifp.Up, Data: countersOf(data)}
		if !ifp.Loopback {
			line.Lladdr = lladdrText(ifp.Lladdr)
		}
		for _, addr := range ifp.Addrs {
			line.Network = append(line.Network, addr.Prefix.String())
		}
		all = append(all, line)
	}
	return all, nil
}
