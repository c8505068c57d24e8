package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// change does what the words after the name of an interface ask for, in their
// order, and prints the name of a clone whose unit was not chosen.
func (e *Env) change(ctx context.Context, name string, words []string) error {
	l, err := e.parse(name, words)
	if err != nil {
		return err
	}
	asked := l.name
	if l.create {
		if err := l.make(ctx); err != nil {
			return err
		}
	} else if _, err := e.Backend.Interfaces(ctx, api.Name{Name: name}); err != nil {
		if errors.Is(err, errno.ENXIO) {
			return fmt.Errorf("interface %s does not exist", name)
		}
		return err
	}
	if err := l.apply(ctx); err != nil {
		return err
	}
	if l.create && l.name != asked && l.renamed == "" && !l.destroy {
		fmt.Fprintln(e.Stdout, l.name)
	}
	return nil
}

// make creates the clone.
func (l *line) make(ctx context.Context) error {
	r := api.CreateRequest{Name: l.name}
	if l.vlan.said() {
		r.Vlan = &api.Vlan{Parent: l.vlan.parent, Tag: max(l.vlan.tag, 0), PCP: max(l.vlan.pcp, 0), Proto: l.vlan.proto}
		dotted := l.vlan.tag < 0 && l.vlan.parent == ""
		if !dotted && (l.vlan.tag < 0 || l.vlan.parent == "") {
			return errors.New("both vlan and vlandev must be specified")
		}
	}
	names, err := l.env.Backend.Create(ctx, []api.CreateRequest{r})
	if errors.Is(err, errno.EEXIST) {
		return fmt.Errorf("interface %s already exists", l.name)
	}
	if err != nil {
		return fmt.Errorf("SIOCIFCREATE2 (%s): %w", l.name, err)
	}
	l.name = names[0]
	return nil
}

func (l *line) apply(ctx context.Context) error {
	b := l.env.Backend
	if l.vlan.detach {
		if err := b.SetVlan(ctx, api.VlanRequest{Name: l.name}); err != nil {
			return fmt.Errorf("SIOCSETVLAN: %w", err)
		}
	}
	if !l.create && l.vlan.said() {
		if err := l.retag(ctx); err != nil {
			return err
		}
	}
	for _, s := range l.steps {
		if err := s.do(ctx, b, l.name); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		if s.what == setName {
			l.name = l.renamed
		}
	}
	if l.destroy {
		if err := b.Destroy(ctx, []api.Name{{Name: l.name}}); err != nil {
			return fmt.Errorf("SIOCIFDESTROY: %w", err)
		}
	}
	return nil
}

// setName is what a step that gives another name is called.
const setName = "ioctl SIOCSIFNAME (set name)"

// retag changes a vlan that is there: what is not said stays.
func (l *line) retag(ctx context.Context) error {
	found, err := l.env.Backend.Interfaces(ctx, api.Name{Name: l.name})
	if err != nil || len(found) == 0 {
		return fmt.Errorf("SIOCSETVLAN: %w", err)
	}
	r := api.VlanRequest{Name: l.name}
	if found[0].Vlan == nil {
		return fmt.Errorf("SIOCSETVLAN: %w", errno.EINVAL)
	}
	r.Vlan = *found[0].Vlan
	if l.vlan.tag >= 0 {
		r.Tag = l.vlan.tag
	}
	if l.vlan.parent != "" {
		r.Parent = l.vlan.parent
	}
	if l.vlan.pcp >= 0 {
		r.PCP = l.vlan.pcp
	}
	if l.vlan.proto != 0 {
		r.Proto = l.vlan.proto
	}
	if r.Parent == "" || r.Tag == 0 {
		return errors.New("both vlan and vlandev must be specified")
	}
	if err := l.env.Backend.SetVlan(ctx, r); err != nil {
		return fmt.Errorf("SIOCSETVLAN: %w", err)
	}
	return nil
}
