package dhclient

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// server is a DHCP server without a network. It is used from one goroutine
// at a time.
type server struct {
	addr     netip.Addr
	silent   bool // to unicast, or to all
	deaf     bool
	refuse   bool
	give     string
	lifetime time.Duration
	asked    []string // kinds of messages, "~" before those to everybody
	released bool
}

func (s *server) open(*Config) (transport, error) { return s, nil }
func (s *server) close() error                    { return nil }

func (s *server) send(msg *dhcpv4.DHCPv4, _, dst netip.Addr) error {
	s.released = msg.MessageType() == dhcpv4.MessageTypeRelease && dst == s.addr
	return nil
}

func (s *server) exchange(ctx context.Context, msg *dhcpv4.DHCPv4, src, dst netip.Addr, first time.Duration, tries int, match func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, error) {
	kind := msg.MessageType().String()
	if !dst.IsValid() {
		kind = "~" + kind
	}
	if src.IsValid() {
		kind += " from " + src.String()
	}
	s.asked = append(s.asked, kind)
	if s.deaf || s.silent && dst.IsValid() {
		for range tries {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(first):
			}
			first *= 2
		}
		return nil, errNoAnswer
	}
	answer := dhcpv4.MessageTypeAck
	switch {
	case msg.MessageType() == dhcpv4.MessageTypeDiscover:
		answer = dhcpv4.MessageTypeOffer
	case s.refuse:
		answer = dhcpv4.MessageTypeNak
	}
	reply, err := dhcpv4.NewReplyFromRequest(msg, dhcpv4.WithMessageType(answer), dhcpv4.WithYourIP(net.ParseIP(s.give)),
		serverOption(s.addr), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(uint32(s.lifetime/time.Second)))
	if err != nil {
		return nil, err
	}
	if !match(reply) {
		return nil, errNoAnswer
	}
	return reply, nil
}

type rig struct {
	*server
	client  *Client
	applied []string // addresses, "-" for none
	config  Config
}

func newRig(t *testing.T) *rig {
	r := &rig{server: &server{addr: netip.MustParseAddr("192.0.2.1"), give: "192.0.2.100", lifetime: time.Hour}}
	r.config = Config{
		Interface: "em0", Lladdr: net.HardwareAddr{2, 0, 0x5e, 0, 0x53, 1}, LeaseFile: filepath.Join(t.TempDir(), "lease"),
		Log: slog.New(slog.DiscardHandler),
		Apply: func(l *Lease) error {
			what := "-"
			if l != nil {
				what = l.Address.String()
			}
			r.applied = append(r.applied, what)
			return nil
		},
	}
	return r
}

func (r *rig) start() { r.client = start(r.config, r.open) }

func (r *rig) expect(t *testing.T, state State, asked ...string) {
	t.Helper()
	synctest.Wait()
	if got := r.client.Status().State; got != state {
		t.Errorf("state %s, want %s", got, state)
	}
	if !slices.Equal(r.asked, asked) {
		t.Errorf("asked %q, want %q", r.asked, asked)
	}
	r.asked = nil
}

func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer r.client.Stop()
		r.expect(t, StateBound, "~DISCOVER", "~REQUEST")
		time.Sleep(29 * time.Minute)
		r.expect(t, StateBound)
		time.Sleep(2 * time.Minute)
		r.expect(t, StateBound, "REQUEST from 192.0.2.100")
		if left := time.Until(r.client.Status().Lease.Expire()); left < 58*time.Minute {
			t.Errorf("%v left after a renewal", left)
		}
		if want := []string{"192.0.2.100/24", "192.0.2.100/24"}; !slices.Equal(r.applied, want) {
			t.Errorf("applied %q, want %q", r.applied, want)
		}
	})
}

func TestRebind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer r.client.Stop()
		synctest.Wait()
		r.silent, r.asked = true, nil
		time.Sleep(52 * time.Minute)
		synctest.Wait()
		if len(r.asked) < 3 || slices.Contains(r.asked, "~REQUEST from 192.0.2.100") {
			t.Errorf("asked %q before the time to rebind", r.asked)
		}
		r.asked = nil
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.asked) == 0 || r.asked[len(r.asked)-1] != "~REQUEST from 192.0.2.100" {
			t.Errorf("asked %q, want everybody at last", r.asked)
		}
		r.asked = nil
		r.expect(t, StateBound)
	})
}

