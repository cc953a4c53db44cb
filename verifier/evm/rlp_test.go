package evm

import (
	"bytes"
	"strings"
	"testing"
)

func TestOneValueHasOneEncoding(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":                       "",
		"a byte with a length":          "\x81\x7f",
		"a short text with long length": "\xb8\x01\x80",
		"a length with leading zero":    "\xb9\x00\x38" + strings.Repeat("a", 56),
		"a short list with long length": "\xf8\x01\x80",
		"an early end":                  "\x82a",
		"an early end of a list":        "\xc2\x82a",
		"an inner item beyond its list": "\xc1\x82ab",
		"something after it":            "\x80\x80",
		"a length of eight bytes":       "\xbf\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if read, err := decode([]byte(data), "it"); err == nil {
			t.Errorf("%s was read as %v", name, read)
		}
	}
}

func TestListsAreReadToALimit(t *testing.T) {
	nested := func(levels int) []byte {
		data := []byte{0xc0}
		for range levels - 1 {
			if len(data) <= longest {
				data = append([]byte{shortList + byte(len(data))}, data...)
			} else {
				data = append([]byte{longList + 1, byte(len(data))}, data...)
			}
		}
		return data
	}
	if _, err := decode(nested(deepestItem), "it"); err != nil {
		t.Error(err)
	}
	if _, err := decode(nested(deepestItem+1), "it"); err == nil {
		t.Error("lists lie deeper than the limit")
	}
}

func TestSizesAreThoseOfTheEncoding(t *testing.T) {
	data := append([]byte{0xf8, 60, 0xb8, 56}, bytes.Repeat([]byte{1}, 56)...)
	data = append(data, 0x05, 0xc0)
	read, err := decode(data, "it")
	if err != nil || read.size != len(data) || read.list[0].size != 58 || read.list[1].size != 1 {
		t.Fatal(read, err)
	}
}
