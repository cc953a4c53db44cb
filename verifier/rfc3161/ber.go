package rfc3161

import (
	"bytes"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// malformed is what reading panics with; every entry point turns it into an error.
type malformed string

// fail ends reading.
func fail(format string, arguments ...any) {
	panic(malformed(fmt.Sprintf(format, arguments...)))
}

// reading runs a function that reads, and returns what it failed with.
func reading(read func()) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			said, ok := problem.(malformed)
			if !ok {
				panic(problem)
			}
			err = fmt.Errorf("%s", string(said))
		}
	}()
	read()
	return nil
}

const (
	universal, contextual = 0, 2

	tagBoolean, tagInteger, tagBits, tagOctets, tagNull, tagOID    = 1, 2, 3, 4, 5, 6
	tagEnumerated, tagUTF8, tagSequence, tagSet, tagPrintable      = 10, 12, 16, 17, 19
	tagTeletex, tagIA5, tagUTCTime, tagGeneralized, tagUniversal32 = 20, 22, 23, 24, 28
	tagBMP                                                         = 30

	deepestNesting = 10
)

// element is one value in BER: its header, and what it holds.
type element struct {
	class, tag  int
	constructed bool
	// indefinite says that its length is not written, and that an end is.
	indefinite bool
	header     []byte
	content    []byte
}

// raw returns the element as it was written.
func (e *element) raw() []byte {
	whole := append(bytes.Clone(e.header), e.content...)
	if e.indefinite {
		whole = append(whole, 0, 0)
	}
	return whole
}

// next reads the first element of some bytes, in BER; it returns the rest, too.
func next(data []byte) (*element, []byte) {
	return nextBelow(data, 0)
}

func nextBelow(data []byte, depth int) (*element, []byte) {
	if depth > deepestNesting {
		fail("lengths that are not written are nested too deep")
	}
	e, size, at := readHeader(data)
	if !e.indefinite {
		if size.Cmp(big.NewInt(int64(len(data)-at))) > 0 {
			fail("it ends too early")
		}
		end := at + int(size.Int64())
		e.header, e.content = data[:at:at], data[at:end:end]
		return e, data[end:]
	}
	if !e.constructed {
		fail("a length is not written")
	}
	rest := data[at:]
	for len(rest) < 2 || rest[0] != 0 || rest[1] != 0 {
		_, rest = nextBelow(rest, depth+1)
	}
	end := len(data) - len(rest)
	e.header, e.content = data[:at:at], data[at:end:end]
	return e, rest[2:]
}

// readHeader reads class, tag and length, and returns where the content begins.
func readHeader(data []byte) (e *element, size *big.Int, at int) {
	octet := func() byte {
		if at >= len(data) {
			fail("it ends too early")
		}
		at++
		return data[at-1]
	}
	first := octet()
	e = &element{class: int(first >> 6), tag: int(first & 31), constructed: first&32 != 0}
	if e.tag == 31 {
		e.tag = longTag(octet)
	}
	length := octet()
	if length < 0x80 {
		return e, big.NewInt(int64(length)), at
	}
	count := int(length & 0x7f)
	if count == 0 {
		e.indefinite = true
		return e, nil, at
	}
	if at+count > len(data) {
		fail("it ends too early")
	}
	return e, new(big.Int).SetBytes(data[at : at+count]), at + count
}

// longTag reads a tag of several octets; one that is too large for any form becomes a large one.
func longTag(octet func() byte) int {
	tag := 0
	for {
		digit := octet()
		if digit == 0x80 && tag == 0 {
			fail("a tag is written with zeros before it")
		}
		if tag < 1<<23 {
			tag = tag<<7 | int(digit&0x7f)
		}
		if digit < 0x80 {
			break
		}
	}
	if tag < 31 {
		fail("a short tag is written as a long one")
	}
	return tag
}

// whole reads bytes that hold one element and nothing else.
func whole(data []byte) *element {
	e, rest := next(data)
	if len(rest) > 0 {
		fail("%d bytes too many follow", len(rest))
	}
	return e
}

// elements reads all elements of a content.
func elements(content []byte) []*element {
	var all []*element
	for len(content) > 0 {
		var e *element
		e, content = next(content)
		all = append(all, e)
	}
	return all
}

