package torture

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// object is a map, program or link in the kernel. Its number is not used twice
// before very many others.
type object struct {
	kind string // "map", "prog" or "link"
	id   uint32
}

// objects are those that an instance holds by pins, by its daemon's descriptors
// and by other maps, with their names.
func (s *site) objects() map[object]string {
	s.Helper()
	held := make(map[object]string)
	root := filepath.Join("/run/bsdnet/bpf", s.Router.Name)
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return pinned(path, held)
	})
	if err != nil {
		s.Fatal(err)
	}
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", s.daemon()))
	if err != nil {
		s.Fatal(err)
	}
	for _, info := range infos {
		data, err := os.ReadFile(info)
		if err != nil {
			continue // closed meanwhile
		}
		described(data, held)
	}
	return held
}

// pinned adds what a pin holds.
func pinned(path string, held map[object]string) error {
	name := filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
	switch dir := filepath.Base(filepath.Dir(path)); {
	case dir == "maps":
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer m.Close()
		info, err := m.Info()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		id, _ := info.ID()
		held[object{"map", uint32(id)}] = name
		if m.Type() == ebpf.ArrayOfMaps {
			for slot := range m.MaxEntries() {
				var inner uint32
				if m.Lookup(slot, &inner) == nil {
					held[object{"map", inner}] = fmt.Sprintf("%s[%d]", name, slot)
				}
			}
		}
	case strings.HasPrefix(dir, "progs"):
		p, err := ebpf.LoadPinnedProgram(path, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer p.Close()
		info, err := p.Info()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		id, _ := info.ID()
		held[object{"prog", uint32(id)}] = name
	case dir == "links":
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer l.Close()
		info, err := l.Info()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		held[object{"link", uint32(info.ID)}] = name
		held[object{"prog", uint32(info.Program)}] = name
	}
	return nil
}

// described adds what a descriptor is of, by its fdinfo.
func described(fdinfo []byte, held map[object]string) {
	lines := bufio.NewScanner(bytes.NewReader(fdinfo))
	for lines.Scan() {
		for prefix, kind := range map[string]string{"map_id:": "map", "prog_id:": "prog", "link_id:": "link"} {
			var id uint32
			if text, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				if _, err := fmt.Sscan(text, &id); err == nil && held[object{kind, id}] == "" {
					held[object{kind, id}] = "a descriptor of the daemon"
				}
			}
		}
	}
}

// exists asks the kernel. Maps and programs are not opened for it: to close a
// program array that is about to go makes the kernel lose count of it
// (prog_array_map_clear takes a reference for work that is queued already).
func (o object) exists() bool {
	switch o.kind {
	case "map":
		next, err := ebpf.MapGetNextID(ebpf.MapID(o.id - 1))
		return err == nil && next == ebpf.MapID(o.id)
	case "prog":
		next, err := ebpf.ProgramGetNextID(ebpf.ProgramID(o.id - 1))
		return err == nil && next == ebpf.ProgramID(o.id)
	}
	l, err := link.NewFromID(link.ID(o.id))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// leftOver returns those of objects that were held once that are in the kernel
// still, but no longer held. The kernel may take its time to free them.
func leftOver(ever, held map[object]string) (left []string) {
	for range 50 {
		left = nil
		for o, name := range ever {
			if held[o] == "" && o.exists() {
				left = append(left, fmt.Sprintf("%s %d (%s)", o.kind, o.id, name))
			}
		}
		if len(left) == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	slices.Sort(left)
	return left
}

// What leftOver finds it finds: a map that somebody else goes on to hold.
func TestLeftOver(t *testing.T) {
	s := newSite(t, "tc")
	ever := s.objects()
	kinds := make(map[string]int)
	for o := range ever {
		kinds[o.kind]++
	}
	if kinds["map"] < 30 || kinds["prog"] < 30 || kinds["link"]+kinds["prog"] < 33 {
		t.Errorf("an instance holds %v: too few to be all", kinds)
	}
	kept, err := ebpf.LoadPinnedMap(filepath.Join("/run/bsdnet/bpf", s.Router.Name, "maps", "reasons"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.bsdnet("unload")
	if left := leftOver(ever, nil); len(left) != 1 || !strings.Contains(left[0], "maps/reasons") {
		t.Errorf("left over: %v, want maps/reasons alone", left)
	}
	kept.Close()
	if left := leftOver(ever, nil); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	t.Logf("an instance holds %v", kinds)
}
