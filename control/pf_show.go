package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// show does a pfctl -s: as text, or as one JSON object with the schema's number.
func (f *filter) show(ctx context.Context, r pfctl.ShowRequest) (*PFText, error) {
	if r.Zero && !isOwner(ctx) {
		return nil, errNotPermitted
	}
	var out bytes.Buffer
	o := engine.ShowOptions{Verbose: r.Verbose, SwapPorts: r.SwapPorts, Anchor: r.Anchor, Recurse: r.Recurse, Debug: r.Debug}
	var err error
	if r.JSON {
		err = f.showJSON(&out, &r, o)
	} else {
		err = f.showText(&out, &r, o)
	}
	if err == nil && r.Zero {
		err = f.engine.ZeroRules(r.Anchor, r.Recurse)
	}
	return &PFText{Text: out.String(), Running: f.enabled()}, err
}

// onInterface is a filter of states for -i.
func (f *filter) onInterface(name string) func(*engine.State) bool {
	if name == "" {
		return nil
	}
	slot, ok := f.Slot(name)
	return func(s *engine.State) bool { return ok && s.Interface == slot }
}

func (f *filter) showText(w io.Writer, r *pfctl.ShowRequest, o engine.ShowOptions) error {
	switch r.Modifier {
	case "rules":
		return f.engine.ShowRules(w, o, false)
	case "nat":
		return f.engine.ShowRules(w, o, true)
	case "Anchors":
		paths, err := f.engine.Anchors(r.Anchor, r.Verbose > 0 || r.Recurse)
		for _, path := range paths {
			fmt.Fprintln(w, " ", path)
		}
		return err
	case "states":
		f.engine.ShowStates(w, o, f.interfaceName, f.onInterface(r.Interface))
	case "info":
		return f.engine.ShowInfo(w, f.enabled(), o)
	case "labels":
		return f.engine.ShowLabels(w, o)
	case "timeouts":
		f.engine.ShowTimeouts(w)
	case "memory":
		f.engine.ShowMemory(w)
	case "Tables":
		return f.engine.ShowTables(w, o)
	case "Interfaces":
		return f.showInterfaces(w, r)
	case "creatorids":
		fmt.Fprintf(w, "Creator IDs:\n%08x\n", f.engine.CreatorID())
	case "osfp":
		fmt.Fprintln(w, "Class\tVersion\tSubtype(subversion)\n-----\t-------\t-------------------")
	case "queue":
		fmt.Fprintln(w, "No ALTQ support in kernel\nALTQ related functions disabled")
	case "Sources":
		f.engine.ShowSrcNodes(w, o)
	case "Running", "ether":
		// pfctl looks at the status; there are no ether rules.
	case "audit":
		report, err := f.audit.snapshot()
		if err != nil {
			return err
		}
		return report.Write(w, r.Verbose > 0)
	case "all":
		return f.showAll(w, r, o)
	default:
		return fmt.Errorf("-s %s is %w", r.Modifier, errNotYet)
	}
	return nil
}

// showAll is -s all: every part with its title.
func (f *filter) showAll(w io.Writer, r *pfctl.ShowRequest, o engine.ShowOptions) error {
	var errs []error
	for i, part := range []struct{ title, modifier string }{
		{"TRANSLATION RULES:", "nat"}, {"FILTER RULES:", "rules"}, {"STATES:", "states"}, {"SOURCE TRACKING NODES:", "Sources"}, {"INFO:", "info"},
		{"LABEL COUNTERS:", "labels"}, {"TIMEOUTS:", "timeouts"}, {"LIMITS:", "memory"}, {"TABLES:", "Tables"},
	} {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, part.title)
		one := *r
		one.Modifier = part.modifier
		errs = append(errs, f.showText(w, &one, o))
	}
	return errors.Join(errs...)
}

// interfaceInfo is an interface or a group as -s Interfaces shows it.
type interfaceInfo struct {
	Name string `json:"name"`
	// Group says that it is a group of interfaces.
	Group bool `json:"group,omitempty"`
	Skip  bool `json:"skip,omitempty"`
	// References counts the rules that name it.
	References int                    `json:"references"`
	Counters   *engine.InterfaceStats `json:"counters,omitempty"`
}

