package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/pflog"
	"github.com/bsdnet/bsdnet/pf/program"
)

// Log hands logged packets to listeners. A listener that is slow loses its own
// records and nobody else's.
type Log struct {
	mu        sync.Mutex
	listeners map[chan *pflog.Record]struct{}
	audit     atomic.Pointer[AuditRecords]
}

// Listen returns a channel of records until ctx ends.
func (l *Log) Listen(ctx context.Context) <-chan *pflog.Record {
	c := make(chan *pflog.Record, 1024)
	l.mu.Lock()
	l.listeners[c] = struct{}{}
	l.mu.Unlock()
	go func() {
		<-ctx.Done()
		l.mu.Lock()
		delete(l.listeners, c)
		l.mu.Unlock()
		close(c)
	}()
	return c
}

func (l *Log) publish(r *pflog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.listeners {
		select {
		case c <- r:
		default:
		}
	}
}

// ReadLog reads the data path's records until ctx ends. names gives the name
// of an interface's slot.
func (e *Engine) ReadLog(ctx context.Context, m *ebpf.Map, names func(uint32) string) (*Log, error) {
	reader, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, fmt.Errorf("read pf's log: %w", err)
	}
	l := &Log{listeners: make(map[chan *pflog.Record]struct{})}
	context.AfterFunc(ctx, func() { reader.Close() })
	go func() {
		var raw ringbuf.Record
		var users owners
		defer users.close() // it is only read
		boot := bootTime()
		for {
			if err := reader.ReadInto(&raw); err != nil {
				if errors.Is(err, ringbuf.ErrClosed) {
					return
				}
				continue
			}
			// Reading two clocks takes time: only a step of one of them counts.
			if now := bootTime(); now.Sub(boot).Abs() > clockStep {
				boot = now
			}
			in := logRecordOf(raw.RawSample)
			switch {
			case in == nil:
			case uint32(in.Reason) == bpf.PfresAudit:
				l.audited(boot, in, names)
			default:
				l.publish(e.logRecord(boot, in, names, &users))
			}
		}
	}()
	return l, nil
}

// clockStep is by how much the time of day differs from what it would be when
// somebody has set it.
const clockStep = 10 * time.Millisecond

// actions are those of the data path as pflog(4) numbers them.
var actions = map[uint32]pflog.Action{bpf.PFPass: pflog.Pass, bpf.PFDrop: pflog.Block, bpf.PFMatch: pflog.Match}

func (e *Engine) logRecord(boot time.Time, in *bpf.PFLogRecord, names func(uint32) string, users *owners) *pflog.Record {
	r := &pflog.Record{
		Time: boot.Add(time.Duration(in.Time)), Interface: names(in.Ifslot), Rule: -1, SubRule: -1,
		LogInterface: in.LogIf, Action: actions[uint32(in.Action)], Reason: in.Reason, Out: uint32(in.Dir) == bpf.PfilOut,
		Family: in.Af, Length: int(in.Len), Packet: append([]byte(nil), in.Data[:min(in.Caplen, uint32(len(in.Data)))]...),
	}
	if in.User != 0 {
		if found, ok := users.find(r.Packet, r.Out); ok {
			r.UID = &found.uid
			if found.pidKnown {
				r.PID = &found.pid
			}
		}
	}
	_, p := e.Rules()
	if p == nil {
		return r
	}
	for _, rule := range p.Rules {
		if rule.Counters != in.Rule {
			continue
		}
		r.Identity, r.RIdentifier = string(rule.Identity), rule.RIdentifier
		if rule.Anchor == "" {
			r.Rule = rule.Number
		} else {
			r.Anchor, r.SubRule, r.Rule = rule.Anchor, rule.Number, anchorCall(p, rule.Anchor)
		}
		break
	}
	return r
}

// anchorCall is the number of the rule that calls an anchor.
func anchorCall(p *program.Program, path string) int {
	for _, rule := range p.Rules {
		if rule.Rule.Anchor != nil && rule.Rule.Anchor.Path == path {
			return rule.Number
		}
	}
	return -1
}

// bootTime is when the clock of the records was zero.
func bootTime() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(ts.Nano()))
}
