package bpf_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/bsdnet/bsdnet/bpf/gen"
)

// TestVerifier loads every program of both builds and prints what the
// verifier's look at each cost.
func TestVerifier(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	for build, load := range map[string]func() (*ebpf.CollectionSpec, error){"xdp": gen.LoadXdp, "tc": gen.LoadTc} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
			Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
		})
		if err != nil {
			// Once more, for what the verifier has to say.
			_, err = ebpf.NewCollection(spec)
			var verifier *ebpf.VerifierError
			if errors.As(err, &verifier) {
				log := verifier.Log
				t.Fatalf("%s: %v\n%s", build, err, log[max(0, len(log)-60):])
			}
			t.Fatalf("%s: %v", build, err)
		}
		defer collection.Close()
		names := make([]string, 0, len(collection.Programs))
		for name := range collection.Programs {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			info, err := collection.Programs[name].Info()
			if err != nil {
				t.Fatal(err)
			}
			verified, _ := info.VerifiedInstructions()
			size, _ := info.TranslatedSize()
			fmt.Printf("verifier %-3s %-15s %6d instructions verified, %5d long\n", build, name, verified, size/8)
		}
	}
}
