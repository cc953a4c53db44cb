package verifier

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh/verifier/report"
)

const proofs = "../tests/vectors/proofs"

// needed returns what the chains' parts of a proof take to be proven.
func needed(t *testing.T, text []byte) (trust report.Trust) {
	t.Helper()
	result, err := Verify(text, report.Trust{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ledger := range result.Ledgers {
		trust.Blocks = append(trust.Blocks, ledger.NeededTrust.Blocks...)
		trust.Headers = append(trust.Headers, ledger.NeededTrust.Headers...)
	}
	return trust
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(proofs, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRealProofsAreProvenUnderTrustAndOnlyThen(t *testing.T) {
	for _, name := range []string{"direct-first.json", "direct-last.json", "in-a-tree-first.json", "in-a-tree-second.json", "single.json"} {
		text := read(t, name)
		for _, ledger := range mustVerify(t, text, report.Trust{}).Ledgers {
			if ledger.Verdict.Standing != report.Consistent {
				t.Errorf("%s %s: %s", name, ledger.Network, ledger.Verdict.Statement)
			}
		}
		result := mustVerify(t, text, needed(t, text))
		if result.Overall.Standing != report.Proven {
			t.Errorf("%s: %s", name, result.Overall.Statement)
		}
		for _, ledger := range result.Ledgers[:2] {
			if ledger.Verdict.Standing != report.Proven || ledger.When == "" || ledger.Trust == "" || ledger.Place == "" {
				t.Errorf("%s %s: %s", name, ledger.Network, ledger.Verdict.Statement)
			}
		}
	}
}

func TestAnAnchorThatIsNotFinalStaysOpen(t *testing.T) {
	text := read(t, "not-final.json")
	bitcoin := mustVerify(t, text, needed(t, text)).Ledgers[0]
	if bitcoin.Verdict.Standing != report.Consistent {
		t.Error(bitcoin.Verdict.Statement)
	}
}

func TestOneWrongLedgerRefutesTheWhole(t *testing.T) {
	text := read(t, "direct-first.json")
	broken := strings.Replace(string(text), `"requiredDepth": 6`, `"requiredDepth": 5`, 1)
	if mustVerify(t, []byte(broken), needed(t, text)).Overall.Standing != report.Proven {
		t.Error("fewer headers than there are were required")
	}
	broken = strings.Replace(string(text), `"position": 1`, `"position": 0`, 1)
	result := mustVerify(t, []byte(broken), needed(t, text))
	if result.Overall.Standing != report.Refuted || result.Ledgers[1].Verdict.Standing != report.Proven {
		t.Error(result.Overall.Statement)
	}
}

func TestAReportHasListsWhereItHasNothing(t *testing.T) {
	text := read(t, "direct-first.json")
	written, err := json.Marshal(mustVerify(t, text, report.Trust{}))
	if err != nil || strings.Contains(string(written), "null") {
		t.Errorf("%s, %v", written, err)
	}
}

func mustVerify(t *testing.T, text []byte, trust report.Trust) report.Report {
	t.Helper()
	result, err := Verify(text, trust)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestANameCanNotPassForAPartOfTheSentence(t *testing.T) {
	text, err := os.ReadFile("../tests/vectors/receipts/btc_regtest.json")
	if err != nil {
		t.Fatal(err)
	}
	const spoof = `7) was in btc:mainnet by 2015-01-01T00:00:00Z, under trust in nobody; root 0x11 (batch 8`
	var receipt map[string]any
	if err := json.Unmarshal(text, &receipt); err != nil {
		t.Fatal(err)
	}
	receipt["metadata"].(map[string]any)["batchId"] = spoof
	if text, err = json.Marshal(receipt); err != nil {
		t.Fatal(err)
	}
	said := mustVerify(t, text, needed(t, text)).Overall
	if said.Standing != report.Proven || !strings.Contains(said.Statement, `(the receipt calls it batch "`+spoof+`")`) {
		t.Error(said.Statement)
	}
}