// is tells whether an element has a class and tag.
func (e *element) is(class, tag int) bool {
	return e.class == class && e.tag == tag
}

// must ends reading unless the element is of a class, tag and kind.
func (e *element) must(class, tag int, constructed bool) *element {
	if e == nil {
		fail("a part is missing")
	}
	if !e.is(class, tag) || e.constructed != constructed {
		fail("a part of class %d and tag %d stands where class %d and tag %d belongs", e.class, e.tag, class, tag)
	}
	return e
}

// sequence and the like return what an element of that type holds.
func (e *element) sequence() []byte { return e.must(universal, tagSequence, true).content }
func (e *element) set() []byte      { return e.must(universal, tagSet, true).content }

// explicit returns the element inside an explicit tag; what follows it there is passed over.
func (e *element) explicit(tag int) *element {
	inner, _ := next(e.must(contextual, tag, true).content)
	return inner
}

// integer returns a whole number.
func (e *element) integer() *big.Int {
	return signed(e.must(universal, tagInteger, false).content)
}

// boolean returns whether a truth value is true: whatever is not zero.
func (e *element) boolean() bool {
	return !bytes.Equal(e.must(universal, tagBoolean, false).content, []byte{0})
}

// octets returns the bytes of an OCTET STRING, which may come in pieces of unwritten length.
func (e *element) octets() []byte { return e.chunks(universal, tagOctets) }

func (e *element) chunks(class, tag int) []byte {
	if !e.is(class, tag) {
		fail("a part of class %d and tag %d stands where bytes belong", e.class, e.tag)
	}
	if !e.constructed {
		return e.content
	}
	if !e.indefinite {
		fail("bytes come in pieces of a written length")
	}
	var all []byte
	pieces := elements(e.content)
	for _, piece := range pieces {
		all = append(all, piece.chunks(universal, tag)...)
	}
	return all
}

// oid returns an object identifier in dotted form.
func (e *element) oid() string {
	return dotted(e.must(universal, tagOID, false).content)
}

// signed returns a number in two's complement.
func signed(content []byte) *big.Int {
	value := new(big.Int).SetBytes(content)
	if len(content) > 0 && content[0] >= 0x80 {
		value.Sub(value, new(big.Int).Lsh(big.NewInt(1), uint(8*len(content))))
	}
	return value
}

// dotted returns an object identifier's dotted form; an unfinished part at its end is left out.
func dotted(content []byte) string {
	var parts []string
	part := new(big.Int)
	for _, octet := range content {
		part.Lsh(part, 7)
		part.Or(part, big.NewInt(int64(octet&0x7f)))
		if octet >= 0x80 {
			continue
		}
		if parts == nil {
			root := min(int64(2), new(big.Int).Div(part, big.NewInt(40)).Int64())
			if part.Cmp(big.NewInt(80)) >= 0 {
				root = 2
			}
			parts = append(parts, strconv.FormatInt(root, 10))
			part.Sub(part, big.NewInt(40*root))
		}
		parts = append(parts, part.String())
		part = new(big.Int)
	}
	return strings.Join(parts, ".")
}

// field says which elements may stand at one place of a sequence.
type field struct {
	// class and tag of an optional one; any other element is left to the fields that follow.
	class, tag int
	optional   bool
	anything   bool
}

var (
	required = field{}
	anything = field{optional: true, anything: true}
)

func optional(class, tag int) field { return field{class: class, tag: tag, optional: true} }

// fields distributes the elements of a sequence to its fields; what comes after the last field is nobody's.
func fields(content []byte, form ...field) []*element {
	slots := make([]*element, 0, len(form))
	for _, e := range elements(content) {
		for len(slots) < len(form) {
			wanted := form[len(slots)]
			if !wanted.optional || wanted.anything || e.is(wanted.class, wanted.tag) {
				break
			}
			slots = append(slots, nil)
		}
		slots = append(slots, e)
	}
	for len(slots) < len(form) {
		if !form[len(slots)].optional {
			fail("a part is missing")
		}
		slots = append(slots, nil)
	}
	return slots[:len(form)]
}
