package control

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/route/rtm"
)

// Domain is a protocol family of netintro(4) as the stack has it.
type Domain struct {
	Family   int       `json:"family"` // AF_*
	Name     string    `json:"name"`
	Present  bool      `json:"present"` // false: EAFNOSUPPORT
	Protosws []Protosw `json:"protocols,omitempty"`
}

// Protosw is one entry of a domain's protocol switch.
type Protosw struct {
	Type     string            `json:"type"` // of socket: "raw", "dgram", "stream", "" for none
	Protocol int               `json:"protocol"`
	Name     string            `json:"name"`
	Where    string            `json:"where"`           // who has it: "data path", "daemon", "Linux"
	Input    string            `json:"input,omitempty"` // function
	Error    string            `json:"error,omitempty"` // of errors that routers report
	Timer    string            `json:"timer,omitempty"`
	Counters map[string]uint64 `json:"counters,omitempty"` // those that are not 0
}

// absent are the families that the manuals name and that have no stack here.
var absent = []struct {
	family int
	name   string
}{
	{rtm.AFNS, "ns"}, {rtm.AFISO, "iso"}, {rtm.AFCCITT, "ccitt"}, {rtm.AFHylink, "hylink"}, {rtm.AFAppleTalk, "appletalk"},
	{rtm.AFIPX, "ipx"}, {29, "natm"}, {32, "netgraph"}, {rtm.AFMPLS, "mpls"},
}

// Domains returns the domains and their protocol switches.
func (d *Daemon) Domains(context.Context, None) ([]Domain, error) {
	linux, err := linuxCounters()
	if err != nil {
		return nil, err
	}
	stack := d.slow.stack.Stats()
	list := []Domain{
		{rtm.AFUnix, "unix", true, []Protosw{{Type: "stream", Name: "stream", Where: "Linux"}, {Type: "dgram", Name: "dgram", Where: "Linux"}}},
		{rtm.AFInet, "inet", true, []Protosw{
			{Name: "ip", Where: "data path", Input: "ip_input", Timer: "reassembly", Counters: counters(stack.IP)},
			{Type: "raw", Protocol: 1, Name: "icmp", Where: "daemon", Error: "icmp_error", Counters: counters(stack.ICMP)},
			{Type: "raw", Protocol: 1, Name: "icmp", Where: "Linux", Counters: linux["Icmp"]},
			{Type: "stream", Protocol: 6, Name: "tcp", Where: "Linux", Counters: linux["Tcp"]},
			{Type: "dgram", Protocol: 17, Name: "udp", Where: "Linux", Counters: linux["Udp"]},
			{Type: "raw", Protocol: 255, Name: "raw", Where: "Linux", Counters: linux["Ip"]},
		}},
		{rtm.AFRoute, "route", true, []Protosw{{Type: "raw", Name: "route", Where: "daemon", Input: "route_output", Counters: counters(d.rtsock.Stats())}}},
		{rtm.AFLink, "link", true, []Protosw{
			{Name: "ether", Where: "data path", Input: "ether_input"},
			{Name: "arp", Where: "daemon", Input: "arp_input", Timer: "hold", Counters: counters(stack.ARP)},
		}},
		{rtm.AFInet6, "inet6", true, []Protosw{
			{Name: "ip6", Where: "data path", Input: "ip6_input", Timer: "reassembly", Counters: counters(stack.IP6)},
			{Type: "raw", Protocol: 58, Name: "icmp6", Where: "daemon", Error: "icmp6_error", Timer: "hold", Counters: counters(stack.ICMP6)},
			{Type: "raw", Protocol: 58, Name: "icmp6", Where: "Linux", Counters: linux["Icmp6"]},
			{Type: "stream", Protocol: 6, Name: "tcp", Where: "Linux"}, // its counters are with those of IPv4
			{Type: "dgram", Protocol: 17, Name: "udp", Where: "Linux", Counters: linux["Udp6"]},
			{Type: "raw", Protocol: 255, Name: "raw", Where: "Linux", Counters: linux["Ip6"]},
		}},
	}
	for _, a := range absent {
		list = append(list, Domain{Family: a.family, Name: a.name})
	}
	return list, nil
}

// counters returns the numbers of a structure by their JSON names, without
// those that are 0.
func counters(value any) map[string]uint64 {
	text, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil
	}
	numbers := make(map[string]uint64)
	for name, field := range fields {
		if number, ok := field.(float64); ok && number > 0 {
			numbers[name] = uint64(number)
		}
	}
	return numbers
}

// linuxCounters returns what Linux's protocols count, by protocol.
func linuxCounters() (map[string]map[string]uint64, error) {
	runtime.LockOSThread() // the namespace is the thread's
	defer runtime.UnlockOSThread()
	all := make(map[string]map[string]uint64)
	for file, parse := range map[string]func(map[string]map[string]uint64, io.Reader){"snmp": parseSnmp, "snmp6": parseSnmp6} {
		f, err := os.Open("/proc/thread-self/net/" + file)
		if os.IsNotExist(err) {
			continue // without the family
		}
		if err != nil {
			return nil, err
		}
		parse(all, f)
		f.Close()
	}
	return all, nil
}

// linuxShown are the counters that are shown of each protocol.
var linuxShown = []string{
	"InDelivers", "InMsgs", "OutMsgs", "InErrors", "InSegs", "OutSegs", "RetransSegs", "InErrs", "InDatagrams", "OutDatagrams", "NoPorts",
}

func count(all map[string]map[string]uint64, protocol, name, value string) {
	number, err := strconv.ParseUint(value, 10, 64)
	if err != nil || number == 0 {
		return
	}
	for _, shown := range linuxShown {
		if shown == name {
			if all[protocol] == nil {
				all[protocol] = make(map[string]uint64)
			}
			all[protocol][name] = number
		}
	}
}

// parseSnmp reads /proc/net/snmp: a line of names and a line of numbers of each
// protocol.
func parseSnmp(all map[string]map[string]uint64, r io.Reader) {
	var names []string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if len(names) != len(fields) || names[0] != fields[0] {
			names = fields
			continue
		}
		for i := 1; i < len(fields); i++ {
			count(all, strings.TrimSuffix(fields[0], ":"), names[i], fields[i])
		}
		names = nil
	}
}

// parseSnmp6 reads /proc/net/snmp6: a name, which begins with the protocol's,
// and a number a line.
func parseSnmp6(all map[string]map[string]uint64, r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			continue
		}
		for _, protocol := range []string{"Icmp6", "Udp6", "Ip6"} {
			if name, ok := strings.CutPrefix(fields[0], protocol); ok {
				count(all, protocol, name, fields[1])
			}
		}
	}
}
