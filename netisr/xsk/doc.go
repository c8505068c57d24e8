// Package xsk opens AF_XDP sockets and moves packets through their rings.
//
// It is a thin layer over the kernel's interface (Documentation/networking/
// af_xdp.rst): a [UMEM] is memory divided into chunks of one size, a [Socket]
// is bound to one receive and transmit queue of one interface and has four
// rings. The fill ring hands chunks to the kernel, the receive ring brings
// them back with packets, the transmit ring hands packets to the kernel, the
// completion ring brings their chunks back. Every chunk has one owner at a
// time; who owns a chunk in user space is the caller's business.
//
// Nothing here allocates per packet. A Socket is for one goroutine at a time,
// except [Socket.Stats] and [Socket.FD]; sockets that share a UMEM are
// independent of each other.
package xsk
