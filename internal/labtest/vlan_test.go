package labtest

import (
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A tag that nobody claimed goes to Linux as it came; a tag of number 0 is a
// priority alone, and its packet is forwarded.
func TestTags(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		out, in, up := openWire(t, s.Left, "em0"), openWire(t, s.Right, "em0"), openWire(t, s.Router, "em0")
		port := 7200
		for _, f := range families {
			mustPing(t, s.Left, "-c", "1", "-W", "3", f.right)
			for _, c := range []struct {
				name    string
				tags    []layers.Dot1Q
				kind    layers.EthernetType
				forward bool
			}{
				{"priority", []layers.Dot1Q{{Priority: 5}}, layers.EthernetTypeDot1Q, true},
				{"unclaimed", []layers.Dot1Q{{VLANIdentifier: 42}}, layers.EthernetTypeDot1Q, false},
				{"unclaimed-802.1ad", []layers.Dot1Q{{VLANIdentifier: 42}}, layers.EthernetTypeQinQ, false},
				{"priority-then-unclaimed", []layers.Dot1Q{{Priority: 1}, {VLANIdentifier: 42}}, layers.EthernetTypeDot1Q, false},
			} {
				port++
				before := s.noproto("em0")
				ip, udp := datagram(f, port, 64)
				frame := []gopacket.SerializableLayer{s.ethernet(out, c.kind)}
				for i := range c.tags {
					tag := c.tags[i]
					tag.Type = f.ethernetType()
					if i+1 < len(c.tags) {
						tag.Type = layers.EthernetTypeDot1Q
					}
					frame = append(frame, &tag)
				}
				out.send(t, append(frame, ip, udp, gopacket.Payload("tagged"))...)
				got := in.receive(t, patience(c.forward), toPort(port))
				if (got != nil) != c.forward {
					t.Errorf("%s %s: forwarded %v", f.name, c.name, got != nil)
				}
				if got != nil && got.Layer(layers.LayerTypeDot1Q) != nil {
					t.Errorf("%s %s: left with its tag", f.name, c.name)
				}
				if c.forward {
					continue
				}
				// The host sees the frame, whether the tag is in the data or beside it.
				if up.receive(t, time.Second, toPort(port)) == nil {
					t.Errorf("%s %s: did not reach the host", f.name, c.name)
				}
				if after := s.noproto("em0"); after == before {
					t.Errorf("%s %s: not counted as noproto", f.name, c.name)
				}
			}
		}
	})
}

func patience(expected bool) time.Duration {
	if expected {
		return 2 * time.Second
	}
	return 200 * time.Millisecond
}

// noproto is how many frames of an interface went to the host unhandled.
func (s *site) noproto(name string) uint64 {
	s.t.Helper()
	var interfaces []struct {
		Name string `json:"name"`
		Data struct{ Noproto uint64 }
	}
	s.json(&interfaces, "netstat", "-i", "--json")
	for _, i := range interfaces {
		if i.Name == name {
			return i.Data.Noproto
		}
	}
	s.t.Fatalf("netstat -i does not know %s", name)
	return 0
}
