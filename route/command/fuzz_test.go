package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/route/api"
)

// seed adds the command lines of the golden files.
func seed(f *testing.F, command string) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if args, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "+command); ok {
				f.Add(strings.TrimSpace(args))
			}
		}
	}
}

// A command line is refused with a message, or makes a request whose
// destination is masked and whose flags the RIB knows.
func FuzzRoute(f *testing.F) {
	seed(f, "route")
	f.Fuzz(func(t *testing.T, line string) {
		cmd, err := parseRoute(nil, strings.Split(line, " "), fakeNow)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("refused without a message")
			}
			return
		}
		switch cmd.command {
		case "add", "change", "delete", "del", "get":
		default:
			return
		}
		req := cmd.request
		if !req.Dst.IsValid() || req.Dst != req.Dst.Masked() || req.Dst.Addr().Zone() != "" {
			t.Fatalf("destination %v", req.Dst)
		}
		if req.Flags&^api.Settable != 0 {
			t.Fatalf("flags %v", req.Flags)
		}
		if cmd.isHost && !req.Dst.IsSingleIP() {
			t.Fatalf("host %v", req.Dst)
		}
	})
}

func FuzzArp(f *testing.F) {
	seed(f, "arp")
	f.Fuzz(func(t *testing.T, line string) {
		cmd, err := parseArp(strings.Split(line, " "))
		if err != nil {
			return
		}
		run := arpRun{Env: &Env{}, arpCommand: cmd}
		if cmd.function == 's' || cmd.function == 'S' {
			_, _ = run.parseSet(cmd.args)
		}
	})
}

func FuzzNdp(f *testing.F) {
	seed(f, "ndp")
	f.Fuzz(func(t *testing.T, line string) {
		if cmd, err := parseNdp(strings.Split(line, " ")); err == nil && cmd.mode == 0 && len(cmd.args) != 1 {
			t.Fatalf("%+v", cmd)
		}
	})
}

func FuzzNetstat(f *testing.F) {
	seed(f, "netstat")
	f.Fuzz(func(t *testing.T, line string) {
		_, _ = parseNetstat(strings.Split(line, " "))
	})
}
