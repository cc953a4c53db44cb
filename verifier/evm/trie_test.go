package evm

import "testing"

func list(items ...[]byte) []byte {
	var payload []byte
	for _, encoded := range items {
		payload = append(payload, encoded...)
	}
	if len(payload) <= longest {
		return append([]byte{shortList + byte(len(payload))}, payload...)
	}
	return append([]byte{longList + 1, byte(len(payload))}, payload...)
}

// text encodes letters; one below 0x80 is its own encoding.
func text(letters string) []byte {
	if len(letters) == 1 && letters[0] < shortText {
		return []byte(letters)
	}
	return append([]byte{shortText + byte(len(letters))}, letters...)
}

// The key is one byte, 0x12; so its nibbles are 1 and 2.
func TestAnExtensionLeadsSomewhere(t *testing.T) {
	large := "a value that is too long to lie inside its parent"
	for name, step := range map[string]struct {
		extension, leaf string
		isProven        bool
	}{
		"one nibble":     {"\x11", "\x32", true},
		"another nibble": {"\x12", "\x32", false},
		"no nibble":      {"\x00", "\x20\x12", false},
	} {
		leaf := list(text(step.leaf), text(large))
		hash := Keccak(leaf)
		extension := list(text(step.extension), text(string(hash[:])))
		value, err := provenValue(Keccak(extension), []byte{0x12}, [][]byte{extension, leaf})
		if (err == nil) != step.isProven || (step.isProven && string(value) != large) {
			t.Errorf("%s: %q, %v", name, value, err)
		}
	}
}
