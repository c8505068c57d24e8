package dhclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Config is what a client works with.
type Config struct {
	Interface string           // name for messages
	Index     int              // Linux interface index
	Lladdr    net.HardwareAddr // link address, six bytes
	Hostname  string           // sent to the server, may be empty
	LeaseFile string           // "": none
	// Apply puts a lease on the interface in place of the one before; nil takes
	// it away. It is called from one goroutine.
	Apply func(*Lease) error
	Log   *slog.Logger
}

// State is where a client is (RFC 2131, section 4.4).
type State string

// The states.
const (
	StateInit     State = "INIT"
	StateReboot   State = "INIT-REBOOT"
	StateBound    State = "BOUND"
	StateRenew    State = "RENEWING"
	StateRebind   State = "REBINDING"
	StateReleased State = "RELEASED"
)

// Status is how a client is.
type Status struct {
	Interface string `json:"interface"`
	State     State  `json:"state"`
	Lease     *Lease `json:"lease,omitempty"`
	// Error is why the last try came to nothing, or what of the lease could
	// not be applied.
	Error string `json:"error,omitempty"`
}

// transport carries messages to servers and back.
type transport interface {
	// exchange sends a message from src to dst, zero for everybody, until an
	// answer comes or the tries, of which each lasts twice as long as the one
	// before, are over.
	exchange(ctx context.Context, msg *dhcpv4.DHCPv4, src, dst netip.Addr, first time.Duration, tries int, match func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, error)
	// send sends a message without an answer.
	send(msg *dhcpv4.DHCPv4, src, dst netip.Addr) error
	close() error
}

// Client is the client of one interface.
type Client struct {
	config Config
	open   func(*Config) (transport, error)
	link   transport
	kick   chan struct{} // the link came up: is the lease good here?
	cancel context.CancelFunc
	done   chan struct{}
	first  chan struct{} // closed by the first lease

	mu     sync.Mutex
	status Status
}

// Start starts a client. It goes on until Release or Stop.
func Start(config Config) *Client { return start(config, openTransport) }

func start(config Config, open func(*Config) (transport, error)) *Client {
	c := &Client{
		config: config, open: open, kick: make(chan struct{}, 1), done: make(chan struct{}), first: make(chan struct{}),
		status: Status{Interface: config.Interface, State: StateInit},
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.run(ctx)
	return c
}

// Stop ends the client and leaves the lease where it is: in the file, and on
// the interface for as long as it lasts.
func (c *Client) Stop() {
	c.cancel()
	<-c.done
}

// Release ends the client and gives the lease back (RFC 2131, section 4.4.6).
func (c *Client) Release() error {
	c.Stop()
	lease := c.Status().Lease
	c.set(StateReleased, nil, nil)
	if lease == nil {
		return nil
	}
	err := c.sendRelease(lease)
	if c.config.LeaseFile != "" {
		if e := os.Remove(c.config.LeaseFile); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, c.config.Apply(nil))
}

func (c *Client) sendRelease(lease *Lease) error {
	link, err := c.open(&c.config)
	if err != nil {
		return err
	}
	defer link.close()
	msg, err := c.message(dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(lease.Address.Addr().AsSlice()), serverOption(lease.Server))
	if err != nil {
		return err
	}
	if err := link.send(msg, lease.Address.Addr(), lease.Server); err != nil {
		return fmt.Errorf("release %s: %w", lease.Address.Addr(), err)
	}
	return nil
}

// LinkUp tells that the link has come up: the network may be another.
func (c *Client) LinkUp() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Status returns how the client is.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Bound is closed when there is a lease.
func (c *Client) Bound() <-chan struct{} { return c.first }

func (c *Client) set(state State, lease *Lease, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.State, c.status.Lease, c.status.Error = state, lease, ""
	if err != nil {
		c.status.Error = err.Error()
	}
}

// run gets leases and holds them until ctx ends.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	defer func() {
		if c.link != nil {
			c.link.close()
		}
	}()
	lease := ReadLease(c.config.LeaseFile)
	if lease != nil && lease.expired(time.Now()) {
		lease = nil
	}
	fresh := false // the server has just confirmed the lease
	for wait := time.Second; ctx.Err() == nil; {
		if err := c.ready(); err != nil {
			c.set(StateInit, nil, err)
			c.sleep(ctx, &wait)
			continue
		}
		var err error
		switch {
		case lease == nil:
			if lease, err = c.discover(ctx); err != nil {
				if ctx.Err() == nil {
					c.set(StateInit, nil, err)
					c.sleep(ctx, &wait)
				}
				continue
			}
			fresh = true
		case !fresh:
			lease = c.reboot(ctx, lease)
			if fresh = lease != nil; !fresh {
				c.lost(ctx)
				continue
			}
		}
		wait = time.Second
		var again bool
		lease, again = c.hold(ctx, lease)
		fresh = !again
		if lease == nil {
			c.lost(ctx)
		}
	}
}

