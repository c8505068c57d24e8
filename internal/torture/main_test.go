package torture

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The defaults are the short form, a part of the usual tests; `make torture`
// asks for more.
var (
	kills       = flag.Int("kills", 3, "times that the daemon is killed, in each build")
	reloadTime  = flag.Duration("reload-time", 2*time.Second, "how long rulesets are replaced under traffic, in each build")
	floodTime   = flag.Duration("flood-time", time.Second, "length of each flood")
	liveFrames  = flag.Int("live-frames", 5000, "mutated frames sent into an interface, in each build")
	tortureSeed = flag.Uint64("torture-seed", uint64(time.Now().UnixNano()), "seed of moments and frames")
)

// program is the binary under test.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Println("torture: not run: it makes network namespaces and loads BPF programs, which takes root")
		return 0
	}
	dir, err := os.MkdirTemp("", "torture-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "bsdnet")
	build := exec.Command("go", "build", "-o", program, "./cmd/bsdnet")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{build, exec.Command(program, "mount")} {
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "torture: %v: %v: %s\n", cmd.Args, err, out)
			return 1
		}
	}
	return m.Run()
}
