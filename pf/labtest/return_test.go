package labtest

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

const returnRules = `
match out on em1 inet from 192.0.2.0/24 to any nat-to (em1:0)
match out on em1 inet6 from 2001:db8::/64 to any nat-to (em1:0)
pass
pass in on em1 inet proto { tcp udp } from any to 198.51.100.1 port 8080 rdr-to 192.0.2.2 port 80
pass in on em1 inet6 proto { tcp udp } from any to 2001:db8:1::1 port 8080 rdr-to 2001:db8::2 port 80
block return out on em0 proto { tcp udp } from any to any port 80
block return out on em1 proto { tcp udp } from any to any port 7001
`

// TestReturnTranslated refuses packets that are translated: their sender gets
// answers about what it sent, which its sockets take.
func TestReturnTranslated(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for _, e := range families {
			s.mustPing(e.right, true, "neighbours found")
		}
		s.pfctl("-e -f " + s.file(returnRules))
		for family, e := range families {
			t.Run(family, func(t *testing.T) {
				for _, to := range []struct {
					from    *lab.Host
					address string
				}{
					{s.Right, net.JoinHostPort(e.routerRight, "8080")}, // translated when it came in, refused on its way out
					{s.Left, net.JoinHostPort(e.right, "7001")},        // translated and refused by the same rules
				} {
					refused(t, to.from, to.address)
					err := to.from.Do(func() error {
						conn, err := net.DialTimeout("tcp", to.address, 3*time.Second)
						if err == nil {
							conn.Close()
						}
						return err
					})
					if !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("tcp %s: %v, want connection refused", to.address, err)
					}
				}
			})
		}
	})
}
