// Package strictjson reads JSON as VaultMesh's own readers do, and no further.
//
//  1. Bytes that are no UTF-8, halves of surrogate pairs, trailing commas and whatever follows the value are refused;
//     nothing is mended in silence.
//  2. Of a key that stands twice in an object the last value counts.
//  3. Whole numbers stay what is written, however long; NaN, Infinity and -Infinity are numbers without a value.
package strictjson

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Deepest is how deep arrays and objects that hold something may lie in each other.
const Deepest = 200

// mostDigits is the most digits of a whole number, or of what stands before a point.
const mostDigits = 4300

// Kind is the type of a value.
type Kind byte

// The types of values.
const (
	Null Kind = iota
	Bool
	Integer
	// Float is a number with a fraction or an exponent, or one without a value.
	Float
	String
	Array
	Object
)

// Value is one JSON value.
type Value struct {
	Kind Kind
	// Text is a string's letters, and of everything else but arrays and objects what is written.
	Text string
	// Items are an array's.
	Items []*Value
	// Keys are an object's, each once.
	Keys    []string
	members map[string]*Value
}

// Get returns an object's member; nil if there is none, or this is no object.
func (value *Value) Get(key string) *Value {
	if value == nil {
		return nil
	}
	return value.members[key]
}

// Is tells whether there is a value of that type.
func (value *Value) Is(kind Kind) bool {
	return value != nil && value.Kind == kind
}

// Number returns a whole number; nil if this is none.
func (value *Value) Number() *big.Int {
	if !value.Is(Integer) {
		return nil
	}
	number, ok := new(big.Int).SetString(value.Text, 10)
	if !ok {
		return nil
	}
	return number
}

// Append writes the value as JSON. What has no value, as NaN, becomes a number that no reader takes for one.
func (value *Value) Append(out []byte) []byte {
	switch value.Kind {
	case String:
		return appendString(out, value.Text)
	case Array:
		out = append(out, '[')
		for at, item := range value.Items {
			if at > 0 {
				out = append(out, ',')
			}
			out = item.Append(out)
		}
		return append(out, ']')
	case Object:
		out = append(out, '{')
		for at, key := range value.Keys {
			if at > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, key), ':')
			out = value.members[key].Append(out)
		}
		return append(out, '}')
	case Float:
		if strings.HasSuffix(value.Text, "N") || strings.HasSuffix(value.Text, "y") {
			return append(out, "1e999"...)
		}
	}
	return append(out, value.Text...)
}

