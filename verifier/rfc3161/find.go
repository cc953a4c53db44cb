// Package rfc3161 judges time stamps.
package rfc3161

import (
	"encoding/json"

	"vaultmesh/verifier/report"
)

// Find checks the tokens that a receipt carries, and whether they lead to a trusted root.
func Find(evidence json.RawMessage, network, txRef, anchorTs string, commitment [32]byte, trust report.Trust) report.Findings {
	return report.Findings{Checks: []report.Check{
		{Name: "token", Found: report.Open, Detail: "time stamps are not supported yet"},
	}}
}
