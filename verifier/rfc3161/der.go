package rfc3161

import (
	"bytes"
	"math/big"
	"time"
	"unicode/utf8"
)

// strict reads DER and nothing else; certificates and revocation lists must be written in it.
type strict struct {
	rest []byte
}

// done ends reading if something follows.
func (s *strict) done() {
	if len(s.rest) > 0 {
		fail("something follows the last part")
	}
}

// inner reads what stands inside an element, all of it.
func inner(content []byte, read func(*strict)) {
	s := &strict{content}
	read(s)
	s.done()
}

// peek tells whether the next element has an identifier octet.
func (s *strict) peek(identifier byte) bool {
	return len(s.rest) > 0 && s.rest[0] == identifier
}

// any reads the next element, whatever it is; its content may be anything.
func (s *strict) any() *element {
	e, size, at := readHeader(s.rest)
	if e.indefinite {
		fail("a length is not written")
	}
	if size.Cmp(big.NewInt(int64(len(s.rest)-at))) > 0 {
		fail("it ends too early")
	}
	length := int(size.Int64())
	if at > 1+identifierOctets(e.tag)+lengthOctets(length)-1 {
		fail("a length is written with zeros before it")
	}
	e.header, e.content = s.rest[:at:at], s.rest[at:at+length:at+length]
	s.rest = s.rest[at+length:]
	return e
}

func identifierOctets(tag int) int {
	octets := 1
	for ; tag >= 31; tag >>= 7 {
		octets++
		if tag < 128 {
			break
		}
	}
	return octets
}

func lengthOctets(length int) int {
	octets := 1
	if length >= 0x80 {
		for ; length > 0; length >>= 8 {
			octets++
		}
	}
	return octets
}

// take reads an element with an identifier octet, and returns its content.
func (s *strict) take(identifier byte) []byte {
	if !s.peek(identifier) {
		fail("the part with identifier %#x is missing", identifier)
	}
	return s.any().content
}

// seq reads a SEQUENCE, set a SET of elements in their order.
func (s *strict) seq(read func(*strict)) { inner(s.take(0x30), read) }

func (s *strict) setOf(read func(*strict)) {
	content := s.take(0x31)
	inner(content, func(s *strict) {
		var before []byte
		for len(s.rest) > 0 {
			start := s.rest
			read(s)
			this := start[:len(start)-len(s.rest)]
			if bytes.Compare(before, this) > 0 {
				fail("a set is not in order")
			}
			before = this
		}
	})
}

// number reads an INTEGER, which has no octets that say nothing.
func (s *strict) number() *big.Int { return minimal(s.take(0x02)) }

func minimal(content []byte) *big.Int {
	if len(content) == 0 {
		fail("a number has no digits")
	}
	if len(content) > 1 && (content[0] == 0 && content[1] < 0x80 || content[0] == 0xff && content[1] >= 0x80) {
		fail("a number is written too long")
	}
	return signed(content)
}

// small reads a number from 0 up to a limit.
func (s *strict) small(bits int) uint64 {
	value := s.number()
	if value.Sign() < 0 || value.BitLen() > bits {
		fail("a number is out of its range")
	}
	return value.Uint64()
}

// oid reads an object identifier, dotted.
func (s *strict) oid() string { return strictOID(s.take(0x06)) }

const longestOID, largestArcBits = 63, 128

func strictOID(content []byte) string {
	if len(content) == 0 || len(content) > longestOID || content[len(content)-1] >= 0x80 {
		fail("an object identifier is none")
	}
	start, bits := true, 0
	for _, octet := range content {
		if start && octet == 0x80 {
			fail("an object identifier is written too long")
		}
		start = octet < 0x80
		if bits += 7; bits > largestArcBits {
			fail("an object identifier has too large a part")
		}
		if start {
			bits = 0
		}
	}
	return dotted(content)
}

// bits reads a BIT STRING whose unused bits are zero.
func (s *strict) bits() []byte { return strictBits(s.take(0x03)) }

func strictBits(content []byte) []byte {
	if len(content) == 0 {
		fail("a bit string is empty")
	}
	unused, octets := content[0], content[1:]
	if unused > 7 || unused > 0 && len(octets) == 0 {
		fail("a bit string has too many unused bits")
	}
	if unused > 0 && octets[len(octets)-1]&(1<<unused-1) != 0 {
		fail("unused bits are set")
	}
	return octets
}

// truth reads a BOOLEAN that is not its default, FALSE.
func (s *strict) truth() bool {
	if !s.peek(0x01) {
		return false
	}
	if content := s.take(0x01); !bytes.Equal(content, []byte{0xff}) {
		fail("a truth value is written in another way than in DER")
	}
	return true
}

