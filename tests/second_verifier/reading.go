package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"unicode/utf16"
	"unicode/utf8"
)

const algorithm = "rfc9162-sha256"

var (
	hex32Form   = regexp.MustCompile(`\A0x[0-9a-f]{64}\z`)
	integerForm = regexp.MustCompile(`\A-?(?:0|[1-9][0-9]*)\z`)
)

// A leaf holds what its bytes are made of; root and salt stay the texts that they are hashed as.
type leaf struct {
	batchID, namespace, root, salt string
}

// A proof leads from a leaf to a root.
type proof struct {
	leaf        leaf
	index, size *big.Int
	path        [][]byte
	root        []byte
}

// readProof reads one JSON text strictly: these keys and no others, written exactly so, and no value of another type.
func readProof(text []byte) (*proof, error) {
	if err := requireText(text); err != nil {
		return nil, err
	}
	members, err := readObject(text, "algorithm", "leaf", "index", "treeSize", "path", "root")
	if err != nil {
		return nil, err
	}
	var result proof
	named, err := readString(members["algorithm"])
	if err != nil {
		return nil, err
	}
	if named != algorithm {
		return nil, fmt.Errorf("algorithm %q is not known", named)
	}
	if result.leaf, err = readLeaf(members["leaf"]); err != nil {
		return nil, err
	}
	if result.index, err = readInteger(members["index"]); err != nil {
		return nil, err
	}
	if result.size, err = readInteger(members["treeSize"]); err != nil {
		return nil, err
	}
	if result.path, err = readPath(members["path"]); err != nil {
		return nil, err
	}
	if _, result.root, err = readHex32(members["root"]); err != nil {
		return nil, err
	}
	return &result, nil
}

func readLeaf(raw json.RawMessage) (result leaf, err error) {
	members, err := readObject(raw, "batchId", "namespace", "root", "salt")
	if err != nil {
		return result, err
	}
	if result.batchID, err = readString(members["batchId"]); err != nil {
		return result, err
	}
	if result.namespace, err = readString(members["namespace"]); err != nil {
		return result, err
	}
	if result.root, _, err = readHex32(members["root"]); err != nil {
		return result, err
	}
	result.salt, _, err = readHex32(members["salt"])
	return result, err
}

func readPath(raw json.RawMessage) ([][]byte, error) {
	if kindOf(raw) != '[' {
		return nil, errors.New("the path is no list")
	}
	var members []json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	path := make([][]byte, 0, len(members))
	for _, one := range members {
		_, node, err := readHex32(one)
		if err != nil {
			return nil, err
		}
		path = append(path, node)
	}
	return path, nil
}

// readObject returns the members of an object that has exactly these keys. It uses a map, since structs would take
// keys in any case. Of a key that stands there twice the last value counts, as in most parsers.
func readObject(raw json.RawMessage, keys ...string) (map[string]json.RawMessage, error) {
	if kindOf(raw) != '{' {
		return nil, errors.New("no object where one belongs")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if _, there := members[key]; !there {
			return nil, fmt.Errorf("%q is missing", key)
		}
	}
	if len(members) > len(keys) {
		return nil, fmt.Errorf("there are %d keys, not %d", len(members), len(keys))
	}
	return members, nil
}

func readString(raw json.RawMessage) (text string, err error) {
	if kindOf(raw) != '"' {
		return "", errors.New("no text where one belongs")
	}
	return text, json.Unmarshal(raw, &text)
}

// readInteger takes digits only: neither fraction nor exponent, even where the value is whole.
func readInteger(raw json.RawMessage) (*big.Int, error) {
	if !integerForm.Match(raw) {
		return nil, errors.New("no whole number where one belongs")
	}
	number, ok := new(big.Int).SetString(string(raw), 10)
	if !ok {
		return nil, errors.New("a number that can't be read")
	}
	return number, nil
}

// readHex32 returns 32 bytes as they are written, and as they are.
func readHex32(raw json.RawMessage) (string, []byte, error) {
	text, err := readString(raw)
	if err != nil {
		return "", nil, err
	}
	if !hex32Form.MatchString(text) {
		return "", nil, errors.New("no 0x and 64 lower-case hex digits where they belong")
	}
	value, err := hex.DecodeString(text[2:])
	return text, value, err
}

// kindOf returns the first byte of a value; the parser leaves no space before one, but the text may begin with some.
func kindOf(raw []byte) byte {
	for _, one := range raw {
		switch one {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return one
	}
	return 0
}

// requireText refuses what the parser would mend in silence: bytes that are no UTF-8, and halves of surrogate pairs.
func requireText(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("no UTF-8")
	}
	if !json.Valid(text) {
		return errors.New("no JSON")
	}
	// In valid JSON a backslash stands in strings only, and \u has four digits.
	for at := 0; at < len(text); at++ {
		if text[at] != '\\' {
			continue
		}
		at++
		if text[at] != 'u' {
			continue
		}
		unit := unitAt(text, at+1)
		at += 4
		if !utf16.IsSurrogate(unit) {
			continue
		}
		if at+6 >= len(text) || text[at+1] != '\\' || text[at+2] != 'u' {
			return errors.New("half a surrogate pair")
		}
		if utf16.DecodeRune(unit, unitAt(text, at+3)) == utf8.RuneError {
			return errors.New("no surrogate pair")
		}
		at += 6
	}
	return nil
}

func unitAt(text []byte, at int) rune {
	var unit rune
	for _, digit := range text[at : at+4] {
		unit <<= 4
		switch {
		case digit >= 'a':
			unit |= rune(digit - 'a' + 10)
		case digit >= 'A':
			unit |= rune(digit - 'A' + 10)
		default:
			unit |= rune(digit - '0')
		}
	}
	return unit
}
