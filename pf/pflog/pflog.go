// Package pflog writes logged packets as pflog(4) of the BSDs shows them:
// captures of link type 117, which tcpdump prints.
package pflog

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// Record is one logged packet.
type Record struct {
	Time        time.Time `json:"time"`
	Interface   string    `json:"interface"`
	Anchor      string    `json:"anchor,omitempty"`
	Rule        int       `json:"rule"`    // number in the main ruleset
	SubRule     int       `json:"subrule"` // number in the anchor, -1 in the main ruleset
	RIdentifier uint32    `json:"ridentifier,omitempty"`
	Identity    string    `json:"identity"` // what the rule is known by over reloads
	Action      Action    `json:"action"`
	Reason      uint8     `json:"reason"` // PFRES_*
	Out         bool      `json:"out"`
	Family      uint8     `json:"family"` // 4 or 6
	Length      int       `json:"length"` // bytes of the IP packet
	Packet      []byte    `json:"packet"` // its beginning
	// LogInterface is the N of the pflogN that it is for.
	LogInterface uint8 `json:"logInterface"`
	// UID and PID are the owner of the local socket, if asked for and known.
	UID *uint32 `json:"uid,omitempty"`
	PID *uint32 `json:"pid,omitempty"`
}

// Action is what became of a packet, by the numbers of pf.
type Action uint8

// The actions.
const (
	Pass  Action = 0
	Block Action = 1
	Match Action = 12
)

// noPID is NO_PID of the BSDs: nobody knows.
const noPID = 100000

// headerLength is the size of struct pfloghdr of a dialect, padded, and the
// length that it gives of itself.
func headerLength(d conf.Dialect) (padded int, own uint8) {
	switch d {
	case conf.OpenBSD:
		return 100, 100
	case conf.DragonFly:
		return 64, 61
	}
	return 72, 69
}

// AF_INET6 is a different number on each BSD.
func addressFamily(d conf.Dialect, family uint8) uint8 {
	switch {
	case family == 4:
		return 2
	case d == conf.OpenBSD:
		return 24
	}
	return 28
}

// Header returns struct pfloghdr of a record, as the dialect has it.
func Header(d conf.Dialect, r *Record) []byte {
	padded, own := headerLength(d)
	h := make([]byte, padded)
	h[0], h[1] = own, addressFamily(d, r.Family)
	h[2], h[3] = uint8(r.Action), r.Reason
	copy(h[4:19], r.Interface)
	copy(h[20:35], r.Anchor)
	binary.BigEndian.PutUint32(h[36:], uint32(int32(r.Rule)))
	binary.BigEndian.PutUint32(h[40:], uint32(int32(r.SubRule)))
	uid, pid := ^uint32(0), uint32(noPID)
	if r.UID != nil {
		uid = *r.UID
	}
	if r.PID != nil {
		pid = *r.PID
	}
	binary.BigEndian.PutUint32(h[44:], uid)
	binary.BigEndian.PutUint32(h[48:], pid)
	h[60] = 1
	if r.Out {
		h[60] = 2
	}
	switch d {
	case conf.FreeBSD:
		binary.BigEndian.PutUint32(h[64:], r.RIdentifier)
	case conf.OpenBSD:
		h[62] = addressFamily(d, r.Family)
		addresses(h, r)
	}
	return h
}

// addresses fills in what OpenBSD adds: addresses and ports of the packet.
func addresses(h []byte, r *Record) {
	p, header := r.Packet, 40
	if r.Family == 4 {
		if len(p) < 20 {
			return
		}
		copy(h[64:68], p[12:16])
		copy(h[80:84], p[16:20])
		header = int(p[0]&15) * 4
	} else {
		if len(p) < 40 {
			return
		}
		copy(h[64:80], p[8:24])
		copy(h[80:96], p[24:40])
	}
	if len(p) >= header+4 {
		copy(h[96:100], p[header:header+4])
	}
}

// Writer writes a capture.
type Writer struct {
	dialect conf.Dialect
	pcap    *pcapgo.Writer
}

// snapLength is more than any record has.
const snapLength = 65535

// NewWriter begins a capture, with its file header unless the file goes on.
func NewWriter(w io.Writer, d conf.Dialect, fresh bool) (*Writer, error) {
	out := &Writer{dialect: d, pcap: pcapgo.NewWriter(w)}
	if fresh {
		if err := out.pcap.WriteFileHeader(snapLength, layers.LinkTypePFLog); err != nil {
			return nil, fmt.Errorf("begin capture: %w", err)
		}
	}
	return out, nil
}

// Write adds a record.
func (w *Writer) Write(r *Record) error {
	data := append(Header(w.dialect, r), r.Packet...)
	return w.pcap.WritePacket(gopacket.CaptureInfo{
		Timestamp: r.Time, CaptureLength: len(data), Length: len(data) - len(r.Packet) + r.Length,
	}, data)
}
