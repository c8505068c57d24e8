package netisr

import "encoding/binary"

const (
	protoTCP = 6
	protoUDP = 17

	hashMask = 127 // of DragonFly's netisr: CPU = (hash & 127) mod CPUs
)

// FlowHash returns the hash that names a packet's thread, and false when the
// packet has none: it is neither IPv4 nor IPv6, or too short. Packet is the
// network layer's packet and may hold any bytes.
//
// The hash covers the addresses, and the ports of TCP and UDP unless the
// packet is a fragment or multicast. It is the same in both directions of a
// flow.
func FlowHash(packet []byte) (hash uint16, ok bool) {
	if len(packet) < 20 {
		return 0, false
	}
	switch packet[0] >> 4 {
	case 4:
		return flowHash4(packet)
	case 6:
		return flowHash6(packet)
	}
	return 0, false
}

func flowHash4(packet []byte) (uint16, bool) {
	fold := foldWords64(binary.BigEndian.Uint64(packet[12:]))
	multicast := packet[16]&0xf0 == 0xe0
	fragment := binary.BigEndian.Uint16(packet[6:])&0x3fff != 0
	if !multicast && !fragment && hasPorts(packet[9]) {
		header := int(packet[0]&0xf) * 4
		fold ^= foldPorts(packet, header)
	}
	return ToeplitzHash(fold), true
}

func flowHash6(packet []byte) (uint16, bool) {
	if len(packet) < 40 {
		return 0, false
	}
	fold := foldWords64(binary.BigEndian.Uint64(packet[8:]) ^ binary.BigEndian.Uint64(packet[16:]) ^
		binary.BigEndian.Uint64(packet[24:]) ^ binary.BigEndian.Uint64(packet[32:]))
	if packet[24] != 0xff && hasPorts(packet[6]) {
		fold ^= foldPorts(packet, 40)
	}
	return ToeplitzHash(fold), true
}

func hasPorts(proto byte) bool { return proto == protoTCP || proto == protoUDP }

// foldPorts folds the two ports at an offset, or nothing if they are not there.
func foldPorts(packet []byte, offset int) uint16 {
	if offset < 20 || len(packet) < offset+4 {
		return 0
	}
	return binary.BigEndian.Uint16(packet[offset:]) ^ binary.BigEndian.Uint16(packet[offset+2:])
}

func foldWords64(words uint64) uint16 {
	words ^= words >> 32
	return uint16(words ^ words>>16)
}
