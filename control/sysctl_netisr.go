package control

import (
	"fmt"
	"strconv"
	"time"

	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
)

// sysctlNodes are the variables of the slow path.
func (s *slowPath) sysctlNodes() map[string]sysctlNode {
	nodes := map[string]sysctlNode{
		"net.isr.dispatch": {
			description: "netisr dispatch policy",
			get:         func(*Daemon) string { return s.netisr.Dispatch().String() },
			set: func(_ *Daemon, text string) error {
				dispatch, err := netisr.ParseDispatch(text)
				if err != nil {
					return err
				}
				return s.netisr.SetDispatch(dispatch)
			},
		},
		"net.isr.numthreads": {
			description: "Number of extant netisr threads",
			get:         func(*Daemon) string { return strconv.Itoa(s.netisr.Threads()) },
		},
	}
	for name, node := range map[string]struct {
		description string
		field       func(*slowpath.Settings) *int
		low, high   int
	}{
		"net.inet.ip.ttl":              {"Maximum TTL on IP packets", func(v *slowpath.Settings) *int { return &v.TTL }, 1, 255},
		"net.inet6.ip6.hlim":           {"Default hop limit", func(v *slowpath.Settings) *int { return &v.HopLimit }, 1, 255},
		"net.inet.ip.process_options":  {"Enable IP options processing ([LS]SRR, RR, TS)", func(v *slowpath.Settings) *int { return &v.ProcessOptions }, 0, 2},
		"net.inet.icmp.icmplim":        {"Maximum number of ICMP responses per second", func(v *slowpath.Settings) *int { return &v.ICMPLimit }, -1, 1 << 30},
		"net.inet.icmp.quotelen":       {"Number of bytes from original packet to quote in ICMP reply", func(v *slowpath.Settings) *int { return &v.ICMPQuote }, 8, 548},
		"net.inet6.icmp6.errppslimit":  {"Maximum number of ICMPv6 error messages per second", func(v *slowpath.Settings) *int { return &v.ICMP6Rate }, -1, 1 << 30},
		"net.link.ether.inet.maxhold":  {"Number of packets to hold per ARP entry", func(v *slowpath.Settings) *int { return &v.HoldPerHop }, 1, 1024},
		"net.link.ether.inet.maxtries": {"ARP resolution attempts before returning error", func(v *slowpath.Settings) *int { return &v.MaxTries }, 1, 60},
	} {
		nodes[name] = s.intNode(node.description, node.field, node.low, node.high)
	}
	for name, node := range map[string]struct {
		description string
		field       func(*slowpath.Settings) *bool
	}{
		"net.inet.ip.sourceroute":        {"Enable forwarding source routed IP packets", func(v *slowpath.Settings) *bool { return &v.SourceRoute }},
		"net.inet.ip.accept_sourceroute": {"Enable accepting source routed IP packets", func(v *slowpath.Settings) *bool { return &v.AcceptSourceRoute }},
	} {
		nodes[name] = s.boolNode(node.description, node.field)
	}
	nodes["net.link.ether.inet.host_down_time"] = sysctlNode{
		description: "Seconds for which a host that did not answer is taken for down",
		get:         func(*Daemon) string { return strconv.Itoa(int(s.stack.Settings().HostDownTime.Seconds())) },
		set: func(_ *Daemon, text string) error {
			n, err := ranged(text, 0, 3600)
			if err != nil {
				return err
			}
			settings := s.stack.Settings()
			settings.HostDownTime = time.Duration(n) * time.Second
			s.stack.SetSettings(settings)
			return nil
		},
	}
	return nodes
}

func ranged(text string, low, high int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("invalid integer '%s'", text)
	}
	if n < low || n > high {
		return 0, fmt.Errorf("%d is not between %d and %d", n, low, high)
	}
	return n, nil
}

func (s *slowPath) intNode(description string, field func(*slowpath.Settings) *int, low, high int) sysctlNode {
	return sysctlNode{
		description: description,
		get: func(*Daemon) string {
			settings := s.stack.Settings()
			return strconv.Itoa(*field(&settings))
		},
		set: func(_ *Daemon, text string) error {
			n, err := ranged(text, low, high)
			if err != nil {
				return err
			}
			settings := s.stack.Settings()
			*field(&settings) = n
			s.stack.SetSettings(settings)
			return nil
		},
	}
}

func (s *slowPath) boolNode(description string, field func(*slowpath.Settings) *bool) sysctlNode {
	return sysctlNode{
		description: description,
		get: func(*Daemon) string {
			settings := s.stack.Settings()
			if *field(&settings) {
				return "1"
			}
			return "0"
		},
		set: func(_ *Daemon, text string) error {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("invalid integer '%s'", text)
			}
			settings := s.stack.Settings()
			*field(&settings) = n != 0
			s.stack.SetSettings(settings)
			return nil
		},
	}
}
