package netisr

// The key of the Toeplitz hash is two bytes, repeated (net.toeplitz.keyseed0
// and keyseed1 of DragonFly).
const (
	toeplitzSeed0 = 0x6d
	toeplitzSeed1 = 0x5a
)

// toeplitzTables hold the low 16 bits of the hash of one byte in each of the
// two places that a byte can have in a 16-bit word.
var toeplitzTables = func() (tables [2][256]uint16) {
	const key = uint32(toeplitzSeed0)<<24 | toeplitzSeed1<<16 | toeplitzSeed0<<8 | toeplitzSeed1
	for place := range tables {
		for value := range 256 {
			var hash uint16
			for bit := range 8 {
				if value&(0x80>>bit) != 0 {
					// The window of the key that starts at this bit
					// has the hash's 32 bits; it repeats every 16.
					shift := place*8 + bit
					hash ^= uint16((key<<shift | key>>(32-shift)) & 0xffff)
				}
			}
			tables[place][value] = hash
		}
	}
	return tables
}()

// ToeplitzHash returns the low 16 bits of the Toeplitz hash of an input whose
// 16-bit words, in network order, have been folded by exclusive or.
//
// That is all there is to it: the hash is linear, and because the key repeats
// every 16 bits, a word contributes the same wherever it stands. For the same
// reason the hash is symmetric: exchanging source and destination, both of
// whole words, does not change the fold.
func ToeplitzHash(fold uint16) uint16 {
	return toeplitzTables[0][fold>>8] ^ toeplitzTables[1][fold&0xff]
}
