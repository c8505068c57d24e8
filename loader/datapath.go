// Package loader brings the data path into the kernel: it probes what the
// kernel can do, loads and pins programs and maps, attaches them to
// interfaces, adopts what an earlier daemon pinned, and takes all of it away.
package loader

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/bpf/gen"
)

// Build is one of the two builds of the stages.
type Build string

// The builds.
const (
	XDP Build = "xdp"
	TC  Build = "tc"
)

// stages says which program fills which slot of the protocol switch.
var stages = map[string]uint32{
	"ether_input":    bpf.ProtoEtherInput,
	"vlan_input":     bpf.ProtoVlanInput,
	"ether_demux":    bpf.ProtoEtherDemux,
	"ip_input":       bpf.ProtoIPInput,
	"ip6_input":      bpf.ProtoIP6Input,
	"ip_forward":     bpf.ProtoIPForward,
	"ip6_forward":    bpf.ProtoIP6Forward,
	"ip_output":      bpf.ProtoIPOutput,
	"ip6_output":     bpf.ProtoIP6Output,
	"if_transmit":    bpf.ProtoIfTransmit,
	"if_start":       bpf.ProtoIfStart,
	"netisr_queue":   bpf.ProtoNetisr,
	"tunnel_input":   bpf.ProtoTunnelInput,
	"tunnel_output":  bpf.ProtoTunnelOutput,
	"tunnel_deliver": bpf.ProtoTunnelDeliver,
	"gre_input":      bpf.ProtoGreInput,
	"gre_output":     bpf.ProtoGreOutput,
	"pf_test":        bpf.PFHookTest,
	"pf_test_state":  bpf.PFHookState,
	"pf_test_rule":   bpf.PFHookRules,
	"pf_error":       bpf.PFHookError,
	"pf_nat":         bpf.PFHookNAT,
	"pf_scrub":       bpf.PFHookScrub,
	"pf_normalize":   bpf.PFHookNormalize,
}

// protosw names the program array of each build.
var protosw = map[Build]string{XDP: "protosw_xdp", TC: "protosw_tc"}

// Datapath is the data path of one instance in the kernel: its maps by name
// and its programs by build and name. Everything is pinned below Dir.
type Datapath struct {
	Dir      string
	Maps     map[string]*ebpf.Map
	Programs map[Build]map[string]*ebpf.Program
	// Adopted says that the programs were found pinned and are in use.
	Adopted bool
}

// fingerprint tells builds of the programs apart.
func fingerprint() [32]byte {
	h := sha256.New()
	for _, load := range []func() (*ebpf.CollectionSpec, error){gen.LoadXdp, gen.LoadTc} {
		spec, err := load()
		if err != nil {
			continue
		}
		for _, name := range sortedKeys(spec.Programs) {
			tag, err := spec.Programs[name].Instructions.Tag(spec.ByteOrder)
			fmt.Fprintln(h, name, tag, err)
		}
	}
	return [32]byte(h.Sum(nil))
}

// versionValue is the value of the map that says whose pins these are.
type versionValue struct {
	ABI         uint32
	_           uint32
	Fingerprint [32]byte
}

// LayoutError reports pinned maps of another layout than this program's.
type LayoutError struct {
	Dir         string
	Pinned, Own uint32
}

func (e *LayoutError) Error() string {
	return fmt.Sprintf("adopt pinned maps in %s: layout version %d, this program has %d; run `bsdnet unload` first", e.Dir, e.Pinned, e.Own)
}

// Sizes are those of a new data path that its user chooses. Zero values are
// the usual sizes. One that is adopted keeps what it has.
type Sizes struct {
	States uint32 // states of pf that must find room
}

// apply sizes the maps of a build.
func (s Sizes) apply(dir string, spec *ebpf.CollectionSpec) {
	slots := max(uint32(bpf.PFStates), 2*s.States)
	slots = 1 << bits.Len32(slots-1)
	for name, entries := range map[string]uint32{"pf_states": slots, "pf_state_index": slots / bpf.PFBucketEntries,
		"pf_state_actions": slots, "pf_state_nodes": slots, "pf_state_tables": slots} {
		if pinned, err := ebpf.LoadPinnedMap(filepath.Join(mapDir(dir), name), nil); err == nil {
			entries = pinned.MaxEntries()
			pinned.Close()
		}
		if m := spec.Maps[name]; m != nil {
			m.MaxEntries = entries
		}
	}
}

// Open adopts the data path pinned in dir, or loads and pins a new one. Maps
// are pinned before programs and programs before any link, so that no
// interface ever runs a switch that can vanish. The directory must be on a
// bpffs.
func Open(dir string, sizes Sizes) (*Datapath, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("remove memory lock limit: %w", err)
	}
	for _, d := range []string{dir, mapDir(dir), programDir(dir, XDP), programDir(dir, TC), linkDir(dir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("create pin directory: %w", err)
		}
	}
	dp := &Datapath{Dir: dir, Maps: make(map[string]*ebpf.Map), Programs: make(map[Build]map[string]*ebpf.Program)}
	if err := dp.open(sizes); err != nil {
		dp.Close()
		return nil, err
	}
	return dp, nil
}

