package netisr

import (
	"errors"
	"fmt"

	"github.com/bsdnet/bsdnet/netisr/xsk"
)

// SocketConfig describes the sockets that feed a netisr. The zero value of a
// field means its default.
type SocketConfig struct {
	Interface  int      // index, in the caller's network namespace, of the daemon's end of the netisr veth
	Queues     int      // receive and transmit queues of it, one socket each
	RingSize   int      // entries of each ring, a power of two; default 1024
	Packets    int      // packets for each queue; default 4 times RingSize
	PacketSize int      // bytes of memory of a packet, 2048 or 4096; default 2048
	Mode       xsk.Mode // default copy
}

// Smaller rings keep the packets in the CPU's cache: with 4096 entries the
// memory in flight is larger than most second-level caches.
const (
	defaultRingSize   = 1024
	defaultPacketSize = 2048
	packetsPerEntry   = 4
)

// Sockets are AF_XDP sockets on all queues of one device, with one memory.
type Sockets struct {
	umem    *xsk.UMEM
	pool    *Pool
	sockets []*xsk.Socket
}

// OpenSockets opens a socket on each queue. It needs CAP_NET_RAW. Packets
// larger than PacketSize arrive where the kernel has multi-buffer (6.6).
func OpenSockets(config SocketConfig) (*Sockets, error) {
	if config.RingSize == 0 {
		config.RingSize = defaultRingSize
	}
	if config.Packets == 0 {
		config.Packets = packetsPerEntry * config.RingSize
	}
	if config.PacketSize == 0 {
		config.PacketSize = defaultPacketSize
	}
	if config.Queues <= 0 || config.Packets < 2*config.RingSize {
		return nil, fmt.Errorf("open netisr sockets: %d queues, %d packets for rings of %d: %w", config.Queues, config.Packets, config.RingSize, ErrInvalid)
	}
	umem, err := xsk.NewUMEM(xsk.UMEMConfig{Chunks: config.Queues * config.Packets, ChunkSize: config.PacketSize})
	if err != nil {
		return nil, fmt.Errorf("open netisr sockets: %w", err)
	}
	s := &Sockets{umem: umem}
	if s.pool, err = NewPool(umem.Area(), config.PacketSize); err != nil {
		return nil, errors.Join(err, umem.Close())
	}
	for queue := range config.Queues {
		socket, err := xsk.Open(umem, xsk.Config{
			Interface: config.Interface, Queue: queue, Mode: config.Mode, MultiBuffer: true,
			FillSize: config.RingSize, CompletionSize: config.RingSize, RxSize: config.RingSize, TxSize: config.RingSize,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open netisr sockets: %w", err), s.Close())
		}
		s.sockets = append(s.sockets, socket)
	}
	return s, nil
}

// Pool returns the memory of packets.
func (s *Sockets) Pool() *Pool { return s.pool }

// Sockets returns the sockets by queue: their descriptors belong into the
// XSKMAP under that number.
func (s *Sockets) Sockets() []*xsk.Socket { return s.sockets }

// Queues returns the sockets as queues for [New], which takes them over.
func (s *Sockets) Queues() []Queue {
	queues := make([]Queue, len(s.sockets))
	for i, socket := range s.sockets {
		queues[i] = &socketQueue{socket: socket, pool: s.pool}
	}
	return queues
}

// Stats returns the kernel's counters of the sockets, by queue. It may be
// called until the netisr stops.
func (s *Sockets) Stats() ([]xsk.Stats, error) {
	all := make([]xsk.Stats, len(s.sockets))
	for queue, socket := range s.sockets {
		var err error
		if all[queue], err = socket.Stats(); err != nil {
			return nil, fmt.Errorf("queue %d: %w", queue, err)
		}
	}
	return all, nil
}

// Close closes the sockets and releases the memory. The netisr must have been
// stopped before.
func (s *Sockets) Close() error {
	var err error
	for _, socket := range s.sockets {
		err = errors.Join(err, socket.Close())
	}
	if err := errors.Join(err, s.umem.Close()); err != nil {
		return fmt.Errorf("close netisr sockets: %w", err)
	}
	return nil
}
