// Package netif brings a host to what a plan of package rc says, and keeps it
// there: it makes clones, configures interfaces as they come, runs their DHCP
// clients and adds the static routes. What is right already is not touched.
package netif

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/dhclient"
	"github.com/bsdnet/bsdnet/ifnet"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/rc"
	rtapi "github.com/bsdnet/bsdnet/route/api"
)

// Devices is the table of interfaces; *ifnet.Table is one.
type Devices interface {
	ByName(name string) (*ifnet.Ifnet, bool)
	ByIndex(index int) (*ifnet.Ifnet, bool)
	SetDHCP(index int, on bool)
	Subscribe(notify func(ifnet.Event)) (cancel func())
}

// Config is what plans are applied with.
type Config struct {
	Devices Devices
	Ifnet   ifapi.Backend
	Route   rtapi.Backend
	Sysctl  func(name, value string) error
	// Attach takes Linux devices under the data path; those that are there
	// already stay as they are. The strings are warnings.
	Attach func(devices []string, plan *rc.Plan) ([]string, error)
	// StateFile keeps what was applied; LeasePrefix with the name of an
	// interface is the file of its lease.
	StateFile, LeasePrefix string
	// Resolvconf is the file that DHCP may write, "" if there is none.
	Resolvconf string
	// Hostname sets the host's name; nil where it is not this instance's to set.
	Hostname func(name string) error
	Log      *slog.Logger
}

