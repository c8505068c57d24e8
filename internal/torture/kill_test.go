package torture

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"
)

// deed is something that the daemon is killed in the middle of.
type deed struct {
	name string
	do   []string
	over time.Duration // how long it takes about; the kill falls somewhere in it
}

// holdings is what an instance holds.
type holdings struct {
	pins, files, links string
	descriptors        int
}

func (s *site) holdings() (h holdings) {
	s.Helper()
	names := func(root string) string {
		var list []string
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			list = append(list, strings.TrimPrefix(path, root))
			return err
		})
		if err != nil {
			s.Fatal(err)
		}
		sort.Strings(list)
		return strings.Join(list, " ")
	}
	h.pins = names(filepath.Join("/run/bsdnet/bpf", s.Router.Name))
	h.files = names(filepath.Join("/run/bsdnet", s.Router.Name))
	out, err := s.Router.Run("sh", "-c", "ip -o link | cut -d: -f2")
	if err != nil {
		s.Fatal(err)
	}
	inside, err := s.Router.Run("nsenter", "--net="+filepath.Join("/run/bsdnet", s.Router.Name, "netns"), "ip", "-o", "link")
	if err != nil {
		s.Fatal(err)
	}
	h.links = fmt.Sprint(strings.Fields(out), strings.Count(inside, "\n"))
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.daemon()))
	if err != nil {
		s.Fatal(err)
	}
	h.descriptors = len(entries)
	return h
}

// settled is holdings once two looks agree.
func (s *site) settled() holdings {
	s.Helper()
	last := s.holdings()
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		now := s.holdings()
		if now == last {
			break
		}
		last = now
	}
	return last
}

const descriptorSlack = 6 // sockets of the moment

// Killed at any moment, the daemon leaves one whole configuration, and the
// next takes it up with everything that there was.
func TestKill(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		random := rand.New(rand.NewPCG(*tortureSeed, 0))
		t.Logf("seed %d", *tortureSeed)
		one, two := s.file(firstRules), s.file(secondRules)
		small, large := s.file(strings.Repeat("203.0.113.1\n", 1)), s.file(addresses(3000))
		deeds := []deed{
			{"load", nil, 1500 * time.Millisecond},
			{"reload", nil, 60 * time.Millisecond},
			{"table replace", nil, 100 * time.Millisecond},
			{"route add", []string{"route", "add", "100.64.1.0/24", "198.51.100.2"}, 25 * time.Millisecond},
			{"route delete", []string{"route", "delete", "100.64.1.0/24"}, 25 * time.Millisecond},
			{"clone create", []string{"ifconfig", "vlan7", "create", "vlan", "7", "vlandev", "em1"}, 60 * time.Millisecond},
			{"clone destroy", []string{"ifconfig", "vlan7", "destroy"}, 60 * time.Millisecond},
			{"unload", []string{"unload"}, 400 * time.Millisecond},
		}
		f := s.flow()
		s.bsdnet("pfctl", "-e", "-f", one)
		client, server := s.connect(5000)
		before, ever := s.settled(), s.objects()
		counts, hit, mixtures, lostStates, leaks, tables := make(map[string]int), 0, 0, 0, 0, 0
		first := random.IntN(len(deeds))
		for n := range *kills {
			d := deeds[(n+first)%len(deeds)]
			args := d.do
			switch d.name {
			case "load":
				killAll()
				args = []string{"load", "-i", "em0", "-i", "em1", "--mode", s.mode}
			case "reload":
				args = []string{"pfctl", "-f", []string{one, two}[random.IntN(2)]}
			case "table replace":
				args = []string{"pfctl", "-t", "t", "-T", "replace", "-f", []string{small, large}[random.IntN(2)]}
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			cmd := s.Router.Command(ctx, program, args...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(random.Int64N(int64(d.over))))
			hit += min(1, killAll())
			_ = cmd.Wait() // killed too
			cancel()
			counts[d.name]++
			if d.name == "unload" {
				s.afterUnload(n)
				if left := leftOver(ever, nil); left != nil {
					leaks++
					t.Errorf("kill %d, in unload: left in the kernel: %v", n, left)
				}
				ever = nil
				s.load()
				s.forward()
				s.bsdnet("pfctl", "-e", "-f", one)
				client.Close()
				server.Close()
				client, server = s.connect(5001 + n)
				before, ever = s.settled(), s.objects() // the netisr veth has another index
				continue
			}
			// The fast path alone, and then with the next daemon.
			dead := s.probe(f)
			s.load()
			alive := s.probe(f)
			for when, got := range map[string]probe{"dead": dead, "restarted": alive} {
				if got != byFirst && got != bySecond {
					mixtures++
					t.Errorf("kill %d, in %s, %s: came through %v: no whole ruleset", n, d.name, when, got)
				}
			}
			if dead != alive {
				t.Errorf("kill %d, in %s: %v before the restart, %v after", n, d.name, dead, alive)
			}
			if err := carries(client, server); err != nil {
				lostStates++
				t.Errorf("kill %d, in %s: connection with a state: %v", n, d.name, err)
				client, server = s.connect(5001 + n)
			}
			if lines := strings.Count(s.bsdnet("pfctl", "-t", "t", "-T", "show"), "\n"); lines != 0 && lines != 1 && lines != 3000 {
				tables++
				t.Errorf("kill %d, in %s: table has %d addresses, want 0, 1 or 3000", n, d.name, lines)
			}
			_, _ = s.run("route", "delete", "100.64.1.0/24")
			if strings.HasPrefix(d.name, "clone") {
				_, _ = s.run("ifconfig", "vlan7", "destroy") // there or not
			}
			if leaked := before.compare(s.settled()); leaked != "" {
				leaks++
				t.Errorf("kill %d, in %s: %s", n, d.name, leaked)
			}
			held := s.objects()
			if left := leftOver(ever, held); left != nil {
				leaks++
				t.Errorf("kill %d, in %s: left in the kernel: %v", n, d.name, left)
			}
			maps.Copy(ever, held)
			if d.name == "clone create" { // one for the next deed
				s.bsdnet("ifconfig", "vlan7", "create", "vlan", "7", "vlandev", "em1")
			}
		}
		s.bsdnet("unload")
		s.nothingLeft()
		if left := leftOver(ever, nil); left != nil {
			leaks++
			t.Errorf("after unload: left in the kernel: %v", left)
		}
		t.Logf("%s: killed %d times (%d while a process was there) in %v: %d mixtures, %d lost states, %d torn tables, %d leaks",
			s.mode, *kills, hit, counts, mixtures, lostStates, tables, leaks)
	})
}

