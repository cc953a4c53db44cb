package evm

import (
	"errors"
	"fmt"
)

// item is what RLP holds: bytes, or a list of items.
type item struct {
	bytes  []byte
	list   []item
	isList bool
	// size is the bytes of its encoding.
	size int
}

// largestItem is far above any header, transaction or receipt of an anchor.
const largestItem = 1 << 20

// deepestItem is how deep lists may lie in each other; an anchor's logs are four lists deep.
const deepestItem = 64

// The places in the first byte's range where another form begins (Yellow Paper, appendix B).
const (
	shortText, longText = 0x80, 0xb7
	shortList, longList = 0xc0, 0xf7
	longest             = 55
)

// decode reads exactly one item, which has one encoding only.
func decode(data []byte, what string) (item, error) {
	if len(data) > largestItem {
		return item{}, fmt.Errorf("%s has %d bytes; at most %d are read", what, len(data), largestItem)
	}
	read, rest, err := decodeFirst(data, 0)
	if err == nil && len(rest) > 0 {
		err = errors.New("something follows it")
	}
	if err != nil {
		return item{}, fmt.Errorf("%s is not RLP: %w", what, err)
	}
	return read, nil
}

func decodeFirst(data []byte, depth int) (read item, rest []byte, err error) {
	if len(data) == 0 {
		return item{}, nil, errors.New("it ends too early")
	}
	first := data[0]
	if first < shortText {
		return item{bytes: data[:1], size: 1}, data[1:], nil
	}
	short, long := byte(shortText), byte(longText)
	isList := first >= shortList
	if isList {
		short, long = shortList, longList
	}
	length, head := int(first-short), 1
	if first > long {
		if length, head, err = longLength(data, int(first-long)); err != nil {
			return item{}, nil, err
		}
	}
	if length > len(data)-head {
		return item{}, nil, errors.New("it ends too early")
	}
	payload, rest := data[head:head+length], data[head+length:]
	read = item{isList: isList, size: head + length}
	if isList {
		read.list, err = decodeAll(payload, depth+1)
		return read, rest, err
	}
	if length == 1 && payload[0] < shortText {
		return item{}, nil, errors.New("a byte is not written as itself")
	}
	read.bytes = payload
	return read, rest, nil
}

// longLength reads a length that takes bytes of its own, and returns it with the bytes before the payload.
func longLength(data []byte, width int) (length, head int, err error) {
	if len(data) < 1+width {
		return 0, 0, errors.New("it ends too early")
	}
	if data[1] == 0 {
		return 0, 0, errors.New("a length begins with zero")
	}
	for _, digit := range data[1 : 1+width] {
		if length > largestItem {
			return 0, 0, errors.New("a length is too large")
		}
		length = length<<8 | int(digit)
	}
	if length <= longest {
		return 0, 0, errors.New("a length is not written in the shortest way")
	}
	return length, 1 + width, nil
}

func decodeAll(payload []byte, depth int) (items []item, err error) {
	if depth > deepestItem {
		return nil, errors.New("lists lie too deep in each other")
	}
	for len(payload) > 0 {
		var read item
		if read, payload, err = decodeFirst(payload, depth); err != nil {
			return nil, err
		}
		items = append(items, read)
	}
	return items, nil
}
