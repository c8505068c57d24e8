package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// PFDown is pf of an instance whose daemon is dead. It can be disabled; all
// else fails with [ErrDaemonDown].
type PFDown struct{ Instance Instance }

var _ pfctl.Engine = (*PFDown)(nil)

// errPFDown says what still works.
var errPFDown = fmt.Errorf("%w: pf goes on as it is, only -d works", ErrDaemonDown)

// Disable takes pf off the hook lists in the pinned configuration.
func (p *PFDown) Disable(context.Context) (err error) {
	pinned, err := ebpf.LoadPinnedMap(filepath.Join(p.Instance.PinDir(), "maps", "config"), nil)
	if err != nil {
		return fmt.Errorf("disable pf without the daemon: %w", err)
	}
	defer pinned.Close()
	config, err := loader.NewConfig(&loader.Datapath{Maps: map[string]*ebpf.Map{"config": pinned}})
	if err != nil {
		return fmt.Errorf("disable pf without the daemon: %w", err)
	}
	defer func() { err = errors.Join(err, config.Close()) }()
	linked := false
	err = config.Commit(func(c *bpf.Config) error {
		for _, head := range []uint32{bpf.PfilInet, bpf.PfilInet6} {
			for direction := range bpf.PfilDirs {
				list := &c.Pfil[head][direction]
				rest := withoutHook(*list, bpf.PFHookTest)
				linked = linked || rest != *list
				*list = rest
			}
		}
		return nil
	})
	if err == nil && !linked {
		return pfctl.ErrAlready
	}
	return err
}

// withoutHook is a hook list, one byte a hook from the low end on, without one.
func withoutHook(list uint64, hook uint32) (rest uint64) {
	for shift := 0; list != 0; list >>= 8 {
		if slot := list & 0xff; slot != uint64(hook) {
			rest |= slot << shift
			shift += 8
		}
	}
	return rest
}

// Dialect implements pfctl.Engine.
func (p *PFDown) Dialect() conf.Dialect { return conf.FreeBSD }

// Interfaces implements pfctl.Engine.
func (p *PFDown) Interfaces(context.Context) (*conf.InterfaceTable, error) {
	return conf.HostInterfaces()
}

// Enable implements pfctl.Engine.
func (p *PFDown) Enable(context.Context) error { return errPFDown }

// Load implements pfctl.Engine.
func (p *PFDown) Load(context.Context, pfctl.LoadRequest) error { return errPFDown }

// Packets implements pfctl.Engine.
func (p *PFDown) Packets(string, *conf.Rule) (uint64, bool) { return 0, false }

// Show implements pfctl.Engine.
func (p *PFDown) Show(context.Context, io.Writer, pfctl.ShowRequest) error { return errPFDown }

// Flush implements pfctl.Engine.
func (p *PFDown) Flush(context.Context, pfctl.FlushRequest) (int, error) { return 0, errPFDown }

// KillStates implements pfctl.Engine.
func (p *PFDown) KillStates(context.Context, pfctl.KillRequest) (pfctl.KillResult, error) {
	return pfctl.KillResult{}, errPFDown
}

// KillSources implements pfctl.Engine.
func (p *PFDown) KillSources(context.Context, pfctl.KillRequest) (pfctl.KillResult, error) {
	return pfctl.KillResult{}, errPFDown
}

// Table implements pfctl.Engine.
func (p *PFDown) Table(context.Context, pfctl.TableRequest) (pfctl.TableResult, error) {
	return pfctl.TableResult{}, errPFDown
}

// ZeroRules implements pfctl.Engine.
func (p *PFDown) ZeroRules(context.Context, string, bool) error { return errPFDown }

// SetDebug implements pfctl.Engine.
func (p *PFDown) SetDebug(context.Context, string) error { return errPFDown }

// SaveStates implements pfctl.Engine.
func (p *PFDown) SaveStates(context.Context, io.Writer) error { return errPFDown }

// LoadStates implements pfctl.Engine.
func (p *PFDown) LoadStates(context.Context, io.Reader) error { return errPFDown }
