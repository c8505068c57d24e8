package xsk

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The kernel takes chunks of at least this many bytes, and of a page at most.
const minChunkSize = 2048

// UMEMConfig describes the memory that sockets share with the kernel.
type UMEMConfig struct {
	Chunks    int // number of chunks
	ChunkSize int // bytes, a power of two from 2048 to the page size
	Headroom  int // bytes left free by the kernel before a received packet, on top of XDP_PACKET_HEADROOM
}

// UMEM is memory divided into chunks, shared with the kernel by the sockets
// opened on it. Its methods may be called concurrently.
type UMEM struct {
	area     []byte
	config   UMEMConfig
	mu       sync.Mutex
	sockets  int
	owner    *Socket // the socket that registered the memory
	released bool
}

// NewUMEM allocates memory for sockets. It is locked into RAM by the kernel
// as soon as a socket is opened on it.
func NewUMEM(config UMEMConfig) (*UMEM, error) {
	size := config.ChunkSize
	if size < minChunkSize || size > os.Getpagesize() || bits.OnesCount(uint(size)) != 1 {
		return nil, fmt.Errorf("allocate umem: chunk size %d is not a power of two from %d to %d", size, minChunkSize, os.Getpagesize())
	}
	if config.Chunks <= 0 || config.Chunks > 1<<24 {
		return nil, fmt.Errorf("allocate umem: %d chunks are not within 1 to %d", config.Chunks, 1<<24)
	}
	if config.Headroom < 0 || config.Headroom > size-unix.XDP_PACKET_HEADROOM-64 {
		return nil, fmt.Errorf("allocate umem: headroom %d does not fit a chunk of %d", config.Headroom, size)
	}
	area, err := unix.Mmap(-1, 0, config.Chunks*size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("allocate umem of %d bytes: %w", config.Chunks*size, err)
	}
	return &UMEM{area: area, config: config}, nil
}

// Area returns the memory. The address in a [Desc] is an offset into it.
func (u *UMEM) Area() []byte { return u.area }

// ChunkSize returns the bytes of one chunk.
func (u *UMEM) ChunkSize() int { return u.config.ChunkSize }

// Chunks returns the number of chunks.
func (u *UMEM) Chunks() int { return u.config.Chunks }

// Close releases the memory. All sockets must be closed before, else it fails
// and nothing is released. Chunks must not be touched afterwards.
func (u *UMEM) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.released {
		return nil
	}
	if u.sockets > 0 {
		return fmt.Errorf("release umem: %d sockets use it", u.sockets)
	}
	u.released = true
	if err := unix.Munmap(u.area); err != nil {
		return fmt.Errorf("release umem: %w", err)
	}
	u.area = nil
	return nil
}

var errReleased = errors.New("umem is released")
