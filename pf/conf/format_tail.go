package conf

import (
	"fmt"
	"strings"
)

// scrubWords are the scrub options of a match or pass rule.
func (r *Rule) scrubWords() []string {
	var words []string
	s := &r.Scrub
	if s.NoDF {
		words = append(words, "no-df")
	}
	if s.RandomID {
		words = append(words, "random-id")
	}
	if s.MinTTL != 0 {
		words = append(words, fmt.Sprintf("min-ttl %d", s.MinTTL))
	}
	if s.ReassembleTCP {
		words = append(words, "reassemble tcp")
	}
	if s.MaxMSS != 0 {
		words = append(words, fmt.Sprintf("max-mss %d", s.MaxMSS))
	}
	return words
}

func (w *lineWriter) scrub(r *Rule) {
	if words := r.scrubWords(); words != nil {
		w.WriteString(" scrub (" + strings.Join(words, " ") + ")")
	}
}

func (w *lineWriter) labels(r *Rule) {
	for _, l := range r.Labels {
		if l != "" {
			w.WriteString(" label " + quote(l))
		}
	}
}

// tagText writes a tag. As pfctl it has no quotes where it reads back without.
func tagText(tag string) string {
	if text := numberNameText(tag); text == tag && tag != "any" {
		return tag
	}
	for _, word := range strings.Split(tag, " ") {
		if nameText(word) != word || word == "any" {
			return quote(tag)
		}
	}
	return tag
}

func (w *lineWriter) tags(r *Rule) {
	if r.Tag != "" {
		w.WriteString(" tag " + tagText(r.Tag))
	}
	if r.Tagged != "" {
		w.word(r.TaggedNot, " !")
		w.WriteString(" tagged " + tagText(r.Tagged))
	}
	if v, ok := r.RoutingTable.Get(); ok {
		w.printf(" rtable %d", v)
	}
}

// tailOpenBSD writes what follows the state options in OpenBSD.
func (w *lineWriter) tailOpenBSD(r *Rule) {
	switch r.Action {
	case Scrub, NoScrub:
		w.scrubRule(r)
	default:
		w.scrub(r)
	}
	w.word(r.AllowOpts, " allow-opts")
	w.labels(r)
	w.dummynet(r)
	w.word(r.Once, " once")
	w.tags(r)
	switch r.Divert.Kind {
	case DivertTo:
		w.printf(" divert-to %s port %d", ipText(r.Divert.Addr), r.Divert.Port)
	case DivertReply:
		w.WriteString(" divert-reply")
	}
	if r.DivertPacket != 0 {
		w.printf(" divert-packet port %d", r.DivertPacket)
	}
	w.translation(r)
	w.route(r)
}

// tailFreeBSD writes what follows the state options in FreeBSD and DragonFly.
func (w *lineWriter) tailFreeBSD(r *Rule) {
	switch r.Action {
	case Scrub, NoScrub:
		w.scrubRule(r)
	default:
		w.scrub(r)
	}
	w.word(r.AllowOpts, " allow-opts")
	w.labels(r)
	if r.RIdentifier != 0 {
		w.printf(" ridentifier %d", r.RIdentifier)
	}
	w.dummynet(r)
	switch {
	case r.Queue == "":
	case r.AckQueue != "":
		w.printf(" queue(%s, %s)", numberNameText(r.Queue), numberNameText(r.AckQueue))
	default:
		w.WriteString(" queue " + numberNameText(r.Queue))
	}
	w.word(r.Once, " once")
	w.tags(r)
	switch {
	case r.Divert.Kind == DivertTo && w.dialect == FreeBSD:
		w.printf(" divert-to %d", r.Divert.Port)
	case r.Divert.Kind == DivertTo && r.Divert.Addr.IsValid():
		w.printf(" divert-to %s port %d", ipText(r.Divert.Addr), r.Divert.Port)
	case r.Divert.Kind == DivertReply:
		w.WriteString(" divert-reply")
	}
	if r.DivertPacket != 0 {
		w.printf(" divert-packet port %d", r.DivertPacket)
	}
	w.translation(r)
}

