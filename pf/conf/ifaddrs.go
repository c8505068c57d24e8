package conf

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// ReadInterfaces reads an interface table, for rulesets of another machine.
// A line is an interface with its addresses, or a group with its members:
//
//	lo0 127.0.0.1/8 ::1/128 fe80::1/64
//	em0 192.0.2.1/24 broadcast 192.0.2.255 mtu 1500 group egress
//	tun0 10.0.0.1/32 peer 10.0.0.2
//	group dmz em1 em2
//
// Words after an address belong to it; "bandwidth 1000000000" is in bits a
// second. A "#" starts a comment.
func ReadInterfaces(r io.Reader, name string) (*InterfaceTable, error) {
	t := new(InterfaceTable)
	scanner := bufio.NewScanner(r)
	for line := 1; scanner.Scan(); line++ {
		text, _, _ := strings.Cut(scanner.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		var err error
		if fields[0] == "group" {
			err = t.readGroup(fields[1:])
		} else {
			err = t.readInterface(fields[0], fields[1:])
		}
		if err != nil {
			return nil, &Error{Pos: Position{File: name, Line: line}, Text: err.Error()}
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return t, nil
}

func (t *InterfaceTable) readGroup(fields []string) error {
	if len(fields) < 2 {
		return fmt.Errorf("group needs a name and interfaces: group egress em0")
	}
	for _, name := range fields[1:] {
		i := t.Add(name)
		i.Groups = append(i.Groups, fields[0])
	}
	return nil
}

func (t *InterfaceTable) readInterface(name string, fields []string) error {
	if len(name) > maxInterfaceName {
		return fmt.Errorf("interface name too long: %s", name)
	}
	i := t.Add(name)
	for len(fields) > 0 {
		word := fields[0]
		fields = fields[1:]
		switch word {
		case "group", "peer", "broadcast", "mtu", "bandwidth":
			if len(fields) == 0 {
				return fmt.Errorf("%s needs a value", word)
			}
			if err := i.set(word, fields[0]); err != nil {
				return err
			}
			fields = fields[1:]
		case "loopback":
			i.Loopback = true
		default:
			p, err := parseInterfacePrefix(word)
			if err != nil {
				return err
			}
			i.Addrs = append(i.Addrs, InterfaceAddr{Prefix: p})
		}
	}
	return nil
}

func parseInterfacePrefix(word string) (netip.Prefix, error) {
	addr, bits, found := strings.Cut(word, "/")
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("not an address: %s", word)
	}
	ip = ip.WithZone("")
	n := ip.BitLen()
	if found {
		if n, err = strconv.Atoi(bits); err != nil || n < 0 || n > ip.BitLen() {
			return netip.Prefix{}, fmt.Errorf("bad prefix length: %s", word)
		}
	}
	return netip.PrefixFrom(ip, n), nil
}

func (i *Interface) set(word, value string) error {
	switch word {
	case "group":
		i.Groups = append(i.Groups, value)
		return nil
	case "mtu":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 1<<24 {
			return fmt.Errorf("bad mtu: %s", value)
		}
		i.MTU = n
		return nil
	case "bandwidth":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil {
			return fmt.Errorf("bad bandwidth: %s", value)
		}
		i.Bandwidth = n
		return nil
	}
	if len(i.Addrs) == 0 {
		return fmt.Errorf("%s without an address before it", word)
	}
	ip, err := netip.ParseAddr(value)
	if err != nil {
		return fmt.Errorf("not an address: %s", value)
	}
	last := &i.Addrs[len(i.Addrs)-1]
	if word == "peer" {
		last.Peer = ip
	} else {
		last.Broadcast = ip
	}
	return nil
}
