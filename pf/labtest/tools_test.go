package labtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

const toolRules = `
match out on em1 inet from 192.0.2.0/24 to any nat-to (em1)
match out on em1 inet6 from 2001:db8::/64 to any nat-to (em1:0)
block all
pass out
pass on em0 proto { icmp icmp6 }
pass on em1 proto icmp6
pass in on em0 proto { tcp udp } to port 7001
block return in on em0 proto { tcp udp } to port 7002
block drop in on em0 proto { tcp udp } to port 7003
`

// TestTools has nc, hping3 and scapy ask through pf, and pf's host itself, what
// the rules let through, refuse and drop.
func TestTools(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		// scapy looks at checksums, which a veth leaves to the next one.
		for host, device := range map[*lab.Host]string{s.Router: "em0", s.Right: "em0"} {
			if err := host.Offloads(device, false, "tx"); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range families {
			s.mustPing(e.right, true, "neighbours found")
		}
		s.pfctl("-e -f " + s.file(toolRules))
		for family, e := range families {
			for _, to := range []struct {
				host    *lab.Host
				address string
			}{{s.Right, e.right}, {s.Router, e.routerLeft()}} {
				s.nc(family, to.host, to.address)
			}
		}
		s.hping()
		for family, e := range families {
			s.scapy(family, e.right, e.routerLeft())
		}
	})
}

// nc sends a line by TCP and UDP to a listener of a host.
func (s *site) nc(family string, host *lab.Host, address string) {
	s.t.Helper()
	four := map[string]string{"inet": "-4", "inet6": "-6"}[family]
	for _, kind := range []string{"tcp", "udp"} {
		listen, send := []string{four, "-l", "7001"}, fmt.Sprintf("echo hello | nc %s -N -w 3 %s 7001", four, address)
		if kind == "udp" {
			listen, send = append([]string{"-u"}, listen...), fmt.Sprintf("echo hello | nc %s -u -w 1 %s 7001", four, address)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var heard buffer
		cmd := host.Command(ctx, "nc", listen...)
		cmd.Stdout = &heard
		if err := cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		ended := time.Now().Add(10 * time.Second)
		for heard.String() != "hello\n" && time.Now().Before(ended) {
			_, _ = s.Left.Run("sh", "-c", send) // until it listens
		}
		cancel()
		_ = cmd.Wait() // killed
		if got := heard.String(); got != "hello\n" {
			s.t.Errorf("%s to %s by nc: %q arrived", kind, address, got)
		}
	}
}

// buffer may be read while a program writes to it.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// hping compares what hping3 says of packets to right.
func (s *site) hping() {
	s.t.Helper()
	for _, c := range []struct{ args, want string }{
		{"-S -p 7001", "flags=RA"}, // nobody listens there
		{"-S -p 7002", "flags=RA"},
		{"-S -p 7003", "100% packet loss"},
		{"-F -P -U -p 7001", "100% packet loss"},
		{"-2 -p 7002", "Port Unreachable"},
		{"-2 -p 7003", "100% packet loss"},
		{"-1", "icmp_seq=0"},
	} {
		args := append(strings.Fields(c.args), "-c", "1", "198.51.100.2")
		out, _ := s.Left.Run("hping3", args...) // its status tells of loss
		if !strings.Contains(out, c.want) {
			s.t.Errorf("hping3 %s: want %q in\n%s", strings.Join(args, " "), c.want, out)
		}
	}
}

const scapyScript = `
import json, logging, sys
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import *
conf.verb = 0
six, right, router = sys.argv[1] == "inet6", sys.argv[2], sys.argv[3]
layer = IPv6 if six else IP
result = {}

def ask(name, packet, told):
    answer = sr1(packet, timeout=1)
    result[name] = "nothing" if answer is None else told(answer) if sound(answer) else "bad checksum"

def sound(answer):
    field = "cksum" if "cksum" in answer.payload.fields else "chksum"
    again = answer.copy()
    again.payload.delfieldval(field)
    return layer(bytes(again)).payload.getfieldval(field) == answer.payload.getfieldval(field)

def tcp(answer):
    if not answer.haslayer(TCP):
        return answer.summary()
    return str(answer[TCP].flags) + " from %d, ack %d" % (answer[TCP].sport, answer[TCP].ack)

def unreachable(answer):
    inner = answer.getlayer(UDPerror)
    if inner is None:
        return answer.summary()
    quoted = answer.getlayer(IPerror6 if six else IPerror)
    code = answer[ICMPv6DestUnreach].code if six else (answer[ICMP].type, answer[ICMP].code)
    return "%s about %s %d to %s %d" % (code, quoted.src, inner.sport, quoted.dst, inner.dport)

def echo(answer):
    return "reply" if answer.haslayer(ICMPv6EchoReply if six else ICMP) else answer.summary()

for name, dst in (("forwarded", right), ("local", router)):
    ip = layer(dst=dst)
    ask(name + " refused", ip / TCP(sport=4001, dport=7002, flags="S", seq=1000), tcp)
    ask(name + " dropped", ip / TCP(sport=4002, dport=7003, flags="S", seq=1000), tcp)
    ask(name + " passed, nobody there", ip / TCP(sport=4003, dport=7001, flags="S", seq=1000), tcp)
    ask(name + " SYN and FIN", ip / TCP(sport=4004, dport=7001, flags="SF", seq=1000), tcp)
    ask(name + " no flags", ip / TCP(sport=4005, dport=7001, flags="", seq=1000), tcp)
    ask(name + " UDP refused", ip / UDP(sport=4006, dport=7002) / b"hello", unreachable)
    ask(name + " echo", ip / (ICMPv6EchoRequest(id=7) if six else ICMP(id=7)), echo)
print(json.dumps(result))
`

// scapy compares what scapy gets for packets that it makes, whose checksums it
// looks at too.
func (s *site) scapy(family, right, router string) {
	s.t.Helper()
	script := filepath.Join(s.t.TempDir(), "ask.py")
	if err := os.WriteFile(script, []byte(scapyScript), 0o600); err != nil {
		s.t.Fatal(err)
	}
	left := families[family].left
	out, err := s.Left.Run("/usr/bin/python3", script, family, right, router)
	if err != nil {
		s.t.Fatal(err)
	}
	got := make(map[string]string)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		s.t.Fatalf("%v in %q", err, out)
	}
	want := make(map[string]string)
	for name, dst := range map[string]string{"forwarded": right, "local": router} {
		code := map[string]string{"inet": "(3, 3)", "inet6": "4"}[family]
		want[name+" refused"] = "RA from 7002, ack 1001"
		want[name+" dropped"] = "nothing"
		want[name+" passed, nobody there"] = "RA from 7001, ack 1001"
		want[name+" SYN and FIN"] = "nothing"
		want[name+" no flags"] = "nothing"
		want[name+" UDP refused"] = fmt.Sprintf("%s about %s 4006 to %s 7002", code, left, dst)
		want[name+" echo"] = "reply"
	}
	if !maps.Equal(got, want) {
		for name := range want {
			if got[name] != want[name] {
				s.t.Errorf("scapy %s, %s: %q, want %q", family, name, got[name], want[name])
			}
		}
	}
}