// Report says what came of a plan.
type Report struct {
	Changes  []string `json:"changes,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Errors   []string `json:"errors,omitempty"`
}

func (r *Report) changed(format string, args ...any) {
	r.Changes = append(r.Changes, fmt.Sprintf(format, args...))
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// failed notes an error of something written at a position.
func (r *Report) failed(pos rc.Position, err error, format string, args ...any) {
	text := fmt.Sprintf(format, args...) + ": " + err.Error()
	if pos.File != "" {
		text = pos.String() + ": " + text
	}
	r.Errors = append(r.Errors, text)
}

// before is how an interface was before a plan touched it.
type before struct {
	MTU         int  `json:"mtu"`
	AcceptRTAdv bool `json:"accept_rtadv"`
}

// state is what outlives the process.
type state struct {
	Plan *rc.Plan `json:"plan"`
	// Routing: the routes of the plan are in force, and forwarding as it says.
	Routing bool              `json:"routing"`
	Before  map[string]before `json:"before"`
	// Clones are those of the plan that it made itself, not found.
	Clones []string `json:"clones"`
}

// Netif applies plans. Its methods may be called concurrently.
type Netif struct {
	config Config
	cancel func()
	stop   context.CancelFunc
	done   chan struct{}

	mu         sync.Mutex
	state      state
	configured map[string]int // indexes of interfaces by name
	clients    map[string]*client
	pending    map[*rc.Route]string // routes that have no way yet, and why

	lookups map[string]bool // interfaces with endpoints that are looked up

	noResolvconf atomic.Bool // of the plan, for leases
	leases       leases
}

// client is the DHCP client of one interface.
type client struct {
	*dhclient.Client
	index  int
	losses int // of its link that it knows of
}

// New reads what an earlier process applied and follows the interfaces from
// then on.
func New(config Config) (*Netif, error) {
	n := &Netif{
		config: config, done: make(chan struct{}), configured: make(map[string]int),
		clients: make(map[string]*client), pending: make(map[*rc.Route]string), lookups: make(map[string]bool),
	}
	n.leases.init()
	data, err := os.ReadFile(config.StateFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(data, &n.state); err != nil {
			return nil, fmt.Errorf("read %s: %w", config.StateFile, err)
		}
	}
	if n.state.Before == nil {
		n.state.Before = make(map[string]before)
	}
	if n.state.Plan != nil {
		n.noResolvconf.Store(n.state.Plan.NoResolvconf)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	changed := make(chan struct{}, 1)
	n.cancel = config.Devices.Subscribe(func(ifnet.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	go n.follow(ctx, changed)
	go n.followEndpoints(ctx)
	return n, nil
}

// Close ends the DHCP clients. Everything stays as it is.
func (n *Netif) Close() {
	n.cancel()
	n.stop()
	<-n.done
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.clients {
		c.Stop()
	}
	clear(n.clients)
	n.state.Plan = nil // in memory alone: nothing is to be done any more
}

// save writes the state; n.mu is held.
func (n *Netif) save() error {
	data, err := json.MarshalIndent(n.state, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.config.StateFile+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(n.config.StateFile+".new", n.config.StateFile)
}

// Plan returns the plan in force, nil if there is none.
func (n *Netif) Plan() *rc.Plan {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Plan
}

// Interfaces puts the interfaces of a plan in place of those of the plan
// before. Routes and forwarding wait for Routing.
func (n *Netif) Interfaces(ctx context.Context, plan *rc.Plan) *Report {
	n.mu.Lock()
	report := &Report{}
	old := n.state.Plan
	n.state.Plan = plan
	n.noResolvconf.Store(plan.NoResolvconf)
	if err := n.save(); err != nil {
		report.failed(rc.Position{}, err, "write state")
	}
	if old != nil {
		n.withdraw(ctx, old, plan, report)
	}
	n.loopback(ctx, report)
	n.names(ctx, plan, report)
	n.attach(plan, report)
	for _, s := range plan.Sysctl {
		if err := n.config.Sysctl(s.Name, s.Value); err != nil {
			report.failed(s.Position, err, "%s=%s", s.Name, s.Value)
		}
	}
	n.hostname(plan, report)
	n.clones(ctx, plan, report)
	var wait []*client
	for _, ifp := range plan.Interfaces {
		if ifp.NoAuto {
			continue
		}
		if !n.configure(ctx, ifp, old, report) {
			report.warn("%s: %s is not there: it is configured when it comes", ifp.Position, n.known(plan, ifp))
		}
		if c := n.clients[ifp.Name]; c != nil && ifp.DHCP == rc.DHCPSync {
			wait = append(wait, c)
		}
	}
	if err := n.save(); err != nil {
		report.failed(rc.Position{}, err, "write state")
	}
	n.mu.Unlock()
	n.await(ctx, wait, report)
	return report
}

func (n *Netif) known(plan *rc.Plan, ifp *rc.Interface) string {
	if device := plan.Device(ifp.Name); device != ifp.Name {
		return ifp.Name + " (" + device + ")"
	}
	return ifp.Name
}

// syncTimeout is how long a start waits for SYNCDHCP.
const syncTimeout = 30 * time.Second

// await waits for the first leases.
func (n *Netif) await(ctx context.Context, clients []*client, report *Report) {
	timeout := time.After(syncTimeout)
	for _, c := range clients {
		select {
		case <-c.Bound():
		case <-ctx.Done():
			return
		case <-timeout:
			status := c.Status()
			report.warn("%s: no lease within %v (%s), still trying", status.Interface, syncTimeout, status.Error)
			return
		}
	}
}

// AwaitLeases waits until every DHCP client has a lease, or ctx ends.
func (n *Netif) AwaitLeases(ctx context.Context) {
	n.mu.Lock()
	var clients []*client
	for _, c := range n.clients {
		clients = append(clients, c)
	}
	n.mu.Unlock()
	for _, c := range clients {
		select {
		case <-c.Bound():
		case <-ctx.Done():
			return
		}
	}
}

// names gives the devices their BSD names; n.mu is held.
func (n *Netif) names(ctx context.Context, plan *rc.Plan, report *Report) {
	for device, name := range plan.Names {
		ifp, ok := n.config.Devices.ByName(device)
		if !ok || ifp.Name == name || ifp.Device != device {
			continue
		}
		if err := n.config.Ifnet.SetName(ctx, ifapi.TextRequest{Name: device, Value: name}); err != nil {
			report.failed(rc.Position{}, err, "%s: name %s", device, name)
			continue
		}
		report.changed("%s: named %s", device, name)
	}
}

// attach takes the devices that are there under the data path; n.mu is held.
func (n *Netif) attach(plan *rc.Plan, report *Report) {
	var devices []string
	for _, device := range plan.Physical() {
		if ifp, ok := n.config.Devices.ByName(device); ok && !ifp.Owned {
			devices = append(devices, ifp.Device)
		}
	}
	if len(devices) == 0 {
		return
	}
	warnings, err := n.config.Attach(devices, plan)
	report.Warnings = append(report.Warnings, warnings...)
	if err != nil {
		report.failed(rc.Position{}, err, "load")
		return
	}
	for _, device := range devices {
		report.changed("%s: loaded", device)
	}
}

func (n *Netif) hostname(plan *rc.Plan, report *Report) {
	if plan.Hostname == "" {
		return
	}
	if n.config.Hostname == nil {
		report.warn("hostname=%s: not set: the name of the host is not this network namespace's", plan.Hostname)
		return
	}
	if have, err := os.Hostname(); err == nil && have == plan.Hostname {
		return
	}
	if err := n.config.Hostname(plan.Hostname); err != nil {
		report.failed(rc.Position{}, err, "hostname %s", plan.Hostname)
		return
	}
	report.changed("hostname: %s", plan.Hostname)
}
