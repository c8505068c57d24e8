package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/route"
)

// slowPath is the netisr of an instance: its sockets, threads and handlers,
// and what they know of the rest of the stack.
type slowPath struct {
	daemon   *Daemon
	sockets  *netisr.Sockets
	netisr   *netisr.Netisr
	stack    *slowpath.Stack
	sender   *slowpath.RawSender
	nexthops *bpf.Array[bpf.Nexthop]
	hosts    atomic.Pointer[hostTable]
	pf       atomic.Pointer[engine.Engine]
	cancels  []func()
	once     sync.Once
}

// hostTable is a copy of the interfaces for readers that may not wait.
type hostTable struct {
	bySlot map[uint32]*slowpath.Interface
	local  map[netip.Addr]bool
}

func startSlowPath(d *Daemon) (s *slowPath, err error) {
	s = &slowPath{daemon: d}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := loader.InNamespace(d.private, func() error {
		s.sockets, err = netisr.OpenSockets(netisr.SocketConfig{Interface: d.veth.FunnelIndex, Queues: d.veth.Queues})
		return err
	}); err != nil {
		return s, err
	}
	if s.netisr, err = netisr.New(netisr.Config{BindThreads: true}, s.sockets.Pool(), s.sockets.Queues()); err != nil {
		return s, err
	}
	if s.sender, err = slowpath.NewRawSender(); err != nil {
		return s, err
	}
	if s.nexthops, err = bpf.MapArray[bpf.Nexthop](d.dp.Maps["nexthop"]); err != nil {
		return s, err
	}
	s.followInterfaces()
	s.stack, err = slowpath.New(slowpath.Config{
		Netisr: s.netisr, Interfaces: s, Nexthops: s, Resolver: s, Routes: s, Sender: s.sender, Settings: s.settings(slowpath.DefaultSettings()),
	})
	if err != nil {
		return s, err
	}
	if err := s.stack.Handle(bpf.ReasonNetisrHook, s.refuse); err != nil {
		return s, err
	}
	s.cancels = append(s.cancels, d.route.SubscribeNeighbours(s.neighbour))
	if err := s.netisr.Start(); err != nil {
		return s, err
	}
	for queue, socket := range s.sockets.Sockets() {
		if err := d.dp.Maps["xsk"].Put(uint32(queue), uint32(socket.FD())); err != nil {
			return s, fmt.Errorf("give socket to queue %d: %w", queue, err)
		}
	}
	return s, nil
}

// close ends the threads. Packets for them are from then on dropped in the
// data path as netisr_down.
func (s *slowPath) close() {
	if s == nil {
		return
	}
	s.once.Do(func() {
		for _, cancel := range s.cancels {
			cancel()
		}
		var errs []error
		if s.netisr != nil {
			errs = append(errs, s.netisr.Stop())
		}
		if s.sockets != nil {
			errs = append(errs, s.sockets.Close())
		}
		if s.sender != nil {
			errs = append(errs, s.sender.Close())
		}
		if s.nexthops != nil {
			errs = append(errs, s.nexthops.Close())
		}
		if err := errors.Join(errs...); err != nil {
			s.daemon.log.Error("netisr did not end well", "err", err)
		}
	})
}

// followInterfaces keeps the copy of the interfaces up to date. Events come in
// bursts, of which one copy takes in all.
func (s *slowPath) followInterfaces() {
	changed := make(chan struct{}, 1)
	done := make(chan struct{})
	cancel := s.daemon.ifnet.Subscribe(func(ifnet.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	s.cancels = append(s.cancels, cancel, func() { close(done) })
	s.readInterfaces()
	go func() {
		for {
			select {
			case <-done:
				return
			case <-changed:
			}
			s.readInterfaces()
			time.Sleep(5 * time.Millisecond)
		}
	}()
}

// readInterfaces makes the copy of the interfaces anew.
func (s *slowPath) readInterfaces() {
	table := &hostTable{bySlot: make(map[uint32]*slowpath.Interface), local: make(map[netip.Addr]bool)}
	for _, ifp := range s.daemon.ifnet.All() {
		for _, addr := range ifp.Addrs {
			table.local[addr.Prefix.Addr()] = true
		}
		if !ifp.HasSlot {
			continue
		}
		entry := &slowpath.Interface{Index: ifp.Index, Name: ifp.Name, MTU: ifp.MTU}
		copy(entry.Lladdr[:], ifp.Lladdr)
		for _, addr := range ifp.Addrs {
			entry.Prefixes = append(entry.Prefixes, addr.Prefix)
		}
		table.bySlot[ifp.Slot] = entry
	}
	s.hosts.Store(table)
}

// Interface implements slowpath.Interfaces.
func (s *slowPath) Interface(slot uint32) (*slowpath.Interface, bool) {
	entry, ok := s.hosts.Load().bySlot[slot]
	return entry, ok
}

// Local implements slowpath.Interfaces.
func (s *slowPath) Local(addr netip.Addr) bool { return s.hosts.Load().local[addr] }

// Nexthop implements slowpath.Nexthops.
func (s *slowPath) Nexthop(number uint32) (bpf.Nexthop, bool) {
	if int(number) >= len(s.nexthops.Values) {
		return bpf.Nexthop{}, false
	}
	return s.nexthops.Values[number], true
}

// Resolve implements slowpath.Resolver.
func (s *slowPath) Resolve(slot uint32, addr netip.Addr) slowpath.Neighbour {
	_, ok, err := s.daemon.route.Resolve(slot, addr)
	switch {
	case err != nil:
		return slowpath.NeighbourFailed
	case ok:
		return slowpath.NeighbourValid
	}
	return slowpath.NeighbourPending
}

func (s *slowPath) neighbour(event route.NeighbourEvent) {
	state := slowpath.NeighbourFailed
	if event.Valid {
		state = slowpath.NeighbourValid
	}
	s.stack.NeighbourChanged(event.Ifslot, event.Addr, state)
}

// Route implements slowpath.Routes: the interface that the data path would take.
func (s *slowPath) Route(destination netip.Addr) (slot uint32, ok bool) {
	number, ok := s.daemon.route.Lookup(destination)
	if !ok {
		return 0, false
	}
	hop, ok := s.Nexthop(number)
	return hop.Ifslot, ok && hop.Flags&bpf.NexthopUp != 0
}

// settings takes what the data path's configuration says into the settings.
func (s *slowPath) settings(settings slowpath.Settings) slowpath.Settings {
	flags := s.daemon.config.Active().Flags
	settings.Forwarding = flags&bpf.ConfigIpforwarding != 0
	settings.Forwarding6 = flags&bpf.ConfigIp6forwarding != 0
	settings.Redirect = flags&bpf.ConfigSendredirects != 0
	settings.Redirect6 = flags&bpf.ConfigSend6redirects != 0
	settings.Stealth = flags&bpf.ConfigStealth != 0
	return settings
}

// configured follows a change of the data path's configuration.
func (s *slowPath) configured() { s.stack.SetSettings(s.settings(s.stack.Settings())) }

// SlowPathStats is what the slow path counts.
type SlowPathStats struct {
	Netisr netisr.Stats   `json:"netisr"`
	Stack  slowpath.Stats `json:"stack"`
}

func (s *slowPath) calls() map[string]call {
	return map[string]call{
		"netisr": typed(reader, func(context.Context, None) (*SlowPathStats, error) {
			return &SlowPathStats{Netisr: s.netisr.Stats(), Stack: s.stack.Stats()}, nil
		}),
	}
}

func lladdrText(lladdr []byte) string { return net.HardwareAddr(lladdr).String() }