// ready opens the link if it is not open.
func (c *Client) ready() error {
	if c.link != nil {
		return nil
	}
	link, err := c.open(&c.config)
	if err == nil {
		c.link = link
	}
	return err
}

// drop closes a link that failed, to be opened again.
func (c *Client) drop() {
	if c.link != nil {
		c.link.close()
		c.link = nil
	}
}

// lost takes the lease off the interface.
func (c *Client) lost(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	c.set(StateInit, nil, nil)
	if c.config.LeaseFile != "" {
		_ = os.Remove(c.config.LeaseFile) // an expired one is not used anyway
	}
	if err := c.config.Apply(nil); err != nil {
		c.config.Log.Error("dhclient: take lease away", "interface", c.config.Interface, "err", err)
	}
}

// maxWait is the longest pause between attempts to find a server.
const maxWait = 30 * time.Second

// sleep waits, longer each time, or until the link comes up.
func (c *Client) sleep(ctx context.Context, wait *time.Duration) {
	pause := *wait/2 + rand.N(*wait)
	*wait = min(*wait*2, maxWait)
	select {
	case <-ctx.Done():
	case <-c.kick:
		*wait = time.Second
	case <-time.After(pause):
	}
}

// bound applies a lease and writes it down.
func (c *Client) bound(lease *Lease) {
	err := c.config.Apply(lease)
	if e := lease.write(c.config.LeaseFile); e != nil {
		err = errors.Join(err, fmt.Errorf("write lease: %w", e))
	}
	if err != nil {
		c.config.Log.Warn("dhclient: lease not wholly applied", "interface", c.config.Interface, "err", err)
	}
	c.set(StateBound, lease, err)
	select {
	case <-c.first:
	default:
		close(c.first)
	}
}

// discover finds a server and takes what it offers.
func (c *Client) discover(ctx context.Context) (*Lease, error) {
	msg, err := c.message(dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true))
	if err != nil {
		return nil, err
	}
	offer, err := c.link.exchange(ctx, msg, netip.Addr{}, netip.Addr{}, 2*time.Second, 3, func(m *dhcpv4.DHCPv4) bool {
		_, err := leaseOf(m, time.Now())
		return m.MessageType() == dhcpv4.MessageTypeOffer && err == nil
	})
	if err != nil {
		c.failed(err)
		return nil, fmt.Errorf("no offer: %w", err)
	}
	server, _ := addrOf(offer.ServerIdentifier())
	request, err := c.message(dhcpv4.MessageTypeRequest, dhcpv4.WithBroadcast(true), dhcpv4.WithTransactionID(msg.TransactionID),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)), serverOption(server))
	if err != nil {
		return nil, err
	}
	lease, nak, err := c.request(ctx, request, netip.Addr{}, netip.Addr{}, 2*time.Second, 3)
	switch {
	case nak:
		return nil, fmt.Errorf("%s refused %s", server, offer.YourIPAddr)
	case err != nil:
		return nil, fmt.Errorf("no answer from %s: %w", server, err)
	}
	c.config.Log.Info("dhclient: bound", "interface", c.config.Interface, "address", lease.Address, "server", lease.Server, "lease", lease.Lifetime)
	c.bound(lease)
	return lease, nil
}

// reboot asks whether a lease of before is good here (INIT-REBOOT). It is
// kept if nobody answers.
func (c *Client) reboot(ctx context.Context, old *Lease) *Lease {
	c.set(StateReboot, old, nil)
	msg, err := c.message(dhcpv4.MessageTypeRequest, dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(old.Address.Addr().AsSlice())))
	if err != nil {
		return nil
	}
	lease, nak, err := c.request(ctx, msg, netip.Addr{}, netip.Addr{}, time.Second, 3)
	switch {
	case ctx.Err() != nil:
		return old
	case nak:
		c.config.Log.Info("dhclient: the lease of before is not good here", "interface", c.config.Interface, "address", old.Address)
		return nil
	case err != nil:
		if old.expired(time.Now()) {
			return nil
		}
		lease = old
	}
	c.bound(lease)
	return lease
}

