package control

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/audit"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// auditor judges the packets that rules decide about by other rules, too, and
// compares. It does nothing to packets, and ends with the daemon.
type auditor struct {
	filter *filter

	mu      sync.Mutex // guards all below
	rules   *conf.Ruleset
	name    string
	places  map[*conf.Rule]string
	shadow  *audit.Shadow // nil: no audit is on
	report  *audit.Report
	now     map[uint32]audit.Line // rules in force by the slot of their counters
	records *engine.AuditRecords
	lost    uint64 // records lost before it began
	stop    context.CancelFunc
}

// PFAudit asks for an audit by sources; without any, it ends.
type PFAudit struct {
	Name    string      `json:"name,omitempty"`
	Sources []*PFSource `json:"sources,omitempty"`
}

// errNoAudit says what to do.
var errNoAudit = errors.New("no audit is on: pfctl --audit file")

// startAuditor ends the audit of a daemon that died.
func (f *filter) startAuditor(ctx context.Context) error {
	f.audit = &auditor{filter: f}
	context.AfterFunc(ctx, func() { _ = f.audit.end(false) }) // pf is being closed
	if f.daemon.config.Active().PfFlags&bpf.PFAudit == 0 {
		return nil
	}
	f.daemon.log.Warn("pf: the audit that was on ended with the daemon before")
	return f.engine.SetAudit(false)
}

// auditCall begins or ends an audit.
func (f *filter) auditCall(_ context.Context, r PFAudit) (None, error) {
	if len(r.Sources) == 0 {
		return None{}, f.audit.end(true)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.sources
	for _, s := range r.Sources {
		next = withSource(next, s)
	}
	isNew := func(s *PFSource) bool { return slices.Contains(r.Sources, s) }
	rs, renewed, err := f.join(r.Sources[0].Dialect, next, isNew)
	if err != nil {
		return None{}, err
	}
	f.keepAddresses(rs, renewed)
	return None{}, f.audit.begin(rs, r.Name, placesIn(rs, next))
}

// keepAddresses gives tables what they would hold if the ruleset were loaded
// now: those that are not filled anew keep their addresses.
func (f *filter) keepAddresses(rs *conf.Ruleset, renewed map[*conf.Table]bool) {
	defined := make(map[string]bool)
	rs.Main.Walk(func(a *conf.Anchor) {
		for _, t := range a.Tables {
			path := t.Name
			if a.Path != "" {
				path = a.Path + "/" + t.Name
			}
			defined[path] = true
			if t.Initialized && renewed[t] {
				continue
			}
			if list, ok := f.engine.TableAddresses(path); ok {
				t.Prefixes = list
			}
		}
	})
	for _, info := range f.engine.Tables("", false) {
		if defined[info.Name] || !info.Active {
			continue // of those that only rules name, the addresses of pfctl count
		}
		if list, ok := f.engine.TableAddresses(info.Name); ok {
			rs.Main.Tables = append(rs.Main.Tables, &conf.Table{Name: info.Name, Prefixes: list})
		}
	}
}

func (a *auditor) begin(rs *conf.Ruleset, name string, places map[*conf.Rule]string) error {
	if err := a.end(false); err != nil && !errors.Is(err, errNoAudit) {
		return err
	}
	status, err := a.filter.engine.Status()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	a.mu.Lock()
	a.rules, a.name, a.places, a.stop, a.lost = rs, name, places, stop, status.LogLost
	a.records = a.filter.log.Audit(ctx)
	a.restart()
	go a.run(ctx, a.records)
	a.mu.Unlock()
	if err := a.filter.engine.SetAudit(true); err != nil {
		return errors.Join(err, a.end(false))
	}
	return nil
}

// restart counts anew; a.mu is held.
func (a *auditor) restart() {
	a.shadow = audit.NewShadow(a.rules, auditHost{a.filter, time.Now()}, a.places)
	a.report = audit.NewReport(a.name, "the rules in force", time.Now())
	a.now = a.filter.linesInForce()
}

// rulesChanged begins the comparison with other rules in force; f.mu is held.
func (a *auditor) rulesChanged() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shadow != nil {
		a.restart()
	}
}

// end ends an audit. Unless told to, it does not touch the data path of an
// engine that may be closed.
func (a *auditor) end(switchOff bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shadow == nil {
		return errNoAudit
	}
	a.stop()
	a.shadow, a.rules, a.report, a.now = nil, nil, nil, nil
	if !switchOff {
		return nil
	}
	return a.filter.engine.SetAudit(false)
}

