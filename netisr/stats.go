package netisr

import (
	"fmt"
	"io"
)

// Stats are the state of a netisr, everything that netstat -Q prints.
type Stats struct {
	Threads           int               `json:"thread-count"`
	MaxThreads        int               `json:"max-threads"`
	DefaultQueueLimit int               `json:"default-queue-limit"`
	MaxQueueLimit     int               `json:"max-queue-limit"`
	Dispatch          string            `json:"dispatch-policy"`
	BindThreads       bool              `json:"threads-bound"`
	Protocols         []ProtocolStats   `json:"protocol"`
	Workstreams       []WorkstreamStats `json:"workstream"`
}

// ProtocolStats describe a registered protocol.
type ProtocolStats struct {
	Name       string `json:"name"`
	Number     int    `json:"protocol"`
	QueueLimit int    `json:"queue-limit"`
	Policy     string `json:"policy-type"`
	Dispatch   string `json:"policy"`
	Flags      string `json:"flags"` // C: has a CPU function, D: has a drained function, F: has a flow function
}

// WorkstreamStats describe one thread. The counters below Work are of packets
// and have no place in netstat -Q.
type WorkstreamStats struct {
	ID   int         `json:"workstream"`
	CPU  int         `json:"cpu"`
	Work []WorkStats `json:"work"`

	Received    uint64 `json:"received"`     // from its queues
	Transmitted uint64 `json:"transmitted"`  // back into the data path
	OutputDrops uint64 `json:"output-drops"` // transmit queue full
	BadHeader   uint64 `json:"bad-header"`   // refused by Packet.Check
	NoProtocol  uint64 `json:"no-protocol"`  // of a protocol that is not registered
	Requeued    uint64 `json:"requeued"`     // handed to the thread of their flow
	Errors      uint64 `json:"errors"`       // failed system calls
}

// WorkStats are the state of one protocol on one thread.
type WorkStats struct {
	Name      string `json:"name"`
	Protocol  int    `json:"protocol"`
	Len       int    `json:"length"`
	Watermark int    `json:"watermark"`
	WorkCounters
}

// Stats returns the state now.
func (n *Netisr) Stats() Stats {
	stats := Stats{
		Threads:           len(n.threads),
		MaxThreads:        n.config.Threads,
		DefaultQueueLimit: n.config.DefaultQueueLimit,
		MaxQueueLimit:     n.config.MaxQueueLimit,
		Dispatch:          n.Dispatch().String(),
		BindThreads:       n.config.BindThreads,
	}
	for number := range n.protocols {
		if protocol := n.protocols[number].Load(); protocol != nil {
			stats.Protocols = append(stats.Protocols, protocol.stats())
		}
	}
	for _, t := range n.threads {
		stats.Workstreams = append(stats.Workstreams, t.stats(stats.Protocols))
	}
	return stats
}

func (protocol *Protocol) stats() ProtocolStats {
	flags := []byte("---")
	if protocol.CPU != nil {
		flags[0] = 'C'
	}
	if protocol.Drained != nil {
		flags[1] = 'D'
	}
	if protocol.Flow != nil {
		flags[2] = 'F'
	}
	return ProtocolStats{
		Name:       protocol.Name,
		Number:     protocol.Number,
		QueueLimit: protocol.QueueLimit,
		Policy:     protocol.Policy.String(),
		Dispatch:   protocol.Dispatch.String(),
		Flags:      string(flags),
	}
}

func (t *Thread) stats(protocols []ProtocolStats) WorkstreamStats {
	stats := WorkstreamStats{
		ID:          t.id,
		CPU:         t.cpu,
		Received:    t.counters.received.Load(),
		Transmitted: t.counters.transmitted.Load(),
		OutputDrops: t.counters.outputDrops.Load(),
		BadHeader:   t.counters.badHeader.Load(),
		NoProtocol:  t.counters.noProtocol.Load(),
		Requeued:    t.counters.requeued.Load(),
		Errors:      t.counters.errors.Load(),
	}
	for _, protocol := range protocols {
		work := t.port.stats(protocol.Number)
		work.Name = protocol.Name
		stats.Work = append(stats.Work, work)
	}
	return stats
}

// Format writes the state in the form of FreeBSD's netstat -Q.
func (s Stats) Format(w io.Writer) error {
	out := &errorWriter{w: w}
	out.printf("Configuration:\n")
	out.printf("%-25s %12s %12s\n", "Setting", "Current", "Limit")
	out.printf("%-25s %12d %12d\n", "Thread count", s.Threads, s.MaxThreads)
	out.printf("%-25s %12d %12d\n", "Default queue limit", s.DefaultQueueLimit, s.MaxQueueLimit)
	out.printf("%-25s %12s %12s\n", "Dispatch policy", s.Dispatch, "n/a")
	bound := "disabled"
	if s.BindThreads {
		bound = "enabled"
	}
	out.printf("%-25s %12s %12s\n", "Threads bound to CPUs", bound, "n/a")
	out.printf("\n")

	out.printf("Protocols:\n")
	out.printf("%-6s %5s %6s %-6s %-8s %-5s\n", "Name", "Proto", "QLimit", "Policy", "Dispatch", "Flags")
	for _, p := range s.Protocols {
		out.printf("%-6s %5d %6d %6s %8s   %s\n", p.Name, p.Number, p.QueueLimit, p.Policy, p.Dispatch, p.Flags)
	}
	out.printf("\n")

	out.printf("Workstreams:\n")
	out.printf("%4s %3s   %-6s %5s %5s %8s %8s %8s %8s %8s\n",
		"WSID", "CPU", "Name", "Len", "WMark", "Disp'd", "HDisp'd", "QDrops", "Queued", "Handled")
	for _, ws := range s.Workstreams {
		for _, work := range ws.Work {
			out.printf("%4d %3d   %-6s %5d %5d %8d %8d %8d %8d %8d\n", ws.ID, ws.CPU, work.Name, work.Len, work.Watermark,
				work.Dispatched, work.HybridDispatched, work.QueueDrops, work.Queued, work.Handled)
		}
	}
	return out.err
}

// errorWriter remembers the first error of a sequence of writes.
type errorWriter struct {
	w   io.Writer
	err error
}

func (e *errorWriter) printf(format string, arguments ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, arguments...)
	}
}
