package rtsock

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/errno"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/route"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
	em0    = api.Link{Index: 2, Name: "em0", Lladdr: "02:00:5e:00:53:01", Type: ifapi.IftEther}
)

// fakeTable is a routing table that holds exactly what it is told.
type fakeTable struct {
	api.Backend // nil: what is not faked panics
	hub         *route.Hub
	mu          sync.Mutex
	routes      map[netip.Prefix]api.Rtentry
	requests    []api.RouteRequest
	neighbours  []api.Neighbour
}

func newFakeTable() *fakeTable {
	return &fakeTable{hub: route.NewHub(), routes: make(map[netip.Prefix]api.Rtentry)}
}

func (f *fakeTable) Subscribe(buffer int) *route.Subscription { return f.hub.Subscribe(buffer) }

func (f *fakeTable) tell(typ api.MessageType, req api.RouteRequest, e api.Rtentry) {
	f.hub.Publish(api.Message{
		Type: typ, Pid: req.Pid, Seq: req.Seq, Sender: req.Sender, Flags: e.Flags | api.Done, Dst: e.Dst, Gateway: e.Gateway,
		Link: e.Interface, Ifa: e.Ifa, Metrics: e.Metrics, Inits: req.Inits,
	})
}

func (f *fakeTable) entry(req api.RouteRequest) api.Rtentry {
	e := api.Rtentry{
		Dst: req.Dst, Gateway: req.Gateway.WithZone(""), Flags: req.Flags | api.Up, Interface: em0, Metrics: req.Metrics, Ifa: addr("192.0.2.1"),
	}
	if req.Gateway.IsValid() {
		e.Flags |= api.Gateway
	}
	if req.Dst.IsSingleIP() {
		e.Flags |= api.Host
	}
	return e
}

func (f *fakeTable) RouteAdd(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req)
	if _, ok := f.routes[req.Dst]; ok {
		return api.Rtentry{}, api.EEXIST
	}
	if req.Gateway == addr("10.255.0.1") {
		return api.Rtentry{}, api.EADDRINUSE
	}
	e := f.entry(req)
	f.routes[req.Dst] = e
	f.tell(api.RTMAdd, req, e)
	return e, nil
}

func (f *fakeTable) RouteChange(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req)
	e, ok := f.routes[req.Dst]
	if !ok {
		return e, api.ESRCH
	}
	typ := api.RTMChange
	if req.LocksOnly {
		typ, e.Metrics = api.RTMLock, e.Metrics.Lock(req.Metrics.Locks, req.Inits)
	} else {
		e.Metrics = e.Metrics.Merge(req.Metrics, req.Inits)
	}
	f.routes[req.Dst] = e
	f.tell(typ, req, e)
	return e, nil
}

func (f *fakeTable) RouteDelete(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req)
	e, ok := f.routes[req.Dst]
	if !ok {
		return e, api.ESRCH
	}
	delete(f.routes, req.Dst)
	f.tell(api.RTMDelete, req, e)
	return e, nil
}

func (f *fakeTable) RouteGet(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req)
	var best api.Rtentry
	for dst, e := range f.routes {
		if req.Exact && dst == req.Dst || !req.Exact && dst.Contains(req.Dst.Addr()) && (!best.Dst.IsValid() || dst.Bits() > best.Dst.Bits()) {
			best = e
		}
	}
	if !best.Dst.IsValid() {
		return best, api.ESRCH
	}
	return best, nil
}

func (f *fakeTable) Routes(_ context.Context, filter api.RouteFilter) ([]api.Rtentry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []api.Rtentry
	for _, e := range f.routes {
		if filter.Family.Has(e.Dst.Addr()) {
			list = append(list, e)
		}
	}
	return list, nil
}

func (f *fakeTable) Neighbours(_ context.Context, filter api.NeighbourFilter) ([]api.Neighbour, error) {
	var list []api.Neighbour
	for _, n := range f.neighbours {
		if filter.Family.Has(n.Addr) && (!filter.Addr.IsValid() || filter.Addr == n.Addr) {
			list = append(list, n)
		}
	}
	return list, nil
}

func (f *fakeTable) NeighbourSet(_ context.Context, req api.NeighbourRequest) error {
	f.neighbours = append(f.neighbours, api.Neighbour{Addr: req.Addr, Lladdr: req.Lladdr, Interface: em0})
	return nil
}

func (f *fakeTable) NeighbourDelete(_ context.Context, filter api.NeighbourFilter) error {
	for i, n := range f.neighbours {
		if n.Addr == filter.Addr {
			f.neighbours = append(f.neighbours[:i], f.neighbours[i+1:]...)
			return nil
		}
	}
	return api.ENOENT
}

type fakeInterfaces struct{}

var fakeInterface = ifapi.Interface{
	Name: "em0", Index: 2, Type: ifapi.IftEther, MTU: 1500, Lladdr: em0.Lladdr, LinkState: ifapi.LinkUp,
	Flags:     ifapi.IffUp | ifapi.IffBroadcast | ifapi.IffRunning | ifapi.IffSimplex | ifapi.IffMulticast,
	Data:      ifapi.Data{Ipackets: 11, Opackets: 12},
	Addresses: []ifapi.Address{{Prefix: prefix("192.0.2.1/24"), Broadcast: addr("192.0.2.255")}, {Prefix: prefix("2001:db8:1::1/64")}},
}

func (fakeInterfaces) Interfaces(_ context.Context, name ifapi.Name) ([]ifapi.Interface, error) {
	if name.Name != "" && name.Name != "em0" {
		return nil, errno.ENXIO
	}
	return []ifapi.Interface{fakeInterface}, nil
}

func (fakeInterfaces) IndexToName(index int) (string, bool) { return "em0", index == 2 }

// rig is a server with both sockets.
type rig struct {
	t      testing.TB
	table  *fakeTable
	server *Server
	paths  map[rtm.Version]string
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, table: newFakeTable(), paths: make(map[rtm.Version]string)}
	r.server = New(r.table, fakeInterfaces{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() {
		r.server.Close()
		r.table.hub.Close()
	})
	for _, v := range []rtm.Version{rtm.FreeBSD, rtm.DragonFly} {
		r.paths[v] = filepath.Join(t.TempDir(), v.String())
		if err := r.server.Listen(r.paths[v], v); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// program is a program that uses a routing socket.
type program struct {
	t    testing.TB
	v    rtm.Version
	conn *net.UnixConn
}

func (r *rig) open(v rtm.Version) *program {
	r.t.Helper()
	before := r.server.Stats().Opened
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: r.paths[v], Net: "unixpacket"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	for r.server.Stats().Opened == before { // it hears what is told from now on
		time.Sleep(time.Millisecond)
	}
	return &program{r.t, v, conn}
}

func (p *program) writeRaw(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) write(m rtm.Message, addrs map[int]rtm.Sockaddr) {
	p.t.Helper()
	m.Version = p.v
	for i, sa := range addrs {
		m.Addrs[i] = sa
	}
	b, err := m.Append(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.writeRaw(b)
}

func (p *program) readRaw() []byte {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	n, err := p.conn.Read(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return b[:n]
}

func (p *program) read() *rtm.Message {
	p.t.Helper()
	b := p.readRaw()
	m, err := rtm.Decode(b)
	if err != nil {
		p.t.Fatalf("%v: % x", err, b)
	}
	return m
}

// silent fails if anything comes.
func (p *program) silent() {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	if n, err := p.conn.Read(b); err == nil {
		p.t.Errorf("unexpected: % x", b[:n])
	}
}