// optionalNull reads a NULL if there is one, and tells whether there was.
func (s *strict) optionalNull() bool {
	if !s.peek(0x05) {
		return false
	}
	if len(s.take(0x05)) > 0 {
		fail("nothing is written as something")
	}
	return true
}

// moment reads UTCTime or GeneralizedTime, with seconds and in UTC; the second result tells which.
func (s *strict) moment() (time.Time, bool) {
	generalized := s.peek(0x18)
	layout, identifier := "060102150405Z", byte(0x17)
	if generalized {
		layout, identifier = "20060102150405Z", 0x18
	}
	text := string(s.take(identifier))
	if len(text) != len(layout) {
		fail("a time is none")
	}
	for _, letter := range []byte(text[:len(text)-1]) {
		if letter < '0' || letter > '9' {
			fail("a time is none")
		}
	}
	if !generalized {
		century := "20"
		if text[0] >= '5' {
			century = "19"
		}
		text = century + text
	}
	value, err := time.Parse("20060102150405Z", text)
	if err != nil || value.Year() == 0 {
		fail("a time is none")
	}
	return value, generalized
}

// attribute is one part of a distinguished name.
type attribute struct {
	oid  string
	text string
	// octets says that the value is bytes, not text.
	octets bool
}

// name is a distinguished name: sets of attributes.
type name [][]attribute

const uniqueIdentifier = "2.5.4.45"

// name reads a distinguished name.
func (s *strict) name() name {
	var read name
	s.seq(func(s *strict) {
		for len(s.rest) > 0 {
			var set []attribute
			s.setOf(func(s *strict) { set = append(set, s.attribute()) })
			if len(set) == 0 {
				fail("a name has an empty part")
			}
			seen := map[attribute]bool{}
			for _, part := range set {
				if seen[part] {
					fail("a name says something twice")
				}
				seen[part] = true
			}
			read = append(read, set)
		}
	})
	return read
}

func (s *strict) attribute() (read attribute) {
	s.seq(func(s *strict) {
		read.oid = s.oid()
		value := s.any()
		if value.class != universal || value.constructed {
			fail("a name has a part of an unknown kind")
		}
		if value.tag == tagBits {
			if read.oid != uniqueIdentifier {
				fail("a name has a part of bits")
			}
			read.text, read.octets = string(value.content), true
			return
		}
		text, ok := textOf(value.tag, value.content, true)
		if !ok {
			fail("a name has a part that is no text")
		}
		read.text = text
	})
	return read
}

// textOf decodes a string of ASN.1; with `printable`, a PrintableString has to be one.
func textOf(tag int, content []byte, printable bool) (string, bool) {
	switch tag {
	case tagUniversal32:
		return decode32(content)
	case tagBMP:
		return decode16(content)
	case tagPrintable:
		return string(content), utf8.Valid(content) && !(printable && !isPrintable(content))
	case tagOctets, tagUTF8, 18, tagTeletex, tagIA5, tagUTCTime, tagGeneralized, 26:
		return string(content), utf8.Valid(content)
	}
	return "", false
}

func isPrintable(content []byte) bool {
	for _, letter := range content {
		alphanumeric := letter >= '0' && letter <= '9' || letter >= 'A' && letter <= 'Z' || letter >= 'a' && letter <= 'z'
		if !alphanumeric && !bytes.Contains([]byte(" '()+,-./:=?"), []byte{letter}) {
			return false
		}
	}
	return true
}

func decode32(content []byte) (string, bool) {
	var text []rune
	for ; len(content) >= 4; content = content[4:] {
		letter := uint32(content[0])<<24 | uint32(content[1])<<16 | uint32(content[2])<<8 | uint32(content[3])
		if letter > utf8.MaxRune || !utf8.ValidRune(rune(letter)) {
			return "", false
		}
		text = append(text, rune(letter))
	}
	return string(text), len(content) == 0
}

func decode16(content []byte) (string, bool) {
	var text []rune
	for ; len(content) >= 2; content = content[2:] {
		letter := rune(content[0])<<8 | rune(content[1])
		if letter >= 0xd800 && letter < 0xdc00 && len(content) >= 4 {
			low := rune(content[2])<<8 | rune(content[3])
			if low >= 0xdc00 && low < 0xe000 {
				letter = 0x10000 + (letter-0xd800)<<10 + low - 0xdc00
				content = content[2:]
			}
		}
		if !utf8.ValidRune(letter) {
			return "", false
		}
		text = append(text, letter)
	}
	return string(text), len(content) == 0
}
