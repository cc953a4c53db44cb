package report

import (
	"slices"
	"strings"
)

// Trusted is what names of checks begin with that only the user's trust decides.
const Trusted = "trusted "

// HoldsIf returns a check that holds, or is wrong.
func HoldsIf(name, detail string, condition bool) Check {
	if condition {
		return Check{name, Holds, detail}
	}
	return Check{name, Wrong, detail}
}

// StandingOf returns what checks come to together; no checks prove nothing.
func StandingOf(checks []Check) Standing {
	outcomes := map[Found]bool{}
	for _, check := range checks {
		outcomes[check.Found] = true
	}
	switch {
	case outcomes[Wrong]:
		return Refuted
	case outcomes[Open] || len(checks) == 0:
		return Consistent
	default:
		return Proven
	}
}

// VerdictOf returns the verdict of checks; the statement is what they prove, if they prove it.
func VerdictOf(checks []Check, statement, caveat string) Verdict {
	checks = append([]Check{}, checks...)
	standing := StandingOf(checks)
	if caveat != "" {
		statement += "; " + caveat
	}
	if standing != Proven {
		statement = Unproven(checks)
	}
	return Verdict{checks, standing, statement, caveat}
}

// Unproven returns the sentence that says why something is not proven.
func Unproven(checks []Check) string {
	if failed := named(checks, Wrong); len(failed) > 0 {
		return "not verified: " + strings.Join(failed, ", ") + " failed"
	}
	missing := named(checks, Open)
	if len(missing) == 0 {
		missing = []string{"everything"}
	}
	return "consistent, not proven: open is " + strings.Join(missing, ", ")
}

func named(checks []Check, outcome Found) []string {
	var names []string
	for _, check := range checks {
		if check.Found == outcome {
			names = append(names, check.Name)
		}
	}
	return names
}

// Unreadable returns the report of a file that is not what VaultMesh writes.
func Unreadable(reason string) Report {
	return Report{Overall: VerdictOf([]Check{{"file", Wrong, reason}}, "", ""), Ledgers: []Ledger{}}
}

// WithBlock tells whether an EVM block is trusted.
func (trust Trust) WithBlock(hash string) bool { return slices.Contains(trust.Blocks, hash) }

// WithHeader tells whether a Bitcoin block is trusted.
func (trust Trust) WithHeader(hash string) bool { return slices.Contains(trust.Headers, hash) }

// Listed returns the trust with empty lists where it has none, for JSON.
func (trust Trust) Listed() Trust {
	listed := func(texts []string) []string { return append([]string{}, texts...) }
	return Trust{listed(trust.Blocks), listed(trust.Headers), listed(trust.Authorities)}
}
