package proof

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"vaultmesh/verifier/strictjson"
)

const algorithm = "rfc9162-sha256"

// deepest is the most nodes that a path may have; sizes themselves have no bound in the format.
const deepest = 64

// Leaf is what an aggregation tree commits to for one batch.
type Leaf struct {
	BatchID, Namespace string
	Root               Root
	salt               Root
}

// Inclusion leads from a leaf to a commitment.
type Inclusion struct {
	Leaf        Leaf
	Index, Size *big.Int
	path        [][]byte
	Root        Root
}

// ReadInclusion reads what stands in a receipt as evidence.aggregation, as a text of its own.
func ReadInclusion(text []byte) (*Inclusion, error) {
	value, err := strictjson.Parse(text)
	if err != nil {
		return nil, err
	}
	return readInclusion(value, "")
}

// readInclusion takes these keys and no others, written exactly so, and no value of another type.
func readInclusion(value *strictjson.Value, place string) (inclusion *Inclusion, err error) {
	read := newObject(value, place, &err)
	read.constant("algorithm", algorithm, false)
	inclusion = &Inclusion{
		Leaf:  readLeaf(read.member("leaf"), place+".leaf", &err),
		Index: read.count("index", 0),
		Size:  read.count("treeSize", 1),
		Root:  read.receiptRoot("root"),
	}
	nodes := read.list("path")
	if len(nodes) > deepest {
		read.fail("path", "is too deep")
		nodes = nil
	}
	for _, node := range nodes {
		digest := read.hex32("path", node)
		inclusion.path = append(inclusion.path, digest[:])
	}
	read.closed()
	return inclusion, err
}

func readLeaf(value *strictjson.Value, place string, err *error) Leaf {
	read := newObject(value, place, err)
	leaf := Leaf{
		BatchID:   read.text("batchId"),
		Namespace: read.text("namespace"),
		Root:      read.receiptRoot("root"),
		salt:      read.receiptRoot("salt"),
	}
	read.closed()
	return leaf
}

// ProvenRoot returns the root that the path leads to, if it is the one that the proof names.
func (inclusion *Inclusion) ProvenRoot() (Root, error) {
	if inclusion.Index.Sign() < 0 || inclusion.Index.Cmp(inclusion.Size) >= 0 {
		return Root{}, errors.New("there is no such leaf in a tree of that size")
	}
	hashed := inclusion.Leaf.hash()
	root, err := climb(hashed, inclusion.Index, inclusion.Size, inclusion.path)
	split, splitErr := descend(hashed, inclusion.Index, inclusion.Size, inclusion.path)
	if (err == nil) != (splitErr == nil) || !bytes.Equal(root, split) {
		return Root{}, fmt.Errorf("two readings of RFC 9162 differ: %x (%v), %x (%v)", root, err, split, splitErr)
	}
	if err != nil {
		return Root{}, err
	}
	if !bytes.Equal(root, inclusion.Root[:]) {
		return Root{}, fmt.Errorf("the path leads to 0x%x, not to %s", root, inclusion.Root.ReceiptForm())
	}
	return inclusion.Root, nil
}

var unit = big.NewInt(1)

// climb verifies from the leaf upward, step by step as RFC 9162 says in 2.1.3.2.
func climb(hashed []byte, index, size *big.Int, path [][]byte) ([]byte, error) {
	fn, sn := new(big.Int).Set(index), new(big.Int).Sub(size, unit)
	r := hashed
	for _, p := range path {
		if sn.Sign() == 0 {
			return nil, errors.New("the path is too long")
		}
		if fn.Bit(0) == 1 || fn.Cmp(sn) == 0 {
			r = node(p, r)
			for fn.Bit(0) == 0 && fn.Sign() != 0 {
				fn.Rsh(fn, 1)
				sn.Rsh(sn, 1)
			}
		} else {
			r = node(r, p)
		}
		fn.Rsh(fn, 1)
		sn.Rsh(sn, 1)
	}
	if sn.Sign() != 0 {
		return nil, errors.New("the path is too short")
	}
	return r, nil
}

// descend verifies from the root downward, by the definition of a path in RFC 9162, 2.1.3.1: the tree is split at the
// largest power of two below its size, and the path's last node is the half without the leaf.
func descend(hashed []byte, index, size *big.Int, path [][]byte) ([]byte, error) {
	if size.Cmp(unit) == 0 {
		if len(path) != 0 {
			return nil, errors.New("nodes are left over at the leaf")
		}
		return hashed, nil
	}
	if len(path) == 0 {
		return nil, errors.New("nodes are missing")
	}
	rest, sibling := path[:len(path)-1], path[len(path)-1]
	last := new(big.Int).Sub(size, unit)
	half := new(big.Int).Lsh(unit, uint(last.BitLen()-1))
	if index.Cmp(half) < 0 {
		left, err := descend(hashed, index, half, rest)
		if err != nil {
			return nil, err
		}
		return node(left, sibling), nil
	}
	right, err := descend(hashed, new(big.Int).Sub(index, half), new(big.Int).Sub(size, half), rest)
	if err != nil {
		return nil, err
	}
	return node(sibling, right), nil
}

func node(left, right []byte) []byte {
	hashed := sha256.Sum256(append(append([]byte{1}, left...), right...))
	return hashed[:]
}

func (leaf Leaf) hash() []byte {
	hashed := sha256.Sum256(append([]byte{0}, leaf.canonical()...))
	return hashed[:]
}

// canonical writes the leaf as RFC 8785 wants it: keys in order, no spaces, nothing escaped that need not be.
func (leaf Leaf) canonical() []byte {
	return fmt.Appendf(nil, `{"batchId":%s,"namespace":%s,"root":"%s","salt":"%s"}`,
		strictjson.CanonicalString(leaf.BatchID), strictjson.CanonicalString(leaf.Namespace),
		leaf.Root.ReceiptForm(), leaf.salt.ReceiptForm())
}
