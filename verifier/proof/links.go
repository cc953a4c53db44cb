package proof

import (
	"fmt"
	"strings"

	"vaultmesh/verifier/report"
)

// LegacyWarning says what is weak about every event's path.
const LegacyWarning = "legacy path without sides: it proves less than an inclusion proof does"

// integrityPrefix begins the text that binds an event to its batch.
const integrityPrefix = "vmr1-"

// StatusCheck checks that a receipt does not itself say that its anchor is gone.
func (receipt *Receipt) StatusCheck() report.Check {
	return report.HoldsIf("receipt status", receipt.Status+", "+receipt.State, receipt.Status == verified)
}

// CommitmentChecks checks the way from the batch root to the commitment, and that the round is the commitment's.
func (receipt *Receipt) CommitmentChecks() []report.Check {
	commitment, err := receipt.Commitment()
	if err != nil {
		return []report.Check{{Name: "inclusion proof", Found: report.Wrong, Detail: err.Error()}}
	}
	way := "the root itself is committed"
	if inclusion := receipt.Aggregation; inclusion != nil {
		way = fmt.Sprintf("leaf %s of %s leads to %s", inclusion.Index, inclusion.Size, commitment.ReceiptForm())
	}
	expected := roundID(receipt.Network, commitment)
	detail := fmt.Sprintf("named %s, computed %s", receipt.Round, expected)
	return []report.Check{
		{Name: "inclusion proof", Found: report.Holds, Detail: way},
		report.HoldsIf("round", detail, receipt.Round == expected),
	}
}

// OwnChecks checks everything about an event that needs no ledger: its path, its anchor, its id and its batch.
func (file *File) OwnChecks() []report.Check {
	checks := []report.Check{file.pathCheck()}
	checks = append(checks, file.anchorChecks()...)
	for _, anchor := range file.Anchors {
		expected := integrity(anchor.BatchID, file.EventID)
		detail := fmt.Sprintf("%s, expected %s", file.Event.integrity, expected)
		name := anchor.Network.String() + " event id"
		checks = append(checks, report.HoldsIf(name, detail, file.Event.integrity == expected))
	}
	for _, anchor := range file.Anchors {
		checks = append(checks, file.sameBatchCheck(anchor))
	}
	return checks
}

func (file *File) pathCheck() report.Check {
	leads, err := file.Event.leads()
	if err != nil {
		return report.Check{Name: "event path", Found: report.Wrong, Detail: err.Error()}
	}
	where := "lead to"
	if !leads {
		where = "do not lead to"
	}
	detail := fmt.Sprintf("%d siblings %s %s; %s", len(file.Event.path), where, file.Event.BatchRoot.BatchForm(), LegacyWarning)
	return report.HoldsIf("event path", detail, leads)
}

// anchorChecks compares the one anchor that the event receipt names with what its batch's anchors make of it.
func (file *File) anchorChecks() []report.Check {
	const name = "event anchor"
	anchor := &file.Event.anchor
	if anchor.chain == internalChain {
		for _, receipt := range file.Anchors {
			expected := "batch:" + receipt.BatchID
			if anchor.tx != expected || anchor.block.Sign() != 0 {
				detail := fmt.Sprintf("sealed in %s, expected %s", anchor.tx, expected)
				return []report.Check{{Name: name, Found: report.Wrong, Detail: detail}}
			}
		}
		return []report.Check{{Name: name, Found: report.Holds, Detail: "sealed in " + anchor.tx}}
	}
	says := anchor.chain + " " + anchor.tx
	derived := derivedAnchor(file.Event, file.Anchors)
	if derived == nil {
		detail := "no final receipt of " + says + " is at hand"
		return []report.Check{{Name: name, Found: report.Open, Detail: detail}}
	}
	detail := fmt.Sprintf("%s; the receipts make it %s %s", says, derived.chain, derived.tx)
	return []report.Check{report.HoldsIf(name, detail, derived.equals(anchor))}
}

func (file *File) sameBatchCheck(anchor *Receipt) report.Check {
	same := file.Event.BatchRoot == anchor.Root && strings.HasPrefix(file.Event.integrity, integrity(anchor.BatchID, ""))
	detail := fmt.Sprintf("batch %s with root %s, event of %s",
		anchor.BatchID, anchor.Root.ReceiptForm(), file.Event.BatchRoot.ReceiptForm())
	return report.HoldsIf(anchor.Network.String()+" batch", detail, same)
}

func integrity(batchID, eventID string) string {
	return integrityPrefix + batchID + "-" + eventID
}