// run judges packets until ctx ends.
func (a *auditor) run(ctx context.Context, records *engine.AuditRecords) {
	purge := time.NewTicker(10 * time.Second)
	defer purge.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-purge.C:
			a.mu.Lock()
			if a.shadow != nil {
				a.shadow.Purge()
			}
			a.mu.Unlock()
		case r := <-records.C:
			a.mu.Lock()
			if a.shadow != nil && a.records == records {
				a.judge(&r)
			}
			a.mu.Unlock()
		}
	}
}

// judge compares one packet; a.mu is held.
func (a *auditor) judge(r *engine.AuditRecord) {
	p, err := reference.Decode(r.Packet)
	if err != nil {
		a.report.NotJudged++
		return
	}
	dir := conf.In
	if r.Out {
		dir = conf.Out
	}
	a.report.Add(audit.Verdict{Pass: r.Pass, Line: a.line(r.Rule)}, a.shadow.Judge(p, dir, r.Interface),
		audit.Where{Direction: dir.String(), Interface: r.Interface}, r.Time, &p)
}

func (a *auditor) line(slot uint32) audit.Line {
	if line, ok := a.now[slot]; ok {
		return line
	}
	return audit.Default
}

// linesInForce are the lines of the rules in force by the slot of their
// counters; f.mu is held.
func (f *filter) linesInForce() map[uint32]audit.Line {
	lines := make(map[uint32]audit.Line)
	rs, p := f.engine.Rules()
	if p == nil {
		return lines
	}
	places := placesIn(rs, f.sources)
	for _, r := range p.Rules {
		line := audit.LineOf(r.Rule, r.Anchor, rs.Dialect)
		line.Place = places[r.Rule]
		lines[r.Counters] = line
	}
	return lines
}

// snapshot is the report as it is now, with the states that there are.
func (a *auditor) snapshot() (*audit.Report, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shadow == nil {
		return nil, errNoAudit
	}
	status, err := a.filter.engine.Status()
	if err != nil {
		return nil, err
	}
	report := *a.report
	report.NotJudged += a.records.Lost.Load() + status.LogLost - a.lost
	report.Until = time.Now()
	report.States = a.states()
	report.Finish(a.shadow.Lines())
	return &report, nil
}

// stateTime is how long states are looked at for one report.
const stateTime = time.Second

// states judges the states there are, as far as time allows.
func (a *auditor) states() *audit.States {
	all := a.filter.engine.States()
	host := auditHost{a.filter, time.Now()}
	alone := audit.NewShadow(a.rules, host, a.places)
	counts := audit.NewComparison()
	out := &audit.States{}
	for i := range all {
		if i%64 == 0 && time.Since(host.began) > stateTime {
			out.Left = len(all) - i
			break
		}
		s := &all[i]
		p, iface := firstPacket(s), a.filter.interfaceName(s.Interface)
		if s.Interface >= bpf.IfnetSlots {
			iface = host.leads(p, s.Direction)
		}
		verdict, keeps := alone.JudgeAlone(p, s.Direction, iface)
		out.Seen++
		switch {
		case !verdict.Pass:
			out.Lost++
			counts.Add(audit.Verdict{Pass: true, Line: a.line(s.Rule)}, verdict,
				audit.Where{Direction: s.Direction.String(), Interface: iface}, host.began, &p)
		case !keeps:
			out.NoKeep++
		}
	}
	out.Kinds = counts.Tallies()
	return out
}

// firstPacket is a packet that would have made a state.
func firstPacket(s *engine.State) reference.Packet {
	src, dst := s.Wire[0], s.Wire[1]
	if s.Direction == conf.Out {
		src, dst = s.Stack[1], s.Stack[0]
	}
	p := reference.Packet{Src: src.Addr(), Dst: dst.Addr(), Protocol: s.Protocol, TTL: 64, Length: int(s.Bytes[0] / max(1, uint64(s.Packets[0])))}
	switch s.Protocol {
	case reference.TCP:
		p.SrcPort, p.DstPort, p.TCP.Flags = src.Port(), dst.Port(), reference.SYN
	case reference.UDP:
		p.SrcPort, p.DstPort = src.Port(), dst.Port()
	case reference.ICMP, reference.ICMPv6:
		p.ICMP.ID, p.ICMP.Type = src.Port(), uint8(dst.Port())
	}
	return p
}
