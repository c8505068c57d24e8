package xsk

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mode says how packets get between the device and the UMEM.
type Mode int

const (
	ModeCopy     Mode = iota // the kernel copies; every device can
	ModePrefer               // zero copy where the driver has it, else copy
	ModeZeroCopy             // zero copy or an error
)

// DefaultRingSize is the number of entries of a ring whose size is left 0.
const DefaultRingSize = 2048

// Config describes a socket.
type Config struct {
	Interface int // index of the interface in the caller's network namespace
	Queue     int // receive and transmit queue of it

	// Entries of the rings, powers of two; 0 means [DefaultRingSize].
	FillSize, CompletionSize, RxSize, TxSize int

	Mode        Mode // ignored by a socket that shares the UMEM of another: that one's mode holds
	MultiBuffer bool // packets larger than a chunk, where the kernel has it (6.6)
}

// Socket is an AF_XDP socket.
type Socket struct {
	fd          int
	umem        *UMEM
	config      Config
	fill        *ring[uint64]
	completion  *ring[uint64]
	rx          *ring[Desc]
	tx          *ring[Desc]
	zeroCopy    bool
	multiBuffer bool
	closeOnce   sync.Once
	closeErr    error
}

// Open makes a socket and binds it. Sockets opened later on the same UMEM
// share it: they need not be of the same interface or queue, but two open
// sockets cannot have the same queue.
//
// It needs CAP_NET_RAW. The socket receives nothing until its descriptor is
// in an XSKMAP that an XDP program of the interface redirects into, and until
// chunks are in the fill ring.
func Open(umem *UMEM, config Config) (*Socket, error) {
	s := &Socket{umem: umem, config: config}
	for _, size := range []*int{&s.config.FillSize, &s.config.CompletionSize, &s.config.RxSize, &s.config.TxSize} {
		if *size == 0 {
			*size = DefaultRingSize
		}
		if *size < 0 || bits.OnesCount(uint(*size)) != 1 {
			return nil, fmt.Errorf("open AF_XDP socket: ring size %d is not a power of two", *size)
		}
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open AF_XDP socket: %w", err)
	}
	s.fd = fd

	umem.mu.Lock()
	defer umem.mu.Unlock()
	if umem.released {
		unix.Close(fd)
		return nil, fmt.Errorf("open AF_XDP socket: %w", errReleased)
	}
	if err := s.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("open AF_XDP socket on queue %d of interface %d: %w", config.Queue, config.Interface, err), s.release())
	}
	umem.sockets++
	if umem.owner == nil {
		umem.owner = s
	}
	return s, nil
}

// setUp registers the memory if nobody has, makes the rings and binds. The
// caller holds the UMEM's lock.
func (s *Socket) setUp() error {
	if s.umem.owner == nil {
		if err := s.register(); err != nil {
			return err
		}
	}
	for _, ring := range []struct{ option, size int }{
		{unix.XDP_UMEM_FILL_RING, s.config.FillSize},
		{unix.XDP_UMEM_COMPLETION_RING, s.config.CompletionSize},
		{unix.XDP_RX_RING, s.config.RxSize},
		{unix.XDP_TX_RING, s.config.TxSize},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, ring.option, ring.size); err != nil {
			return fmt.Errorf("make ring of %d entries: %w", ring.size, err)
		}
	}
	if err := s.mapRings(); err != nil {
		return err
	}
	return s.bind()
}

// register makes the UMEM known to the kernel.
func (s *Socket) register() error {
	region := unix.XDPUmemReg{
		Addr:     uint64(uintptr(unsafe.Pointer(&s.umem.area[0]))),
		Len:      uint64(len(s.umem.area)),
		Size:     uint32(s.umem.config.ChunkSize),
		Headroom: uint32(s.umem.config.Headroom),
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&region)), unsafe.Sizeof(region), 0)
	if errno != 0 {
		return fmt.Errorf("register umem of %d bytes (locked memory may be limited): %w", len(s.umem.area), errno)
	}
	return nil
}

