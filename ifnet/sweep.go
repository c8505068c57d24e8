package ifnet

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/loader"
)

// Sweep ends what a daemon that died was in the middle of: clones that it was
// to destroy, and those that it had made without telling anybody yet, go. path
// is the file of [NewIoctl]. It works in the network namespace of the calling
// thread, before [Table.Follow].
func Sweep(path string) error {
	state, err := readState(path)
	if err != nil {
		return fmt.Errorf("read what is kept of interfaces: %w", err)
	}
	if err := loader.DeleteDoomed(); err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, link := range links {
		if attrs := link.Attrs(); attrs.Group == loader.CloneGroup && !state.clone(attrs.Index) && !state.returned(link) {
			errs = append(errs, loader.DeleteLinks([]int{attrs.Index}))
		}
	}
	return errors.Join(errs...)
}

func (s *state) clone(index int) bool {
	k := s.kept[index]
	return k != nil && k.Clone != nil
}

// returned says whether a device is an end of an epair that was given to
// another network namespace and came back.
func (s *state) returned(link netlink.Link) bool {
	return link.Type() == "veth" && s.clone(link.Attrs().ParentIndex)
}
