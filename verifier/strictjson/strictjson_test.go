package strictjson

import (
	"strings"
	"testing"
)

func TestWhatIsRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "nul", "01", "-", "1.", ".5", "+1", "1e", "-NaN", "0x1", `"\ud800"`, `"\ud83d\u0041"`, `"\x"`, "\"\t\"",
		"\"\xff\"", "\"\xed\xa0\x80\"", `{"a":1,}`, "[1,]", "1 2", "\ufeff1", `{a:1}`, `{"a" 1}`, `"a`, `"\u12"`, "{}\x00",
		strings.Repeat("1", mostDigits+1), nested(Deepest+1, "0"),
	} {
		if value, err := Parse([]byte(text)); err == nil {
			t.Errorf("%.40q was read as %v", text, value)
		}
	}
}

func TestWhatIsRead(t *testing.T) {
	for text, expected := range map[string]string{
		` { "a" : [ 1 , -0 , 1.5e9 ] } `: `{"a":[1,-0,1.5e9]}`,
		`{"a":1,"b":2,"a":3}`:            `{"a":3,"b":2}`,
		`"\u00e9\/\ud83d\ude00\u0001"`:   `"é/😀\u0001"`,
		`[NaN,-Infinity,true,null]`:      `[1e999,1e999,true,null]`,
		nested(Deepest, "0"):             nested(Deepest, "0"),
	} {
		value, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%.40q: %v", text, err)
		} else if written := string(value.Append(nil)); written != expected {
			t.Errorf("%.40q was read as %.40q", text, written)
		}
	}
}

func nested(levels int, inner string) string {
	return strings.Repeat("[", levels) + inner + strings.Repeat("]", levels)
}
