package main

import (
	"bytes"
	"strings"
	"testing"
)

const (
	proofs = "../../../tests/vectors/proofs/"
	direct = proofs + "direct-first.json"
)

func answer(arguments ...string) (code int, out, problems string) {
	var said, complained bytes.Buffer
	code = run(arguments, strings.NewReader(""), &said, &complained)
	return code, said.String(), complained.String()
}

func TestLinesFitATerminal(t *testing.T) {
	_, out, _ := answer(direct, proofs+"not-final.json", proofs+"absent.json")
	for _, line := range strings.Split(out, "\n") {
		if runes(line) > columns && len(strings.Fields(line)) > 1 {
			t.Errorf("too long: %s", line)
		}
	}
	for _, expected := range []string{"NOT PROVEN", "needs if a source", "can't be read"} {
		if !strings.Contains(out, expected) {
			t.Errorf("%q is not said", expected)
		}
	}
}

func TestWhatIsStatedMustMakeSense(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for _, arguments := range [][]string{
		{}, {"--trust-block"}, {"--trust-block", hash, direct}, {"--trust-header", "0x" + hash, direct}, {"--unknown", direct},
		{"--trust-roots", direct, direct}, {"--trust-roots", "absent.pem", direct}, {"--stdin-lines", direct},
	} {
		if code, _, problems := answer(arguments...); code != badUsage || !strings.HasPrefix(problems, "vaultmesh-verify: ") {
			t.Errorf("%v ended with %d: %s", arguments, code, problems)
		}
	}
	if code, _, _ := answer(direct, "--trust-block=0x"+strings.ToUpper(hash), "--trust-header", hash, "--json"); code != notProven {
		t.Errorf("ended with %d", code)
	}
}

func TestAProofCanNotMoveTheCursor(t *testing.T) {
	if text := printable("a\x1b[2Jb\u202ec"); strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("%q", text)
	}
}