// interfaceInfos returns interfaces and groups, only one of a name if that is
// given, with what is counted for them if that is asked for.
func (f *filter) interfaceInfos(only string, counters bool) ([]interfaceInfo, error) {
	references := make(map[string]int)
	rs, p := f.engine.Rules()
	if p != nil {
		for _, r := range p.Rules {
			references[r.Interface]++
		}
	}
	skip := []string{}
	if rs != nil {
		skip = rs.Options.SkipOn
	}
	infos := map[string]interfaceInfo{"all": {Name: "all", Group: true, References: references[""]}}
	for _, ifp := range f.daemon.ifnet.All() {
		if !ifp.Owned && !ifp.Loopback {
			continue
		}
		infos[ifp.Name] = interfaceInfo{Name: ifp.Name}
		for _, group := range ifp.Groups {
			infos[group] = interfaceInfo{Name: group, Group: true}
		}
	}
	list := []interfaceInfo{}
	for name, info := range infos {
		if only != "" && name != only {
			continue
		}
		info.Skip = slices.Contains(skip, name)
		if name != "all" {
			info.References = references[name]
		}
		if counters {
			var err error
			if info.Counters, err = f.engine.InterfaceStats(name); err != nil {
				return nil, err
			}
			if info.Counters.Cleared.IsZero() {
				info.Counters.Cleared = f.daemon.started
			}
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b interfaceInfo) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return list, nil
}

func (f *filter) showInterfaces(w io.Writer, r *pfctl.ShowRequest) error {
	list, err := f.interfaceInfos(r.Interface, r.Verbose > 1)
	for _, i := range list {
		fmt.Fprint(w, i.Name)
		if r.Verbose > 0 && i.Skip {
			fmt.Fprint(w, " (skip)")
		}
		fmt.Fprintln(w)
		if r.Verbose > 1 {
			fmt.Fprintf(w, "\tCleared:     %s\n\tReferences:  %-18d\n", i.Counters.Cleared.Format(time.ANSIC), i.References)
			i.Counters.ShowCounters(w)
		}
	}
	return err
}

// showJSON is showText for programs. The counterpart of a list is a field of
// the modifier's name.
func (f *filter) showJSON(w io.Writer, r *pfctl.ShowRequest, o engine.ShowOptions) error {
	modifiers := []string{r.Modifier}
	if r.Modifier == "all" {
		modifiers = []string{"nat", "rules", "Anchors", "states", "Sources", "info", "labels", "timeouts", "memory", "Tables", "Interfaces"}
	}
	out := map[string]any{"schema": pfSchema}
	for _, modifier := range modifiers {
		value, err := f.showValue(modifier, r, o)
		if err != nil {
			return err
		}
		out[modifier] = value
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

func (f *filter) showValue(modifier string, r *pfctl.ShowRequest, o engine.ShowOptions) (any, error) {
	switch modifier {
	case "rules":
		return f.engine.RuleInfos(o, false)
	case "nat":
		return f.engine.RuleInfos(o, true)
	case "labels":
		list, err := f.engine.RuleInfos(o, false)
		return slices.DeleteFunc(list, func(i engine.RuleInfo) bool { return len(i.Labels) == 0 }), err
	case "Anchors":
		return f.engine.Anchors(r.Anchor, true)
	case "states":
		return f.engine.StateInfos(f.interfaceName, f.onInterface(r.Interface)), nil
	case "info":
		return f.engine.Info(f.enabled())
	case "timeouts":
		values := make(map[string]uint32)
		for t, value := range f.engine.Options().Timeouts {
			values[conf.Timeout(t).String()] = value
		}
		return values, nil
	case "memory":
		values := make(map[string]uint32)
		for l, value := range f.engine.Options().Limits {
			values[conf.Limit(l).String()] = value
		}
		return values, nil
	case "Tables":
		list, err := f.engine.CountedTables(r.Anchor, r.Recurse)
		return append([]engine.TableInfo{}, list...), err
	case "Interfaces":
		return f.interfaceInfos(r.Interface, true)
	case "audit":
		return f.audit.snapshot()
	case "Running":
		return f.enabled(), nil
	case "creatorids":
		return []string{fmt.Sprintf("%08x", f.engine.CreatorID())}, nil
	case "Sources":
		return f.engine.SrcNodeInfos(), nil
	case "osfp", "queue", "ether":
		return []string{}, nil
	}
	return nil, fmt.Errorf("-s %s is %w", modifier, errNotYet)
}
