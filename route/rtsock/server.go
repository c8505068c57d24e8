package rtsock

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// Limits of a Server.
const (
	maxSockets    = 1024
	maxUserSocket = 64 // of one user but root

	// backlog is the number of messages that the Server may lag behind the
	// table before every socket loses some.
	backlog = 1 << 16
)

// Server serves routing sockets. Its methods may be called concurrently.
type Server struct {
	table      Table
	interfaces Interfaces
	log        *slog.Logger
	sub        *route.Subscription

	mu        sync.Mutex
	sockets   map[uint64]*socket
	list      atomic.Pointer[[]*socket] // of sockets, by age
	listeners []*net.UnixListener
	nextID    uint64
	closed    bool

	opened, refused, written, failed, filtered, dumps atomic.Uint64
	gone                                              struct{ delivered, lost uint64 } // of closed sockets, under mu

	wg sync.WaitGroup
}

// New returns a server over a table. It hears what the table tells from then on.
func New(table Table, interfaces Interfaces, log *slog.Logger) *Server {
	s := &Server{table: table, interfaces: interfaces, log: log, sub: table.Subscribe(backlog), sockets: make(map[uint64]*socket)}
	s.sub.Mute(true)
	s.wg.Go(s.broadcast)
	return s
}

// Listen makes the socket of a system at path, in place of what is there.
// Everybody may connect, as everybody may open a routing socket on a BSD; only
// root may change anything.
func (s *Server) Listen(path string, system rtm.Version) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("listen for routing sockets: %w", err)
	}
	// By the time that it is closed, the path may be another daemon's.
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o666); err != nil {
		return errors.Join(err, listener.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(net.ErrClosed, listener.Close())
	}
	s.listeners = append(s.listeners, listener)
	s.wg.Go(func() { s.accept(listener, system) })
	return nil
}

// Close closes all sockets.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, listener := range s.listeners {
		listener.Close()
	}
	for _, sock := range s.sockets {
		sock.close()
	}
	s.mu.Unlock()
	s.sub.Close()
	s.wg.Wait()
}

// acceptRetry is how long to wait when no more descriptors are to be had.
const acceptRetry = 100 * time.Millisecond

func (s *Server) accept(listener *net.UnixListener, system rtm.Version) {
	for {
		conn, err := listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptRetry)
			continue
		}
		if !s.open(conn, system) {
			s.refused.Add(1)
			conn.Close()
		}
	}
}

// open makes a socket of a connection. It reports false if there are too many.
func (s *Server) open(conn *net.UnixConn, system rtm.Version) bool {
	sock, err := newSocket(s, conn, system)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	users := 0
	for _, other := range s.sockets {
		if other.uid == sock.uid {
			users++
		}
	}
	if s.closed || len(s.sockets) >= maxSockets || sock.uid != 0 && users >= maxUserSocket {
		return false
	}
	s.nextID++
	sock.id = s.nextID
	s.sockets[sock.id] = sock
	s.listed()
	s.opened.Add(1)
	s.wg.Go(sock.read)
	s.wg.Go(sock.write)
	return true
}

func (s *Server) remove(sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sockets[sock.id]; !ok {
		return
	}
	delete(s.sockets, sock.id)
	s.listed()
	_, delivered, lost := sock.buffer.state()
	s.gone.delivered += delivered
	s.gone.lost += lost
}

// listed makes the list of the sockets anew; mu is held.
func (s *Server) listed() {
	list := slices.SortedFunc(maps.Values(s.sockets), func(a, b *socket) int { return int(a.id) - int(b.id) })
	s.list.Store(&list)
	s.sub.Mute(len(list) == 0)
}

// all returns the sockets by their age.
func (s *Server) all() []*socket {
	if list := s.list.Load(); list != nil {
		return *list
	}
	return nil
}

// news is one message for the sockets.
type news struct {
	typ     api.MessageType
	sender  uint64 // the socket that it answers, 0: none
	family  uint8  // of its destination
	dst     netip.Addr
	packets [2][]byte // for FreeBSD and for DragonFly, nil: not made
}

// at is where news have the message of a system.
func at(v rtm.Version) int {
	if v == rtm.DragonFly {
		return 1
	}
	return 0
}

// burst is how many messages are given to the sockets at once.
const burst = 256

// broadcast gives what the table tells to the sockets.
func (s *Server) broadcast() {
	var told uint64
	var list []news
	for m := range s.sub.C {
		if lost := s.sub.Dropped(); lost != told {
			for _, sock := range s.all() {
				sock.buffer.miss(lost - told)
			}
			told = lost
		}
		sockets := s.all()
		if len(sockets) == 0 {
			continue
		}
		var systems [2]bool
		for _, sock := range sockets {
			systems[at(sock.system)] = true
		}
		list = append(list[:0], s.news(m, systems))
	more:
		for len(list) < burst {
			select {
			case m, ok := <-s.sub.C:
				if !ok {
					break more
				}
				list = append(list, s.news(m, systems))
			default:
				break more
			}
		}
		for _, sock := range sockets {
			s.filtered.Add(uint64(sock.hear(list)))
		}
		clear(list)
	}
}

// news encodes a message once for each system that somebody listens in.
func (s *Server) news(m *api.Message, systems [2]bool) news {
	n := news{typ: m.Type, sender: m.Sender.Socket, family: familyOf(*m), dst: m.Dst.Addr()}
	for _, v := range []rtm.Version{rtm.FreeBSD, rtm.DragonFly} {
		if systems[at(v)] {
			n.packets[at(v)] = s.encode(v, *m)
		}
	}
	return n
}

func (s *Server) encode(v rtm.Version, m api.Message) []byte {
	packet, err := s.convert(v, m).Append(make([]byte, 0, 256))
	if err != nil {
		s.log.Warn("a routing message cannot be sent", "type", m.Type.Text(), "err", err)
		return nil
	}
	return packet
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	st := Stats{
		Opened: s.opened.Load(), Refused: s.refused.Load(), Written: s.written.Load(), Errors: s.failed.Load(),
		Filtered: s.filtered.Load(), Dumps: s.dumps.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Sockets, st.Delivered, st.Lost = len(s.sockets), s.gone.delivered, s.gone.lost
	for _, sock := range s.sockets {
		_, delivered, lost := sock.buffer.state()
		st.Delivered += delivered
		st.Lost += lost
	}
	return st
}

// Sockets returns the open sockets by their age.
func (s *Server) Sockets() []Socket {
	list := []Socket{}
	for _, sock := range s.all() {
		queued, delivered, lost := sock.buffer.state()
		list = append(list, Socket{
			ID: sock.id, System: sock.system.String(), Pid: sock.pid, Uid: sock.uid,
			Queued: queued, Delivered: delivered, Lost: lost,
		})
	}
	return list
}

// errorOf returns the number that a system has for an error.
func errorOf(err error) int32 {
	if err == nil {
		return 0
	}
	return int32(errno.Of(err).Number())
}
