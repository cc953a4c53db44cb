package evm

import (
	"errors"
	"math/big"
)

// A node of a trie has 16 children and a value, or a path and what follows it.
const (
	branchItems = 17
	shortItems  = 2
)

// provenValue returns the value that a Merkle-Patricia trie holds at a key. The nodes are those from the root to the
// value, each with the hash that its parent names; one below 32 bytes lies inside its parent, and is not listed. Every
// listed node has to be used.
func provenValue(root [32]byte, key []byte, nodes [][]byte) ([]byte, error) {
	rest := nodes
	current, err := nextNode(root[:], &rest, true)
	path := nibblesOf(key)
	for err == nil {
		var following item
		if len(current.list) == branchItems {
			if len(path) == 0 {
				return valueAt(current.list[branchItems-1], rest)
			}
			following, path = current.list[path[0]], path[1:]
		} else {
			stretch, isLeaf, err := compactPath(current.list[0])
			if err != nil {
				return nil, err
			}
			leads := len(path) >= len(stretch) && string(path[:len(stretch)]) == string(stretch)
			if isLeaf {
				if !leads || len(path) != len(stretch) {
					return nil, errors.New("leads to another key")
				}
				return valueAt(current.list[1], rest)
			}
			if !leads || len(stretch) == 0 {
				return nil, errors.New("leads to another key")
			}
			following, path = current.list[1], path[len(stretch):]
		}
		current, err = child(following, &rest)
	}
	return nil, err
}

// child goes on to a node that is named by its hash, or lies in its parent.
func child(following item, rest *[][]byte) (item, error) {
	if following.isList {
		if following.size >= 32 {
			return item{}, errors.New("has a large node inside another")
		}
		return asNode(following)
	}
	if len(following.bytes) != 32 {
		return item{}, errors.New("holds nothing at this key")
	}
	return nextNode(following.bytes, rest, false)
}

// nextNode takes the next listed node, which has to have this hash.
func nextNode(hash []byte, rest *[][]byte, isRoot bool) (item, error) {
	if len(*rest) == 0 {
		return item{}, errors.New("ends before the value")
	}
	data := (*rest)[0]
	*rest = (*rest)[1:]
	if digest := Keccak(data); string(digest[:]) != string(hash) {
		return item{}, errors.New("has a node with another hash than its parent or root says")
	}
	if !isRoot && len(data) < 32 {
		return item{}, errors.New("lists a node that belongs inside its parent")
	}
	node, err := decode(data, "a node")
	if err != nil {
		return item{}, err
	}
	return asNode(node)
}

func asNode(node item) (item, error) {
	if count := len(node.list); count != branchItems && count != shortItems {
		return item{}, errors.New("holds something that is no node")
	}
	return node, nil
}

func valueAt(end item, rest [][]byte) ([]byte, error) {
	if end.isList || len(end.bytes) == 0 {
		return nil, errors.New("holds nothing at this key")
	}
	if len(rest) > 0 {
		return nil, errors.New("has nodes beyond the value")
	}
	return end.bytes, nil
}

// compactPath reads the nibbles of a path, whose first one says whether their number is odd and what follows.
func compactPath(packed item) (path []byte, isLeaf bool, err error) {
	nibbles := nibblesOf(packed.bytes)
	if packed.isList || len(nibbles) == 0 || nibbles[0] > 3 {
		return nil, false, errors.New("holds a path of no known form")
	}
	isLeaf = nibbles[0]&2 != 0
	if nibbles[0]&1 != 0 {
		return nibbles[1:], isLeaf, nil
	}
	if nibbles[1] != 0 {
		return nil, false, errors.New("holds a path of no known form")
	}
	return nibbles[2:], isLeaf, nil
}

func nibblesOf(data []byte) []byte {
	nibbles := make([]byte, 0, 2*len(data))
	for _, digit := range data {
		nibbles = append(nibbles, digit>>4, digit&15)
	}
	return nibbles
}

// indexKey is where a trie holds a block's n-th transaction or receipt: the RLP of n.
func indexKey(index *big.Int) []byte {
	digits := index.Bytes()
	switch {
	case len(digits) == 1 && digits[0] < shortText:
		return digits
	case len(digits) <= longest:
		return append([]byte{shortText + byte(len(digits))}, digits...)
	default:
		width := new(big.Int).SetInt64(int64(len(digits))).Bytes()
		return append(append([]byte{longText + byte(len(width))}, width...), digits...)
	}
}