func (s *Socket) mapRings() error {
	var offsets unix.XDPMmapOffsets
	if err := s.getsockopt(unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&offsets), unsafe.Sizeof(offsets)); err != nil {
		return fmt.Errorf("get ring offsets: %w", err)
	}
	var err error
	if s.fill, err = mapRing[uint64](s.fd, s.config.FillSize, unix.XDP_UMEM_PGOFF_FILL_RING, offsets.Fr); err != nil {
		return err
	}
	if s.completion, err = mapRing[uint64](s.fd, s.config.CompletionSize, unix.XDP_UMEM_PGOFF_COMPLETION_RING, offsets.Cr); err != nil {
		return err
	}
	if s.rx, err = mapRing[Desc](s.fd, s.config.RxSize, unix.XDP_PGOFF_RX_RING, offsets.Rx); err != nil {
		return err
	}
	s.tx, err = mapRing[Desc](s.fd, s.config.TxSize, unix.XDP_PGOFF_TX_RING, offsets.Tx)
	return err
}

// bind attaches the socket to its queue, asking for the best first. A failed
// bind leaves the socket as it was, so the next attempt may use it.
func (s *Socket) bind() error {
	address := &unix.SockaddrXDP{Ifindex: uint32(s.config.Interface), QueueID: uint32(s.config.Queue)}
	if owner := s.umem.owner; owner != nil {
		// Flags are the first socket's; the kernel refuses any here.
		address.Flags = unix.XDP_SHARED_UMEM
		address.SharedUmemFD = uint32(owner.fd)
		if err := unix.Bind(s.fd, address); err != nil {
			return fmt.Errorf("bind with shared umem: %w", err)
		}
		s.multiBuffer = owner.multiBuffer
		return s.readOptions()
	}
	var err error
	for _, attempt := range s.attempts() {
		address.Flags = unix.XDP_USE_NEED_WAKEUP | attempt
		if err = unix.Bind(s.fd, address); err == nil {
			s.multiBuffer = attempt&unix.XDP_USE_SG != 0
			return s.readOptions()
		}
		if err != unix.EOPNOTSUPP && err != unix.EINVAL {
			break
		}
	}
	return fmt.Errorf("bind: %w", err)
}

// attempts lists the bind flags to try, in order.
func (s *Socket) attempts() []uint16 {
	var modes []uint16
	if s.config.Mode != ModeCopy {
		modes = append(modes, unix.XDP_ZEROCOPY)
	}
	if s.config.Mode != ModeZeroCopy {
		modes = append(modes, unix.XDP_COPY)
	}
	var attempts []uint16
	for _, mode := range modes {
		if s.config.MultiBuffer {
			attempts = append(attempts, mode|unix.XDP_USE_SG)
		}
		attempts = append(attempts, mode)
	}
	return attempts
}

func (s *Socket) readOptions() error {
	var options uint32
	if err := s.getsockopt(unix.XDP_OPTIONS, unsafe.Pointer(&options), unsafe.Sizeof(options)); err != nil {
		return fmt.Errorf("get options: %w", err)
	}
	s.zeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	return nil
}

func (s *Socket) getsockopt(option int, value unsafe.Pointer, size uintptr) error {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_XDP, uintptr(option),
		uintptr(value), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// FD returns the descriptor, for an XSKMAP and for poll. It is the socket's
// and must not be closed.
func (s *Socket) FD() int { return s.fd }

// Queue returns the queue that the socket is bound to.
func (s *Socket) Queue() int { return s.config.Queue }

// ZeroCopy reports whether packets reach the UMEM without a copy.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// MultiBuffer reports whether packets may span several descriptors.
func (s *Socket) MultiBuffer() bool { return s.multiBuffer }

// Close unbinds the socket and releases its rings. Chunks that the kernel
// held are the caller's again.
func (s *Socket) Close() error {
	s.closeOnce.Do(func() {
		s.umem.mu.Lock()
		defer s.umem.mu.Unlock()
		s.umem.sockets--
		if s.umem.owner == s {
			s.umem.owner = nil
		}
		s.closeErr = s.release()
	})
	return s.closeErr
}

func (s *Socket) release() error {
	err := errors.Join(s.fill.unmap(), s.completion.unmap(), s.rx.unmap(), s.tx.unmap(), unix.Close(s.fd))
	if err != nil {
		return fmt.Errorf("close AF_XDP socket: %w", err)
	}
	return nil
}
