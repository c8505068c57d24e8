package netisr

import (
	"errors"
	"fmt"
)

// Protocol numbers, as FreeBSD's netstat -Q shows them. Number 0 is reserved.
const (
	ProtocolIP        = 1
	ProtocolIGMP      = 2
	ProtocolRtsock    = 3
	ProtocolARP       = 4
	ProtocolEther     = 5
	ProtocolIPv6      = 6
	ProtocolEpair     = 8
	ProtocolIPDirect  = 9
	ProtocolIP6Direct = 10

	MaxProtocols = 16 // net.isr.maxprot
)

// Dispatch says where a packet is handled (net.isr.dispatch).
type Dispatch int

const (
	DispatchDefault  Dispatch = iota // what the whole netisr says; for a protocol only
	DispatchDeferred                 // always through the port of its thread
	DispatchHybrid                   // at once when this is its thread and nothing waits, else deferred
	DispatchDirect                   // at once, on the thread where it arrived
)

// String returns the word of the sysctl.
func (d Dispatch) String() string {
	switch d {
	case DispatchDefault:
		return "default"
	case DispatchDeferred:
		return "deferred"
	case DispatchHybrid:
		return "hybrid"
	case DispatchDirect:
		return "direct"
	}
	return "unknown"
}

// ParseDispatch is the inverse of [Dispatch.String].
func ParseDispatch(word string) (Dispatch, error) {
	for _, d := range []Dispatch{DispatchDefault, DispatchDeferred, DispatchHybrid, DispatchDirect} {
		if d.String() == word {
			return d, nil
		}
	}
	return 0, fmt.Errorf("parse dispatch policy %q: not default, deferred, hybrid or direct", word)
}

// Policy says what chooses a packet's thread.
type Policy int

const (
	PolicySource Policy = 1 + iota // the receiving interface
	PolicyFlow                     // the flow hash
	PolicyCPU                      // the protocol's CPU function
)

// String returns the word of netstat -Q.
func (p Policy) String() string {
	switch p {
	case PolicySource:
		return "source"
	case PolicyFlow:
		return "flow"
	case PolicyCPU:
		return "cpu"
	}
	return "-"
}

// Handler gets a packet that is checked ([Packet.Check]) and owns it from then
// on. It runs on a netisr thread and must not block. Under direct dispatch it
// runs on several threads at once.
type Handler func(t *Thread, p *Packet)

// Protocol describes a protocol to [Netisr.Register].
type Protocol struct {
	Number     int // 1 to MaxProtocols-1
	Name       string
	Handler    Handler
	QueueLimit int // packets waiting on one thread; 0 means the default
	Policy     Policy
	Dispatch   Dispatch

	// Flow returns the flow of a packet; nil means [FlowHash]. A packet
	// without a flow is placed by its receiving interface.
	Flow func(p *Packet) (flow uint32, ok bool)
	// CPU returns the number of the thread, for PolicyCPU. It is taken
	// modulo the number of threads.
	CPU func(p *Packet) int
	// Drained runs after a thread has handled all that waited. May be nil.
	Drained func(t *Thread)
}

// Errors of registration and queueing.
var (
	ErrProtocolTaken   = errors.New("protocol number is taken")
	ErrProtocolUnknown = errors.New("protocol is not registered")
	ErrQueueFull       = errors.New("queue is full")
	ErrStopped         = errors.New("netisr is stopped")
	ErrInvalid         = errors.New("invalid argument")
)

