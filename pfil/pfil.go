// Package pfil keeps the lists of packet filter hooks: which hook sees the
// packets of which head, in which direction and order.
//
// It is pfil(9) of the BSDs. Heads are the protocol families inet and inet6,
// ethernet, and each interface by name. A hook is a program of each build in
// a slot of the protocol switch; the lists are data of the data path's
// configuration, so that linking and unlinking takes effect for whole packets
// while traffic flows.
package pfil

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/bsdnet/bsdnet/bpf"
)

// Direction of packets.
type Direction int

// The directions.
const (
	In  Direction = Direction(bpf.PfilIn)
	Out Direction = Direction(bpf.PfilOut)
)

func (d Direction) String() string {
	if d == Out {
		return "Out"
	}
	return "In"
}

// Names of the heads that are always there; every other head is an interface.
const (
	Inet     = "inet"
	Inet6    = "inet6"
	Ethernet = "ethernet"
)

var familyHeads = map[string]uint32{Inet: bpf.PfilInet, Inet6: bpf.PfilInet6, Ethernet: bpf.PfilEther}

// Errors of the calls; they carry the errno of pfil(9).
var (
	ErrExists   = errors.New("already linked")        // EEXIST
	ErrNotFound = errors.New("no such hook or head")  // ENOENT
	ErrFull     = errors.New("no room in the list")   // ENOBUFS
	ErrType     = errors.New("hook not of that type") // EINVAL
)

// Hook is a packet filter that can be linked.
type Hook struct {
	Name string // module:ruleset, such as pf:default-in
	Type string // inet, inet6 or ethernet: what the packets of its heads are
	Slot uint32 // of the protocol switch
}

// Head is a point of the data path that hooks can be linked to.
type Head struct {
	Name string
	Type string
	In   []string // names of the hooks in the order in which they run
	Out  []string
}

// Configuration is where the lists of the family heads are kept;
// *loader.Config is one.
type Configuration interface {
	Active() bpf.Config
	Commit(change func(*bpf.Config) error) error
}

// Interfaces writes the Ethernet lists of one interface: zero lists mean those
// of the ethernet head.
type Interfaces interface {
	SetPfil(name string, in, out uint64) error
}

// Registry holds hooks and links of one instance. Its methods may be called
// concurrently.
type Registry struct {
	mu         sync.Mutex
	config     Configuration
	interfaces Interfaces
	hooks      map[string]Hook
	links      map[string]*[bpf.PfilDirs][]string // by head
}

// New returns a registry over the lists that the configuration holds.
func New(config Configuration, interfaces Interfaces) *Registry {
	return &Registry{config: config, interfaces: interfaces, hooks: make(map[string]Hook), links: make(map[string]*[bpf.PfilDirs][]string)}
}

// Register makes a hook known. Links that the data path still has for its
// slot, from before a restart, are taken up again.
func (r *Registry) Register(hook Hook) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.hooks[hook.Name]; ok {
		return fmt.Errorf("register hook %s: %w", hook.Name, ErrExists)
	}
	if hook.Slot < bpf.ProtoHook || hook.Slot > bpf.ProtoHookLast {
		return fmt.Errorf("register hook %s: slot %d: %w", hook.Name, hook.Slot, ErrType)
	}
	r.hooks[hook.Name] = hook
	r.adopt()
	return nil
}

// adopt reads the family lists of the ruling configuration.
func (r *Registry) adopt() {
	active := r.config.Active()
	for name, head := range familyHeads {
		for direction := range bpf.PfilDirs {
			var names []string
			for list := active.Pfil[head][direction]; list != 0; list >>= 8 {
				if hook, ok := r.bySlot(uint32(list&0xff), name); ok {
					names = append(names, hook)
				}
			}
			r.list(name)[direction] = names
		}
	}
}

// bySlot finds the hook of a type in a slot: a program can be a hook of
// several types.
func (r *Registry) bySlot(slot uint32, kind string) (string, bool) {
	for name, hook := range r.hooks {
		if hook.Slot == slot && hook.Type == kind {
			return name, true
		}
	}
	return "", false
}

func (r *Registry) list(head string) *[bpf.PfilDirs][]string {
	list, ok := r.links[head]
	if !ok {
		list = new([bpf.PfilDirs][]string)
		r.links[head] = list
	}
	return list
}

