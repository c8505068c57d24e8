package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// AuditRecord is a packet that rules decided about, as it was before them.
type AuditRecord struct {
	Time      time.Time
	Interface string
	Out       bool
	Rule      uint32 // slot of the counters of the rule that decided, 0: none
	Pass      bool
	Packet    []byte // its beginning
}

// SetAudit says whether the data path gives the daemon a copy of every packet
// that the rules decide about.
func (e *Engine) SetAudit(on bool) error {
	err := e.config.Commit(func(c *bpf.Config) error {
		c.PfFlags &^= bpf.PFAudit
		if on {
			c.PfFlags |= bpf.PFAudit
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("switch audit: %w", err)
	}
	return nil
}

// AuditRecords is where audited packets go. Those that nobody takes in time
// are counted in Lost.
type AuditRecords struct {
	C    chan AuditRecord
	Lost atomic.Uint64
}

// auditQueue is how many records may wait.
const auditQueue = 4096

// Audit takes audited packets until ctx ends. There is one taker at a time: a
// new one takes the place of another.
func (l *Log) Audit(ctx context.Context) *AuditRecords {
	records := &AuditRecords{C: make(chan AuditRecord, auditQueue)}
	l.audit.Store(records)
	context.AfterFunc(ctx, func() { l.audit.CompareAndSwap(records, nil) })
	return records
}

// audited takes a record that is for an audit.
func (l *Log) audited(boot time.Time, in *bpf.PFLogRecord, names func(uint32) string) {
	to := l.audit.Load()
	if to == nil {
		return
	}
	if len(to.C) == cap(to.C) { // this is the only writer
		to.Lost.Add(1)
		return
	}
	to.C <- AuditRecord{
		Time: boot.Add(time.Duration(in.Time)), Interface: names(in.Ifslot), Out: uint32(in.Dir) == bpf.PfilOut, Rule: in.Rule,
		Pass: uint32(in.Action) == bpf.PFPass, Packet: append([]byte(nil), in.Data[:min(in.Caplen, uint32(len(in.Data)))]...),
	}
}

// logRecordOf reads a record in place; nil: it is not whole.
func logRecordOf(raw []byte) *bpf.PFLogRecord {
	if len(raw) < int(unsafe.Sizeof(bpf.PFLogRecord{})) {
		return nil
	}
	return (*bpf.PFLogRecord)(unsafe.Pointer(&raw[0]))
}

// TableAddresses returns what a table holds; ok is whether there is one.
func (e *Engine) TableAddresses(path string) (list []conf.TablePrefix, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.tables[namedKey(path)]
	if !ok {
		return nil, false
	}
	for prefix, entry := range t.entries {
		list = append(list, conf.TablePrefix{Prefix: prefix, Not: entry.not})
	}
	return list, true
}
