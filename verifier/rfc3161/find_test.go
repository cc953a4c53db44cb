package rfc3161

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"vaultmesh/verifier/report"
)

// stamped is a receipt whose token openssl made.
type stamped struct {
	Root       string `json:"root"`
	TxRef      string `json:"txRef"`
	namesBlock bool
	AnchorTs   string `json:"anchorTs"`
	Evidence   struct {
		Stamp map[string]any `json:"rfc3161"`
	} `json:"evidence"`
}

// readStamped reads the receipt and returns it with its commitment and its root's certificate in PEM.
func readStamped(t *testing.T) (stamped, [32]byte, string) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/receipts/rfc3161_tsa.json")
	if err != nil {
		t.Fatal(err)
	}
	var receipt stamped
	if err := json.Unmarshal(text, &receipt); err != nil {
		t.Fatal(err)
	}
	var commitment [32]byte
	if _, err := hex.Decode(commitment[:], []byte(strings.TrimPrefix(receipt.Root, "0x"))); err != nil {
		t.Fatal(err)
	}
	carried := receipt.Evidence.Stamp["certificates"].([]any)
	der, err := base64.StdEncoding.DecodeString(carried[len(carried)-1].(string))
	if err != nil {
		t.Fatal(err)
	}
	return receipt, commitment, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// find runs Find on a receipt under trust in some files.
func find(t *testing.T, receipt stamped, commitment [32]byte, trusted ...string) report.Findings {
	t.Helper()
	evidence, err := json.Marshal(receipt.Evidence.Stamp)
	if err != nil {
		t.Fatal(err)
	}
	return Find(evidence, "rfc3161:tsa", receipt.TxRef, receipt.AnchorTs, receipt.namesBlock, commitment, report.Trust{Authorities: trusted})
}

// checksOf returns the names of the checks that came to something.
func checksOf(findings report.Findings, found report.Found) string {
	var names []string
	for _, check := range findings.Checks {
		if check.Found == found {
			names = append(names, check.Name)
		}
	}
	return strings.Join(names, ", ")
}

func TestARealTokenIsProvenByItsRoot(t *testing.T) {
	receipt, commitment, root := readStamped(t)
	findings := find(t, receipt, commitment, root)
	if wrong, open := checksOf(findings, report.Wrong), checksOf(findings, report.Open); wrong+open != "" {
		t.Fatalf("wrong: %s; open: %s", wrong, open)
	}
	if findings.Trust != "trust in CN=tsa root,O=VaultMesh devnet" || findings.Caveat != "" {
		t.Errorf("trust %q, caveat %q", findings.Trust, findings.Caveat)
	}
	if !strings.HasPrefix(findings.When, receipt.AnchorTs) || !strings.Contains(findings.When, "clock of CN=tsa authority") {
		t.Errorf("when %q", findings.When)
	}
}

func TestWithoutARootNothingIsProvenAndNothingWrong(t *testing.T) {
	receipt, commitment, _ := readStamped(t)
	findings := find(t, receipt, commitment)
	if wrong, open := checksOf(findings, report.Wrong), checksOf(findings, report.Open); wrong != "" || open != "trusted root" {
		t.Fatalf("wrong: %s; open: %s", wrong, open)
	}
}

func TestAnythingElseIsRefuted(t *testing.T) {
	for name, change := range map[string]struct {
		change func(*stamped, *[32]byte)
		wrong  string
	}{
		"another commitment": {func(_ *stamped, c *[32]byte) { c[0] ^= 1 }, "imprint"},
		"another number":     {func(r *stamped, _ *[32]byte) { r.TxRef += "0" }, "serial number"},
		"another time":       {func(r *stamped, _ *[32]byte) { r.AnchorTs = "2026-11-21T10:17:02Z" }, "timestamp"},
		"no time":            {func(r *stamped, _ *[32]byte) { r.AnchorTs = "yesterday" }, "timestamp"},
		"another name":       {func(r *stamped, _ *[32]byte) { r.Evidence.Stamp["authority"] = "CN=x" }, "description"},
		"no token":           {func(r *stamped, _ *[32]byte) { delete(r.Evidence.Stamp, "token") }, "token"},
		"rubbish":            {func(r *stamped, _ *[32]byte) { r.Evidence.Stamp["token"] = "MAA=" }, "token form"},
	} {
		receipt, commitment, root := readStamped(t)
		change.change(&receipt, &commitment)
		if got := checksOf(find(t, receipt, commitment, root), report.Wrong); got != change.wrong {
			t.Errorf("%s: wrong are %q, not %q", name, got, change.wrong)
		}
	}
}

func TestATrustFileThatIsNoneIsCalledWrong(t *testing.T) {
	receipt, commitment, root := readStamped(t)
	for _, text := range []string{"", "no pem", strings.Replace(root, "MII", "IIM", 1), root[:len(root)/2]} {
		if got := checksOf(find(t, receipt, commitment, text), report.Wrong); got != "trusted roots" {
			t.Errorf("%.20q: wrong are %q", text, got)
		}
	}
}

func TestNoChangedByteOfATokenProvesAnything(t *testing.T) {
	receipt, commitment, root := readStamped(t)
	token, err := base64.StdEncoding.DecodeString(receipt.Evidence.Stamp["token"].(string))
	if err != nil {
		t.Fatal(err)
	}
	whole := find(t, receipt, commitment, root)
	for place := 0; place < len(token); place += 5 {
		changed := append([]byte{}, token...)
		changed[place] ^= 1 << (place % 8)
		receipt.Evidence.Stamp["token"] = base64.StdEncoding.EncodeToString(changed)
		findings := find(t, receipt, commitment, root)
		if findings.When != "" && findings.When != whole.When {
			t.Fatalf("byte %d proves %s", place, findings.When)
		}
	}
}

func TestAnAuthorityHasNoBlocks(t *testing.T) {
	receipt, commitment, root := readStamped(t)
	if wrong := checksOf(find(t, receipt, commitment, root), report.Wrong); wrong != "" {
		t.Error(wrong)
	}
	receipt.namesBlock = true
	if wrong := checksOf(find(t, receipt, commitment, root), report.Wrong); wrong != "block" {
		t.Error(wrong)
	}
}

func TestVeryManyCertificatesEndTheReading(t *testing.T) {
	receipt, commitment, root := readStamped(t)
	carried := receipt.Evidence.Stamp["certificates"].([]any)
	for len(carried) <= mostParts {
		carried = append(carried, carried[0])
	}
	receipt.Evidence.Stamp["certificates"] = carried
	if wrongs := checksOf(find(t, receipt, commitment, root), report.Wrong); wrongs != "evidence" {
		t.Error(wrongs)
	}
}
