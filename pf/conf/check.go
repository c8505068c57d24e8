package conf

// consistent checks a single rule against itself, as rule_consistent in
// pfctl(8), and reports whether it may be added.
func (x *expander) consistent(r *Rule) bool {
	problems := 0
	complain := func(bad bool, format string, args ...any) {
		if bad {
			x.errorf(format, args...)
			problems++
		}
	}
	switch r.Action {
	case Pass, Block, Match, Scrub, NoScrub:
		x.checkFilter(r, complain)
	case Rdr, NoRdr:
		checkRdr(r, complain)
	}
	return problems == 0
}

type complainFunc func(bad bool, format string, args ...any)

func (x *expander) checkFilter(r *Rule, complain complainFunc) {
	openBSD := x.dialect == OpenBSD
	tcpUDP := r.Protocol == protocolTCP || r.Protocol == protocolUDP
	icmp := r.Protocol == protocolICMP || r.Protocol == protocolICMPv6
	hasICMP := r.ICMPType != 0 || r.ICMPCode != 0
	hasPort := r.Src.Port.Op != OpNone || r.Dst.Port.Op != OpNone
	s := &r.StateOptions

	if openBSD {
		complain(r.Protocol != protocolTCP && r.OS != "", "os only applies to tcp")
	}
	complain(!tcpUDP && !(x.dialect == FreeBSD && r.Protocol == protocolSCTP) && hasPort,
		"port only applies to tcp/udp")
	if openBSD {
		complain(!tcpUDP && r.User.Op != OpNone, "user only applies to tcp/udp")
		complain(!tcpUDP && r.Group.Op != OpNone, "group only applies to tcp/udp")
	}
	complain(!icmp && hasICMP, "icmp-type/code only applies to icmp")
	complain(r.Family == Unspecified && hasICMP, "must indicate address family with icmp-type/code")
	complain(r.NewFamily != Unspecified && r.Family == r.NewFamily,
		"must indicate different address family with af-to")
	complain(s.Overload.Table != "" && s.SrcConn == 0 && s.SrcConnRate.Seconds == 0,
		"'overload' requires 'max-src-conn' or 'max-src-conn-rate'")
	name := "icmp"
	if r.Protocol == protocolICMPv6 {
		name = "icmp6"
	}
	complain(r.Protocol == protocolICMP && r.Family == Inet6 || r.Protocol == protocolICMPv6 && r.Family == Inet,
		"proto %s doesn't match address family %s", name, r.Family)
	complain(r.AllowOpts && r.Action != Pass, "allow-opts can only be specified for pass rules")
	complain(r.Fragment && (hasPort || r.FlagSet != 0 || hasICMP),
		"fragments can be filtered only on IP header fields")
	complain(r.Return == ReturnRST && r.Protocol != protocolTCP, "return-rst can only be applied to TCP rules")
	complain(s.SrcNodes != 0 && s.SourceTrack != SourceTrackRule, "max-src-nodes requires 'source-track rule'")
	complain(r.Action != Pass && r.State != StateNone, "keep state is great, but only for pass rules")
	if openBSD {
		complain(r.RouteKind != RouteNone && r.State == StateNone,
			"route-to, reply-to and dup-to require keep state")
	}
	complain(s.Sloppy && (r.State == StateModulate || r.State == StateSynproxy),
		"sloppy state matching cannot be used with synproxy state or modulate state")
	if openBSD && r.State == StateSynproxy && r.Direction != In {
		x.message(x.position(), SeverityWarning,
			"warning: synproxy used for inbound rules only, ignored for outbound")
	}
	if openBSD || r.Nat != nil || r.Rdr != nil {
		x.checkTranslation(r, complain)
	}
	x.checkAction(r, complain)
}

func (x *expander) checkTranslation(r *Rule, complain complainFunc) {
	translates := r.Nat != nil || r.Rdr != nil
	complain(translates && r.Action != Match && r.State == StateNone && r.Anchor == nil,
		"nat-to and rdr-to require keep state")
	complain(translates && r.Direction == InOut, "nat-to and rdr-to require a direction")
	complain(r.Family == Inet6 && (r.Scrub.NoDF || r.Scrub.RandomID),
		"address family inet6 does not support scrub options no-df, random-id")
}

// checkAction checks what match and block rules may not have.
func (x *expander) checkAction(r *Rule, complain complainFunc) {
	switch r.Action {
	case Match:
		complain(r.Divert.Kind != DivertNone || r.DivertPacket != 0, "divert is not supported on match rules")
		if x.dialect == OpenBSD {
			complain(r.RouteKind != RouteNone, "route-to, reply-to and dup-to are not supported on match rules")
		} else {
			complain(r.RouteKind != RouteNone,
				"route-to, reply-to, dup-to and fastroute must not be used on match rules")
		}
		complain(r.NewFamily != Unspecified, "af-to is not supported on match rules")
	case Block:
		complain(x.dialect != DragonFly && r.RouteKind != RouteNone,
			"route-to, reply-to and dup-to are not supported on block rules")
	}
}

func checkRdr(r *Rule, complain complainFunc) {
	if r.Protocol != protocolTCP && r.Protocol != protocolUDP {
		complain(r.Src.Port.Op != OpNone, "src port only applies to tcp/udp")
		complain(r.Dst.Port.Op != OpNone, "dst port only applies to tcp/udp")
		complain(r.Rdr != nil && r.Rdr.PortLow != 0, "rpool port only applies to tcp/udp")
	}
	op := r.Dst.Port.Op
	complain(op != OpNone && op != OpEqual && op != OpRange, "invalid port operator for rdr destination port")
}