// scrubRule writes the options of a scrub rule.
func (w *lineWriter) scrubRule(r *Rule) {
	s := &r.Scrub
	w.word(s.NoDF, " no-df")
	w.word(s.RandomID, " random-id")
	if s.MinTTL != 0 {
		w.printf(" min-ttl %d", s.MinTTL)
	}
	if s.MaxMSS != 0 {
		w.printf(" max-mss %d", s.MaxMSS)
	}
	if v, ok := s.SetTOS.Get(); ok {
		w.printf(" set-tos 0x%02x", v)
	}
	if r.Action == NoScrub {
		return
	}
	w.word(s.ReassembleTCP, " reassemble tcp")
	switch s.Fragments {
	case FragmentsNoReassemble:
		w.WriteString(" fragment no reassemble")
	case FragmentsCrop:
		w.WriteString(" fragment crop")
	case FragmentsDropOverlap:
		w.WriteString(" fragment drop-ovl")
	default:
		w.WriteString(" fragment reassemble")
	}
}

func (w *lineWriter) dummynet(r *Rule) {
	d := r.Dummynet
	word := "dnpipe"
	if d.Queue {
		word = "dnqueue"
	}
	switch {
	case d.Return != 0:
		// (0, n) is only for the other direction.
		w.printf(" %s(%d, %d)", word, d.Pipe, d.Return)
	case d.Pipe != 0:
		w.printf(" %s %d", word, d.Pipe)
	}
}

// translation writes the pools of nat, rdr, binat and their newer forms.
func (w *lineWriter) translation(r *Rule) {
	if r.Anchor != nil {
		return
	}
	f := r.Family
	if r.NewFamily != Unspecified {
		f = r.NewFamily
	}
	switch {
	case r.Action == Nat:
		w.WriteString(" -> ")
		w.pool(r.Nat, r.Family, poolNat)
	case r.Action == Rdr:
		w.WriteString(" -> ")
		w.pool(r.Rdr, r.Family, poolRdr)
	case r.Action == Binat:
		w.WriteString(" -> ")
		w.pool(r.Nat, r.Family, poolRoute)
	case r.Nat != nil && r.NewFamily != Unspecified:
		w.WriteString(" af-to " + r.NewFamily.String() + " from ")
		w.pool(r.Nat, f, poolNat)
		if r.Rdr != nil {
			w.WriteString(" to ")
			w.pool(r.Rdr, f, poolRdr)
		}
	case r.Nat != nil:
		w.WriteString(" nat-to ")
		w.pool(r.Nat, f, poolNat)
		if r.Rdr != nil {
			// pfctl forgets the second one.
			w.WriteString(" rdr-to ")
			w.pool(r.Rdr, r.Family, poolRdr)
		}
	case r.Rdr != nil:
		w.WriteString(" rdr-to ")
		w.pool(r.Rdr, r.Family, poolRdr)
	}
}

func (w *lineWriter) route(r *Rule) {
	if r.RouteKind == RouteNone {
		return
	}
	w.WriteString(" " + r.RouteKind.String())
	if r.Route == nil {
		return
	}
	w.WriteByte(' ')
	w.pool(r.Route, r.Family, poolRoute)
}

func (w *lineWriter) pool(p *Pool, f AddressFamily, use poolUse) {
	if len(p.Addrs) > 1 {
		w.WriteString("{ ")
	}
	for i, a := range p.Addrs {
		w.word(i > 0, ", ")
		w.poolAddr(a, f)
	}
	if len(p.Addrs) > 1 {
		w.WriteString(" }")
	}
	switch use {
	case poolNat:
		defaults := p.PortLow == natProxyPortLow && p.PortHigh == natProxyPortHigh
		switch {
		case defaults || p.PortLow == 0 && p.PortHigh == 0:
		case p.PortLow == p.PortHigh:
			w.printf(" port %d", p.PortLow)
		default:
			w.printf(" port %d:%d", p.PortLow, p.PortHigh)
		}
	case poolRdr:
		if p.PortLow != 0 {
			w.printf(" port %d", p.PortLow)
			if p.PortHigh != 0 && p.PortHigh != p.PortLow {
				w.printf(":%d", p.PortHigh)
			}
		}
	}
	// With map-e-portset the type is implied, and not taken.
	if p.Type != PoolNone && p.MAPE.Offset == 0 {
		w.WriteString(" " + p.Type.String())
	}
	if p.Type == PoolSourceHash {
		w.printf(" 0x%08x%08x%08x%08x", p.Key[0], p.Key[1], p.Key[2], p.Key[3])
	}
	w.word(p.StickyAddress, " sticky-address")
	w.word(use == poolNat && p.PortLow == 0 && p.PortHigh == 0, " static-port")
	if p.MAPE.Offset > 0 {
		w.printf(" map-e-portset %d/%d/%d", p.MAPE.Offset, p.MAPE.PSIDBits, p.MAPE.PSID)
	}
	w.word(p.EndpointIndependent, " endpoint-independent")
	w.word(p.PreferIPv6NextHop, " prefer-ipv6-nexthop")
}