func (dp *Datapath) open(sizes Sizes) error {
	version, pinned, err := openVersion(dp.Dir)
	if err != nil {
		return err
	}
	defer version.Close()
	own := versionValue{ABI: bpf.ABIVersion, Fingerprint: fingerprint()}
	if pinned.ABI != 0 && pinned.ABI != own.ABI {
		return &LayoutError{Dir: dp.Dir, Pinned: pinned.ABI, Own: own.ABI}
	}
	same := pinned == own
	for build, load := range map[Build]func() (*ebpf.CollectionSpec, error){XDP: gen.LoadXdp, TC: gen.LoadTc} {
		spec, err := load()
		if err != nil {
			return fmt.Errorf("read %s build: %w", build, err)
		}
		sizes.apply(dp.Dir, spec)
		if same && dp.adopt(build, spec) == nil {
			dp.Adopted = true
			continue
		}
		if err := dp.load(build, spec); err != nil {
			return err
		}
	}
	if err := version.Put(uint32(0), own); err != nil {
		return fmt.Errorf("write version: %w", err)
	}
	return nil
}

// openVersion opens or creates the map that names the owner of the pins.
func openVersion(dir string) (*ebpf.Map, versionValue, error) {
	var value versionValue
	m, err := ebpf.NewMapWithOptions(&ebpf.MapSpec{
		Name: "version", Type: ebpf.Array, KeySize: 4, ValueSize: 40, MaxEntries: 1, Pinning: ebpf.PinByName,
	}, ebpf.MapOptions{PinPath: mapDir(dir)})
	if err != nil {
		return nil, value, fmt.Errorf("open version map in %s: %w", dir, err)
	}
	if err := m.Lookup(uint32(0), &value); err != nil {
		m.Close()
		return nil, value, fmt.Errorf("read version: %w", err)
	}
	return m, value, nil
}

// adopt takes programs and maps of one build from their pins.
func (dp *Datapath) adopt(build Build, spec *ebpf.CollectionSpec) error {
	programs := make(map[string]*ebpf.Program)
	for name := range spec.Programs {
		program, err := ebpf.LoadPinnedProgram(filepath.Join(programDir(dp.Dir, build), name), nil)
		if err != nil {
			closeAll(programs)
			return err
		}
		programs[name] = program
	}
	for name := range spec.Maps {
		if _, ok := dp.Maps[name]; ok {
			continue
		}
		m, err := ebpf.LoadPinnedMap(filepath.Join(mapDir(dp.Dir), name), nil)
		if err != nil {
			closeAll(programs)
			return err
		}
		dp.Maps[name] = m
	}
	dp.Programs[build] = programs
	return nil
}

// load creates what is missing of one build, pins it, and fills the protocol
// switch. Pinned maps of the same layout are taken over with their contents.
func (dp *Datapath) load(build Build, spec *ebpf.CollectionSpec) error {
	for name, m := range spec.Maps {
		if name == ".rodata" || name == ".bss" || name == ".data" {
			continue
		}
		m.Pinning = ebpf.PinByName
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Maps:            ebpf.MapOptions{PinPath: mapDir(dp.Dir)},
		MapReplacements: replacements(dp.Maps, spec),
	})
	if err != nil {
		return fmt.Errorf("load %s build: %w", build, err)
	}
	defer collection.Close()
	for name := range collection.Maps {
		m := collection.DetachMap(name)
		if _, ok := dp.Maps[name]; ok {
			m.Close()
			continue
		}
		dp.Maps[name] = m
	}
	programs := make(map[string]*ebpf.Program)
	for name := range collection.Programs {
		program := collection.DetachProgram(name)
		programs[name] = program
		if err := repin(program, filepath.Join(programDir(dp.Dir, build), name)); err != nil {
			closeAll(programs)
			return fmt.Errorf("pin program %s: %w", name, err)
		}
	}
	dp.Programs[build] = programs
	for name, slot := range stages {
		program, ok := programs[name]
		if !ok {
			continue
		}
		if err := dp.Maps[protosw[build]].Put(slot, program); err != nil {
			return fmt.Errorf("set stage %s: %w", name, err)
		}
	}
	return nil
}

func replacements(have map[string]*ebpf.Map, spec *ebpf.CollectionSpec) map[string]*ebpf.Map {
	use := make(map[string]*ebpf.Map)
	for name, m := range have {
		if _, ok := spec.Maps[name]; ok {
			use[name] = m
		}
	}
	return use
}

// repin pins a program where another may be pinned already.
func repin(program *ebpf.Program, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return program.Pin(path)
}

// SetHook puts the programs of a packet filter hook into a slot of the
// protocol switch of each build and pins them under the hook's name. It
// replaces the hook that had the slot.
func (dp *Datapath) SetHook(slot uint32, name string, programs map[Build]*ebpf.Program) error {
	if slot < bpf.ProtoHook || slot > bpf.ProtoHookLast {
		return fmt.Errorf("set hook %s: slot %d out of range", name, slot)
	}
	for build, program := range programs {
		if err := repin(program, filepath.Join(programDir(dp.Dir, build), name)); err != nil {
			return fmt.Errorf("pin hook %s: %w", name, err)
		}
		if err := dp.Maps[protosw[build]].Put(slot, program); err != nil {
			return fmt.Errorf("set hook %s: %w", name, err)
		}
	}
	return nil
}

// Close lets go of the handles; everything pinned stays in force.
func (dp *Datapath) Close() error {
	for _, m := range dp.Maps {
		m.Close()
	}
	for _, programs := range dp.Programs {
		closeAll(programs)
	}
	return nil
}

func closeAll(programs map[string]*ebpf.Program) {
	for _, program := range programs {
		program.Close()
	}
}

func mapDir(dir string) string                  { return filepath.Join(dir, "maps") }
func linkDir(dir string) string                 { return filepath.Join(dir, "links") }
func programDir(dir string, build Build) string { return filepath.Join(dir, "progs_"+string(build)) }
