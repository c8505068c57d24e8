package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/rc"
)

// bootRules is what a boot does about pf when the data path is there.
type bootRules struct {
	rules string // the file of pf_rules
	flags []string
	bad   error // why rc.conf could not be read, or nil
}

// bootRequest makes the request of a boot. It never fails: where rc.conf
// cannot be read, every interface is taken and the built-in policy stays.
func bootRequest(request control.LoadRequest, plan *rc.Plan, bad error) (control.LoadRequest, *rc.Plan, *bootRules) {
	request.Boot = true
	if bad != nil {
		return control.LoadRequest{Any: true, Mode: request.Mode, Takeover: request.Takeover, Boot: true, BootPolicy: true}, nil, &bootRules{bad: bad}
	}
	if plan == nil {
		return request, nil, nil
	}
	if len(request.Interfaces) == 0 {
		request.Interfaces = plan.Physical()
	}
	if !plan.PF.Enable {
		return request, plan, nil
	}
	request.BootPolicy, request.PFDialect = true, plan.PF.Dialect
	return request, plan, &bootRules{rules: plan.PF.Rules, flags: plan.PF.Flags}
}

// load puts pf.conf in force. Whatever goes wrong, something filters. A file
// that cannot be read yet, since interfaces that it names have no addresses, is
// tried again when they have.
func (b *bootRules) load(ctx context.Context, log *slog.Logger, adopted bool) {
	client, err := control.Dial()
	if err != nil {
		log.Error("boot: filtering by the built-in policy", "err", err)
		return
	}
	if b.bad != nil {
		b.fallBack(ctx, log, client, b.bad.Error())
		return
	}
	state, err := control.Call[control.PFBootReply](ctx, client, "pf/boot", control.None{})
	switch {
	case err == nil && adopted && !state.Waiting:
		return // what was in force still is
	case state.Unconfirmed:
		b.fallBack(ctx, log, client, b.rules+" is not loaded: the machine went down before the last change was confirmed")
		return
	}
	if reason := b.try(ctx); reason != "" {
		log.Error("boot: the ruleset cannot be loaded", "file", b.rules, "err", reason)
		b.fallBack(ctx, log, client, reason)
		go b.retry(ctx, log, client)
	}
}

// try returns why it failed, or "".
func (b *bootRules) try(ctx context.Context) string {
	var output bytes.Buffer
	if pfctlRun(ctx, append([]string{"-f", b.rules}, b.flags...), &output) == 0 {
		return ""
	}
	return strings.TrimSpace(output.String())
}

func (b *bootRules) fallBack(ctx context.Context, log *slog.Logger, client *control.Client, reason string) {
	reply, err := control.Call[*control.PFFallbackReply](ctx, client, "pf/fallback", control.PFFallback{Reason: reason})
	if err != nil {
		log.Error("boot: filtering by the built-in policy", "err", err)
		return
	}
	log.Error("boot: filtering by " + reply.Rules)
}

// waiting reports whether something else than a ruleset that was loaded rules.
func (b *bootRules) waiting(ctx context.Context, client *control.Client) bool {
	reply, err := control.Call[control.PFBootReply](ctx, client, "pf/boot", control.None{})
	return err == nil && reply.Waiting
}

// retry tries again whenever addresses have changed, until somebody has loaded
// a ruleset.
func (b *bootRules) retry(ctx context.Context, log *slog.Logger, client *control.Client) {
	before := ""
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !b.waiting(ctx, client) {
			return
		}
		now := addressesText()
		if now == before {
			continue
		}
		before = now
		if b.try(ctx) == "" {
			log.Info("boot: the ruleset is loaded", "file", b.rules)
			return
		}
	}
}

func addressesText() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var text strings.Builder
	for _, a := range addresses {
		text.WriteString(a.String() + " ")
	}
	return text.String()
}