func (w *lineWriter) poolAddr(a PoolAddr, f AddressFamily) {
	counts := w.options.Numbers && w.dialect == OpenBSD
	switch {
	case a.Interface == "" && a.Addr.Kind == AddrAny:
		// pfctl prints "any", which pools do not take.
		w.WriteString(anyPrefix(f))
	case a.Interface == "":
		w.WriteString(a.Addr.text(f, counts))
	case a.Addr.Kind == AddrAny:
		w.WriteString(nameText(a.Interface))
	default:
		w.WriteString("(" + nameText(a.Interface) + " " + a.Addr.text(f, counts) + ")")
	}
	if a.Weight != 0 {
		w.printf(" weight %d", a.Weight)
	}
}

func (a EtherAddr) text() string {
	s := ""
	if a.Not {
		s = "! "
	}
	m := a.Addr
	s += fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
	if a.Mask == fullMask {
		return s
	}
	if bits, ok := a.maskBits(); ok {
		return fmt.Sprintf("%s/%d", s, bits)
	}
	m = a.Mask
	return s + fmt.Sprintf("&%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// maskBits is the length of a mask without holes.
func (a EtherAddr) maskBits() (int, bool) {
	bits, ended := 0, false
	for i := range 48 {
		set := a.Mask[i/8]&(1<<(i%8)) != 0
		if set && ended {
			return 0, false
		}
		if set {
			bits++
		} else {
			ended = true
		}
	}
	return bits, true
}

// Text is the rule as pfctl prints it.
func (r *EtherRule) Text(o FormatOptions) string { return r.text(o) }

func (r *EtherRule) text(o FormatOptions) string {
	w := lineWriter{dialect: FreeBSD, options: o}
	if o.Numbers {
		w.printf("@%d ", r.Number)
	}
	w.WriteString("ether ")
	if c := r.Anchor; c != nil {
		w.WriteString("anchor")
		if c.Printed != "" {
			w.WriteString(" " + quote(c.shown(w.options)))
		}
	} else {
		w.WriteString(r.Action.String())
	}
	switch r.Direction {
	case In:
		w.WriteString(" in")
	case Out:
		w.WriteString(" out")
	}
	w.word(r.Quick, " quick")
	w.iface(&Rule{Interface: r.Interface, InterfaceNot: r.InterfaceNot})
	if r.BridgeTo != "" {
		w.WriteString(" bridge-to " + nameText(r.BridgeTo))
	}
	if r.EtherType != 0 {
		w.printf(" proto 0x%04x", r.EtherType)
	}
	if r.Src.IsSet {
		w.WriteString(" from " + r.Src.text())
	}
	if r.Dst.IsSet {
		w.WriteString(" to " + r.Dst.text())
	}
	w.WriteString(" l3")
	w.addresses(&Rule{Family: r.Family, Src: r.IPSrc, Dst: r.IPDst})
	w.labels(&Rule{Labels: r.Labels})
	if r.RIdentifier != 0 {
		w.printf(" ridentifier %d", r.RIdentifier)
	}
	if r.Queue != "" {
		w.WriteString(" queue " + numberNameText(r.Queue))
	}
	w.tags(&Rule{Tag: r.Tag, Tagged: r.Tagged, TaggedNot: r.TaggedNot})
	w.dummynet(&Rule{Dummynet: r.Dummynet})
	return w.String()
}
