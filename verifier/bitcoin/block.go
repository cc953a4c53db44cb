package bitcoin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

const (
	headerBytes = 80
	// nodeBytes is a pair of hashes. A transaction of that size could pass for one, and a pair for a transaction: with
	// either, a made-up transaction could be "found" in a real block.
	nodeBytes = 64
	// mostLevels: a block of a million bytes without witness holds less than 2^15 transactions of 60 bytes.
	mostLevels = 15
	// mostHeaders is a month of blocks.
	mostHeaders = 4096
)

// header is one block's header.
type header struct {
	previous, merkleRoot, hash hash
	// time is in Unix seconds.
	time int64
	// target is what the hash must not exceed; 0 when the claim makes no sense.
	target *big.Int
}

func parseHeader(text string) (*header, error) {
	raw, err := readHex(text)
	if err != nil {
		return nil, err
	}
	if len(raw) != headerBytes {
		return nil, fmt.Errorf("a header has %d bytes, not %d", headerBytes, len(raw))
	}
	return &header{
		previous:   hash(raw[4:36]),
		merkleRoot: hash(raw[36:68]),
		hash:       doubleSha256(raw),
		time:       int64(binary.LittleEndian.Uint32(raw[68:])),
		target:     targetOf(binary.LittleEndian.Uint32(raw[72:])),
	}, nil
}

// targetOf reads a target in its compact form: a sign, a mantissa of 23 bits and the number of bytes.
func targetOf(compact uint32) *big.Int {
	size, mantissa := uint(compact>>24), int64(compact&0x7fffff)
	target := big.NewInt(mantissa)
	if size >= 3 {
		target.Lsh(target, 8*(size-3))
	} else {
		target.Rsh(target, 8*(3-size))
	}
	if compact&0x800000 != 0 || target.BitLen() > 256 {
		return new(big.Int)
	}
	return target
}

// hasWork tells whether the hash shows the work that the header claims.
func (link *header) hasWork() bool {
	digits := link.hash
	for low, high := 0, len(digits)-1; low < high; low, high = low+1, high-1 {
		digits[low], digits[high] = digits[high], digits[low]
	}
	return new(big.Int).SetBytes(digits[:]).Cmp(link.target) <= 0
}

// requireChain checks that headers follow each other, each with the work that it claims.
func requireChain(chain []*header) error {
	if len(chain) > mostHeaders {
		return fmt.Errorf("are more than %d headers", mostHeaders)
	}
	for number, link := range chain {
		if number > 0 && link.previous != chain[number-1].hash {
			return fmt.Errorf("header %d does not follow the one before it", number)
		}
		if !link.hasWork() {
			return fmt.Errorf("header %d lacks the work that it claims", number)
		}
	}
	return nil
}

// branchRoot returns the Merkle root that a branch leads to from a transaction.
func branchRoot(tx *transaction, position *big.Int, branch []string) (hash, error) {
	if len(branch) > mostLevels || position.Sign() < 0 || position.BitLen() > len(branch) {
		return hash{}, fmt.Errorf("position %s does not fit a branch of %d levels", position, len(branch))
	}
	if len(tx.bare) == nodeBytes {
		return hash{}, errors.New("a transaction of 64 bytes could be a pair of hashes")
	}
	here := tx.id()
	for level, text := range branch {
		sibling, err := parseHash(text)
		if err != nil {
			return hash{}, err
		}
		left, right := here, sibling
		if position.Bit(level) == 1 {
			if sibling == here {
				return hash{}, errors.New("a hash is paired with itself on the left")
			}
			left, right = sibling, here
		}
		pair := append(left[:], right[:]...)
		if _, err := parseTransaction(pair); err == nil {
			return hash{}, errors.New("a pair of hashes reads as a transaction")
		}
		here = doubleSha256(pair)
	}
	return here, nil
}

// heightIn returns the block's number, which the script of its first transaction begins with (BIP 34).
func heightIn(coinbase *transaction) (*big.Int, error) {
	first := coinbase.inputs[0]
	var nothing [36]byte
	binary.LittleEndian.PutUint32(nothing[32:], 0xffffffff)
	if len(coinbase.inputs) > 1 || string(first.outpoint) != string(nothing[:]) || len(first.script) == 0 {
		return nil, errors.New("is not the first transaction of a block")
	}
	const opOne, opSixteen, mostHeightBytes = 0x51, 0x60, 4
	width := int(first.script[0])
	if width >= opOne && width <= opSixteen {
		return big.NewInt(int64(width - opOne + 1)), nil
	}
	if width == 0 || width > mostHeightBytes || len(first.script) < 1+width {
		return nil, errors.New("the first transaction does not say its block's number")
	}
	var digits [4]byte
	copy(digits[:], first.script[1:1+width])
	return big.NewInt(int64(binary.LittleEndian.Uint32(digits[:]))), nil
}

// easiestSince2018 claims half the work of the easiest block of mainnet since then, and no anchor is older. A block of
// a test network claims less, and so can't be passed off as one of mainnet.
const easiestSince2018 = 0x1800ffff

// network is one of Bitcoin's chains: its genesis blocks, and the largest target that a header of it may claim.
type network struct {
	geneses       []string
	easiestTarget *big.Int
}

var networks = map[string]network{
	"mainnet": {
		[]string{"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"}, targetOf(easiestSince2018),
	},
	"testnet": {
		[]string{
			"000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
			"00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
		}, targetOf(0x1d00ffff),
	},
	"signet": {
		[]string{"00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"}, targetOf(0x1e0377ae),
	},
	"regtest": {
		[]string{"0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"}, targetOf(0x207fffff),
	},
}
