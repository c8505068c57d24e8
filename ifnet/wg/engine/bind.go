package engine

import (
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// bind is wireguard-go's UDP sockets with counters, and with a guard in front
// of what is sent.
type bind struct {
	conn.Bind
	guard  *guard
	counts *counters
}

func newBind(g *guard, counts *counters) *bind { return &bind{conn.NewStdNetBind(), g, counts} }

// Open implements conn.Bind.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receivers, actual, err := b.Bind.Open(port)
	b.guard.port.Store(uint32(actual))
	for i, receive := range receivers {
		receivers[i] = func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			n, err := receive(packets, sizes, eps)
			for i := range n {
				if sizes[i] > 0 { // else it was taken together with another
					b.counts.received(packets[i][:sizes[i]])
				}
			}
			return n, err
		}
	}
	return receivers, actual, err
}

// SetMark implements conn.Bind.
func (b *bind) SetMark(mark uint32) error {
	b.guard.mark.Store(mark)
	b.guard.forget()
	return b.Bind.SetMark(mark)
}

// Send implements conn.Bind.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	endpoint, ok := ep.(*conn.StdNetEndpoint)
	if !ok || len(bufs) == 0 {
		return b.Bind.Send(bufs, ep)
	}
	p := b.guard.path(endpoint)
	if p.loop {
		b.counts.loop.Add(uint64(len(bufs)))
		return unix.ELOOP
	}
	p.sent(bufs[0])
	if !p.sticky && endpoint.SrcIP().IsValid() {
		endpoint = &conn.StdNetEndpoint{AddrPort: endpoint.AddrPort}
	}
	return b.Bind.Send(bufs, endpoint)
}
