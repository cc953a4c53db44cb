package evm

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"testing"
)

// The standard library has SHA3-256, which differs from Ethereum's hash by one byte of padding.
func TestTheSpongeIsThatOfTheStandardLibrary(t *testing.T) {
	for length := range 3 * rate {
		data := bytes.Repeat([]byte{byte(length), 0xa5, 1}, length)[:length]
		if sponge(data, 0x06) != sha3.Sum256(data) {
			t.Fatalf("another hash of %d bytes", length)
		}
	}
}

func TestKnownHashes(t *testing.T) {
	for text, expected := range map[string]string{
		"":                                      "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
		"abc":                                   "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
		"transfer(address,uint256)":             "a9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b",
		"BatchAnchored(bytes32,bytes32,string)": "422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2",
	} {
		digest := Keccak([]byte(text))
		if hex.EncodeToString(digest[:]) != expected {
			t.Errorf("%q hashes to %x", text, digest)
		}
	}
}
