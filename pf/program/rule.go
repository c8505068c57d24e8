package program

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// rule compiles one rule. The second result is set where IPv6 addresses need a
// line of their own, the third where its options do.
func (c *compiler) rule(anchor *conf.Anchor, r *conf.Rule) (bpf.PFRule, *bpf.PFRuleExt, *bpf.PFRuleActions) {
	c.refuse(r)
	line := bpf.PFRule{Af: family(r.Family), Proto: r.Protocol, Tos: r.TOS, Ifslot: bpf.IfnetSlots}
	line.Flags |= direction(r.Direction)
	set := func(on bool, bit uint32) {
		if on {
			line.Flags |= bit
		}
	}
	set(r.Quick, bpf.PfrQuick)
	set(r.Fragment, bpf.PfrFragment)
	set(r.AllowOpts, bpf.PfrAllowopts)
	set(r.TaggedNot, bpf.PfrTaggedNot)
	set(r.State != conf.StateNone, bpf.PfrKeepState)
	set(r.StateOptions.Sloppy, bpf.PfrSloppy)
	set(r.StateOptions.IfBound, bpf.PfrIfbound)
	set(r.NatPass, bpf.PfrNatpass)
	set(r.Log != 0, bpf.PfrLog)
	set(r.Log&conf.LogAll != 0, bpf.PfrLogAll)
	set(r.Return == conf.ReturnRST || r.Return == conf.ReturnAuto, bpf.PfrReturnRst)
	set(r.Return == conf.ReturnICMP || r.Return == conf.ReturnAuto, bpf.PfrReturnICMP)
	line.ReturnCode, line.ReturnCode6 = uint8(r.ReturnICMP), uint8(r.ReturnICMP6)
	line.Action = c.action(r)
	line.TcpFlags, line.TcpFlagset = r.Flags, r.FlagSet
	if t, ok := r.ICMPType.Get(); ok {
		line.IcmpType = t
		set(true, bpf.PfrICMPType)
	}
	if code, ok := r.ICMPCode.Get(); ok {
		line.IcmpCode = code
		set(true, bpf.PfrICMPCode)
	}
	line.Tag, line.Tagged = c.tag(r.Tag), c.tag(r.Tagged)
	line.Probability = r.Probability
	c.iface(r.Pos, r.Interface, r.InterfaceNot, &line)

	ext := &bpf.PFRuleExt{}
	src := c.address(anchor, r, &r.Src, true, &line, ext)
	dst := c.address(anchor, r, &r.Dst, false, &line, ext)
	line.Sport = c.port(r.Src.Port, bpf.PfrSport, bpf.PfrSportNot, &line.Flags)
	line.Dport = c.port(r.Dst.Port, bpf.PfrDport, bpf.PfrDportNot, &line.Flags)
	if r.Anchor == nil {
		c.pools(anchor, r, &line)
	}
	identity := c.identify(anchor, r)
	slot, err := c.env.Counters(identity)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s:%d: %w", r.Pos.File, r.Pos.Line, err))
	}
	line.Number = slot
	for pool := line.Pool; pool != 0; pool = c.program.Pools[pool-1].Next {
		c.program.Pools[pool-1].Rule = slot
	}
	c.program.Rules = append(c.program.Rules, &Rule{Rule: c.written(r), Anchor: anchor.Path, Identity: identity, Counters: slot})
	if !src && !dst {
		ext = nil
	}
	return line, ext, c.actions(r)
}

func family(f conf.AddressFamily) uint8 {
	switch f {
	case conf.Inet:
		return 4
	case conf.Inet6:
		return 6
	}
	return 0
}

func direction(d conf.Direction) uint32 {
	switch d {
	case conf.In:
		return bpf.PfrIn
	case conf.Out:
		return bpf.PfrOut
	}
	return bpf.PfrIn | bpf.PfrOut
}

func (c *compiler) action(r *conf.Rule) uint8 {
	if r.Anchor != nil {
		return uint8(bpf.PFAnchor)
	}
	switch r.Action {
	case conf.Pass:
		return uint8(bpf.PFPass)
	case conf.Block:
		return uint8(bpf.PFDrop)
	case conf.Match:
		return uint8(bpf.PFMatch)
	case conf.Nat:
		return uint8(bpf.PFNAT)
	case conf.Rdr:
		return uint8(bpf.PFRDR)
	case conf.Scrub:
		return uint8(bpf.PFScrub)
	}
	return uint8(bpf.PFNo)
}

// iface compiles what a rule says of the interface. One that is not there
// never matches, and is warned of; it will match when it comes.
func (c *compiler) iface(pos conf.Position, name string, not bool, line *bpf.PFRule) {
	if name == "" {
		return
	}
	if not {
		line.Flags |= bpf.PfrIfNot
	}
	if name == "any" {
		line.Flags |= bpf.PfrIfAny
		return
	}
	if slot, ok := c.env.Slot(name); ok {
		line.Ifslot = slot
		return
	}
	if bit, ok := c.env.Group(name); ok {
		line.Flags |= bpf.PfrIfGroup
		line.Ifslot = bit
		return
	}
	line.Ifslot = never
	c.program.Warnings = append(c.program.Warnings, Warning{pos, fmt.Sprintf("interface %s does not exist", name)})
}

