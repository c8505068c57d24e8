package engine

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

// message is a message of WireGuard with a receiver index.
func message(kind, receiver uint32, length int) []byte {
	m := make([]byte, length)
	binary.LittleEndian.PutUint32(m, kind)
	binary.LittleEndian.PutUint32(m[4:], receiver)
	return m
}

// inet is an IPv4 packet with a UDP datagram.
func inet(from, to string, payload []byte) []byte {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	p := make([]byte, 28, 28+len(payload))
	p[0], p[9] = 0x45, 17
	copy(p[12:], source.Addr().AsSlice())
	copy(p[16:], destination.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], source.Port())
	binary.BigEndian.PutUint16(p[22:], destination.Port())
	return append(p, payload...)
}

func inet6(to string, port uint16, payload []byte) []byte {
	destination := netip.MustParseAddrPort(to)
	p := make([]byte, 48, 48+len(payload))
	p[0], p[6] = 0x60, 17
	copy(p[24:], destination.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[40:], port)
	binary.BigEndian.PutUint16(p[42:], destination.Port())
	return append(p, payload...)
}

// A packet of one's own is known by port, destination and receiver, all three.
func TestOwn(t *testing.T) {
	g := &guard{counts: &counters{}, paths: make(map[pathKey]*path), records: make(map[netip.AddrPort]*record)}
	g.port.Store(51820)
	r := g.recordOf(netip.MustParseAddrPort("192.0.2.2:443"))
	r.sent(message(4, 7, 64))
	r.sent(message(4, 8, 64)) // after a new handshake the older may be on its way
	g.recordOf(netip.MustParseAddrPort("[2001:db8::2]:443")).sent(message(4, 9, 64))
	for name, test := range map[string]struct {
		packet []byte
		own    bool
	}{
		"own":               {inet("192.0.2.1:51820", "192.0.2.2:443", message(4, 8, 64)), true},
		"own, older":        {inet("192.0.2.1:51820", "192.0.2.2:443", message(4, 7, 64)), true},
		"own, IPv6":         {inet6("[2001:db8::2]:443", 51820, message(4, 9, 64)), true},
		"another session":   {inet("10.0.0.9:51820", "192.0.2.2:443", message(4, 6, 64)), false},
		"another port":      {inet("192.0.2.1:51821", "192.0.2.2:443", message(4, 8, 64)), false},
		"another peer":      {inet("192.0.2.1:51820", "192.0.2.3:443", message(4, 8, 64)), false},
		"another peer port": {inet("192.0.2.1:51820", "192.0.2.2:444", message(4, 8, 64)), false},
		"short":             {inet("192.0.2.1:51820", "192.0.2.2:443", []byte{4, 0, 0}), false},
		"no IP":             {[]byte{0x45, 0}, false},
		"nothing":           {nil, false},
	} {
		if got := g.own(test.packet); got != test.own {
			t.Errorf("%s: own %v", name, got)
		}
	}
	tcp := inet("192.0.2.1:51820", "192.0.2.2:443", message(4, 8, 64))
	tcp[9] = 6
	later := inet("192.0.2.1:51820", "192.0.2.2:443", message(4, 8, 64))
	later[7] = 1 // a fragment
	if g.own(tcp) || g.own(later) {
		t.Error("what is no datagram is own")
	}
}

func TestReceived(t *testing.T) {
	for name, test := range map[string]struct {
		packet                    []byte
		transport, short, unknown uint64
	}{
		"data":            {message(device.MessageTransportType, 1, 64), 1, 0, 0},
		"keepalive":       {message(device.MessageTransportType, 1, 32), 1, 0, 0},
		"too short":       {message(device.MessageTransportType, 1, 31), 0, 1, 0},
		"nothing":         {nil, 0, 1, 0},
		"initiation":      {message(device.MessageInitiationType, 1, 148), 0, 0, 0},
		"long initiation": {message(device.MessageInitiationType, 1, 149), 0, 1, 0},
		"short response":  {message(device.MessageResponseType, 1, 91), 0, 1, 0},
		"cookie":          {message(device.MessageCookieReplyType, 1, 64), 0, 0, 0},
		"type 5":          {message(5, 1, 64), 0, 0, 1},
		"reserved bits":   {message(4|1<<8, 1, 64), 0, 0, 1},
	} {
		var c counters
		c.received(test.packet)
		if c.transport.Load() != test.transport || c.short.Load() != test.short || c.unknown.Load() != test.unknown {
			t.Errorf("%s: transport %d, short %d, unknown %d", name, c.transport.Load(), c.short.Load(), c.unknown.Load())
		}
	}
}

// wireguard-go still says what is counted by what it says.
func TestLogged(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.zx2c4.com/wireguard").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "device", "receive.go"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("count.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(own)) {
		if formats, ok := strings.CutPrefix(strings.TrimSpace(line), "case "); ok && strings.HasPrefix(formats, `"`) {
			for _, format := range strings.Split(strings.TrimSuffix(formats, ":"), ", ") {
				n++
				if !strings.Contains(string(source), "Verbosef("+format) {
					t.Errorf("wireguard-go does not say %s", format)
				}
			}
		}
	}
	if n < 7 {
		t.Errorf("%d formats found", n)
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add(inet("192.0.2.1:51820", "192.0.2.2:443", message(4, 8, 64)))
	f.Add(inet6("[2001:db8::2]:443", 51820, message(4, 9, 64)))
	f.Fuzz(func(t *testing.T, packet []byte) {
		_, _, _ = datagram(packet)
		var c counters
		c.received(packet)
	})
}

func TestSettings(t *testing.T) {
	answer := "private_key=aa\nlisten_port=5\npublic_key=bb\nprotocol_version=1\nlast_handshake_time_sec=3\ntx_bytes=1\nallowed_ip=10.0.0.0/8\n"
	if got := settings(answer); got != "private_key=aa\nlisten_port=5\npublic_key=bb\nallowed_ip=10.0.0.0/8\n" {
		t.Errorf("got %q", got)
	}
	if got := valueOf(answer, "listen_port") + valueOf(answer, "fwmark"); got != "50" {
		t.Errorf("got %q", got)
	}
}
