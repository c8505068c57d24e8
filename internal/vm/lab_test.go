//go:build vm

package vm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// labTests are those that show what is different before Linux 6.6: clsact
// instead of tcx, and in XDP no word of which devices take its frames. The
// others take too long in emulation.
const labTests = "^(TestPing|TestErrors|TestKilledAndAdopted|TestGatewaysReleased)$"

// TestVMLab runs a part of the tests on the wire on Debian's kernel.
func TestVMLab(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := FetchKernel(ctx, filepath.Join(root, ".cache", "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	binary := filepath.Join(work, "labtest.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./internal/labtest")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build labtest: %v\n%s", err, out)
	}
	// The program stands where the test looks for it: beside its source.
	bsdnet := filepath.Join(root, "bin", "bsdnet")
	files := map[string]string{"/labtest.test": binary, bsdnet: bsdnet}
	if err := AddPrograms(ctx, files, "ip", "tc", "ping", "nsenter", "ethtool", "bpftool", "sysctl"); err != nil {
		t.Fatal(err)
	}
	out, err := kernel.Run(ctx, work, Guest{
		Modules: []string{"veth", "cls_bpf", "sch_ingress"},
		Files:   files,
		Memory:  2048,
		Script: `export PATH=/usr/bin:/bin
/labtest.test -test.v -test.parallel 1 -test.timeout 12m -test.run '` + labTests + `'`,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "--- PASS") {
			t.Log(kernel.Version, strings.TrimRight(line, "\n"))
		}
	}
	if !strings.Contains(out, "--- PASS: TestKilledAndAdopted") {
		t.Errorf("tests did not run:\n%s", out)
	}
}