// Unregister removes a hook and its links.
func (r *Registry) Unregister(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.hooks[name]; !ok {
		return fmt.Errorf("unregister hook %s: %w", name, ErrNotFound)
	}
	next := r.copy()
	for _, list := range next {
		for direction := range list {
			list[direction] = slices.DeleteFunc(list[direction], func(n string) bool { return n == name })
		}
	}
	if err := r.apply(next); err != nil {
		return err
	}
	delete(r.hooks, name)
	return nil
}

// Attach links a hook the way a module does it when it is enabled: behind the
// others on input and before them on output, so that a packet meets the same
// modules in mirrored order.
func (r *Registry) Attach(hook, head string, direction Direction) error {
	return r.Link(hook, head, direction, direction == In)
}

// Link puts a hook at the head of a list, or at its tail.
func (r *Registry) Link(hook, head string, direction Direction, tail bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.hooks[hook]
	if !ok {
		return fmt.Errorf("link %s: %w", hook, ErrNotFound)
	}
	if kind := headType(head); kind != h.Type {
		return fmt.Errorf("link %s to %s: %w", hook, head, ErrType)
	}
	next := r.copy()
	if _, ok := next[head]; !ok {
		next[head] = new([bpf.PfilDirs][]string)
	}
	list := &next[head][direction]
	if slices.Contains(*list, hook) {
		return fmt.Errorf("link %s to %s: %w", hook, head, ErrExists)
	}
	if tail {
		*list = append(*list, hook)
	} else {
		*list = slices.Insert(*list, 0, hook)
	}
	return r.apply(next)
}

// Unlink takes a hook from a list.
func (r *Registry) Unlink(hook, head string, direction Direction) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.copy()
	list, ok := next[head]
	if !ok || !slices.Contains(list[direction], hook) {
		return fmt.Errorf("unlink %s from %s: %w", hook, head, ErrNotFound)
	}
	list[direction] = slices.DeleteFunc(list[direction], func(n string) bool { return n == hook })
	return r.apply(next)
}

func headType(head string) string {
	if _, ok := familyHeads[head]; ok {
		return head
	}
	return Ethernet
}

func (r *Registry) copy() map[string]*[bpf.PfilDirs][]string {
	next := make(map[string]*[bpf.PfilDirs][]string, len(r.links))
	for head, list := range r.links {
		next[head] = &[bpf.PfilDirs][]string{slices.Clone(list[0]), slices.Clone(list[1])}
	}
	return next
}

// apply writes lists into the data path, and keeps them if that worked.
func (r *Registry) apply(next map[string]*[bpf.PfilDirs][]string) error {
	packed := make(map[string][bpf.PfilDirs]uint64)
	for head, list := range next {
		for direction := range list {
			names := list[direction]
			if headType(head) == Ethernet && head != Ethernet && len(names) > 0 && next[Ethernet] != nil {
				names = append(slices.Clone(names), next[Ethernet][direction]...)
			}
			word, err := r.pack(names)
			if err != nil {
				return fmt.Errorf("head %s: %w", head, err)
			}
			words := packed[head]
			words[direction] = word
			packed[head] = words
		}
	}
	err := r.config.Commit(func(c *bpf.Config) error {
		for name, head := range familyHeads {
			c.Pfil[head] = packed[name]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for head, words := range packed {
		if _, ok := familyHeads[head]; ok {
			continue
		}
		if err := r.interfaces.SetPfil(head, words[In], words[Out]); err != nil {
			return fmt.Errorf("head %s: %w", head, err)
		}
	}
	r.links = next
	return nil
}

// pack makes the word that the data path reads: the slot to run first lowest.
func (r *Registry) pack(names []string) (uint64, error) {
	if len(names) > int(bpf.PfilHooks) {
		return 0, ErrFull
	}
	var word uint64
	for i, name := range names {
		word |= uint64(r.hooks[name].Slot) << (8 * i)
	}
	return word, nil
}

// Hooks returns the registered hooks by name.
func (r *Registry) Hooks() []Hook {
	r.mu.Lock()
	defer r.mu.Unlock()
	var hooks []Hook
	for _, hook := range r.hooks {
		hooks = append(hooks, hook)
	}
	slices.SortFunc(hooks, func(a, b Hook) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return hooks
}

// Heads returns the family heads and those of the named interfaces, with
// their links.
func (r *Registry) Heads(interfaces []string) []Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	var heads []Head
	for _, name := range append([]string{Inet, Inet6, Ethernet}, interfaces...) {
		head := Head{Name: name, Type: headType(name)}
		if list, ok := r.links[name]; ok {
			head.In, head.Out = slices.Clone(list[In]), slices.Clone(list[Out])
		}
		heads = append(heads, head)
	}
	return heads
}
