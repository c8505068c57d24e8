package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/pfctl"
	"github.com/bsdnet/bsdnet/pf/pflog"
)

// PF is the running pf behind the control socket; it implements pfctl.Engine.
type PF struct {
	client *Client
	host   *PFHost
	stderr io.Writer
}

var (
	_ pfctl.Engine  = (*PF)(nil)
	_ pfctl.Auditor = (*PF)(nil)
)

// NewPF asks an instance for what pfctl needs first.
func NewPF(ctx context.Context, client *Client, stderr io.Writer) (*PF, error) {
	host, err := Call[*PFHost](ctx, client, "pf/host", None{})
	if err != nil {
		return nil, err
	}
	return &PF{client: client, host: host, stderr: stderr}, nil
}

// Dialect implements pfctl.Engine.
func (p *PF) Dialect() conf.Dialect { return p.host.Dialect }

// Interfaces implements pfctl.Engine.
func (p *PF) Interfaces(context.Context) (*conf.InterfaceTable, error) { return p.host.Interfaces, nil }

// Begin implements pfctl.Confirmer.
func (p *PF) Begin(ctx context.Context, seconds int, what string) error {
	_, err := Call[*Pending](ctx, p.client, "confirm/begin", ConfirmBegin{Seconds: seconds, What: what})
	return err
}

// Rollback implements pfctl.Confirmer.
func (p *PF) Rollback(ctx context.Context) error {
	_, err := Call[None](ctx, p.client, "confirm/rollback", None{})
	return err
}

func (p *PF) enable(ctx context.Context, name string) error {
	reply, err := Call[*PFReply](ctx, p.client, name, None{})
	if err == nil && reply.Already {
		return pfctl.ErrAlready
	}
	return err
}

// Enable implements pfctl.Engine.
func (p *PF) Enable(ctx context.Context) error { return p.enable(ctx, "pf/enable") }

// Disable implements pfctl.Engine.
func (p *PF) Disable(ctx context.Context) error { return p.enable(ctx, "pf/disable") }

// Load implements pfctl.Engine. Rulesets, all of which can be enforced, travel
// as the text that they print as, which means the same.
func (p *PF) Load(ctx context.Context, r pfctl.LoadRequest) error {
	load := PFLoad{Merge: r.Merge}
	for _, rs := range r.Rulesets {
		source, err := sourceOf(rs, r.Sections)
		if err != nil {
			return err
		}
		load.Sources = append(load.Sources, source)
	}
	reply, err := Call[*PFReply](ctx, p.client, "pf/load", load)
	if err != nil {
		return err
	}
	for _, warning := range reply.Warnings {
		fmt.Fprintf(p.stderr, "pfctl: warning: rule at line %s\n", warning)
	}
	return nil
}

// sourceOf makes text of a ruleset. Sections zero are all; anchors have no
// options and no queues of their own.
func sourceOf(rs *conf.Ruleset, sections conf.Section) (*PFSource, error) {
	if sections == 0 {
		sections = conf.SectionAll
	}
	if rs.Main.Path != "" {
		sections &^= conf.SectionOptions | conf.SectionQueues
	}
	source := &PFSource{Dialect: rs.Dialect, Anchor: rs.Main.Path, Sections: sections, Files: make(map[string]string)}
	printed := *rs
	printed.Directives = nil
	for _, d := range rs.Directives {
		switch {
		case d.Kind == conf.DirectiveMacro: // they are expanded
		case d.Kind != conf.DirectiveOption:
			printed.Directives = append(printed.Directives, d)
		case rs.Main.Path == "":
			source.Options += d.Text + "\n"
		}
	}
	var text strings.Builder
	if err := conf.Format(&text, &printed, conf.FormatOptions{AnchorPaths: true}); err != nil {
		return nil, err
	}
	source.Text, source.Places = text.String(), places(rs)
	var err error
	rs.Main.Walk(func(a *conf.Anchor) {
		for _, t := range a.Tables {
			for _, s := range t.Sources {
				if s.File == "" || err != nil {
					continue
				}
				var data []byte
				if data, err = os.ReadFile(s.File); err == nil {
					source.Files[s.File] = string(data)
				}
			}
		}
	})
	return source, err
}

