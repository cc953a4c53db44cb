// Package report holds what a verification finds, and what its user trusts.
//
// A check holds, is wrong, or stays open: what the proof carries and the user trusts does not decide it.
// Nothing is proven while a check is open; nothing is consistent while one is wrong.
package report

// Found is what a check came to.
type Found string

// What a check can come to.
const (
	Holds Found = "holds"
	Open  Found = "open"
	Wrong Found = "wrong"
)

// Standing is what all checks together came to.
type Standing string

// What checks can come to together.
const (
	Proven     Standing = "proven"
	Consistent Standing = "consistent"
	Refuted    Standing = "refuted"
)

// Check is one line: what was looked at, and what came of it.
type Check struct {
	Name   string `json:"name"`
	Found  Found  `json:"found"`
	Detail string `json:"detail"`
}

// Trust is what the user states; nothing is trusted by itself.
type Trust struct {
	// Blocks are hashes of EVM blocks that are final: 0x and lower-case hex.
	Blocks []string `json:"blocks"`
	// Headers are hashes of Bitcoin blocks as block explorers write them: lower-case hex.
	Headers []string `json:"headers"`
	// Authorities are certificates of time-stamping roots, and revocation lists: PEM files as they are.
	Authorities []string `json:"authorities"`
}

// Findings is what one ledger's evidence proves of a commitment.
type Findings struct {
	Checks []Check
	// When says by when the commitment was in the ledger, and whose clock says so.
	When string
	// Trust says what it rests on.
	Trust string
	// Caveat says what is weak about it; empty if nothing is.
	Caveat string
	// Place says where on the ledger; empty if the evidence does not say it.
	Place string
	// Needed is what the user would have to state so that it is proven, if nothing else is missing.
	Needed Trust
}

// Verdict is what was found out about one receipt or event.
type Verdict struct {
	Checks    []Check  `json:"checks"`
	Standing  Standing `json:"standing"`
	Statement string   `json:"statement"`
	Caveat    string   `json:"caveat,omitempty"`
}

// Ledger is what one ledger proves of the event.
type Ledger struct {
	// Network is as receipts name it, such as eip155:31337, btc:regtest or rfc3161:notary.
	Network string `json:"network"`
	// Place says where on the ledger: a block and its hash, or a serial number and the authority's name.
	Place string `json:"place"`
	// When says by when the commitment was in the ledger, and whose clock says so.
	When string `json:"when"`
	// Trust says what the proof rests on; NeededTrust what the user would have to state so that it is proven.
	Trust       string  `json:"trust"`
	NeededTrust Trust   `json:"neededTrust"`
	Verdict     Verdict `json:"verdict"`
}

// Report is what a proof file proves.
type Report struct {
	Event   string   `json:"event"`
	Overall Verdict  `json:"overall"`
	Ledgers []Ledger `json:"ledgers"`
}
