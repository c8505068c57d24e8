package engine

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// counters are what becomes of packets. wireguard-go counts bytes alone, and
// drops what it cannot open without a word: that is the difference between what
// came and what was accepted.
type counters struct {
	transport atomic.Uint64 // well-formed messages with data that came
	accepted  atomic.Uint64 // and those of them that were authentic and new
	short     atomic.Uint64 // of a wrong length
	unknown   atomic.Uint64 // of no type
	mac1      atomic.Uint64 // handshakes made for another public key, or with damage
	handshake atomic.Uint64 // handshakes of strangers, replayed or forged
	source    atomic.Uint64 // from an address that is not the peer's
	loop      atomic.Uint64 // own packets that came back to be sent through the tunnel again

	second, lines atomic.Int64 // of the log
}

// write writes the reasons and counts of dropped packets.
func (c *counters) write(w io.Writer) {
	accepted := c.accepted.Load()
	undecrypted := uint64(0)
	if came := c.transport.Load(); came > accepted {
		undecrypted = came - accepted
	}
	for _, line := range []struct {
		name  string
		count uint64
	}{
		{"length", c.short.Load()}, {"type", c.unknown.Load()}, {"mac1", c.mac1.Load()}, {"handshake", c.handshake.Load()},
		{"undecrypted", undecrypted}, {"source", c.source.Load()}, {"loop", c.loop.Load()},
	} {
		fmt.Fprintf(w, "%s=%d\n", line.name, line.count)
	}
}

// received counts a datagram by its form.
func (c *counters) received(packet []byte) {
	if len(packet) < device.MinMessageSize {
		c.short.Add(1)
		return
	}
	want := 0
	switch binary.LittleEndian.Uint32(packet) {
	case device.MessageTransportType:
		if len(packet) >= device.MessageTransportSize {
			c.transport.Add(1)
			return
		}
	case device.MessageInitiationType:
		want = device.MessageInitiationSize
	case device.MessageResponseType:
		want = device.MessageResponseSize
	case device.MessageCookieReplyType:
		want = device.MessageCookieReplySize
	default:
		c.unknown.Add(1)
		return
	}
	if len(packet) != want {
		c.short.Add(1)
	}
}

// logged counts by what wireguard-go says, which a test compares with its
// source.
func (c *counters) logged(format string) {
	switch format {
	case "%v - Receiving keepalive packet", "Packet with invalid IP version from %v":
		c.accepted.Add(1)
	case "IPv4 packet with disallowed source address from %v", "IPv6 packet with disallowed source address from %v":
		c.accepted.Add(1)
		c.source.Add(1)
	case "Received packet with invalid mac1":
		c.mac1.Add(1)
	case "Received invalid initiation message from %s", "Received invalid response message from %s", "Could not decrypt invalid cookie response":
		c.handshake.Add(1)
	}
}

// logger counts, and passes errors on to the log.
func (e *Engine) logger() *device.Logger {
	return &device.Logger{
		Verbosef: func(format string, _ ...any) { e.counts.logged(format) },
		Errorf: func(format string, args ...any) {
			if e.counts.mayLog() {
				slog.Error(fmt.Sprintf(format, args...), "interface", e.interfaceName())
			}
		},
	}
}

// linesMax is how many lines a second may be logged: some are of single packets.
const linesMax = 3

func (c *counters) mayLog() bool {
	if now := time.Now().Unix(); c.second.Swap(now) != now {
		c.lines.Store(0)
	}
	return c.lines.Add(1) <= linesMax
}

func (e *Engine) interfaceName() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.name
}

// countedTun counts what was accepted, and keeps own packets out.
type countedTun struct {
	tun.Device
	guard  *guard
	counts *counters
}

// Write implements tun.Device.
func (t *countedTun) Write(bufs [][]byte, offset int) (int, error) {
	t.counts.accepted.Add(uint64(len(bufs)))
	return t.Device.Write(bufs, offset)
}

// Read implements tun.Device.
func (t *countedTun) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := t.Device.Read(bufs, sizes, offset)
	for i := range n {
		if t.guard.own(bufs[i][offset : offset+sizes[i]]) {
			t.counts.loop.Add(1)
			sizes[i] = 0 // which wireguard-go passes over
		}
	}
	return n, err
}