// hold keeps a lease. It returns nil when the lease is over, or says that it
// must be asked for again.
func (c *Client) hold(ctx context.Context, lease *Lease) (held *Lease, again bool) {
	for {
		now := time.Now()
		switch {
		case lease.Lifetime >= infinite || now.Before(lease.Renew()):
			pause := 24 * time.Hour
			if lease.Lifetime < infinite {
				pause = lease.Renew().Sub(now)
			}
			select {
			case <-ctx.Done():
				return lease, false
			case <-c.kick:
				return lease, true
			case <-time.After(pause):
			}
			continue
		case lease.expired(now):
			c.config.Log.Warn("dhclient: lease expired", "interface", c.config.Interface, "address", lease.Address)
			return nil, false
		}
		select {
		case <-c.kick:
			return lease, true
		default:
		}
		next, over := c.extend(ctx, lease, now)
		switch {
		case ctx.Err() != nil:
			return lease, false
		case over:
			return nil, false
		case next != nil:
			c.bound(next)
			lease = next
		}
	}
}

// extend asks once for more time: the server until the time to rebind,
// everybody from then on. It returns when there is an answer, or it is time to
// ask again.
func (c *Client) extend(ctx context.Context, lease *Lease, now time.Time) (next *Lease, over bool) {
	state, server, until := StateRenew, lease.Server, lease.Rebind()
	if !now.Before(until) {
		state, server, until = StateRebind, netip.Addr{}, lease.Expire()
	}
	c.set(state, lease, nil)
	msg, err := c.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(lease.Address.Addr().AsSlice()))
	if err != nil {
		return nil, false
	}
	// Half of what is left, but not in vain to the last.
	pause := min(max(until.Sub(now)/2, 2*time.Second), until.Sub(now)+time.Millisecond)
	attempt, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	next, nak, err := c.request(attempt, msg, lease.Address.Addr(), server, min(4*time.Second, pause), 2)
	switch {
	case ctx.Err() != nil:
		return nil, false
	case nak:
		c.config.Log.Warn("dhclient: lease refused", "interface", c.config.Interface, "address", lease.Address)
		return nil, true
	case err == nil:
		return next, false
	}
	c.set(state, lease, err)
	select {
	case <-attempt.Done():
	case <-c.kick:
		c.LinkUp() // for hold, which asks in another way
	}
	return nil, false
}

// request sends a request and waits for its acknowledgement or refusal.
func (c *Client) request(ctx context.Context, msg *dhcpv4.DHCPv4, src, dst netip.Addr, first time.Duration, tries int) (lease *Lease, nak bool, err error) {
	if err := c.ready(); err != nil {
		return nil, false, err
	}
	answer, err := c.link.exchange(ctx, msg, src, dst, first, tries, func(m *dhcpv4.DHCPv4) bool {
		return m.MessageType() == dhcpv4.MessageTypeAck || m.MessageType() == dhcpv4.MessageTypeNak
	})
	if err != nil {
		c.failed(err)
		return nil, false, err
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return nil, true, nil
	}
	lease, err = leaseOf(answer, time.Now())
	return lease, false, err
}

// failed gets rid of a link after an error other than silence.
func (c *Client) failed(err error) {
	if !errors.Is(err, errNoAnswer) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		c.drop()
	}
}

// errNoAnswer says that nobody answered in time.
var errNoAnswer = errors.New("no answer")

// message makes a message with what every one of the client's has.
func (c *Client) message(kind dhcpv4.MessageType, modifiers ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	all := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(c.config.Lladdr),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{1}, c.config.Lladdr...))),
	}
	if kind != dhcpv4.MessageTypeRelease {
		all = append(all, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(1500)), dhcpv4.WithRequestedOptions(
			dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionHostName, dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionBroadcastAddress,
			dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue))
		if c.config.Hostname != "" {
			all = append(all, dhcpv4.WithOption(dhcpv4.OptHostName(c.config.Hostname)))
		}
	}
	return dhcpv4.New(append(all, modifiers...)...)
}

func serverOption(server netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server.AsSlice()))
}
