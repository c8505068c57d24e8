package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/pflog"
)

var ip4, ip6 = append([]byte{0x45}, make([]byte, 19)...), append([]byte{0x60}, make([]byte, 39)...)

func ether(kinds ...uint16) []byte {
	b := make([]byte, 12)
	for i, kind := range kinds {
		if i > 0 {
			b = append(b, 0, 7)
		}
		b = binary.BigEndian.AppendUint16(b, kind)
	}
	return b
}

// One file of each link type: what is IP is found, and what the header says of
// interface and direction.
func TestLinks(t *testing.T) {
	sll := func(kind, packetType uint16) []byte {
		return binary.BigEndian.AppendUint16(append(binary.BigEndian.AppendUint16(nil, packetType), make([]byte, 12)...), kind)
	}
	sll2 := append(binary.BigEndian.AppendUint16(nil, 0x86dd), make([]byte, 18)...)
	sll2[10] = outgoing
	logged := func(d conf.Dialect, out bool) []byte {
		return pflog.Header(d, &pflog.Record{Interface: "em0", Out: out, Family: 4, Packet: ip4})
	}
	tests := []struct {
		name      string
		link      layers.LinkType
		header    []byte
		ip        []byte // nil: none is found
		rest      []byte // in place of ip
		dir       conf.Direction
		iface     string
		notLinked bool
	}{
		{name: "ethernet-IPv4", link: layers.LinkTypeEthernet, header: ether(0x0800), ip: ip4},
		{name: "ethernet-IPv6", link: layers.LinkTypeEthernet, header: ether(0x86dd), ip: ip6},
		{name: "two-tags", link: layers.LinkTypeEthernet, header: ether(0x88a8, 0x8100, 0x0800), ip: ip4},
		{name: "arp", link: layers.LinkTypeEthernet, header: ether(0x0806), rest: make([]byte, 28)},
		{name: "runt", link: layers.LinkTypeEthernet, header: make([]byte, 5)},
		{name: "raw", link: layers.LinkTypeRaw, ip: ip6},
		{name: "raw-of-a-BSD", link: linkRaw12, ip: ip4},
		{name: "loopback", link: layers.LinkTypeNull, header: []byte{2, 0, 0, 0}, ip: ip4},
		{name: "cooked-in", link: layers.LinkTypeLinuxSLL, header: sll(0x0800, 0), ip: ip4, dir: conf.In},
		{name: "cooked-out", link: layers.LinkTypeLinuxSLL, header: sll(0x0800, outgoing), ip: ip4, dir: conf.Out},
		{name: "cooked2-out", link: linkSLL2, header: sll2, ip: ip6, dir: conf.Out},
		{name: "pflog-OpenBSD-in", link: layers.LinkTypePFLog, header: logged(conf.OpenBSD, false), ip: ip4, dir: conf.In, iface: "em0"},
		{name: "pflog-FreeBSD-out", link: layers.LinkTypePFLog, header: logged(conf.FreeBSD, true), ip: ip4, dir: conf.Out, iface: "em0"},
		{name: "pflog-DragonFly-in", link: layers.LinkTypePFLog, header: logged(conf.DragonFly, false), ip: ip4, dir: conf.In, iface: "em0"},
		{name: "pflog-short", link: layers.LinkTypePFLog, header: make([]byte, 30)},
		{name: "unknown", link: 147, ip: ip4, notLinked: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var file bytes.Buffer
			w := pcapgo.NewWriter(&file)
			data := append(append(append([]byte(nil), test.header...), test.ip...), test.rest...)
			info := gopacket.CaptureInfo{Timestamp: time.Unix(100, 0), CaptureLength: len(data), Length: len(data)}
			if err := errors.Join(w.WriteFileHeader(65535, test.link), w.WritePacket(info, data)); err != nil {
				t.Fatal(err)
			}
			r, err := NewReader(bytes.NewReader(file.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			p, err := r.Next()
			if test.notLinked {
				if err == nil || err.Error() != "packet 1: link type 147 (UnknownLinkType) is not read" {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p.IP, test.ip) || p.Direction != test.dir || p.Interface != test.iface || p.Number != 1 || !p.Time.Equal(time.Unix(100, 0)) {
				t.Errorf("%+v, want IP %x, %v on %q", p, test.ip, test.dir, test.iface)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("at the end: %v, want %v", err, io.EOF)
			}
			// Cut short, it says so.
			r, err = NewReader(bytes.NewReader(file.Bytes()[:file.Len()-1]))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Next(); !errors.Is(err, ErrTruncated) {
				t.Errorf("cut short: %v, want %v", err, ErrTruncated)
			}
		})
	}
}

// pcapng names interfaces and says directions.
func TestNg(t *testing.T) {
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{Name: "em0", LinkType: layers.LinkTypeEthernet}, pcapgo.DefaultNgWriterOptions)
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.AddInterface(pcapgo.NgInterface{Name: "tun0", LinkType: layers.LinkTypeRaw})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		iface int
		data  []byte
		flag  pcapgo.NgEpbFlag
	}{
		{0, append(ether(0x0800), ip4...), pcapgo.NgEpbFlagDirectionInbound},
		{second, ip6, pcapgo.NgEpbFlagDirectionOutbound},
		{second, ip4, pcapgo.NgEpbFlagDirectionUnknown},
	} {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(100, 0), CaptureLength: len(p.data), Length: len(p.data), InterfaceIndex: p.iface}
		if err := w.WritePacketWithOptions(info, p.data, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: p.flag}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Packet{
		{1, time.Unix(100, 0), "em0", conf.In, ip4}, {2, time.Unix(100, 0), "tun0", conf.Out, ip6}, {3, time.Unix(100, 0), "tun0", conf.InOut, ip4},
	} {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if p.Number != want.Number || p.Interface != want.Interface || p.Direction != want.Direction || !bytes.Equal(p.IP, want.IP) || !p.Time.Equal(want.Time) {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestNotACapture(t *testing.T) {
	for _, text := range []string{"", "abc", "block all\npass out\nthis is no capture at all"} {
		if _, err := NewReader(bytes.NewReader([]byte(text))); err == nil {
			t.Errorf("%q is taken for a capture", text)
		}
	}
}
