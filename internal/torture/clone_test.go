package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// linkEvents tells of devices of the router whose name begins with a word.
func (s *site) linkEvents(prefix string) <-chan netlink.LinkUpdate {
	s.Helper()
	ns, err := netns.GetFromName(s.Router.Name)
	if err != nil {
		s.Fatal(err)
	}
	all, done := make(chan netlink.LinkUpdate, 256), make(chan struct{})
	if err := netlink.LinkSubscribeAt(ns, all, done); err != nil {
		s.Fatal(err)
	}
	matching := make(chan netlink.LinkUpdate, 256)
	go func() {
		defer ns.Close()
		for update := range all {
			if strings.HasPrefix(update.Attrs().Name, prefix) {
				matching <- update
			}
		}
	}()
	s.Cleanup(func() {
		close(done)
		for {
			select {
			case <-matching:
			case <-time.After(100 * time.Millisecond):
				return
			}
		}
	})
	return matching
}

// killAt starts a command, kills the daemon a moment after the kernel said the
// word of a kind, and returns whether the command had been told that all is
// done.
func (s *site) killAt(events <-chan netlink.LinkUpdate, kind uint16, later time.Duration, args ...string) (confirmed, hit bool) {
	s.Helper()
	for len(events) > 0 {
		<-events
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := s.Router.Command(ctx, program, args...)
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	daemon := s.daemon()
	for deadline := time.After(10 * time.Second); !hit; {
		select {
		case update := <-events:
			hit = update.Header.Type == kind
		case <-deadline:
			s.Fatalf("bsdnet %s: no event of the kernel", strings.Join(args, " "))
		}
	}
	time.Sleep(later)
	_ = unix.Kill(daemon, unix.SIGKILL)
	confirmed = <-ended == nil
	killAll()
	return confirmed, hit
}

// The daemon killed right after the kernel made a clone's device, or took it
// away: the next one has the clone whole or nothing of it, and what a command
// was told is so.
func TestKillClone(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		random := rand.New(rand.NewPCG(*tortureSeed, 3))
		t.Logf("seed %d", *tortureSeed)
		before := s.settled()
		count := make(map[string]int)
		for n := range 4 * *kills {
			clone := []struct {
				name, device string
				create       []string
			}{
				{"vlan7", "vlan7", []string{"vlan7", "create", "vlan", "7", "vlandev", "em1"}},
				{"tap7", "tap7", []string{"tap7", "create"}},
				{"epair7", "epair7a", []string{"epair7", "create"}},
			}[n%3]
			later := time.Duration(random.Int64N(int64(30 * time.Millisecond)))
			if random.IntN(2) == 0 {
				later = time.Duration(random.Int64N(int64(300 * time.Microsecond)))
			}
			verb, kind, args := "create", uint16(unix.RTM_NEWLINK), append([]string{"ifconfig"}, clone.create...)
			if n/3%2 == 1 {
				s.bsdnet(args...)
				verb, kind, args = "destroy", unix.RTM_DELLINK, []string{"ifconfig", clone.device, "destroy"}
			}
			confirmed, _ := s.killAt(s.linkEvents(clone.name), kind, later, args...)
			s.load()
			what := fmt.Sprintf("kill %d, %v into %s %s (confirmed: %v)", n, later, verb, clone.name, confirmed)
			_, err := s.run("ifconfig", clone.device)
			there := err == nil
			if confirmed && there != (verb == "create") {
				t.Errorf("%s: there after the restart: %v", what, there)
			}
			if !there { // then nothing of it is in the way of another
				if out, err := s.run(append([]string{"ifconfig"}, clone.create...)...); err != nil {
					t.Errorf("%s: create it: %v: %s", what, err, out)
				}
			}
			groups := strings.Fields(s.bsdnet("ifconfig", clone.device))
			if prefix := strings.TrimRight(clone.name, "7"); !slices.Contains(groups, prefix) {
				t.Errorf("%s: not in the group %s: %v", what, prefix, groups)
			}
			if out, err := s.run("ifconfig", clone.device, "destroy"); err != nil {
				t.Errorf("%s: destroy it: %v: %s", what, err, out)
			}
			if leaked := before.compare(s.settled()); leaked != "" {
				t.Fatalf("%s: %s", what, leaked)
			}
			count[fmt.Sprintf("%s confirmed=%v there=%v", verb, confirmed, there)]++
		}
		s.bsdnet("unload")
		s.nothingLeft()
		t.Logf("%s: killed %d times: %v", s.mode, 4**kills, count)
	})
}
