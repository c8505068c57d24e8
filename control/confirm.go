package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ConfirmMax is the longest that a change may wait for its confirmation.
const ConfirmMax = 24 * time.Hour

// ConfirmBegin asks that what is changed from now on is taken back unless it
// is confirmed.
type ConfirmBegin struct {
	Seconds int    `json:"seconds"`
	What    string `json:"what,omitempty"` // for messages: the command
}

// ConfirmRequest confirms. Connection is that of the one who does, if it came
// over the network; Anyway confirms over one that proves nothing.
type ConfirmRequest struct {
	Connection *ConfirmConnection `json:"connection,omitempty"`
	Anyway     bool               `json:"anyway,omitempty"`
}

// ConfirmConnection is a TCP connection to this host.
type ConfirmConnection struct {
	Client netip.AddrPort `json:"client"`
	Server netip.AddrPort `json:"server"`
}

// Pending is a change that waits for its confirmation.
type Pending struct {
	What    string  `json:"what,omitempty"`
	Seconds float64 `json:"seconds_left"`
}

// Errors of confirmation.
var (
	ErrNothingPending = errors.New("no change awaits confirmation")
	ErrPending        = errors.New("a change awaits confirmation: confirm or roll back first")
)

// OldConnectionError refuses a confirmation that proves nothing: states let
// the connection live that the new rules may refuse to open.
type OldConnectionError struct{ Connection ConfirmConnection }

func (e *OldConnectionError) Error() string {
	return fmt.Sprintf("the connection from %s was open before the change and does not show that a new one gets in: "+
		"confirm over a new one, or with --anyway", e.Connection.Client)
}

// confirmer keeps what a change can be taken back to, in a file, so that it
// outlives the daemon.
type confirmer struct {
	daemon *Daemon
	mu     sync.Mutex
	timer  *time.Timer
	change *pendingChange
	waits  atomic.Bool // there is a change; for those who hold other locks
}

// pendingChange is the journal. Times are of the clock that counts from boot
// and cannot be set.
type pendingChange struct {
	What     string        `json:"what"`
	Begun    time.Duration `json:"begun"`
	Deadline time.Duration `json:"deadline"`
	Before   *snapshot     `json:"before"`
}

func newConfirmer(d *Daemon) *confirmer { return &confirmer{daemon: d} }

func (c *confirmer) journal() string { return filepath.Join(c.daemon.instance.Dir(), "confirm.json") }

// unconfirmed marks, over a reboot, that what configuration files say has not
// been confirmed.
func (c *confirmer) unconfirmed() string {
	return filepath.Join(VarDir, c.daemon.instance.Name, "unconfirmed")
}

// resume takes up the change that an earlier daemon was waiting with.
func (c *confirmer) resume() error {
	data, err := os.ReadFile(c.journal())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	change := &pendingChange{}
	if err := json.Unmarshal(data, change); err != nil {
		return fmt.Errorf("read %s: %w", c.journal(), err)
	}
	c.arm(change)
	return nil
}

// arm starts the timer; c.mu is held.
func (c *confirmer) arm(change *pendingChange) {
	c.change = change
	c.waits.Store(true)
	c.timer = time.AfterFunc(max(0, change.Deadline-sinceBoot()), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.change != change {
			return
		}
		c.daemon.log.Error("change not confirmed in time: it is taken back", "change", change.What)
		if err := c.takeBack(); err != nil {
			c.daemon.log.Error("roll back", "err", err)
		}
	})
}

func (c *confirmer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.change = nil // of this process; the journal stays
}

func (c *confirmer) begin(ctx context.Context, r ConfirmBegin) (*Pending, error) {
	wait := time.Duration(r.Seconds) * time.Second
	if r.Seconds < 1 || wait > ConfirmMax {
		return nil, fmt.Errorf("confirm within %d seconds: want 1 to %d", r.Seconds, int(ConfirmMax.Seconds()))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change != nil {
		return nil, ErrPending
	}
	before, err := c.daemon.snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("note what rules now: %w", err)
	}
	now := sinceBoot()
	change := &pendingChange{What: r.What, Begun: now, Deadline: now + wait, Before: before}
	data, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	if err := writeWhole(c.journal(), data); err != nil {
		return nil, fmt.Errorf("keep what rules now: %w", err)
	}
	if c.daemon.record.Boot {
		err := errors.Join(os.MkdirAll(filepath.Dir(c.unconfirmed()), 0o700), writeWhole(c.unconfirmed(), []byte(r.What+"\n")))
		if err != nil {
			return nil, errors.Join(err, os.Remove(c.journal()))
		}
	}
	c.arm(change)
	return c.pending(), nil
}

// pending describes the change that waits, or is nil; c.mu is held.
func (c *confirmer) pending() *Pending {
	if c.change == nil {
		return nil
	}
	return &Pending{What: c.change.What, Seconds: (c.change.Deadline - sinceBoot()).Seconds()}
}

func (c *confirmer) status() *Pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending()
}

func (c *confirmer) confirm(_ context.Context, r ConfirmRequest) (None, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change == nil {
		return None{}, ErrNothingPending
	}
	if r.Connection != nil && !r.Anyway && c.daemon.pf.opened(*r.Connection) < c.change.Begun {
		return None{}, &OldConnectionError{*r.Connection}
	}
	if err := c.forget(); err != nil {
		return None{}, err
	}
	c.daemon.pf.mu.Lock()
	defer c.daemon.pf.mu.Unlock()
	return None{}, c.daemon.pf.saveGood()
}

// forget ends the waiting; c.mu is held.
func (c *confirmer) forget() error {
	var errs []error
	for _, path := range []string{c.journal(), c.unconfirmed()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.timer.Stop()
	c.change = nil
	c.waits.Store(false)
	return nil
}

// drop ends the waiting with the instance.
func (c *confirmer) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change == nil {
		return
	}
	if err := c.forget(); err != nil {
		c.daemon.log.Warn("a change that awaited confirmation", "err", err)
	}
}

func (c *confirmer) rollback(context.Context, None) (None, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change == nil {
		return None{}, ErrNothingPending
	}
	return None{}, c.takeBack()
}

// takeBack puts things back as they were; c.mu is held. The journal goes last,
// so that a daemon killed in between begins again.
func (c *confirmer) takeBack() error {
	err := c.daemon.goBack(context.Background(), c.change.Before)
	return errors.Join(err, c.forget())
}

// opened is when a connection's state was made, by the clock that counts from
// boot; 0 if pf knows none.
func (f *filter) opened(c ConfirmConnection) time.Duration {
	for _, s := range f.engine.States() {
		source, destination := s.Source(false)
		if s.Protocol == unix.IPPROTO_TCP && source == c.Client && destination == c.Server {
			return sinceBoot() - s.Age
		}
	}
	if !f.enabled() {
		return time.Duration(1<<63 - 1) // nothing keeps anybody out
	}
	return 0
}

// sinceBoot counts from boot, sleep included.
func sinceBoot() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
