package xsk

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stats are the kernel's counters of a socket (struct xdp_statistics).
type Stats struct {
	RxDropped        uint64 `json:"rx-dropped"`          // dropped for other reasons than those below
	RxInvalidDescs   uint64 `json:"rx-invalid-descs"`    // bad addresses in the fill ring
	TxInvalidDescs   uint64 `json:"tx-invalid-descs"`    // bad descriptors in the transmit ring
	RxRingFull       uint64 `json:"rx-ring-full"`        // dropped for want of room in the receive ring
	RxFillRingEmpty  uint64 `json:"rx-fill-ring-empty"`  // dropped for want of chunks
	TxRingEmptyDescs uint64 `json:"tx-ring-empty-descs"` // times the kernel found nothing to send
}

// Stats reads the counters. It may be called from any goroutine until Close.
func (s *Socket) Stats() (Stats, error) {
	var raw unix.XDPStatistics
	if err := s.getsockopt(unix.XDP_STATISTICS, unsafe.Pointer(&raw), unsafe.Sizeof(raw)); err != nil {
		return Stats{}, fmt.Errorf("get statistics of AF_XDP socket: %w", err)
	}
	return Stats{
		RxDropped:        raw.Rx_dropped,
		RxInvalidDescs:   raw.Rx_invalid_descs,
		TxInvalidDescs:   raw.Tx_invalid_descs,
		RxRingFull:       raw.Rx_ring_full,
		RxFillRingEmpty:  raw.Rx_fill_ring_empty_descs,
		TxRingEmptyDescs: raw.Tx_ring_empty_descs,
	}, nil
}