func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer r.client.Stop()
		synctest.Wait()
		r.deaf = true
		time.Sleep(59*time.Minute + 50*time.Second)
		synctest.Wait()
		if got := r.applied[len(r.applied)-1]; got != "192.0.2.100/24" {
			t.Fatalf("%s before the lease is over", got)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if got := r.applied[len(r.applied)-1]; got != "-" {
			t.Fatalf("%s after the lease is over", got)
		}
		r.deaf, r.give = false, "192.0.2.101"
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.applied[len(r.applied)-1]; got != "192.0.2.101/24" {
			t.Fatalf("%s when a server is back", got)
		}
	})
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*rig)
		asked  []string
		want   string
	}{
		{"confirmed", func(*rig) {}, []string{"~REQUEST"}, "192.0.2.100/24"},
		{"refused", func(r *rig) { r.refuse = true }, nil, "-"},
		{"nobody there", func(r *rig) { r.deaf = true }, []string{"~REQUEST"}, "192.0.2.100/24"},
		{"expired", func(*rig) { time.Sleep(2 * time.Hour) }, []string{"~DISCOVER", "~REQUEST"}, "192.0.2.100/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.start()
				synctest.Wait()
				r.client.Stop()
				r.applied, r.asked = nil, nil
				c.before(r)
				r.start()
				defer r.client.Stop()
				time.Sleep(8 * time.Second)
				synctest.Wait()
				if c.asked != nil && !slices.Equal(r.asked, c.asked) {
					t.Errorf("asked %q, want %q", r.asked, c.asked)
				}
				if len(r.applied) == 0 || r.applied[0] != c.want {
					t.Errorf("applied %q, want %q first", r.applied, c.want)
				}
			})
		})
	}
}

func TestLinkUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer r.client.Stop()
		r.expect(t, StateBound, "~DISCOVER", "~REQUEST")
		r.client.LinkUp()
		r.expect(t, StateBound, "~REQUEST")
	})
}

// A link that comes back while nobody answered is tried at once, not when it
// would have been time.
func TestLinkUpRenewing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer r.client.Stop()
		synctest.Wait()
		r.deaf = true
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		r.asked, r.deaf = nil, false
		r.client.LinkUp()
		r.expect(t, StateBound, "~REQUEST")
	})
}

func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		synctest.Wait()
		if err := r.client.Release(); err != nil {
			t.Fatal(err)
		}
		if !r.released || r.applied[len(r.applied)-1] != "-" || ReadLease(r.config.LeaseFile) != nil {
			t.Errorf("released %v, applied %q, file %v", r.released, r.applied, ReadLease(r.config.LeaseFile))
		}
	})
}

func TestLeaseOf(t *testing.T) {
	base := []dhcpv4.Modifier{
		dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 9)), dhcpv4.WithLeaseTime(100), serverOption(netip.MustParseAddr("192.0.2.1")),
		dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))),
	}
	lease := func(t *testing.T, more ...dhcpv4.Modifier) *Lease {
		t.Helper()
		ack, err := dhcpv4.New(append(slices.Clone(base), more...)...)
		if err != nil {
			t.Fatal(err)
		}
		l, err := leaseOf(ack, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := lease(t)
	if l.Address.String() != "192.0.2.9/24" || l.RenewAfter != 50*time.Second || l.RebindAt != 87500*time.Millisecond || len(l.Routers) != 1 {
		t.Errorf("%+v", l)
	}
	l = lease(t, dhcpv4.WithOption(dhcpv4.OptDomainName("a\nnameserver 6.6.6.6")), dhcpv4.WithOption(dhcpv4.OptHostName("$(id)")))
	if l.Domain != "" || l.Hostname != "" {
		t.Errorf("names %q, %q that are none", l.Domain, l.Hostname)
	}
	l = lease(t, dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
		&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Router: net.IPv4(192, 0, 2, 2)},
		&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, Router: net.IPv4zero},
	)))
	want := []Route{
		{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.2")},
		{netip.MustParsePrefix("10.0.0.0/8"), netip.IPv4Unspecified()},
	}
	if !slices.Equal(l.Routes, want) || len(l.Routers) != 0 {
		t.Errorf("routes %v, routers %v", l.Routes, l.Routers)
	}
	for name, bad := range map[string][]dhcpv4.Modifier{
		"no time":     {base[0], base[2]},
		"no server":   {base[0], base[1]},
		"no address":  {base[1], base[2]},
		"bad address": {base[1], base[2], dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1))},
		"loopback":    {base[1], base[2], dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1))},
	} {
		ack, err := dhcpv4.New(bad...)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := leaseOf(ack, time.Now()); err == nil {
			t.Errorf("%s: took %+v", name, l)
		}
	}
}

func TestPackets(t *testing.T) {
	src, dst := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.1")
	b := udpPacket([]byte("payload"), src, dst)
	if checksum(b[:20]) != 0 {
		t.Error("header checksum")
	}
	if _, _, ok := udpPayload(b); ok {
		t.Error("a packet to the port of servers was taken")
	}
	b[22], b[23] = 0, clientPort
	payload, from, ok := udpPayload(append(b, 0, 0, 0)) // padding of Ethernet
	if !ok || string(payload) != "payload" || from != src {
		t.Errorf("%q from %v, %v", payload, from, ok)
	}
}

func FuzzUDPPayload(f *testing.F) {
	f.Add(udpPacket([]byte("x"), netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if payload, _, ok := udpPayload(b); ok && len(payload) > len(b)-28 {
			t.Fatal("payload larger than the packet")
		}
	})
}
