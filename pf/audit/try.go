package audit

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/bsdnet/bsdnet/pf/capture"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// Try is a capture judged by rulesets, without a kernel.
type Try struct {
	New, Old   *conf.Ruleset // Old may be nil
	Interfaces *conf.InterfaceTable
	Interface  string // of packets that do not say theirs
}

// table is a reference.Environment made of an interface table and the times of
// a capture. Of routes it knows those to networks on links.
type table struct {
	interfaces *conf.InterfaceTable
	dialect    conf.Dialect
	at         string // interface of the packet in hand
	now        time.Duration
}

func (t *table) Exists(name string) bool { return t.interfaces.Find(name) != nil }

func (t *table) Loopback(name string) bool {
	i := t.interfaces.Find(name)
	return i != nil && i.Loopback
}

func (t *table) InGroup(name, group string) bool {
	i := t.interfaces.Find(name)
	return i != nil && i.InGroup(group)
}

func (t *table) Addresses(name string, modifiers conf.Modifier) []conf.TablePrefix {
	return t.interfaces.Addresses(name, modifiers, t.dialect)
}

func (t *table) Chosen() (netip.AddrPort, bool) { return netip.AddrPort{}, false }
func (t *table) Now() time.Duration             { return t.now }

// Route takes every address for reachable, by the link whose network it is in,
// else by where the packet is.
func (t *table) Route(ip netip.Addr) (iface string, local, ok bool) {
	if t.own(ip) {
		return "", true, true
	}
	for _, i := range t.interfaces.Interfaces {
		if onLink(i, ip) {
			return i.Name, false, true
		}
	}
	return t.at, false, true
}

func (t *table) own(ip netip.Addr) bool {
	for _, i := range t.interfaces.Interfaces {
		for _, a := range i.Addrs {
			if a.Prefix.Addr().WithZone("") == ip {
				return true
			}
		}
	}
	return false
}

func onLink(i *conf.Interface, ip netip.Addr) bool {
	for _, a := range i.Addrs {
		if a.Prefix.Masked().Contains(ip) {
			return true
		}
	}
	return false
}

// direction finds out which way a packet went that does not say: what the host
// sends, and what is for the network of the interface, goes out.
func (t *table) direction(p *reference.Packet, iface string) conf.Direction {
	if t.own(p.Src) {
		return conf.Out
	}
	i := t.interfaces.Find(iface)
	if i != nil && !t.own(p.Dst) && !onLink(i, p.Src) && onLink(i, p.Dst) {
		return conf.Out
	}
	return conf.In
}

// Run judges every packet of a capture. What it read before an error is in the
// report all the same.
func (try *Try) Run(r *capture.Reader) (*Report, error) {
	env := &table{interfaces: try.Interfaces, dialect: try.New.Dialect}
	if env.interfaces == nil {
		env.interfaces = &conf.InterfaceTable{}
	}
	next := NewShadow(try.New, env, nil)
	var now *Shadow
	if try.Old != nil {
		now = NewShadow(try.Old, env, nil)
	}
	report := NewReport(name(try.New), name(try.Old), time.Time{})
	var first time.Time
	for {
		p, err := r.Next()
		if err != nil {
			report.Finish(next.lines)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return report, err
		}
		if first.IsZero() {
			first = p.Time
			report.Since = first
		}
		packet, err := reference.Decode(p.IP)
		if p.IP == nil || err != nil {
			report.NotJudged++
			continue
		}
		if p.Interface == "" {
			p.Interface = try.Interface
		}
		if p.Interface == "" {
			report.Finish(next.lines)
			return report, fmt.Errorf("packet %d: the capture does not say on which interface: -i", p.Number)
		}
		env.interfaces.Add(p.Interface)
		env.at, env.now = p.Interface, max(env.now, p.Time.Sub(first))
		dir := p.Direction
		if dir == conf.InOut {
			dir = env.direction(&packet, p.Interface)
		}
		verdict := next.Judge(packet, dir, p.Interface)
		before := verdict
		if now != nil {
			before = now.Judge(packet, dir, p.Interface)
		}
		report.Add(before, verdict, Where{dir.String(), p.Interface}, p.Time, &packet)
		if p.Number%purgeEvery == 0 {
			next.Purge()
			if now != nil {
				now.Purge()
			}
		}
	}
}

// purgeEvery is after how many packets states that are over are looked for.
const purgeEvery = 10000

func name(rules *conf.Ruleset) string {
	if rules == nil {
		return ""
	}
	for _, r := range rules.Main.Filter {
		return r.Pos.File
	}
	return "new rules"
}
