package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/rcconf"
)

// bootRules is what a boot does about pf when the data path is there.
type bootRules struct {
	rules string // the file of pf_rules
	bad   error  // why rc.conf could not be read, or nil
}

// bootRequest makes the request of a boot. It never fails: where rc.conf
// cannot be read, every interface is taken and the built-in policy stays.
func bootRequest(request control.LoadRequest, settings map[string]string, bad error, path string) (control.LoadRequest, map[string]string, *bootRules) {
	request.Boot = true
	if bad != nil {
		return control.LoadRequest{Any: true, Mode: request.Mode, Takeover: request.Takeover, Boot: true, BootPolicy: true}, nil, &bootRules{bad: bad}
	}
	if path == "" {
		return request, settings, nil
	}
	config, err := rcconf.ParseFile(path)
	if err != nil {
		return bootRequest(request, nil, err, path)
	}
	enabled, err := config.Yes("pf_enable")
	if err != nil {
		return bootRequest(request, nil, err, path)
	}
	if !enabled {
		return request, settings, nil
	}
	request.BootPolicy = true
	boot := &bootRules{rules: "/etc/pf.conf"}
	if rules := config.Get("pf_rules"); rules != "" {
		boot.rules = rules
	}
	return request, settings, boot
}

// load puts pf.conf in force. Whatever goes wrong, something filters.
func (b *bootRules) load(ctx context.Context, log *slog.Logger, adopted bool) {
	reason := ""
	switch {
	case b.bad != nil:
		reason = b.bad.Error()
	case adopted:
		return // what was in force still is
	default:
		var output bytes.Buffer
		if pfctlRun(ctx, []string{"-f", b.rules}, &output) == 0 {
			return
		}
		reason = strings.TrimSpace(output.String())
	}
	log.Error("boot: the ruleset cannot be loaded", "file", b.rules, "err", reason)
	client, err := control.Dial()
	if err == nil {
		var reply *control.PFFallbackReply
		if reply, err = control.Call[*control.PFFallbackReply](ctx, client, "pf/fallback", control.PFFallback{Reason: reason}); err == nil {
			log.Error("boot: filtering by " + reply.Rules)
		}
	}
	if err != nil {
		log.Error("boot: filtering by the built-in policy", "err", err)
	}
}