// address compiles one side of a rule; it reports whether ext is used.
func (c *compiler) address(anchor *conf.Anchor, r *conf.Rule, a *conf.RuleAddr, source bool, line *bpf.PFRule, ext *bpf.PFRuleExt) bool {
	value, mask, tableFlag, notFlag := &line.Daddr, &line.Dmask, bpf.PfrDstTable, bpf.PfrDstNot
	value6, mask6 := &ext.Daddr, &ext.Dmask
	if source {
		value, mask, tableFlag, notFlag = &line.Saddr, &line.Smask, bpf.PfrSrcTable, bpf.PfrSrcNot
		value6, mask6 = &ext.Saddr, &ext.Smask
	}
	if a.Not {
		line.Flags |= notFlag
	}
	var table *Table
	switch a.Addr.Kind {
	case conf.AddrAny:
		return line.Af == 6 && a.Not
	case conf.AddrPrefix:
		if a.Addr.IP.Is4() {
			ip := a.Addr.IP.As4()
			*value = binary.NativeEndian.Uint32(ip[:])
			*mask = prefixMask4(int(a.Addr.Bits))
			line.Af = 4
			return false
		}
		*value6, *mask6 = a.Addr.IP.As16(), prefixMask6(int(a.Addr.Bits))
		line.Af = 6
		return true
	case conf.AddrRange:
		table = c.rangeTable(a.Addr.IP, a.Addr.Last)
	case conf.AddrInterface:
		if a.Addr.Bits < 128 && !(r.Family == conf.Inet && a.Addr.Bits == 32) {
			c.unsupported(r.Pos, "a mask on the addresses of an interface")
		}
		table = c.interfaceTable(a.Addr.Name, a.Addr.Modifiers)
	case conf.AddrTable:
		table = c.findTable(anchor.Path, a.Addr.Name)
		if table.Def != nil && table.Def.Counters {
			line.Flags |= bpf.PfrCounters
		}
	case conf.AddrNoRoute:
		table = &Table{Number: bpf.PFTableNoroute}
	case conf.AddrURPFFailed:
		table = &Table{Number: bpf.PFTableUrpf}
	default:
		c.unsupported(r.Pos, a.Addr.Kind.String())
		return false
	}
	line.Flags |= tableFlag
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], table.Number)
	*value = binary.NativeEndian.Uint32(number[:])
	return false
}

func prefixMask4(bits int) uint32 {
	var b [4]byte
	if bits > 0 {
		binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-bits))
	}
	return binary.NativeEndian.Uint32(b[:])
}

func prefixMask6(bits int) (mask [16]uint8) {
	for i := range mask {
		switch {
		case bits >= 8*(i+1):
			mask[i] = 0xff
		case bits > 8*i:
			mask[i] = ^uint8(0) << (8*(i+1) - bits)
		}
	}
	return mask
}

// port compiles a comparison of a port into a range.
func (c *compiler) port(p conf.PortRange, has, not uint32, flags *uint32) [2]uint16 {
	if p.Op == conf.OpNone {
		return [2]uint16{0, 65535}
	}
	*flags |= has
	empty := [2]uint16{1, 0}
	switch p.Op {
	case conf.OpEqual:
		return [2]uint16{p.Low, p.Low}
	case conf.OpNot:
		*flags |= not
		return [2]uint16{p.Low, p.Low}
	case conf.OpLess:
		if p.Low == 0 {
			return empty
		}
		return [2]uint16{0, p.Low - 1}
	case conf.OpLessEq:
		return [2]uint16{0, p.Low}
	case conf.OpMore:
		if p.Low == 65535 {
			return empty
		}
		return [2]uint16{p.Low + 1, 65535}
	case conf.OpMoreEq:
		return [2]uint16{p.Low, 65535}
	case conf.OpInside:
		if p.High == 0 || p.Low+1 > p.High-1 || p.Low == 65535 {
			return empty
		}
		return [2]uint16{p.Low + 1, p.High - 1}
	case conf.OpOutside:
		*flags |= not
		return [2]uint16{p.Low, p.High}
	}
	return [2]uint16{p.Low, p.High}
}

// rangePrefixes returns the fewest prefixes that cover exactly the addresses
// from a first to a last.
func rangePrefixes(from, to netip.Addr) []netip.Prefix {
	var prefixes []netip.Prefix
	for from.IsValid() && from.Compare(to) <= 0 {
		bits := from.BitLen()
		for bits > 0 {
			wider := netip.PrefixFrom(from, bits-1)
			if wider.Masked().Addr() != from || lastAddr(wider).Compare(to) > 0 {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(from, bits)
		prefixes = append(prefixes, p)
		from = lastAddr(p).Next()
	}
	return prefixes
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
