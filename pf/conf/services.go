package conf

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// servicesText has a service a line: name, port, protocols, aliases. The
// protocols are t for TCP, u for UDP, b for both; capitals are names that are
// read but never printed.
//
//go:embed services.txt
var servicesText string

type serviceTable struct {
	tcp, udp         map[string]uint16
	tcpName, udpName map[uint16]string
}

// services is parsed once, from constants.
var services = sync.OnceValue(func() *serviceTable {
	t := &serviceTable{
		tcp: make(map[string]uint16, 3000), udp: make(map[string]uint16, 3000),
		tcpName: make(map[uint16]string, 1500), udpName: make(map[uint16]string, 1500),
	}
	add := func(byName map[string]uint16, byPort map[uint16]string, names []string, port uint16) {
		for _, n := range names {
			if _, ok := byName[n]; !ok {
				byName[n] = port
			}
		}
		if byPort == nil {
			return
		}
		if _, ok := byPort[port]; !ok {
			byPort[port] = names[0]
		}
	}
	for line := range strings.Lines(servicesText) {
		f := strings.Fields(line)
		n, err := strconv.ParseUint(f[1], 10, 16)
		if err != nil {
			panic("services.txt: " + line)
		}
		port, names := uint16(n), append([]string{f[0]}, f[3:]...)
		tcpName, udpName := t.tcpName, t.udpName
		if f[2] == strings.ToUpper(f[2]) {
			tcpName, udpName = nil, nil
		}
		switch strings.ToLower(f[2]) {
		case "t":
			add(t.tcp, tcpName, names, port)
		case "u":
			add(t.udp, udpName, names, port)
		default:
			add(t.tcp, tcpName, names, port)
			add(t.udp, udpName, names, port)
		}
	}
	return t
})

// servicePort finds the port of a service name, TCP first as pfctl does.
func servicePort(name string) (uint16, bool) {
	t := services()
	if p, ok := t.tcp[name]; ok {
		return p, true
	}
	p, ok := t.udp[name]
	return p, ok
}

// serviceName is the name of a port of a protocol, empty if it has none. Every
// protocol but TCP is looked up as UDP. pfctl also prints names that it would
// not read, such as "cl/1", or read as the TCP port of that name.
func serviceName(port uint16, protocol uint8) string {
	name := services().udpName[port]
	if protocol == protocolTCP {
		name = services().tcpName[port]
	}
	if p, ok := servicePort(name); !ok || p != port || nameText(name) != name {
		return ""
	}
	return name
}
