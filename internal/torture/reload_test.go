package torture

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// window is how many datagrams may be on their way: so few that no queue on
// the way is too short, whatever the machine does meanwhile.
const window = 256

// traffic is what a flow sent and what arrived.
type traffic struct {
	sent, received [ports]atomic.Uint64
	stop           atomic.Bool
}

// run sends to port mixedPass as fast as the window lets it, and now and then
// to the ports that are always blocked. It returns the datagrams lost that
// both rulesets pass.
func (c *traffic) run(f *flow) (lost uint64, err error) {
	for i, r := range f.receivers {
		if err := errors.Join(r.SetReadBuffer(1<<20), r.SetReadDeadline(time.Time{})); err != nil {
			return 0, err
		}
		go func() {
			var data [16]byte
			for {
				if _, err := r.Read(data[:]); err != nil {
					return
				}
				c.received[i].Add(1)
			}
		}()
	}
	moved, last := time.Now(), uint64(0)
	for !c.stop.Load() {
		if got := c.received[0].Load(); got != last {
			moved, last = time.Now(), got
		}
		if c.sent[0].Load()-c.received[0].Load() >= lost+window {
			if time.Since(moved) > 2*time.Second { // so they are lost: go on without
				lost = c.sent[0].Load() - c.received[0].Load()
			}
			runtime.Gosched()
			continue
		}
		for i, often := range [ports]uint64{1, 16, 0, 0, 16} {
			if often == 0 || c.sent[0].Load()%often != 0 {
				continue
			}
			if _, err := f.send(mixedPass + i); err != nil {
				return 0, err
			}
			c.sent[i].Add(1)
		}
	}
	time.Sleep(time.Second)
	return c.sent[0].Load() - c.received[0].Load(), nil
}

// A ruleset that takes another's place while packets pass: each packet is
// judged by one of them, in and out.
func TestReload(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		one, two := s.file(firstRules), s.file(secondRules)
		s.bsdnet("pfctl", "-e", "-f", one)
		f := s.flow()
		if got := s.probe(f); got != byFirst {
			t.Fatalf("came through %v, want %v", got, byFirst)
		}
		c := &traffic{}
		type result struct {
			lost uint64
			err  error
		}
		done := make(chan result, 1)
		go func() {
			lost, err := c.run(f)
			done <- result{lost, err}
		}()
		reloads := 0
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for end := time.Now().Add(*reloadTime); time.Now().Before(end); reloads++ {
			<-ticker.C
			s.bsdnet("pfctl", "-f", []string{two, one}[reloads%2])
		}
		c.stop.Store(true)
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		wrong := c.received[mixedBlock-mixedPass].Load() + c.received[neither-mixedPass].Load()
		blocked := c.sent[mixedBlock-mixedPass].Load() + c.sent[neither-mixedPass].Load()
		t.Logf("%s: %d reloads in %v under traffic: %d datagrams that both rulesets pass, %d lost; %d that both block, %d passed",
			s.mode, reloads, *reloadTime, c.sent[0].Load(), r.lost, blocked, wrong)
		if r.lost != 0 || wrong != 0 {
			t.Errorf("%d lost, %d passed, want none", r.lost, wrong)
		}
		if c.sent[0].Load() < 1000 || blocked < 50 {
			t.Error("hardly any traffic")
		}
	})
}
