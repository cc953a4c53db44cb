package evm

import (
	"encoding/binary"
	"math/bits"
)

// rate is how many bytes the sponge takes between two permutations: 200 less twice the hash's 32.
const rate = 136

// Keccak hashes as Ethereum does: SHA3-256 as it was before its standard chose another padding.
func Keccak(data []byte) [32]byte {
	return sponge(data, 0x01)
}

func sponge(data []byte, padding byte) (digest [32]byte) {
	var state [25]uint64
	for len(data) >= rate {
		absorb(&state, data[:rate])
		data = data[rate:]
	}
	var last [rate]byte
	copy(last[:], data)
	last[len(data)] ^= padding
	last[rate-1] ^= 0x80
	absorb(&state, last[:])
	for lane := range 4 {
		binary.LittleEndian.PutUint64(digest[8*lane:], state[lane])
	}
	return digest
}

func absorb(state *[25]uint64, block []byte) {
	for lane := range rate / 8 {
		state[lane] ^= binary.LittleEndian.Uint64(block[8*lane:])
	}
	permute(state)
}

// permute is Keccak-f[1600] (FIPS 202, 3.3). Its constants are computed, as the standard defines them.
func permute(state *[25]uint64) {
	for round := range 24 {
		var column [5]uint64
		for x := range 5 {
			column[x] = state[x] ^ state[x+5] ^ state[x+10] ^ state[x+15] ^ state[x+20]
		}
		for x := range 5 {
			effect := column[(x+4)%5] ^ bits.RotateLeft64(column[(x+1)%5], 1)
			for y := 0; y < 25; y += 5 {
				state[y+x] ^= effect
			}
		}
		var moved [25]uint64
		for lane := range 25 {
			x, y := lane%5, lane/5
			moved[y+5*((2*x+3*y)%5)] = bits.RotateLeft64(state[lane], rotations[lane])
		}
		for y := 0; y < 25; y += 5 {
			for x := range 5 {
				state[y+x] = moved[y+x] ^ (^moved[y+(x+1)%5] & moved[y+(x+2)%5])
			}
		}
		state[0] ^= constants[round]
	}
}

var (
	rotations = rotationsOf()
	constants = constantsOf()
)

// rotationsOf follows FIPS 202, algorithm 2.
func rotationsOf() (offsets [25]int) {
	x, y := 1, 0
	for t := range 24 {
		offsets[x+5*y] = (t + 1) * (t + 2) / 2 % 64
		x, y = y, (2*x+3*y)%5
	}
	return offsets
}

// constantsOf follows FIPS 202, algorithms 5 and 6: the bits come from a shift register.
func constantsOf() (rounds [24]uint64) {
	register := byte(1)
	for round := range rounds {
		for j := range 7 {
			if register&1 == 1 {
				rounds[round] |= 1 << (1<<j - 1)
			}
			carry := register >> 7
			register = register<<1 ^ carry*0x71
		}
	}
	return rounds
}
