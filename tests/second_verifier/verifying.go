package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// deepest is the most nodes that a path may have; sizes themselves have no bound in the format.
const deepest = 64

var one = big.NewInt(1)

// provenRoot returns the root that the proof leads to, if it is the one that the proof names.
func (given *proof) provenRoot() ([]byte, error) {
	if given.index.Sign() < 0 || given.size.Sign() <= 0 || given.index.Cmp(given.size) >= 0 {
		return nil, errors.New("there is no such leaf in a tree of that size")
	}
	if len(given.path) > deepest {
		return nil, errors.New("the path is too deep")
	}
	hashed := given.leaf.hash()
	root, err := climb(hashed, given.index, given.size, given.path)
	split, splitErr := descend(hashed, given.index, given.size, given.path)
	if (err == nil) != (splitErr == nil) || !bytes.Equal(root, split) {
		panic(fmt.Sprintf("two readings of RFC 9162 differ: %x (%v), %x (%v)", root, err, split, splitErr))
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(root, given.root) {
		return nil, errors.New("the path leads to another root")
	}
	return root, nil
}

// climb verifies from the leaf upward, step by step as RFC 9162 says in 2.1.3.2.
func climb(hashed []byte, index, size *big.Int, path [][]byte) ([]byte, error) {
	fn, sn := new(big.Int).Set(index), new(big.Int).Sub(size, one)
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
	if size.Cmp(one) == 0 {
		if len(path) != 0 {
			return nil, errors.New("nodes are left over at the leaf")
		}
		return hashed, nil
	}
	if len(path) == 0 {
		return nil, errors.New("nodes are missing")
	}
	rest, sibling := path[:len(path)-1], path[len(path)-1]
	last := new(big.Int).Sub(size, one)
	half := new(big.Int).Lsh(one, uint(last.BitLen()-1))
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

func (given leaf) hash() []byte {
	hashed := sha256.Sum256(append([]byte{0}, given.canonical()...))
	return hashed[:]
}

// canonical writes the leaf as RFC 8785 wants it: keys in order, no spaces, nothing escaped that need not be.
func (given leaf) canonical() []byte {
	var out strings.Builder
	members := [...][2]string{
		{"batchId", given.batchID}, {"namespace", given.namespace}, {"root", given.root}, {"salt", given.salt},
	}
	for at, member := range members {
		out.WriteByte("{,,,"[at])
		writeString(&out, member[0])
		out.WriteByte(':')
		writeString(&out, member[1])
	}
	out.WriteByte('}')
	return []byte(out.String())
}

var short = map[rune]string{
	'"': `\"`, '\\': `\\`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`, '\r': `\r`,
}

// writeString follows RFC 8785, 3.2.2.2.
func writeString(out *strings.Builder, text string) {
	out.WriteByte('"')
	for _, letter := range text {
		switch escape, known := short[letter]; {
		case known:
			out.WriteString(escape)
		case letter < ' ':
			fmt.Fprintf(out, `\u%04x`, letter)
		default:
			out.WriteRune(letter)
		}
	}
	out.WriteByte('"')
}