var short = map[rune]string{
	'"': `\"`, '\\': `\\`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`, '\r': `\r`,
}

// appendString follows RFC 8785, 3.2.2.2.
func appendString(out []byte, text string) []byte {
	out = append(out, '"')
	for _, letter := range text {
		switch escape, known := short[letter]; {
		case known:
			out = append(out, escape...)
		case letter < ' ':
			out = fmt.Appendf(out, `\u%04x`, letter)
		default:
			out = utf8.AppendRune(out, letter)
		}
	}
	return append(out, '"')
}

// CanonicalString returns a string's one encoding (RFC 8785).
func CanonicalString(text string) string {
	return string(appendString(nil, text))
}

// Parse reads exactly one value.
func Parse(text []byte) (*Value, error) {
	reader := parser{text: text}
	value, err := reader.value(0)
	if err != nil {
		return nil, fmt.Errorf("no JSON: %w at byte %d", err, reader.at)
	}
	if reader.next() != 0 || reader.at < len(text) {
		return nil, fmt.Errorf("no JSON: something follows the value at byte %d", reader.at)
	}
	return value, nil
}

type parser struct {
	text []byte
	at   int
}

// next passes over spaces and returns the byte that follows; 0 at the end.
func (reader *parser) next() byte {
	for ; reader.at < len(reader.text); reader.at++ {
		switch letter := reader.text[reader.at]; letter {
		case ' ', '\t', '\r', '\n':
		default:
			return letter
		}
	}
	return 0
}

// peek returns the byte at hand; 0 at the end.
func (reader *parser) peek() byte {
	if reader.at < len(reader.text) {
		return reader.text[reader.at]
	}
	return 0
}

func (reader *parser) value(depth int) (*Value, error) {
	switch first := reader.next(); first {
	case '{':
		return reader.object(depth + 1)
	case '[':
		return reader.array(depth + 1)
	case '"':
		text, err := reader.string()
		return &Value{Kind: String, Text: text}, err
	case 't':
		return reader.word("true", Bool)
	case 'f':
		return reader.word("false", Bool)
	case 'n':
		return reader.word("null", Null)
	case 'N':
		return reader.word("NaN", Float)
	case 'I':
		return reader.word("Infinity", Float)
	case '-':
		if strings.HasPrefix(string(reader.text[reader.at:min(len(reader.text), reader.at+2)]), "-I") {
			return reader.word("-Infinity", Float)
		}
		return reader.number()
	default:
		if isDigit(first) {
			return reader.number()
		}
		return nil, errors.New("no value where one belongs")
	}
}

func (reader *parser) word(word string, kind Kind) (*Value, error) {
	if !strings.HasPrefix(string(reader.text[reader.at:min(len(reader.text), reader.at+len(word))]), word) {
		return nil, errors.New("an unknown word")
	}
	reader.at += len(word)
	return &Value{Kind: kind, Text: word}, nil
}

func (reader *parser) object(depth int) (*Value, error) {
	reader.at++
	value := &Value{Kind: Object, members: map[string]*Value{}}
	if reader.next() == '}' {
		reader.at++
		return value, nil
	}
	if depth > Deepest {
		return nil, errors.New("values lie too deep in each other")
	}
	for {
		if reader.next() != '"' {
			return nil, errors.New("no key where one belongs")
		}
		key, err := reader.string()
		if err != nil {
			return nil, err
		}
		if reader.next() != ':' {
			return nil, errors.New("no colon after a key")
		}
		reader.at++
		member, err := reader.value(depth)
		if err != nil {
			return nil, err
		}
		if _, known := value.members[key]; !known {
			value.Keys = append(value.Keys, key)
		}
		value.members[key] = member
		if done, err := reader.goesOn('}'); done || err != nil {
			return value, err
		}
	}
}

func (reader *parser) array(depth int) (*Value, error) {
	reader.at++
	value := &Value{Kind: Array}
	if reader.next() == ']' {
		reader.at++
		return value, nil
	}
	if depth > Deepest {
		return nil, errors.New("values lie too deep in each other")
	}
	for {
		item, err := reader.value(depth)
		if err != nil {
			return nil, err
		}
		value.Items = append(value.Items, item)
		if done, err := reader.goesOn(']'); done || err != nil {
			return value, err
		}
	}
}

// goesOn passes over a comma, or over the end, and says whether it was the end.
func (reader *parser) goesOn(end byte) (bool, error) {
	switch reader.next() {
	case end:
		reader.at++
		return true, nil
	case ',':
		reader.at++
		return false, nil
	default:
		return false, errors.New("neither comma nor end after a value")
	}
}

func (reader *parser) number() (*Value, error) {
	start := reader.at
	if reader.peek() == '-' {
		reader.at++
	}
	whole := reader.digits()
	leadingZero := whole > 1 && reader.text[reader.at-whole] == '0'
	if whole == 0 || leadingZero {
		return nil, errors.New("a number without digits, or with a leading zero")
	}
	if whole > mostDigits {
		return nil, errors.New("a number that is too long")
	}
	kind := Integer
	if reader.peek() == '.' {
		kind = Float
		reader.at++
		if reader.digits() == 0 {
			return nil, errors.New("a number without digits after its point")
		}
	}
	if letter := reader.peek(); letter == 'e' || letter == 'E' {
		kind = Float
		reader.at++
		if sign := reader.peek(); sign == '+' || sign == '-' {
			reader.at++
		}
		if reader.digits() == 0 {
			return nil, errors.New("a number without digits in its exponent")
		}
	}
	return &Value{Kind: kind, Text: string(reader.text[start:reader.at])}, nil
}

// digits passes over digits and returns how many there were.
func (reader *parser) digits() int {
	start := reader.at
	for isDigit(reader.peek()) {
		reader.at++
	}
	return reader.at - start
}

func isDigit(letter byte) bool {
	return letter >= '0' && letter <= '9'
}

func (reader *parser) string() (string, error) {
	reader.at++
	start := reader.at
	var out []byte
	for {
		switch letter := reader.peek(); {
		case reader.at >= len(reader.text):
			return "", errors.New("a string without end")
		case letter == '"':
			out = append(out, reader.text[start:reader.at]...)
			reader.at++
			if !utf8.Valid(out) {
				return "", errors.New("bytes that are no UTF-8")
			}
			return string(out), nil
		case letter < ' ':
			return "", errors.New("a control character")
		case letter == '\\':
			out = append(out, reader.text[start:reader.at]...)
			escaped, err := reader.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, escaped)
			start = reader.at
		default:
			reader.at++
		}
	}
}

var escapes = map[byte]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (reader *parser) escape() (rune, error) {
	reader.at++
	letter := reader.peek()
	reader.at++
	if letter != 'u' {
		meant, known := escapes[letter]
		if !known {
			return 0, errors.New("an unknown escape")
		}
		return meant, nil
	}
	unit, err := reader.unit()
	if err != nil || !utf16.IsSurrogate(unit) {
		return unit, err
	}
	if reader.peek() != '\\' || reader.at+1 >= len(reader.text) || reader.text[reader.at+1] != 'u' {
		return 0, errors.New("half a surrogate pair")
	}
	reader.at += 2
	second, err := reader.unit()
	if err != nil {
		return 0, err
	}
	meant := utf16.DecodeRune(unit, second)
	if meant == utf8.RuneError {
		return 0, errors.New("half a surrogate pair")
	}
	return meant, nil
}

func (reader *parser) unit() (rune, error) {
	var unit rune
	for range 4 {
		digit := reader.peek()
		switch {
		case isDigit(digit):
			unit = unit<<4 | rune(digit-'0')
		case digit >= 'a' && digit <= 'f':
			unit = unit<<4 | rune(digit-'a'+10)
		case digit >= 'A' && digit <= 'F':
			unit = unit<<4 | rune(digit-'A'+10)
		default:
			return 0, errors.New("an escape without four hex digits")
		}
		reader.at++
	}
	return unit, nil
}
