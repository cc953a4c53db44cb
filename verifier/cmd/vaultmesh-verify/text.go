package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"

	"vaultmesh/verifier/report"
)

// columns is how wide the output is; a word that is longer has a line of its own.
const columns = 80

var (
	marks     = map[report.Found]string{report.Holds: "holds", report.Open: "OPEN ", report.Wrong: "WRONG"}
	standings = map[report.Standing]string{
		report.Proven:     "PROVEN",
		report.Consistent: "NOT PROVEN: nothing is wrong, but something is open",
		report.Refuted:    "REFUTED: something in the file is wrong",
	}
)

// page writes paragraphs for people.
type page struct{ out *bufio.Writer }

func writeReports(out io.Writer, reports []fileReport) error {
	written := page{bufio.NewWriter(out)}
	for number, entry := range reports {
		if number > 0 {
			written.line("", "")
		}
		written.file(entry)
	}
	return written.out.Flush()
}

func (written page) file(entry fileReport) {
	written.line("", entry.Path)
	if entry.Event != "" {
		written.line("event   ", entry.Event)
	}
	written.line("verdict ", standings[entry.Overall.Standing])
	written.line("        ", entry.Overall.Statement)
	if len(entry.Ledgers) == 0 || entry.Event != "" {
		written.checks(ownChecks(entry.Report))
	}
	for _, ledger := range entry.Ledgers {
		written.line("", "")
		written.ledger(ledger)
	}
}

// ownChecks returns the checks that stand at no ledger: those of all ledgers come last.
func ownChecks(whole report.Report) []report.Check {
	count := len(whole.Overall.Checks)
	for _, ledger := range whole.Ledgers {
		count -= len(ledger.Verdict.Checks)
	}
	return whole.Overall.Checks[:max(count, 0)]
}

func (written page) ledger(ledger report.Ledger) {
	written.line("", fmt.Sprintf("%s: %s", ledger.Network, standings[ledger.Verdict.Standing]))
	written.line("  where ", ledger.Place)
	if ledger.Verdict.Standing == report.Proven {
		written.line("  by    ", ledger.When)
		written.line("  under ", ledger.Trust)
	}
	if ledger.Verdict.Caveat != "" {
		written.line("  weak  ", ledger.Verdict.Caveat)
	}
	written.checks(ledger.Verdict.Checks)
	if ledger.Verdict.Standing == report.Consistent && onlyTrustIsOpen(ledger.Verdict.Checks) {
		for _, need := range needs(ledger.Network, ledger.NeededTrust) {
			written.line("  needs ", need)
		}
	}
}

func onlyTrustIsOpen(checks []report.Check) bool {
	for _, check := range checks {
		if check.Found == report.Open && !strings.HasPrefix(check.Name, report.Trusted) {
			return false
		}
	}
	return true
}

// needs says what to look up, and how to state it.
func needs(network string, trust report.Trust) (lines []string) {
	for _, hash := range trust.Blocks {
		lines = append(lines, "if a source of your own says that this block is final on "+network+": --trust-block "+hash)
	}
	for _, hash := range trust.Headers {
		lines = append(lines, "if a source of your own says that this block is in the chain of "+network+": --trust-header "+hash)
	}
	return lines
}

func (written page) checks(checks []report.Check) {
	for _, check := range checks {
		written.line("  "+marks[check.Found]+" ", check.Name+": "+check.Detail)
	}
}

// line writes a text after its label; what does not fit goes below it.
func (written page) line(label, text string) {
	indent := strings.Repeat(" ", len(label))
	current := label
	empty := true
	for _, word := range strings.Fields(printable(text)) {
		if !empty && runes(current)+1+runes(word) > columns {
			fmt.Fprintln(written.out, current)
			current, empty = indent, true
		}
		if !empty {
			current += " "
		}
		current += word
		empty = false
	}
	fmt.Fprintln(written.out, strings.TrimRight(current, " "))
}

func runes(text string) int { return len([]rune(text)) }

// printable drops what could move a terminal's cursor or hide a part of the output.
func printable(text string) string {
	return strings.Map(func(letter rune) rune {
		if letter == ' ' || unicode.IsPrint(letter) {
			return letter
		}
		return '\ufffd'
	}, text)
}
