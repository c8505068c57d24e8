package engine

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// clock reads the kernel's jiffies, by which states are stamped.
type clock struct {
	program *ebpf.Program
	hertz   uint32
}

// newClock loads a program that returns the jiffies, and finds out by looking
// how many there are in a second.
func newClock() (*clock, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "jiffies", Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.FnJiffies64.Call(), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("read jiffies: %w", err)
	}
	c := &clock{program: program}
	start, first := time.Now(), c.jiffies()
	time.Sleep(60 * time.Millisecond)
	rate := float64(c.jiffies()-first) / time.Since(start).Seconds()
	best := 0.0
	for _, hertz := range []uint32{100, 250, 300, 1000} {
		if off := rate/float64(hertz) - 1; best == 0 || off*off < best {
			best, c.hertz = off*off, hertz
		}
	}
	return c, nil
}

// jiffies returns the low half of the kernel's counter.
func (c *clock) jiffies() uint32 {
	value, err := c.program.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	if err != nil {
		return 0
	}
	return value
}

func (c *clock) duration(n uint32) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(c.hertz)
}
