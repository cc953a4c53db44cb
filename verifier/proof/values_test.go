package proof

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Forms that a careless reader takes for ours; each stands in place of what is right in a real proof.
func TestFormsThatAreNearlyOursAreRefused(t *testing.T) {
	content, err := os.ReadFile("../../tests/vectors/proofs/direct-first.json")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	file, err := Read(content)
	if err != nil {
		t.Fatal(err)
	}
	anchor := file.Anchors[0]
	root, event := anchor.Root.ReceiptForm(), file.Event.Hash.BatchForm()
	time := fmt.Sprintf(`"anchorTs": "%s"`, anchor.AnchorTs)
	for _, change := range [][2]string{
		{root, "0x" + strings.ToUpper(root[2:])},
		{root, root[2:]},
		{event, "ſ" + event[1:]},
		{event, event + "\\n"},
		{time, `"anchorTs": "1969-12-31T23:59:59Z"`},
		{time, `"anchorTs": "9001-01-01T00:00:00Z"`},
		{time, `"anchorTs": "2026-02-29T00:00:00Z"`},
		{time, `"anchorTs": "2026-01-15T10:00:00+00:00"`},
		{`"network": "btc:regtest"`, `"network": "btc:regtest\n"`},
		{`"version": "1"`, `"version": 1`},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("%s is not in the proof", change[0])
		}
		if _, err := Read([]byte(strings.Replace(text, change[0], change[1], 1))); err == nil {
			t.Errorf("%q was read", change[1])
		}
	}
	for _, change := range [][2]string{
		{event, "SHA256:" + strings.ToUpper(event[7:])},
		{time, `"anchorTs": "1970-01-01T00:00:00.5Z"`},
	} {
		if _, err := Read([]byte(strings.Replace(text, change[0], change[1], 1))); err != nil {
			t.Errorf("%q was refused: %v", change[1], err)
		}
	}
}
