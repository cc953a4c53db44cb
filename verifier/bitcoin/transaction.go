package bitcoin

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
)

// mostSats is all the satoshis that there can be.
const mostSats = 21_000_000 * 100_000_000

// largestTransaction is the weight of a block: no transaction has more bytes.
const largestTransaction = 4_000_000

// commitmentStart is OP_RETURN and one push of the tag RV and the 32 bytes that follow it.
var commitmentStart = []byte{0x6a, 34, 'R', 'V'}

var (
	errEndsEarly   = errors.New("the bytes end too early")
	errTransaction = errors.New("is not exactly one transaction")
)

// hash is 32 bytes as they are hashed; people write them in reversed order.
type hash [32]byte

// String writes a hash as nodes and block explorers do.
func (digest hash) String() string {
	slices.Reverse(digest[:])
	return hex.EncodeToString(digest[:])
}

func doubleSha256(data []byte) hash {
	inner := sha256.Sum256(data)
	return sha256.Sum256(inner[:])
}

// parseHash reads a hash as people write it: 64 lower-case hex digits.
func parseHash(text string) (digest hash, err error) {
	data, err := readHex(text)
	if err == nil && len(data) != len(digest) {
		err = errors.New("a hash has 64 hex digits")
	}
	if err != nil {
		return hash{}, err
	}
	copy(digest[:], data)
	slices.Reverse(digest[:])
	return digest, nil
}

func readHex(text string) ([]byte, error) {
	data, err := hex.DecodeString(text)
	if err != nil || hex.EncodeToString(data) != text {
		return nil, errors.New("is not lower-case hex")
	}
	return data, nil
}

// input is what a transaction spends, as far as it matters here.
type input struct {
	// outpoint is the 36 bytes that name the output that is spent.
	outpoint []byte
	script   []byte
}

// transaction holds of a signed transaction what its proof needs.
type transaction struct {
	inputs []input
	// commitments are what its outputs commit to, in order.
	commitments [][]byte
	// bare are its bytes without the witness, which its id covers.
	bare []byte
}

func (tx *transaction) id() hash { return doubleSha256(tx.bare) }

// reader reads bytes from their start; after the first failure everything is empty, and err says why.
type reader struct {
	rest []byte
	err  error
}

func (read *reader) take(count uint64) []byte {
	if read.err == nil && count > uint64(len(read.rest)) {
		read.err = errEndsEarly
	}
	if read.err != nil {
		return nil
	}
	taken := read.rest[:count]
	read.rest = read.rest[count:]
	return taken
}

// count reads a count in Bitcoin's variable length; one that is not written in the shortest way is refused.
func (read *reader) count() uint64 {
	first := read.take(1)
	if read.err != nil {
		return 0
	}
	if first[0] < 0xfd {
		return uint64(first[0])
	}
	width := 2 << (first[0] - 0xfd)
	var digits [8]byte
	copy(digits[:], read.take(uint64(width)))
	number := binary.LittleEndian.Uint64(digits[:])
	least := map[int]uint64{2: 0xfd, 4: 1 << 16, 8: 1 << 32}[width]
	if read.err == nil && number < least {
		read.err = errors.New("a count is not written in the shortest way")
	}
	return number
}

// counted reads a count of things, which the bytes must be able to hold.
func (read *reader) counted() uint64 {
	count := read.count()
	if read.err == nil && count > uint64(len(read.rest)) {
		read.err = errors.New("a count exceeds the bytes")
	}
	if read.err != nil {
		return 0
	}
	return count
}

// parseTransaction reads a transaction whole, or refuses it: no byte may be left over.
func parseTransaction(data []byte) (*transaction, error) {
	if len(data) > largestTransaction {
		return nil, errors.New("is larger than a transaction can be")
	}
	read := &reader{rest: data}
	version := read.take(4)
	hasWitness := bytes.HasPrefix(read.rest, []byte{0, 1})
	if hasWitness {
		read.take(2)
	}
	body := read.rest
	tx := &transaction{}
	tx.readInputs(read)
	outputs := tx.readOutputs(read)
	body = body[:len(body)-len(read.rest)]
	witnessed := hasWitness && skipWitness(read, len(tx.inputs))
	lockTime := read.take(4)
	switch {
	case read.err != nil:
		return nil, read.err
	case len(read.rest) > 0 || len(tx.inputs) == 0 || outputs == 0:
		return nil, errTransaction
	case hasWitness != witnessed:
		return nil, errors.New("announces a witness and has none")
	}
	tx.bare = slices.Concat(version, body, lockTime)
	return tx, nil
}

func (tx *transaction) readInputs(read *reader) {
	for range read.counted() {
		spent := input{outpoint: read.take(36), script: read.take(read.count())}
		read.take(4)
		if read.err != nil {
			return
		}
		tx.inputs = append(tx.inputs, spent)
	}
}

// readOutputs returns how many there are. A script commits to 32 bytes if it is exactly of our form, and burns nothing.
func (tx *transaction) readOutputs(read *reader) (outputs uint64) {
	var sum uint64
	outputs = read.counted()
	for range outputs {
		amount := read.take(8)
		script := read.take(read.count())
		if read.err != nil {
			return outputs
		}
		sats := binary.LittleEndian.Uint64(amount)
		if sats > mostSats || sum+sats > mostSats {
			read.err = errTransaction
			return outputs
		}
		sum += sats
		if sats == 0 && len(script) == len(commitmentStart)+32 && bytes.HasPrefix(script, commitmentStart) {
			tx.commitments = append(tx.commitments, script[len(commitmentStart):])
		}
	}
	return outputs
}

// skipWitness passes over the witness of each input, and says whether there is any.
func skipWitness(read *reader, inputs int) (witnessed bool) {
	for range inputs {
		for range read.counted() {
			read.take(read.count())
			witnessed = true
			if read.err != nil {
				return witnessed
			}
		}
	}
	return witnessed
}
