// Package capture reads IP packets out of files that tcpdump, Wireshark and
// pflogd write: pcap and pcapng of Ethernet, raw IP, cooked captures of Linux,
// loopback and pflog.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// Packet is one packet of a file.
type Packet struct {
	Number int // in the file, from 1 on
	Time   time.Time
	// Interface is where it was seen, "" where the file does not say.
	Interface string
	// Direction is conf.InOut where the file does not say.
	Direction conf.Direction
	// IP is the packet from its IP header on, as far as it was captured; nil:
	// it is none of IP.
	IP []byte
}

// ErrTruncated is a file that ends in the middle of a packet.
var ErrTruncated = errors.New("the file ends in the middle of a packet")

// Reader reads a file.
type Reader struct {
	next   func() (layers.LinkType, *Packet, []byte, error)
	number int
}

// ngMagic begins a section of pcapng.
const ngMagic = 0x0a0d0d0a

// NewReader begins to read a file.
func NewReader(r io.Reader) (*Reader, error) {
	buffered := bufio.NewReader(r)
	magic, err := buffered.Peek(4)
	if err != nil {
		return nil, errors.New("not a capture: it is too short")
	}
	reader := &Reader{}
	if binary.LittleEndian.Uint32(magic) == ngMagic {
		reader.next, err = openNg(buffered)
	} else {
		reader.next, err = openPlain(buffered)
	}
	if err != nil {
		return nil, fmt.Errorf("not a capture: %w", err)
	}
	return reader, nil
}

func openPlain(r io.Reader) (func() (layers.LinkType, *Packet, []byte, error), error) {
	file, err := pcapgo.NewReader(r)
	if err != nil {
		return nil, err
	}
	return func() (layers.LinkType, *Packet, []byte, error) {
		data, info, err := file.ReadPacketData()
		return file.LinkType(), &Packet{Time: info.Timestamp, Direction: conf.InOut}, data, err
	}, nil
}

func openNg(r io.Reader) (func() (layers.LinkType, *Packet, []byte, error), error) {
	file, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, err
	}
	return func() (layers.LinkType, *Packet, []byte, error) {
		data, info, options, err := file.ReadPacketDataWithOptions()
		if err != nil {
			return 0, nil, nil, err
		}
		i, err := file.Interface(info.InterfaceIndex)
		p := &Packet{Time: info.Timestamp, Interface: i.Name, Direction: conf.InOut}
		if options.Flags != nil {
			switch options.Flags.Direction {
			case pcapgo.NgEpbFlagDirectionInbound:
				p.Direction = conf.In
			case pcapgo.NgEpbFlagDirectionOutbound:
				p.Direction = conf.Out
			}
		}
		return i.LinkType, p, data, err
	}, nil
}

// Next returns the next packet; io.EOF: there is none. After another error
// there is none either.
func (r *Reader) Next() (*Packet, error) {
	link, p, data, err := r.next()
	r.number++
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("packet %d: %w", r.number, ErrTruncated)
	case err != nil:
		return nil, fmt.Errorf("packet %d: %w", r.number, err)
	}
	p.Number = r.number
	if !p.read(link, data) {
		return nil, fmt.Errorf("packet %d: link type %d (%v) is not read", r.number, int(link), link)
	}
	return p, nil
}

// Link types that gopacket has no names for.
const (
	linkRaw12   = 12 // LINKTYPE_RAW as the BSDs number it
	linkRaw14   = 14
	linkSLL2    = 276
	outgoing    = 4 // packet type of cooked captures
	sllLen      = 16
	sll2Len     = 20
	etherLen    = 14
	nullLen     = 4
	pflogMinLen = 61
)

// read finds the IP packet behind a link header; false: the header is not
// known.
func (p *Packet) read(link layers.LinkType, b []byte) bool {
	switch link {
	case layers.LinkTypeEthernet:
		if len(b) >= etherLen {
			p.ether(binary.BigEndian.Uint16(b[12:]), b[etherLen:])
		}
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, linkRaw12, linkRaw14:
		p.IP = b
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		if len(b) >= nullLen {
			p.ip(b[nullLen:])
		}
	case layers.LinkTypeLinuxSLL:
		if len(b) >= sllLen {
			p.cooked(binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[14:]), b[sllLen:])
		}
	case linkSLL2:
		if len(b) >= sll2Len {
			p.cooked(uint16(b[10]), binary.BigEndian.Uint16(b), b[sll2Len:])
		}
	case layers.LinkTypePFLog:
		p.pflog(b)
	default:
		return false
	}
	return true
}

// ether takes vlan tags off.
func (p *Packet) ether(kind uint16, b []byte) {
	for (kind == 0x8100 || kind == 0x88a8) && len(b) >= 4 {
		kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	if kind == 0x0800 || kind == 0x86dd {
		p.IP = b
	}
}

func (p *Packet) cooked(packetType, kind uint16, b []byte) {
	p.Direction = conf.In
	if packetType == outgoing {
		p.Direction = conf.Out
	}
	p.ether(kind, b)
}

// ip takes what looks like IP.
func (p *Packet) ip(b []byte) {
	if len(b) > 0 && (b[0]>>4 == 4 || b[0]>>4 == 6) {
		p.IP = b
	}
}

// pflog reads struct pfloghdr, which has the same beginning on all BSDs.
func (p *Packet) pflog(b []byte) {
	if len(b) < pflogMinLen || int(b[0]) < pflogMinLen {
		return
	}
	padded := (int(b[0]) + 3) &^ 3
	if len(b) < padded {
		return
	}
	name := b[4:20]
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	p.Interface = string(name)
	switch b[60] {
	case 1:
		p.Direction = conf.In
	case 2:
		p.Direction = conf.Out
	}
	p.ip(b[padded:])
}
