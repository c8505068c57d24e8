package labtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// program is bsdnet, peer is wireguard-go.
var program, peer string

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(lab.Main(m, &program))
	}
	dir, err := os.MkdirTemp("", "wireguard-go-")
	if err != nil {
		panic(err)
	}
	peer = filepath.Join(dir, "wireguard-go")
	cmd := exec.Command("go", "build", "-o", peer, "golang.zx2c4.com/wireguard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.Stderr.Write(out)
		panic(err)
	}
	code := lab.Main(m, &program)
	os.RemoveAll(dir)
	os.Exit(code)
}
