package labtest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// kernelObjects are the numbers of what an instance has in the kernel.
type kernelObjects struct {
	programs []ebpf.ProgramID
	maps     []ebpf.MapID
	links    []link.ID
}

// objects finds the kernel objects of the router's instance by their pins.
func (s *site) objects() kernelObjects {
	s.t.Helper()
	var found kernelObjects
	pins := filepath.Join("/run/bsdnet/bpf", s.Router.Name)
	err := filepath.WalkDir(pins, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		switch kind := filepath.Base(filepath.Dir(path)); {
		case kind == "maps":
			m, err := ebpf.LoadPinnedMap(path, nil)
			if err != nil {
				return err
			}
			defer m.Close()
			info, err := m.Info()
			if err != nil {
				return err
			}
			id, _ := info.ID()
			found.maps = append(found.maps, id)
		case kind == "links":
			l, err := link.LoadPinnedLink(path, nil)
			if err != nil {
				return err
			}
			defer l.Close()
			info, err := l.Info()
			if err != nil {
				return err
			}
			found.links = append(found.links, info.ID)
		case strings.HasPrefix(kind, "progs_"):
			p, err := ebpf.LoadPinnedProgram(path, nil)
			if err != nil {
				return err
			}
			defer p.Close()
			info, err := p.Info()
			if err != nil {
				return err
			}
			id, _ := info.ID()
			found.programs = append(found.programs, id)
		default:
			s.t.Errorf("pinned in an unknown place: %s", path)
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatalf("read pins: %v", err)
	}
	return found
}

// left returns how many of the objects are still there. It asks for numbers
// alone: opening a program array that is on its way out would keep it for
// ever, because the kernel clears it once only.
func (o kernelObjects) left() (n int) {
	programs, maps := make(map[ebpf.ProgramID]bool), make(map[ebpf.MapID]bool)
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		programs[id] = true
	}
	for id, err := ebpf.MapGetNextID(0); err == nil; id, err = ebpf.MapGetNextID(id) {
		maps[id] = true
	}
	for _, id := range o.programs {
		if programs[id] {
			n++
		}
	}
	for _, id := range o.maps {
		if maps[id] {
			n++
		}
	}
	for _, id := range o.links {
		if l, err := link.NewFromID(id); err == nil {
			l.Close()
			n++
		}
	}
	return n
}

// footprint is what a user sees of the router's devices.
func (s *site) footprint() string {
	s.t.Helper()
	var b strings.Builder
	for _, c := range [][]string{
		{"ip", "-d", "link"},
		{"ip", "-o", "addr"},
		{"ip", "route", "show", "table", "all"},
		{"ip", "-6", "route", "show", "table", "all"},
		{"ip", "rule"},
		{"ethtool", "-k", "em0"},
		{"ethtool", "-k", "em1"},
		{"tc", "qdisc"},
		{"bpftool", "net"},
	} {
		out, err := s.Router.Run(c[0], c[1:]...)
		if err != nil && c[0] != "ethtool" { // the device may have gone in the test
			s.t.Fatal(err)
		}
		b.WriteString("# " + strings.Join(c, " ") + "\n" + sortedLines(out))
	}
	return b.String()
}

// volatile is what changes by itself.
var volatile = regexp.MustCompile(`(?m) (expires|pref) \S+|^Error: Peer netns reference is invalid\.\n`)

func sortedLines(text string) string {
	lines := strings.SplitAfter(volatile.ReplaceAllString(text, ""), "\n")
	sort.Strings(lines)
	return strings.Join(lines, "")
}

// checkResidue unloads, whatever state the router is in, and shows that all
// is as it was before load.
func (s *site) checkResidue(before string) {
	s.t.Helper()
	if s.t.Failed() {
		if log, err := os.ReadFile(s.instance() + ".log"); err == nil {
			s.t.Logf("the daemon's log:\n%s", tail(string(log), 4000))
		}
	}
	s.unload()
	if after := s.footprint(); after != before {
		s.t.Errorf("the router is not as it was before load:\n%s", difference(before, after))
	}
}

// unload unloads, with an instance there or not, and shows that the kernel
// and the file system hold nothing of it any more.
func (s *site) unload() {
	s.t.Helper()
	objects, pid := s.objects(), s.daemon()
	if _, errs, status := s.try("unload"); status != 0 && status != 4 {
		s.t.Errorf("unload: status %d: %s", status, errs)
	}
	// The kernel frees programs and maps after a grace period.
	left := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if left = objects.left(); left == 0 && (pid == 0 || !running(pid)) {
			break
		}
	}
	if left > 0 {
		s.t.Errorf("%d programs, maps or links are left after unload", left)
	}
	if pid != 0 && running(pid) {
		s.t.Error("the daemon still runs after unload")
	}
	for _, path := range []string{s.instance(), s.instance() + ".log", filepath.Join("/run/bsdnet/bpf", s.Router.Name)} {
		if _, err := os.Stat(path); err == nil {
			s.t.Errorf("%s is left after unload", path)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), "/run/bsdnet/"+s.Router.Name) {
		s.t.Errorf("a mount is left after unload (%v)", err)
	}
	if out, err := s.Router.Run("ip", "link", "show", "netisr0"); err == nil {
		s.t.Errorf("a device is left after unload: %s", out)
	}
}

func tail(text string, n int) string {
	if len(text) > n {
		return text[len(text)-n:]
	}
	return text
}

// difference lists the lines that only one of two texts has.
func difference(before, after string) string {
	count := make(map[string]int)
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var b strings.Builder
	for line := range strings.Lines(before + after) {
		switch n := count[line]; {
		case n < 0:
			b.WriteString("- " + line)
		case n > 0:
			b.WriteString("+ " + line)
		}
		delete(count, line)
	}
	return b.String()
}

// checkNothingLoaded shows that a refused load changed nothing.
func (s *site) checkNothingLoaded(t testing.TB, before string) {
	t.Helper()
	if after := s.footprint(); after != before {
		t.Errorf("a refused load changed something:\n%s", difference(before, after))
	}
	for _, path := range []string{s.instance(), filepath.Join("/run/bsdnet/bpf", s.Router.Name)} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left of a refused load", path)
		}
	}
}
