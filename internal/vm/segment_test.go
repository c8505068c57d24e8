//go:build vm

package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// trunk joins the machine's card and a namespace: frames of one vlan are the
// namespace's, without their tag. Every frame that the machine sends is looked
// at, whatever its tag.
type trunk struct {
	conn *net.UnixConn
	to   *net.UnixAddr
	tap  *os.File
	tag  uint16 // 0: no tag
	look func(frame []byte)
	sent atomic.Int64 // frames of the machine
	done sync.WaitGroup
}

// newTrunk makes the device in the host and the socket that QEMU's
// -netdev dgram talks to; its argument is returned.
func newTrunk(t *testing.T, host *lab.Host, device, dir string, tag uint16, look func([]byte)) (*trunk, string) {
	t.Helper()
	here, there := filepath.Join(dir, device+".here"), filepath.Join(dir, device+".there")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: here, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	tr := &trunk{conn: conn, to: &net.UnixAddr{Name: there, Net: "unixgram"}, tag: tag, look: look}
	if err := host.Do(func() error { tr.tap, err = openTap(device); return err }); err != nil {
		t.Fatal(err)
	}
	tr.done.Add(2)
	go tr.fromMachine()
	go tr.toMachine()
	t.Cleanup(func() {
		tr.conn.Close()
		tr.tap.Close()
		tr.done.Wait()
	})
	return tr, fmt.Sprintf("dgram,id=%s,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", device, there, here)
}

func openTap(device string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(device)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open tap %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), device), nil
}

func (tr *trunk) fromMachine() {
	defer tr.done.Done()
	frame := make([]byte, 65536)
	for {
		n, err := tr.conn.Read(frame)
		if err != nil {
			return
		}
		tr.sent.Add(1)
		untagged, tag := popTag(frame[:n])
		tr.look(untagged)
		if tag == tr.tag {
			_, _ = tr.tap.Write(untagged) // the device is down at the end
		}
	}
}

func (tr *trunk) toMachine() {
	defer tr.done.Done()
	frame := make([]byte, 65536)
	for {
		n, err := tr.tap.Read(frame)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // the device is down
			continue
		}
		out := frame[:n]
		if tr.tag != 0 {
			out = pushTag(out, tr.tag)
		}
		_, _ = tr.conn.WriteTo(out, tr.to) // the machine may not be there yet
	}
}

func popTag(frame []byte) (untagged []byte, tag uint16) {
	if len(frame) < 18 || binary.BigEndian.Uint16(frame[12:]) != 0x8100 {
		return frame, 0
	}
	tag = binary.BigEndian.Uint16(frame[14:]) & 0xfff
	return append(append([]byte{}, frame[:12]...), frame[16:]...), tag
}

func pushTag(frame []byte, tag uint16) []byte {
	out := append([]byte{}, frame[:12]...)
	out = append(out, 0x81, 0, byte(tag>>8), byte(tag))
	return append(out, frame[12:]...)
}

// packetSocket opens an AF_PACKET socket on a device of a host.
func packetSocket(host *lab.Host, device string) (fd int, err error) {
	err = host.Do(func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		all := int(binary.BigEndian.Uint16([]byte{0, unix.ETH_P_ALL}))
		all = all<<8&0xff00 | all>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		timeout := unix.Timeval{Usec: 200000}
		return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: ifi.Index}))
	})
	return fd, err
}

// attack is one kind of packet that no rule passes.
type attack struct {
	name  string
	frame []byte
	sent  atomic.Int64
}

// Addresses of the story.
var (
	attacker  = netip.MustParseAddr("198.51.100.66")
	attacker6 = netip.MustParseAddr("2001:db8::66")
	outside   = netip.MustParseAddr("198.51.100.10") // of the machine
	outside6  = netip.MustParseAddr("2001:db8::10")
	inside    = netip.MustParseAddr("192.168.10.2") // of the host on the vlan
	inside6   = netip.MustParseAddr("2001:db8:10::2")

	attackerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x66}
	outsideMAC  = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x01}
	trunkMAC    = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x02}
)

func attacks() []*attack {
	return []*attack{
		{name: "UDP to the LAN", frame: packet(attacker, inside, udp(666, 9))},
		{name: "TCP to the LAN", frame: packet(attacker, inside, syn(666, 80))},
		{name: "ICMP to the LAN", frame: packet(attacker, inside, echo(8))},
		{name: "UDP to the firewall", frame: packet(attacker, outside, udp(666, 7777))},
		{name: "TCP to the firewall", frame: packet(attacker, outside, syn(666, 7777))},
		{name: "ICMP to the firewall", frame: packet(attacker, outside, echo(8))},
		{name: "UDP to the forwarded port", frame: packet(attacker, outside, udp(666, 8080))},
		{name: "IPv6 UDP to the LAN", frame: packet(attacker6, inside6, udp(666, 9))},
		{name: "IPv6 TCP to the LAN", frame: packet(attacker6, inside6, syn(666, 80))},
		{name: "IPv6 UDP to the firewall", frame: packet(attacker6, outside6, udp(666, 7777))},
	}
}

