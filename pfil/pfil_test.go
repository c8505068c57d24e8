package pfil

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bsdnet/bsdnet/bpf"
)

type fakeConfig struct{ config bpf.Config }

func (f *fakeConfig) Active() bpf.Config { return f.config }
func (f *fakeConfig) Commit(change func(*bpf.Config) error) error {
	next := f.config
	if err := change(&next); err != nil {
		return err
	}
	f.config = next
	return nil
}

type fakeInterfaces map[string][2]uint64

func (f fakeInterfaces) SetPfil(name string, in, out uint64) error {
	f[name] = [2]uint64{in, out}
	return nil
}

func newRegistry(t *testing.T, hooks int) (*Registry, *fakeConfig, fakeInterfaces) {
	t.Helper()
	config, interfaces := &fakeConfig{}, fakeInterfaces{}
	r := New(config, interfaces)
	for i := range hooks {
		if err := r.Register(Hook{Name: fmt.Sprintf("m%d:r", i), Type: Inet, Slot: bpf.ProtoHook + uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	return r, config, interfaces
}

func unpack(word uint64) (slots []uint32) {
	for ; word != 0; word >>= 8 {
		slots = append(slots, uint32(word&0xff))
	}
	return slots
}

// TestOrder attaches and detaches hooks at random and compares the lists of
// the data path with the rule: newest last on input, newest first on output.
func TestOrder(t *testing.T) {
	r, config, _ := newRegistry(t, int(bpf.PfilHooks))
	random := rand.New(rand.NewPCG(1, 2))
	var model [2][]uint32
	for range 2000 {
		i := random.IntN(int(bpf.PfilHooks))
		direction := Direction(random.IntN(2))
		name, slot := fmt.Sprintf("m%d:r", i), bpf.ProtoHook+uint32(i)
		linked := slices.Contains(model[direction], slot)
		if random.IntN(2) == 0 {
			err := r.Attach(name, Inet, direction)
			if linked != errors.Is(err, ErrExists) {
				t.Fatalf("attach: %v, linked %v", err, linked)
			}
			if !linked {
				if direction == In {
					model[In] = append(model[In], slot)
				} else {
					model[Out] = slices.Insert(model[Out], 0, slot)
				}
			}
		} else {
			err := r.Unlink(name, Inet, direction)
			if linked == errors.Is(err, ErrNotFound) {
				t.Fatalf("unlink: %v, linked %v", err, linked)
			}
			model[direction] = slices.DeleteFunc(model[direction], func(s uint32) bool { return s == slot })
		}
		for _, d := range []Direction{In, Out} {
			if got := unpack(config.config.Pfil[bpf.PfilInet][d]); !slices.Equal(got, model[d]) {
				t.Fatalf("%v list %v, want %v", d, got, model[d])
			}
		}
	}
}

func TestErrors(t *testing.T) {
	r, _, _ := newRegistry(t, 2)
	for _, c := range []struct {
		err  error
		want error
	}{
		{r.Link("none:x", Inet, In, true), ErrNotFound},
		{r.Link("m0:r", Inet6, In, true), ErrType},
		{r.Link("m0:r", "em0", In, true), ErrType},
		{r.Unlink("m0:r", Inet, In), ErrNotFound},
		{r.Register(Hook{Name: "m0:r", Slot: bpf.ProtoHook}), ErrExists},
		{r.Register(Hook{Name: "bad:slot", Slot: 1}), ErrType},
		{r.Unregister("none:x"), ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("got %v, want %v", c.err, c.want)
		}
	}
}

// TestInterface wants an interface's own hooks before those of ethernet, and
// the ethernet head alone once they are gone.
func TestInterface(t *testing.T) {
	r, config, interfaces := newRegistry(t, 0)
	for i, name := range []string{"a:r", "b:r"} {
		if err := r.Register(Hook{Name: name, Type: Ethernet, Slot: 20 + uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.Attach("a:r", Ethernet, In), r.Attach("b:r", "em0", In)); err != nil {
		t.Fatal(err)
	}
	if got := unpack(interfaces["em0"][In]); !slices.Equal(got, []uint32{21, 20}) {
		t.Errorf("em0 runs %v", got)
	}
	if err := r.Unlink("b:r", "em0", In); err != nil {
		t.Fatal(err)
	}
	if interfaces["em0"][In] != 0 || !slices.Equal(unpack(config.config.Pfil[bpf.PfilEther][In]), []uint32{20}) {
		t.Errorf("after unlink em0 %x ethernet %x", interfaces["em0"][In], config.config.Pfil[bpf.PfilEther][In])
	}
}

// TestRestart wants a new registry to find the links that the data path has.
func TestRestart(t *testing.T) {
	r, config, interfaces := newRegistry(t, 2)
	if err := errors.Join(r.Attach("m0:r", Inet, In), r.Attach("m1:r", Inet, In)); err != nil {
		t.Fatal(err)
	}
	again := New(config, interfaces)
	for i := range 2 {
		if err := again.Register(Hook{Name: fmt.Sprintf("m%d:r", i), Type: Inet, Slot: bpf.ProtoHook + uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if heads := again.Heads(nil); !slices.Equal(heads[0].In, []string{"m0:r", "m1:r"}) {
		t.Errorf("links after restart: %v", heads[0].In)
	}
}
