// Package proof reads proof files and the receipts in them, and checks what links an event to a commitment.
//
// It knows no ledger: whether the commitment is in one is for the package of its scheme.
package proof

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"vaultmesh/verifier/strictjson"
)

// Root is 32 bytes: the root of a tree, or one of its leaves.
type Root [32]byte

// BatchForm writes a root as batches and event receipts do.
func (root Root) BatchForm() string { return "sha256:" + hex.EncodeToString(root[:]) }

// ReceiptForm writes a root as anchor receipts do.
func (root Root) ReceiptForm() string { return "0x" + hex.EncodeToString(root[:]) }

// Target is an outside ledger: a scheme, and the ledger's name within it.
type Target struct{ Scheme, Reference string }

// String returns scheme:reference.
func (target Target) String() string { return target.Scheme + ":" + target.Reference }

// Instant is a time in UTC.
type Instant struct {
	Micros int64
	text   string
}

// Seconds returns whole seconds since 1970.
func (instant Instant) Seconds() int64 { return instant.Micros / 1e6 }

// String returns the time with as many digits as it needs.
func (instant Instant) String() string { return instant.text }

// The years that an instant may be in: those that can be told in any time zone.
const earliestYear, latestYear = 1970, 9000

var (
	targetForm  = regexp.MustCompile(`\A([a-z][a-z0-9]{1,15}):([A-Za-z0-9][-._A-Za-z0-9]{0,63})\z`)
	instantForm = regexp.MustCompile(`\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\z`)
)

// object reads the members of one object. The first thing that is wrong stays in err, and ends nothing: what is read
// after it is empty.
type object struct {
	value *strictjson.Value
	place string
	known map[string]bool
	err   *error
}

func newObject(value *strictjson.Value, place string, err *error) *object {
	read := &object{value, place, map[string]bool{}, err}
	if !value.Is(strictjson.Object) {
		read.fail("", "is no object")
	}
	return read
}

func (read *object) fail(key, reason string) {
	if *read.err == nil {
		place := strings.Trim(read.place+"."+key, ".")
		*read.err = fmt.Errorf("%s: %s", place, reason)
	}
}

// closed refuses every key that was not asked for.
func (read *object) closed() {
	if !read.value.Is(strictjson.Object) {
		return
	}
	for _, key := range read.value.Keys {
		if !read.known[key] {
			read.fail(key, "is no key of ours")
		}
	}
}

// open tells whether there are keys that were not asked for.
func (read *object) open() bool {
	return read.value.Is(strictjson.Object) && len(read.value.Keys) > read.present()
}

func (read *object) present() (count int) {
	for key := range read.known {
		if read.value.Get(key) != nil {
			count++
		}
	}
	return count
}

// optional returns a member, or nil.
func (read *object) optional(key string) *strictjson.Value {
	read.known[key] = true
	return read.value.Get(key)
}

// member returns a member, which has to be there.
func (read *object) member(key string) *strictjson.Value {
	value := read.optional(key)
	if value == nil {
		read.fail(key, "is missing")
	}
	return value
}

func (read *object) textOf(key string, value *strictjson.Value) string {
	if !value.Is(strictjson.String) {
		read.fail(key, "is no text")
		return ""
	}
	return value.Text
}

func (read *object) text(key string) string {
	return read.textOf(key, read.member(key))
}

// name reads a text that is not empty.
func (read *object) name(key string) string {
	text := read.text(key)
	if text == "" {
		read.fail(key, "is empty")
	}
	return text
}

// nullable reads a text that may be null or missing.
func (read *object) nullable(key string) *string {
	value := read.optional(key)
	if value == nil || value.Is(strictjson.Null) {
		return nil
	}
	text := read.textOf(key, value)
	return &text
}

// constant reads a text that has one value only, and may be missing where it is implied.
func (read *object) constant(key, expected string, implied bool) {
	if implied && read.optional(key) == nil {
		return
	}
	if read.text(key) != expected {
		read.fail(key, fmt.Sprintf("is not %q", expected))
	}
}

// integer reads a whole number of any length.
func (read *object) integer(key string) *big.Int {
	number := read.member(key).Number()
	if number == nil {
		read.fail(key, "is no whole number")
		return new(big.Int)
	}
	return number
}

// count reads a whole number, which has a least value.
func (read *object) count(key string, least int64) *big.Int {
	number := read.integer(key)
	if number.Cmp(big.NewInt(least)) < 0 {
		read.fail(key, fmt.Sprintf("is below %d", least))
	}
	return number
}

func (read *object) list(key string) []*strictjson.Value {
	value := read.member(key)
	if !value.Is(strictjson.Array) {
		read.fail(key, "is no list")
		return nil
	}
	return value.Items
}

// receiptRoot reads 0x and 64 lower-case hex digits.
func (read *object) receiptRoot(key string) Root {
	return read.hex32(key, read.member(key))
}

func (read *object) hex32(key string, value *strictjson.Value) (root Root) {
	text := read.textOf(key, value)
	if digits, prefixed := strings.CutPrefix(text, "0x"); !prefixed || !decode32(&root, digits, false) {
		read.fail(key, "is not 0x and 64 lower-case hex digits")
	}
	return root
}

// batchRoot reads sha256: and 64 hex digits, in any case.
func (read *object) batchRoot(key string, value *strictjson.Value) (root Root) {
	const prefix = "sha256:"
	text := read.textOf(key, value)
	prefixed := len(text) >= len(prefix) && asciiLower(text[:len(prefix)]) == prefix
	if !prefixed || !decode32(&root, text[len(prefix):], true) {
		read.fail(key, "is not sha256: and 64 hex digits")
	}
	return root
}

func (read *object) target(key string) Target {
	match := targetForm.FindStringSubmatch(read.text(key))
	if match == nil {
		read.fail(key, "is not scheme:reference")
		return Target{}
	}
	return Target{match[1], match[2]}
}

func (read *object) instant(key string) Instant {
	text := read.text(key)
	moment, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || !instantForm.MatchString(text) {
		read.fail(key, "is not a time in UTC, such as 2026-01-15T10:00:00Z")
		return Instant{}
	}
	if moment.Year() < earliestYear || moment.Year() > latestYear {
		read.fail(key, "is no time that can be")
	}
	return Instant{moment.UnixMicro(), moment.Format("2006-01-02T15:04:05.999999Z")}
}

// InstantOfSeconds returns the instant of Unix seconds.
func InstantOfSeconds(seconds int64) Instant {
	moment := time.Unix(seconds, 0).UTC()
	return Instant{moment.UnixMicro(), moment.Format("2006-01-02T15:04:05Z")}
}

func decode32(root *Root, digits string, anyCase bool) bool {
	data, err := hex.DecodeString(digits)
	if err != nil || len(data) != len(root) || (!anyCase && digits != asciiLower(digits)) {
		return false
	}
	copy(root[:], data)
	return true
}

// asciiLower folds nothing but A to Z: other letters that fold to one of these are others.
func asciiLower(text string) string {
	lower := []byte(text)
	for at, letter := range lower {
		if letter >= 'A' && letter <= 'Z' {
			lower[at] = letter + 'a' - 'A'
		}
	}
	return string(lower)
}
