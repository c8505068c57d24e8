package conf

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// The protocols that rules treat specially.
const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
	protocolSCTP   = 132
)

// protocolsText has a protocol a line: name, number, aliases.
//
//go:embed protocols.txt
var protocolsText string

type protocolTable struct {
	number map[string]uint8
	name   [256]string
}

var protocols = sync.OnceValue(func() *protocolTable {
	t := &protocolTable{number: make(map[string]uint8, 400)}
	for line := range strings.Lines(protocolsText) {
		f := strings.Fields(line)
		n, err := strconv.ParseUint(f[1], 10, 8)
		if err != nil {
			panic("protocols.txt: " + line)
		}
		if t.name[n] == "" {
			t.name[n] = f[0]
		}
		for _, name := range append([]string{f[0]}, f[2:]...) {
			if _, ok := t.number[name]; !ok {
				t.number[name] = uint8(n)
			}
		}
	}
	return t
})

func protocolNumber(name string) (uint8, bool) {
	n, ok := protocols().number[name]
	return n, ok
}

// protocolName is the name of a protocol, or its number in digits.
func protocolName(n uint8) string {
	if s := protocols().name[n]; s != "" {
		return s
	}
	return strconv.Itoa(int(n))
}

// ProtocolName is the name of an IP protocol as pfctl prints it, or its number
// in digits.
func ProtocolName(n uint8) string { return protocolName(n) }
