package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// VarDir keeps what survives a reboot. It is a variable for tests alone.
var VarDir = "/var/lib/bsdnet"

// BootPolicy is the ruleset from boot until that of pf.conf is in force: it
// passes what a host needs to get its addresses and names, and ssh to mend it.
// It means the same in all dialects.
const BootPolicy = `block drop all
pass quick on lo0 all no state
pass out quick inet proto udp from any port 68 to any port 67 keep state
pass in quick inet proto udp from any port 67 to any port 68 no state
pass out quick inet6 proto udp from any port 546 to any port 547 no state
pass in quick inet6 proto udp from any port 547 to any port 546 no state
pass quick inet6 proto ipv6-icmp all icmp6-type { 133, 134, 135, 136 } no state
pass out quick proto { tcp, udp } from any to any port 53 keep state
pass in quick proto tcp from any to any port 22 flags S/SA keep state
`

// What rules since boot, when it is not what pf.conf says.
const (
	bootBuiltin  = "built-in"
	bootPrevious = "previous"
)

// bootState is what is known of the ruleset of a boot.
type bootState struct {
	Rules  string `json:"rules,omitempty"`  // bootBuiltin, bootPrevious or, when all is well, ""
	Reason string `json:"reason,omitempty"` // why pf.conf is not in force
}

// problem is the state as `status` shows it, "" if there is nothing to say.
func (b bootState) problem() string {
	if b.Rules == "" {
		return ""
	}
	what := "the built-in boot policy"
	if b.Rules == bootPrevious {
		what = "the previous good ruleset"
	}
	if b.Reason == "" {
		return "pf: " + what + " is in force until the ruleset is loaded"
	}
	return fmt.Sprintf("pf: %s is in force: %s", what, b.Reason)
}

func (f *filter) bootProblem() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boot.problem()
}

// startBoot puts the boot policy in force, unless a ruleset is.
func (f *filter) startBoot() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rs, _ := f.engine.Rules(); rs != nil {
		return nil
	}
	policy := &PFSource{Dialect: f.dialect, Sections: conf.SectionAll, Text: BootPolicy}
	if _, err := f.load([]*PFSource{policy}, false); err != nil {
		return fmt.Errorf("boot policy: %w", err)
	}
	f.boot = bootState{Rules: bootBuiltin}
	if err := f.adoptConnections(); err != nil {
		f.daemon.log.Warn("boot: connections that are open already are not known to pf", "err", err)
	}
	f.engine.Switched()
	return errors.Join(f.setEnabled(true), f.save())
}

// PFBootReply says whether a boot still waits for its ruleset, and what rules.
type PFBootReply struct {
	Waiting bool   `json:"waiting"`
	Rules   string `json:"rules,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Unconfirmed says that the machine went down before the last change, which
	// configuration files may hold, was confirmed.
	Unconfirmed bool `json:"unconfirmed,omitempty"`
}

func (f *filter) bootCall(context.Context, None) (PFBootReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return PFBootReply{
		Waiting: f.boot.Rules != "", Rules: f.boot.Rules, Reason: f.boot.Reason,
		Unconfirmed: exists(f.daemon.confirm.unconfirmed()) && !f.daemon.confirm.waits.Load(),
	}, nil
}

// PFFallback says that the ruleset of a boot could not be loaded.
type PFFallback struct {
	Reason string `json:"reason"`
}

// PFFallbackReply says what rules now.
type PFFallbackReply struct {
	Rules string `json:"rules"`
}

// fallback puts the previous good ruleset in force, or leaves the boot policy
// there. Once another ruleset is in force it only reports that.
func (f *filter) fallback(_ context.Context, r PFFallback) (*PFFallbackReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.boot.Rules != bootBuiltin {
		return &PFFallbackReply{Rules: "the ruleset that was in force"}, nil
	}
	f.boot.Reason = r.Reason
	err := f.loadGood()
	if err == nil {
		f.boot.Rules = bootPrevious
	} else if !errors.Is(err, os.ErrNotExist) {
		f.daemon.log.Error("pf: the previous good ruleset cannot be loaded", "err", err)
	}
	f.daemon.log.Error(f.boot.problem())
	what := "the built-in boot policy"
	if f.boot.Rules == bootPrevious {
		what = "the previous good ruleset"
	}
	return &PFFallbackReply{Rules: what}, f.save()
}

// goodFile holds the last ruleset that was loaded and meant to stay.
func (f *filter) goodFile() string {
	return filepath.Join(VarDir, f.daemon.instance.Name, "pf.json")
}

// loadGood puts the ruleset of goodFile in force.
func (f *filter) loadGood() error {
	data, err := os.ReadFile(f.goodFile())
	if err != nil {
		return err
	}
	var kept pfKept
	if err := json.Unmarshal(data, &kept); err != nil {
		return fmt.Errorf("read %s: %w", f.goodFile(), err)
	}
	_, err = f.put(kept.Sources, func(*PFSource) bool { return true })
	return err
}

// saveGood keeps the ruleset in force for a boot at which pf.conf is bad. Only
// instances that began with a boot have one.
func (f *filter) saveGood() error {
	if !f.daemon.record.Boot {
		return nil
	}
	data, err := json.Marshal(pfKept{Sources: f.sources})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.goodFile()), 0o700); err != nil {
		return fmt.Errorf("keep good ruleset: %w", err)
	}
	if err := os.Remove(f.daemon.confirm.unconfirmed()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return writeWhole(f.goodFile(), data)
}

// writeWhole replaces a file as a whole, so that it is on the disk when it has
// its name.
func writeWhole(path string, data []byte) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return os.Rename(temporary, path)
}
