package ifnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Kept is what bsdnet itself knows of an interface and Linux does not. It is
// kept in a file, for the next daemon of the instance.
type Kept struct {
	Index       int       `json:"index"`
	Device      string    `json:"device"`
	Name        string    `json:"name,omitempty"` // BSD name, if not the device's
	Metric      int       `json:"metric,omitempty"`
	Description string    `json:"description,omitempty"` // if it is too long for Linux
	Groups      []string  `json:"groups,omitempty"`      // that the user named
	Flags       api.Flags `json:"flags,omitempty"`       // without a meaning in Linux
	Forced      api.Flags `json:"forced,omitempty"`      // set for the sake of clones on it
	Clone       *Clone    `json:"clone,omitempty"`
}

func (k *Kept) empty() bool {
	return k.Name == "" && k.Metric == 0 && k.Description == "" && len(k.Groups) == 0 && k.Flags == 0 && k.Forced == 0 && k.Clone == nil
}

// state is what is kept of all interfaces.
type state struct {
	path string
	kept map[int]*Kept // by index
}

// readState reads what a daemon before this one kept. Without a file there is
// nothing to know.
func readState(path string) (*state, error) {
	s := &state{path: path, kept: make(map[int]*Kept)}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Kept
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for _, k := range all {
		s.kept[k.Index] = k
	}
	return s, nil
}

// write replaces the file as a whole.
func (s *state) write() error {
	all := make([]*Kept, 0, len(s.kept))
	for index, k := range s.kept {
		if k.empty() {
			delete(s.kept, index)
			continue
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *Kept) int { return a.Index - b.Index })
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	temporary := s.path + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, s.path)
}

// of returns what is kept of an interface, to be changed.
func (s *state) of(ifp *Ifnet) *Kept {
	k := s.kept[ifp.Index]
	if k == nil {
		k = &Kept{Index: ifp.Index, Device: ifp.Device}
		s.kept[ifp.Index] = k
	}
	return k
}
