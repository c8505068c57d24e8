package netisr

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
)

const (
	headerLen   = int(bpf.NetisrHeaderLen)
	etherHdrLen = 14
)

// The header's size is part of the ABI.
var _ [headerLen]struct{} = [unsafe.Sizeof(bpf.NetisrHeader{})]struct{}{}

// Packet is a frame of the data path in the hands of one owner: a thread, a
// queue, or whoever a handler gave it to. The owner ends its ownership by
// [Thread.Transmit], [Thread.Free] or by passing the packet on.
type Packet struct {
	memory []byte // the chunk, or the buffer of a jumbo
	addr   uint64 // offset of memory in the pool's area, not for a jumbo
	start  int    // of the header within memory
	end    int    // of the frame within memory
	jumbo  bool

	// Next links packets of one owner into a list. It is nil whenever a
	// packet changes hands.
	Next *Packet
}

// The reasons for which a packet from the data path is refused.
var (
	ErrShort  = errors.New("shorter than its header")
	ErrMagic  = errors.New("header without magic number")
	ErrOffset = errors.New("network header outside of the frame")
	ErrFamily = errors.New("unknown address family")
)

// Header returns the header of the data path, in place.
func (p *Packet) Header() *bpf.NetisrHeader {
	return (*bpf.NetisrHeader)(unsafe.Pointer(&p.memory[p.start]))
}

// Frame returns the frame with its link header, in place.
func (p *Packet) Frame() []byte { return p.memory[p.start+headerLen : p.end] }

// Len returns the length of the frame in bytes.
func (p *Packet) Len() int { return p.end - p.start - headerLen }

// Network returns the packet of the network layer, in place: from L3Off on,
// without padding after IpLen bytes. It is valid after [Packet.Check].
func (p *Packet) Network() []byte {
	h := p.Header()
	network := p.Frame()[h.L3Off:]
	if h.Af != 0 && int(h.IpLen) < len(network) {
		network = network[:h.IpLen]
	}
	return network
}

// Resize sets the length of the frame in bytes. It reports false, and changes
// nothing, when the packet has no room for it. Bytes that appear are not
// cleared.
func (p *Packet) Resize(length int) bool {
	end := p.start + headerLen + length
	if length < 0 || end > len(p.memory) {
		return false
	}
	p.end = end
	return true
}

// SetFrame replaces the frame. It reports false when there is no room.
func (p *Packet) SetFrame(frame []byte) bool {
	if !p.Resize(len(frame)) {
		return false
	}
	copy(p.Frame(), frame)
	return true
}

// Check says whether the packet can be trusted to be shaped as the data path
// makes it: a complete header, and a network header within the frame. The
// frame itself may hold any bytes.
func (p *Packet) Check() error {
	if p.end-p.start < headerLen {
		return ErrShort
	}
	h := p.Header()
	if h.Magic != uint16(bpf.NetisrMagic) || h.EtherType != etherType {
		return ErrMagic
	}
	if int(h.L3Off) > p.Len() {
		return ErrOffset
	}
	switch h.Af {
	case 0, 4, 6:
		return nil
	}
	return ErrFamily
}

// etherType is NETISR_ETHERTYPE in network order, as the header has it.
var etherType = binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, uint16(bpf.NetisrEthertype)))

// reset makes the packet empty, with a header that is zero but for what makes
// it recognisable.
func (p *Packet) reset(headroom int) {
	p.start, p.end, p.Next = headroom, headroom+headerLen, nil
	*p.Header() = bpf.NetisrHeader{Magic: uint16(bpf.NetisrMagic), EtherType: etherType}
}
