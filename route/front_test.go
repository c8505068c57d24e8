package route

import (
	"regexp"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/route/command"
)

// The commands on a real table print what a FreeBSD router would.
func TestCommands(t *testing.T) {
	l := newLab(t)
	table := l.start()
	l.ip("route add 10.7.0.0/16 via 203.0.113.9 proto bgp")
	l.want("10.7.0.1", "unowned on en0")
	run := func(f func(*command.Env) int) string {
		var out strings.Builder
		env := &command.Env{Backend: table, Stdout: &out, Stderr: &out, Root: true}
		if code := f(env); code != 0 {
			t.Errorf("exit code %d: %s", code, out.String())
		}
		return out.String()
	}
	route := func(args string) string {
		return run(func(env *command.Env) int { return command.Route(t.Context(), env, strings.Fields(args)) })
	}
	var out strings.Builder
	for _, args := range []string{
		"add default 192.0.2.2",
		"add -net 10.1 198.51.100.2 -mtu 1400 -proto1",
		"add 10.2/16 127.0.0.1 -blackhole",
		"add -inet6 2001:db8:9::/48 2001:db8:2::2",
		"add 10.3.0.0/16 -iface em1",
		"change 10.3.0.0/16 192.0.2.3",
		"-n get 10.1.2.3",
	} {
		out.WriteString(route(args))
	}
	out.WriteString(run(func(env *command.Env) int { return command.NetstatRoutes(t.Context(), env, []string{"-rn"}) }))
	out.WriteString(route("-n flush"))
	out.WriteString(run(func(env *command.Env) int {
		return command.NetstatRoutes(t.Context(), env, []string{"-rn", "-f", "inet"})
	}))
	// Interface indexes depend on the machine.
	index := regexp.MustCompile(`link#\d+ *`)
	got := index.ReplaceAllStringFunc(out.String(), func(s string) string { return "link#N" + strings.Repeat(" ", len(s)-6) })
	if got != commandsWant {
		t.Errorf("got\n%s\nwant\n%s", got, commandsWant)
	}
}

const commandsWant = `add net default: gateway 192.0.2.2
add net 10.1: gateway 198.51.100.2
add net 10.2: gateway 127.0.0.1
add net 2001:db8:9::/48: gateway 2001:db8:2::2
add net 10.3.0.0: gateway em1
change net 10.3.0.0: gateway 192.0.2.3
   route to: 10.1.2.3
destination: 10.1.0.0
       mask: 255.255.0.0
    gateway: 198.51.100.2
        fib: 0
  interface: em1
      flags: <UP,GATEWAY,DONE,STATIC,PROTO1>
 recvpipe  sendpipe  ssthresh  rtt,msec    mtu        weight    expire
       0         0         0         0      1400         1         0 
Routing tables

Internet:
Destination        Gateway            Flags     Netif Expire
default            192.0.2.2          UGS         em0
10.1.0.0/16        198.51.100.2       UGS1        em1
10.2.0.0/16        127.0.0.1          UGSB         lo
10.3.0.0/16        192.0.2.3          UGS         em0
10.7.0.0/16        203.0.113.9        UG1         en0
127.0.0.1          link#N             UH           lo
192.0.2.0/24       link#N             U           em0
192.0.2.1          link#N             UHS          lo
198.51.100.0/24    link#N             U           em1
198.51.100.1       link#N             UHS          lo
203.0.113.0/24     link#N             U           en0
203.0.113.1        link#N             UHS          lo

Internet6:
Destination                       Gateway                       Flags     Netif Expire
::1                               link#N                        UH           lo
2001:db8:1::/64                   link#N                        U           em0
2001:db8:1::1                     link#N                        UHS          lo
2001:db8:2::/64                   link#N                        U           em1
2001:db8:2::1                     link#N                        UHS          lo
2001:db8:9::/48                   2001:db8:2::2                 UGS         em1
fe80::%em0/64                     link#N                        U           em0
fe80::%em1/64                     link#N                        U           em1
fe80::1%em0                       link#N                        UHS          lo
fe80::1%em1                       link#N                        UHS          lo
default              192.0.2.2            -fib 0   done
10.1                 198.51.100.2         -fib 0   done
10.2                 127.0.0.1            -fib 0   done
10.3                 192.0.2.3            -fib 0   done
10.7                 203.0.113.9          -fib 0   done
2001:db8:9::         2001:db8:2::2        -fib 0   done
Routing tables

Internet:
Destination        Gateway            Flags     Netif Expire
127.0.0.1          link#N             UH           lo
192.0.2.0/24       link#N             U           em0
192.0.2.1          link#N             UHS          lo
198.51.100.0/24    link#N             U           em1
198.51.100.1       link#N             UHS          lo
203.0.113.0/24     link#N             U           en0
203.0.113.1        link#N             UHS          lo
`
