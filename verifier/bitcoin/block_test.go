package bitcoin

import (
	"math/big"
	"strings"
	"testing"
)

// The first block of all, whose hash and work everybody knows.
const genesisHeader = "01000000" + "0000000000000000000000000000000000000000000000000000000000000000" +
	"3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a" + "29ab5f49" + "ffff001d" + "1dac2b7c"

const genesisTransaction = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d" +
	"0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261" +
	"696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962" +
	"e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"

func TestTheFirstBlockIsRead(t *testing.T) {
	first, err := parseHeader(genesisHeader)
	if err != nil {
		t.Fatal(err)
	}
	if first.hash.String() != networks["mainnet"].geneses[0] || !first.hasWork() || first.time != 1231006505 {
		t.Errorf("%+v", first)
	}
	tx, err := parseHex(genesisTransaction)
	if err != nil {
		t.Fatal(err)
	}
	root, err := branchRoot(tx, new(big.Int), nil)
	if err != nil || root != first.merkleRoot {
		t.Errorf("%s, %v", root, err)
	}
}

func TestATransactionOf64BytesIsNoLeaf(t *testing.T) {
	input := strings.Repeat("11", 36) + "00" + "ffffffff"
	small := "02000000" + "01" + input + "01" + strings.Repeat("00", 8) + "04" + "6a51" + "5151" + "00000000"
	tx, err := parseHex(small)
	if err != nil || len(tx.bare) != nodeBytes {
		t.Fatal(err)
	}
	if _, err := branchRoot(tx, new(big.Int), nil); err == nil {
		t.Error("it could be a pair of hashes")
	}
	left, right := tx.bare[:32], tx.bare[32:]
	if _, err := parseTransaction(append(append([]byte{}, left...), right...)); err != nil {
		t.Error("the pair does not read as a transaction")
	}
}

func TestAPositionMustFitItsBranch(t *testing.T) {
	tx, err := parseHex(genesisTransaction)
	if err != nil {
		t.Fatal(err)
	}
	sibling := strings.Repeat("22", 32)
	for _, position := range []int64{-1, 2, 1 << 40} {
		if _, err := branchRoot(tx, big.NewInt(position), []string{sibling}); err == nil {
			t.Errorf("position %d was taken", position)
		}
	}
	own := tx.id().String()
	if _, err := branchRoot(tx, big.NewInt(1), []string{own}); err == nil {
		t.Error("a hash was paired with itself on the left")
	}
	if _, err := branchRoot(tx, big.NewInt(0), []string{own}); err != nil {
		t.Error("the last one of an odd number goes with itself")
	}
}

func TestATargetThatMakesNoSenseIsNone(t *testing.T) {
	for _, compact := range []uint32{0x1d80ffff, 0x23000001 + 0xffff, 0xff7fffff, 0x01003456} {
		if target := targetOf(compact); target.Sign() != 0 {
			t.Errorf("%08x gave %x", compact, target)
		}
	}
}