// Register adds a protocol. A number that is taken is an error
// ([ErrProtocolTaken]): two handlers for one protocol are a defect of the
// program.
func (n *Netisr) Register(protocol Protocol) error {
	if protocol.Number <= 0 || protocol.Number >= MaxProtocols {
		return fmt.Errorf("register protocol %q: number %d is not from 1 to %d: %w", protocol.Name, protocol.Number, MaxProtocols-1, ErrInvalid)
	}
	if protocol.Name == "" || protocol.Handler == nil {
		return fmt.Errorf("register protocol %d: no name or no handler: %w", protocol.Number, ErrInvalid)
	}
	if protocol.Policy == 0 {
		protocol.Policy = PolicyFlow
	}
	if (protocol.Policy == PolicyCPU) != (protocol.CPU != nil) {
		return fmt.Errorf("register protocol %q: policy cpu and a CPU function go together: %w", protocol.Name, ErrInvalid)
	}
	if protocol.QueueLimit == 0 {
		protocol.QueueLimit = n.config.DefaultQueueLimit
	}
	if protocol.QueueLimit < 0 || protocol.QueueLimit > n.config.MaxQueueLimit {
		return fmt.Errorf("register protocol %q: queue limit %d is not from 1 to %d: %w", protocol.Name, protocol.QueueLimit, n.config.MaxQueueLimit, ErrInvalid)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if taken := n.protocols[protocol.Number].Load(); taken != nil {
		return fmt.Errorf("register protocol %q: number %d belongs to %q: %w", protocol.Name, protocol.Number, taken.Name, ErrProtocolTaken)
	}
	for _, t := range n.threads {
		t.port.open(protocol.Number, protocol.QueueLimit)
	}
	n.protocols[protocol.Number].Store(&protocol)
	return nil
}

// Unregister removes a protocol and frees the packets that wait for it. When
// it returns, the handler is not running and will not run again. It must not
// be called on a netisr thread.
func (n *Netisr) Unregister(number int) error {
	if _, err := n.protocol(number); err != nil {
		return fmt.Errorf("unregister: %w", err)
	}
	n.mu.Lock()
	n.protocols[number].Store(nil)
	n.mu.Unlock()
	return n.onAll(func(t *Thread) {
		for p := t.port.shut(number); p != nil; {
			next := p.Next
			t.Free(p)
			p = next
		}
	})
}

// protocol returns a registered protocol.
func (n *Netisr) protocol(number int) (*Protocol, error) {
	if number > 0 && number < MaxProtocols {
		if protocol := n.protocols[number].Load(); protocol != nil {
			return protocol, nil
		}
	}
	return nil, fmt.Errorf("protocol %d: %w", number, ErrProtocolUnknown)
}

// QueueLimit returns how many packets of a protocol may wait on one thread.
func (n *Netisr) QueueLimit(number int) (int, error) {
	protocol, err := n.protocol(number)
	if err != nil {
		return 0, fmt.Errorf("get queue limit: %w", err)
	}
	return protocol.QueueLimit, nil
}

// SetQueueLimit changes it. Packets that wait already stay.
func (n *Netisr) SetQueueLimit(number, limit int) error {
	if limit < 1 || limit > n.config.MaxQueueLimit {
		return fmt.Errorf("set queue limit to %d: not from 1 to %d: %w", limit, n.config.MaxQueueLimit, ErrInvalid)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	protocol, err := n.protocol(number)
	if err != nil {
		return fmt.Errorf("set queue limit: %w", err)
	}
	changed := *protocol
	changed.QueueLimit = limit
	for _, t := range n.threads {
		t.port.open(number, limit)
	}
	n.protocols[number].Store(&changed)
	return nil
}

// QueueDrops returns how many packets of a protocol were dropped because a
// port was full.
func (n *Netisr) QueueDrops(number int) (drops uint64, err error) {
	if _, err := n.protocol(number); err != nil {
		return 0, fmt.Errorf("get queue drops: %w", err)
	}
	for _, t := range n.threads {
		drops += t.port.stats(number).QueueDrops
	}
	return drops, nil
}

// ClearQueueDrops sets the number of drops of a protocol to 0.
func (n *Netisr) ClearQueueDrops(number int) error {
	if _, err := n.protocol(number); err != nil {
		return fmt.Errorf("clear queue drops: %w", err)
	}
	for _, t := range n.threads {
		t.port.clearDrops(number)
	}
	return nil
}