// Packets implements pfctl.Engine.
func (p *PF) Packets(string, *conf.Rule) (uint64, bool) { return 0, false }

// Show implements pfctl.Engine.
func (p *PF) Show(ctx context.Context, w io.Writer, r pfctl.ShowRequest) error {
	reply, err := Call[*PFText](ctx, p.client, "pf/show", r)
	if err != nil {
		return err
	}
	if r.Modifier == "Running" && !reply.Running {
		return pfctl.NotRunning()
	}
	_, err = io.WriteString(w, reply.Text)
	return err
}

// Flush implements pfctl.Engine.
func (p *PF) Flush(ctx context.Context, r pfctl.FlushRequest) (int, error) {
	reply, err := Call[*PFReply](ctx, p.client, "pf/flush", r)
	if err != nil {
		return 0, err
	}
	return reply.Count, nil
}

// KillStates implements pfctl.Engine.
func (p *PF) KillStates(ctx context.Context, r pfctl.KillRequest) (pfctl.KillResult, error) {
	reply, err := Call[*PFReply](ctx, p.client, "pf/kill", r)
	if err != nil {
		return pfctl.KillResult{}, err
	}
	return reply.Killed, nil
}

var errNotYet = errors.New("not there yet")

// KillSources implements pfctl.Engine.
func (p *PF) KillSources(ctx context.Context, r pfctl.KillRequest) (pfctl.KillResult, error) {
	reply, err := Call[*PFReply](ctx, p.client, "pf/sources", r)
	if err != nil {
		return pfctl.KillResult{}, err
	}
	return reply.Killed, nil
}

// Table implements pfctl.Engine.
func (p *PF) Table(ctx context.Context, r pfctl.TableRequest) (pfctl.TableResult, error) {
	return Call[pfctl.TableResult](ctx, p.client, "pf/table", r)
}

// ZeroRules implements pfctl.Engine.
func (p *PF) ZeroRules(ctx context.Context, anchor string, recurse bool) error {
	_, err := Call[*PFReply](ctx, p.client, "pf/zero", PFZero{Anchor: anchor, Recurse: recurse})
	return err
}

// SetDebug implements pfctl.Engine.
func (p *PF) SetDebug(ctx context.Context, level string) error {
	_, err := Call[*PFReply](ctx, p.client, "pf/debug", PFDebug{Level: level})
	return err
}

// SaveStates implements pfctl.Engine.
func (p *PF) SaveStates(context.Context, io.Writer) error { return fmt.Errorf("-S is %w", errNotYet) }

// LoadStates implements pfctl.Engine.
func (p *PF) LoadStates(context.Context, io.Reader) error { return fmt.Errorf("-L is %w", errNotYet) }

// Audit implements pfctl.Auditor.
func (p *PF) Audit(ctx context.Context, rulesets []*conf.Ruleset) error {
	request := PFAudit{}
	for _, rs := range rulesets {
		source, err := sourceOf(rs, conf.SectionAll)
		if err != nil {
			return err
		}
		request.Sources = append(request.Sources, source)
	}
	if len(rulesets) > 0 {
		request.Name = "the new rules"
		if list := rulesets[0].Main.Filter; len(list) > 0 {
			request.Name = list[0].Pos.File
		}
	}
	_, err := Call[None](ctx, p.client, "pf/audit", request)
	return err
}

// Log passes every logged packet to write until ctx ends.
func (p *PF) Log(ctx context.Context, write func(*pflog.Record) error) error {
	reply, err := p.client.post(ctx, "pf/log", None{})
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	decoder := json.NewDecoder(reply.Body)
	for {
		record := &pflog.Record{}
		if err := decoder.Decode(record); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read log: %w", err)
		}
		if err := write(record); err != nil {
			return err
		}
	}
}
