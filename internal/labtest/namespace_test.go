package labtest

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// A namespace deleted under its daemon, and another of the same name: the old
// daemon ends, and the new instance is nobody else's.
func TestNamespaceReplaced(t *testing.T) {
	t.Parallel()
	host := lab.MustHost(t, "router")
	s := &site{Line: &lab.Line{Router: host}, t: t}
	host.MustRun(t, "ip", "link", "add", "em0", "type", "veth", "peer", "name", "em1")
	s.bsdnet("load", "-i", "em0", "--mode", "tc")
	old := s.daemon()

	if err := netns.DeleteNamed(host.Name); err != nil {
		t.Fatal(err)
	}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in the new namespace
		handle, err := netns.NewNamed(host.Name)
		handle.Close()
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	if _, _, status := s.try("status"); status != 4 {
		t.Errorf("status %d in the new namespace, want 4", status)
	}
	host.MustRun(t, "ip", "link", "add", "em0", "type", "veth", "peer", "name", "em1")
	s.bsdnet("load", "-i", "em0", "--mode", "tc")
	eventually(t, 10*time.Second, "the old daemon ends", func() bool { return !running(old) })
	s.bsdnet("status")
	s.unload()
	if left, _ := filepath.Glob(s.instance() + "*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
