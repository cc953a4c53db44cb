// Package verifier says what a proof file proves: for each ledger what is proven, by when, and under which trust.
//
// It needs no ledger, no server, no configuration and no network, and shares no code with what made the proof.
package verifier

import (
	"fmt"
	"regexp"
	"strings"

	"vaultmesh/verifier/bitcoin"
	"vaultmesh/verifier/evm"
	"vaultmesh/verifier/proof"
	"vaultmesh/verifier/report"
	"vaultmesh/verifier/rfc3161"
	"vaultmesh/verifier/strictjson"
)

// Verify reads a proof file, or an anchor receipt alone, and says what it proves under a trust.
//
// The error is for a file that is neither; what is wrong with one that is, its report says.
func Verify(text []byte, trust report.Trust) (report.Report, error) {
	file, err := proof.Read(text)
	if err != nil {
		return report.Report{}, err
	}
	ledgers := make([]report.Ledger, 0, len(file.Anchors))
	for _, anchor := range file.Anchors {
		ledgers = append(ledgers, verifyAnchor(anchor, trust))
	}
	if file.Event == nil {
		return report.Report{Overall: ledgers[0].Verdict, Ledgers: ledgers}, nil
	}
	event := file.Event.Hash.BatchForm()
	return report.Report{Event: event, Overall: overall(file, ledgers), Ledgers: ledgers}, nil
}

// overall is proven by one ledger that proves it, while nothing that is carried is wrong.
func overall(file *proof.File, ledgers []report.Ledger) report.Verdict {
	own := file.OwnChecks()
	checks := append([]report.Check{}, own...)
	var proofs []string
	for _, ledger := range ledgers {
		for _, check := range ledger.Verdict.Checks {
			check.Name = ledger.Network + " " + check.Name
			checks = append(checks, check)
		}
		if ledger.Verdict.Standing == report.Proven {
			proofs = append(proofs, ledger.Verdict.Statement)
		}
	}
	switch {
	case report.StandingOf(checks) == report.Refuted:
		return report.Verdict{Checks: checks, Standing: report.Refuted, Statement: report.Unproven(checks)}
	case len(proofs) == 0 || report.StandingOf(own) != report.Proven:
		return report.Verdict{Checks: checks, Standing: report.Consistent, Statement: report.Unproven(checks)}
	}
	statement := fmt.Sprintf("event %s (%s): %s", file.Event.Hash.BatchForm(), proof.LegacyWarning, strings.Join(proofs, "; "))
	return report.Verdict{Checks: checks, Standing: report.Proven, Statement: statement}
}

func verifyAnchor(receipt *proof.Receipt, trust report.Trust) report.Ledger {
	checks := append([]report.Check{receipt.StatusCheck()}, receipt.CommitmentChecks()...)
	ledger := report.Ledger{Network: receipt.Network.String(), Place: receipt.TxRef, NeededTrust: report.Trust{}.Listed()}
	commitment, err := receipt.Commitment()
	if err != nil {
		ledger.Verdict = report.VerdictOf(checks, "", "")
		return ledger
	}
	findings := find(receipt, commitment, trust)
	if findings.Place != "" {
		ledger.Place = findings.Place
	}
	ledger.When, ledger.Trust, ledger.NeededTrust = findings.When, findings.Trust, findings.Needed.Listed()
	batch := "batch " + asName(receipt.BatchID)
	if receipt.Aggregation == nil {
		batch = "the receipt calls it " + batch
	}
	statement := fmt.Sprintf("root %s (%s) was in %s by %s, under %s",
		receipt.Root.ReceiptForm(), batch, receipt.Network, findings.When, findings.Trust)
	ledger.Verdict = report.VerdictOf(append(checks, findings.Checks...), statement, findings.Caveat)
	return ledger
}

var plainName = regexp.MustCompile(`\A[A-Za-z0-9._:@+-]+\z`)

// asName returns a batch id so that it can't pass for a part of the sentence: whoever makes a file chooses it.
func asName(batchID string) string {
	if plainName.MatchString(batchID) {
		return batchID
	}
	return strictjson.CanonicalString(batchID)
}

// find asks the package of the receipt's scheme; a receipt of any other is not read.
func find(receipt *proof.Receipt, commitment proof.Root, trust report.Trust) report.Findings {
	switch receipt.Network.Scheme {
	case "btc":
		return bitcoin.Find(receipt, commitment, trust)
	case "eip155":
		return evm.Find(receipt, commitment, trust)
	default:
		evidence := receipt.Evidence.Append(nil)
		return rfc3161.Find(evidence, receipt.Network.String(), receipt.TxRef, receipt.AnchorTs.String(), receipt.BlockNumber.Sign() != 0, commitment, trust)
	}
}