// compare says what differs from what there was at first.
func (h holdings) compare(now holdings) string {
	switch {
	case now.pins != h.pins:
		return "pins: " + difference(h.pins, now.pins)
	case now.files != h.files:
		return "files: " + difference(h.files, now.files)
	case now.links != h.links:
		return "links: " + h.links + " became " + now.links
	case now.descriptors > h.descriptors+descriptorSlack:
		return fmt.Sprintf("descriptors: %d became %d", h.descriptors, now.descriptors)
	}
	return ""
}

func difference(before, after string) string {
	was, is := strings.Fields(before), strings.Fields(after)
	count := make(map[string]int)
	for _, name := range is {
		count[name]++
	}
	for _, name := range was {
		count[name]--
	}
	var out []string
	for name, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", n, name))
		}
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

// afterUnload ends an unload that was killed: whatever is left, a second one
// takes it away.
func (s *site) afterUnload(n int) {
	s.Helper()
	if out, err := s.run("unload"); err != nil && !strings.Contains(out, "no bsdnet instance") {
		s.Errorf("kill %d, in unload: a second unload: %v: %s", n, err, out)
	}
	s.nothingLeft()
}

// nothingLeft checks that an instance that was unloaded is gone altogether.
func (s *site) nothingLeft() {
	s.Helper()
	for _, path := range []string{filepath.Join("/run/bsdnet/bpf", s.Router.Name), filepath.Join("/run/bsdnet", s.Router.Name)} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			s.Errorf("after unload: %s: %v, want none", path, err)
		}
	}
	out := s.Router.MustRun(s, "ip", "-o", "-d", "link")
	for _, word := range []string{"netisr", "vlan7", "xdp"} {
		if strings.Contains(out, word) {
			s.Errorf("after unload: %s is left: %s", word, out)
		}
	}
}

func addresses(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "10.%d.%d.1\n", i>>8, i&255)
	}
	return b.String()
}
