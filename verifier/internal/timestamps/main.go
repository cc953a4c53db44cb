// Command timestamps says of each line of its input, a case in JSON, what Find finds: for tests that compare verifiers.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"vaultmesh/verifier/report"
	"vaultmesh/verifier/rfc3161"
)

// question is one case.
type question struct {
	Evidence    json.RawMessage `json:"evidence"`
	TxRef       string          `json:"txRef"`
	AnchorTs    string          `json:"anchorTs"`
	Commitment  string          `json:"commitment"`
	Authorities []string        `json:"authorities"`
}

// answer is what was found, without the details of the checks.
type answer struct {
	Checks [][2]string `json:"checks"`
	When   string      `json:"when"`
	Trust  string      `json:"trust"`
	Caveat string      `json:"caveat"`
}

const longestLine = 1 << 24

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for lines.Scan() {
		found, err := find(lines.Bytes())
		if err == nil {
			err = out.Encode(found)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func find(line []byte) (answer, error) {
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{}, err
	}
	var commitment [32]byte
	if _, err := hex.Decode(commitment[:], []byte(asked.Commitment)); err != nil {
		return answer{}, err
	}
	trust := report.Trust{Authorities: asked.Authorities}
	found := rfc3161.Find(asked.Evidence, "rfc3161:tsa", asked.TxRef, asked.AnchorTs, false, commitment, trust)
	said := answer{When: found.When, Trust: found.Trust, Caveat: found.Caveat, Checks: [][2]string{}}
	for _, check := range found.Checks {
		said.Checks = append(said.Checks, [2]string{check.Name, string(check.Found)})
	}
	return said, nil
}
