package bpf_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/bpf"
)

// TestGenerated compiles the data path anew, with the pinned compiler, and
// wants exactly what is committed.
func TestGenerated(t *testing.T) {
	source, err := os.ReadFile("bpf.go")
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	compared := 0
	for line := range strings.Lines(string(source)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "//go:generate ")
		if !ok {
			continue
		}
		command = strings.Replace(command, "-output-dir gen", "-output-dir "+out, 1)
		command = strings.Replace(command, " abi_gen.go", " "+filepath.Join(out, "abi_gen.go"), 1)
		cmd := exec.Command("sh", "-c", command)
		cmd.Env = append(os.Environ(), "GOPACKAGE=bpf")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, text)
		}
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		committed := filepath.Join("gen", entry.Name())
		if entry.Name() == "abi_gen.go" {
			committed = entry.Name()
		}
		want, err := os.ReadFile(filepath.Join(out, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(committed)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what its source makes: run `make generate` and commit", committed)
		}
		compared++
	}
	if compared < 7 {
		t.Errorf("only %d files generated", compared)
	}
}

// TestReasons wants a name and a text for every reason.
func TestReasons(t *testing.T) {
	seen := make(map[string]bool)
	for number := range bpf.Reasons {
		name, text := bpf.Reason(number).String(), bpf.Reason(number).Text()
		if name == "" || name == "reason_unknown" || text == "" {
			t.Errorf("reason %d has no name or text", number)
		}
		if seen[name] || seen[text] {
			t.Errorf("reason %d: %q or %q twice", number, name, text)
		}
		seen[name], seen[text] = true, true
	}
}