// transport is a header and the protocol's number; the checksum, at the given
// place, is filled in by packet.
type transport struct {
	protocol byte
	data     []byte
	checksum int
}

func udp(from, to uint16) transport {
	data := append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to), 0, 14, 0, 0)
	return transport{17, append(data, "attack"...), 6}
}

func syn(from, to uint16) transport {
	data := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	return transport{6, append(data, 0, 0, 6, 6, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0), 16}
}

func echo(kind byte) transport {
	return transport{1, append([]byte{kind, 0, 0, 0, 6, 6, 0, 1}, "attack"...), 2}
}

// packet is a whole frame from the attacker to the machine.
func packet(src, dst netip.Addr, t transport) []byte {
	frame := append(append([]byte{}, outsideMAC...), attackerMAC...)
	pseudo := append(append([]byte{}, src.AsSlice()...), dst.AsSlice()...)
	if t.protocol == 1 {
		pseudo = nil
	}
	pseudo = append(pseudo, 0, t.protocol, 0, byte(len(t.data)))
	if t.protocol == 1 {
		pseudo = nil
	}
	binary.BigEndian.PutUint16(t.data[t.checksum:], checksum(append(pseudo, t.data...)))
	if src.Is4() {
		header := []byte{0x45, 0, 0, byte(20 + len(t.data)), 0, 1, 0, 0, 64, t.protocol, 0, 0}
		header = append(append(header, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(header[10:], checksum(header))
		return append(append(append(frame, 8, 0), header...), t.data...)
	}
	header := []byte{0x60, 0, 0, 0, 0, byte(len(t.data)), t.protocol, 64}
	header = append(append(header, src.AsSlice()...), dst.AsSlice()...)
	return append(append(append(frame, 0x86, 0xdd), header...), t.data...)
}

func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	if len(data)%2 == 1 {
		sum += uint32(data[len(data)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// assault sends every attack over and over, and counts what of it gets
// anywhere: into the LAN, or to the firewall, which then answers or asks for
// the attacker's link address.
type assault struct {
	attacks  []*attack
	fd       int
	stop     chan struct{}
	done     sync.WaitGroup
	through  atomic.Int64 // seen on the LAN
	answered atomic.Int64 // seen from the firewall
	mu       sync.Mutex
	seen     map[string]int
}

func newAssault() *assault {
	return &assault{attacks: attacks(), stop: make(chan struct{}), seen: make(map[string]int)}
}

// start sends from a device of a host, and listens there, until the test ends.
func (a *assault) start(t *testing.T, host *lab.Host, device string) {
	t.Helper()
	var err error
	if a.fd, err = packetSocket(host, device); err != nil {
		t.Fatal(err)
	}
	a.done.Add(2)
	go a.send()
	go a.listen()
	t.Cleanup(func() {
		close(a.stop)
		a.done.Wait()
		unix.Close(a.fd)
	})
}

func (a *assault) send() {
	defer a.done.Done()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-tick.C:
			for _, one := range a.attacks {
				if _, err := unix.Write(a.fd, one.frame); err == nil {
					one.sent.Add(1)
				}
			}
		}
	}
}

func (a *assault) listen() {
	defer a.done.Done()
	frame := make([]byte, 65536)
	for {
		select {
		case <-a.stop:
			return
		default:
		}
		n, _, err := unix.Recvfrom(a.fd, frame, 0)
		if err != nil || n < 14 || !bytes.Equal(frame[6:12], outsideMAC) {
			continue
		}
		if to(frame[:n], attacker) || to(frame[:n], attacker6) {
			a.answered.Add(1)
			a.note("answer", frame[:n])
		}
	}
}

// lan looks at a frame that the machine sent into the LAN.
func (a *assault) lan(frame []byte) {
	for _, address := range []netip.Addr{attacker, attacker6} {
		if from(frame, address) {
			a.through.Add(1)
			a.note("LAN", frame)
		}
	}
}

func (a *assault) note(where string, frame []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[fmt.Sprintf("%s % x", where, frame[12:min(len(frame), 54)])]++
}

func from(frame []byte, address netip.Addr) bool {
	return field(frame, address, 26, 22, 28)
}

// to reports whether a frame is for an address, or asks for its link address.
func to(frame []byte, address netip.Addr) bool {
	return field(frame, address, 30, 38, 38)
}

func field(frame []byte, address netip.Addr, inet, inet6, arp int) bool {
	if len(frame) < 14 {
		return false
	}
	at := map[uint16]int{0x0800: inet, 0x86dd: inet6, 0x0806: arp}[binary.BigEndian.Uint16(frame[12:])]
	want := address.AsSlice()
	return at > 0 && len(frame) >= at+len(want) && bytes.Equal(frame[at:at+len(want)], want)
}

func (a *assault) sent() (n int64) {
	for _, one := range a.attacks {
		n += one.sent.Load()
	}
	return n
}
