package labtest

import (
	"os"
	"testing"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// program is the binary under test.
var program string

func TestMain(m *testing.M) { os.Exit(lab.Main(m, &program)) }
