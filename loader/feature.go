package loader

import (
	"bytes"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and limits of linux/ethtool.h for features by name.
const (
	ethtoolGStrings  = 0x1b
	ethtoolGFeatures = 0x3a
	ethtoolSFeatures = 0x3b
	stringsFeatures  = 4
	stringLen        = 32
	featuresMax      = 256
	featureBlocks    = featuresMax / 32
)

type ethtoolStrings struct {
	command, set, count uint32
	data                [featuresMax * stringLen]byte
}

type ethtoolGetFeatures struct {
	command, size uint32
	block         [featureBlocks]struct{ available, requested, active, never uint32 }
}

type ethtoolSetFeatures struct {
	command, size uint32
	block         [featureBlocks]struct{ valid, requested uint32 }
}

// featureNumber finds the bit of a feature.
func featureNumber(device, name string) (int, error) {
	s := &ethtoolStrings{command: ethtoolGStrings, set: stringsFeatures}
	if err := ethtoolAt(device, unsafe.Pointer(s)); err != nil {
		return 0, fmt.Errorf("list features of %s: %w", device, err)
	}
	for n := range min(int(s.count), featuresMax) {
		text, _, _ := bytes.Cut(s.data[n*stringLen:(n+1)*stringLen], []byte{0})
		if string(text) == name {
			return n, nil
		}
	}
	return 0, fmt.Errorf("feature %s: %w", name, unix.EOPNOTSUPP)
}

func getFeature(device, name string) (bool, error) {
	n, err := featureNumber(device, name)
	if err != nil {
		return false, err
	}
	f := &ethtoolGetFeatures{command: ethtoolGFeatures, size: featureBlocks}
	if err := ethtoolAt(device, unsafe.Pointer(f)); err != nil {
		return false, fmt.Errorf("get features of %s: %w", device, err)
	}
	return f.block[n/32].active&(1<<(n%32)) != 0, nil
}

func setFeature(device, name string, on bool) error {
	n, err := featureNumber(device, name)
	if err != nil {
		return err
	}
	f := &ethtoolSetFeatures{command: ethtoolSFeatures}
	f.block[n/32].valid = 1 << (n % 32)
	if on {
		f.block[n/32].requested = 1 << (n % 32)
	}
	// The kernel counts the blocks that it has, and takes no other number.
	blocks, err := kernelBlocks(device)
	if err != nil {
		return err
	}
	f.size = blocks
	if err := ethtoolAt(device, unsafe.Pointer(f)); err != nil {
		return fmt.Errorf("set %s of %s: %w", name, device, err)
	}
	return nil
}

// kernelBlocks asks how many words of features the kernel has.
func kernelBlocks(device string) (uint32, error) {
	f := &ethtoolGetFeatures{command: ethtoolGFeatures}
	if err := ethtoolAt(device, unsafe.Pointer(f)); err != nil {
		return 0, fmt.Errorf("get features of %s: %w", device, err)
	}
	return min(f.size, featureBlocks), nil
}
