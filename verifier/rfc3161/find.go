// Package rfc3161 verifies time stamps of a receipt offline: by what it carries, and the roots that the user trusts.
//
// Every rule about a token must hold up to some root; whether that root is one of those the user trusts is the one
// open question when none is named. The token's own time counts: a certificate that has expired since is no objection.
package rfc3161

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"vaultmesh/verifier/report"
)

const (
	trustedRoot = "trusted root"
	imprintRule = "sha256(commitment)"
	sha1Caveat  = "SHA-1 alone binds the signer's certificate (allowSha1CertId)"
)

// Find finds out what a receipt's time stamps prove of a commitment.
//
// The evidence is the scheme's part of the receipt's evidence (`evidence.rfc3161`); the network is only named in
// messages.
func Find(
	evidence json.RawMessage, network string, txRef string, anchorTs string, namesBlock bool, commitment [32]byte, trust report.Trust,
) report.Findings {
	carried := receipt{}
	reading := json.NewDecoder(bytes.NewReader(evidence))
	reading.UseNumber() // a number that no float holds is no objection to the rest
	if err := reading.Decode(&carried.evidence); err != nil {
		return report.Findings{Checks: []report.Check{wrong("token", network+": the evidence is no object")}}
	}
	carried.ref, carried.moment, carried.namesBlock, carried.commitment = txRef, anchorTs, namesBlock, commitment
	var pins pinned
	for _, text := range trust.Authorities {
		read, err := readPinned([]byte(text))
		if err != nil {
			return report.Findings{Checks: []report.Check{wrong("trusted roots", "the file "+err.Error())}}
		}
		pins.roots = append(pins.roots, read.roots...)
		pins.intermediates = append(pins.intermediates, read.intermediates...)
		pins.lists = append(pins.lists, read.lists...)
	}
	return carried.find(pins, len(trust.Authorities) > 0)
}

// receipt is what a receipt says of its time stamps.
type receipt struct {
	evidence   map[string]any
	ref        string
	moment     string
	namesBlock bool
	commitment [32]byte
}

func (r receipt) find(trusted pinned, hasFiles bool) report.Findings {
	var carriedRoots []*certificate
	certificates := r.certificates()
	for _, certificate := range certificates {
		if certificate.signsItself() {
			carriedRoots = append(carriedRoots, certificate)
		}
	}
	pins := trusted
	pins.roots = append(append([]*certificate{}, trusted.roots...), carriedRoots...)
	pins.intermediates = append(append([]*certificate{}, trusted.intermediates...), certificates...)
	checks, reports := r.examine(pins)
	for i, check := range checks {
		if check.Name == chainCheck && check.Found != report.Holds && len(carriedRoots) == 0 {
			checks[i] = open(check.Name, check.Detail)
		}
	}
	checks = append(checks, r.description(reports))
	var vouched, sound []tokenReport
	caveat := ""
	for _, judged := range reports {
		if judged.token != nil && judged.token.needsSHA1() {
			caveat = sha1Caveat
		}
		if judged.sound() {
			sound = append(sound, judged)
			if contains(trusted.roots, judged.path[len(judged.path)-1]) {
				vouched = append(vouched, judged)
			}
		}
	}
	checks = append(checks, trustCheck(len(vouched), len(reports), len(trusted.roots) > 0, hasFiles))
	findings := report.Findings{Checks: checks, Caveat: caveat}
	switch {
	case len(vouched) > 0:
		r.lead(&findings, vouched, "trust in ")
	case len(sound) > 0: // whoever makes a certificate gives it its name
		r.lead(&findings, sound, "trust in what calls itself ")
	}
	return findings
}

// lead says by when the earliest of some sound tokens was made, and what they rest on.
func (r receipt) lead(findings *report.Findings, leading []tokenReport, trust string) {
	names := map[string]bool{}
	for _, judged := range leading {
		names[judged.path[len(judged.path)-1].String()] = true
	}
	first := earliest(leading)
	findings.When, findings.Trust = first.when(), trust+joined(names)
	findings.Place = first.token.ref() + " of " + first.authority()
}

func trustCheck(vouched, all int, hasRoots, hasFiles bool) report.Check {
	switch {
	case vouched > 0:
		return holds(trustedRoot, fmt.Sprintf("%d of %d tokens lead to one", vouched, all))
	case hasRoots:
		return open(trustedRoot, "the tokens lead to none of those that you trust")
	case hasFiles:
		return open(trustedRoot, "no certificate that you trust signs itself, as roots do: name the root, too")
	}
	return open(trustedRoot, "whether the authority's root can be trusted: state it")
}

func joined(names map[string]bool) string {
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	return strings.Join(sorted, " and ")
}

// earliest returns the report of the earliest token.
func earliest(leading []tokenReport) tokenReport {
	first := leading[0]
	for _, judged := range leading[1:] {
		if judged.token.genTime.Before(first.token.genTime) {
			first = judged
		}
	}
	return first
}

// when says by when a sound token was made, and whose clock says so.
func (r tokenReport) when() string {
	text := writeTime(r.token.genTime)
	if r.token.accuracy != nil {
		text += " " + tolerance(r.token.accuracy)
	}
	return fmt.Sprintf("%s (clock of %s)", text, r.authority())
}

// examine checks the evidence, a finding per rule; the reports are of the primary token and the further ones.
func (r receipt) examine(pins pinned) ([]report.Check, []tokenReport) {
	if r.carriesTooMuch() {
		detail := fmt.Sprintf("more than %d further tokens, or %d certificates or lists", mostTokens, mostParts)
		return []report.Check{wrong("evidence", detail)}, nil
	}
	primary, ok := bytesOf(r.evidence["token"])
	if !ok {
		return []report.Check{wrong("token", "none, or no base64")}, nil
	}
	judging := rules{commitment: r.commitment, pinned: pins, allowsSHA1: r.evidence["allowSha1CertId"] == true}
	if recorded := r.evidence["request"]; recorded != nil {
		if judging.request, ok = bytesOf(recorded); !ok {
			return []report.Check{wrong("request", "no base64")}, nil
		}
	}
	lists, err := r.lists()
	if err != nil {
		return []report.Check{wrong("revocation lists", err.Error())}, nil
	}
	judging.pinned.lists = append(append([]*list{}, pins.lists...), lists...)
	first := judging.judge(primary)
	reports := []tokenReport{first}
	for _, entry := range listed(r.evidence["tokens"]) {
		further, _ := bytesOf(object(entry)["token"])
		reports = append(reports, judging.judge(further))
	}
	checks := append([]report.Check{}, first.findings...)
	checks = append(checks, r.claimed(first.token)...)
	return append(checks, together(reports)...), reports
}

// A receipt carries some five certificates for each token. Every token is judged by all of them: more could take hours.
const mostTokens, mostParts = 64, 256

func (r receipt) carriesTooMuch() bool {
	certificates, lists := 0, 0
	for _, entry := range r.entries() {
		certificates += len(listed(entry["certificates"]))
		lists += len(listed(entry["revocation"]))
	}
	return len(listed(r.evidence["tokens"])) > mostTokens || certificates > mostParts || lists > mostParts
}

// together judges the tokens of a receipt together.
func together(reports []tokenReport) []report.Check {
	if len(reports) == 1 {
		return nil
	}
	var bad []string
	roots := map[string]bool{}
	for i, judged := range reports {
		if judged.sound() {
			roots[string(judged.path[len(judged.path)-1].der)] = true
		} else if i > 0 {
			bad = append(bad, judged.problems())
		}
	}
	detail := fmt.Sprintf("%d more", len(reports)-1)
	if bad != nil {
		detail = strings.Join(bad, "; ")
	}
	return []report.Check{
		holdsIf("further tokens", detail, bad == nil),
		holdsIf("quorum", fmt.Sprintf("%d of 1 roots vouch", len(roots)), len(roots) > 0),
	}
}

var momentForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$`)

// claimed compares what the receipt says of the token with the token.
func (r receipt) claimed(t *token) []report.Check {
	if t == nil {
		return nil
	}
	said, err := time.Parse(time.RFC3339Nano, r.moment)
	known := err == nil && momentForm.MatchString(r.moment)
	same := known && (said.Equal(t.genTime) || said.Equal(t.genTime.Truncate(time.Second)))
	return []report.Check{
		holdsIf("serial number", fmt.Sprintf("%s, claimed %s", t.ref(), r.ref), r.ref == t.ref()),
		holdsIf("timestamp", fmt.Sprintf("stamped %s, claimed %s", writeTime(t.genTime), r.moment), same),
		holdsIf("block", "an authority has no blocks", !r.namesBlock),
	}
}

// entries returns what belongs to each token: the primary one, then the further ones.
func (r receipt) entries() []map[string]any {
	all := []map[string]any{r.evidence}
	for _, entry := range listed(r.evidence["tokens"]) {
		if further := object(entry); further != nil {
			all = append(all, further)
		}
	}
	return all
}

// certificates returns those that a receipt carries and that can be read, each once; nobody trusts them for that.
func (r receipt) certificates() []*certificate {
	var ders [][]byte
	seen := map[string]bool{}
	for _, entry := range r.entries() {
		for _, text := range listed(entry["certificates"]) {
			if der, ok := bytesOf(text); ok && len(der) > 0 && !seen[string(der)] {
				seen[string(der)] = true
				ders = append(ders, der)
			}
		}
	}
	return readAll(ders)
}

// lists returns the revocation lists that a receipt carries whole.
func (r receipt) lists() ([]*list, error) {
	var all []*list
	for _, entry := range r.entries() {
		for _, carried := range listed(entry["revocation"]) {
			said := object(carried)
			if said == nil {
				return nil, fmt.Errorf("one is no object")
			}
			if _, whole := said["list"]; !whole {
				continue // too long to be carried
			}
			read, err := carriedList(said)
			if err != nil {
				return nil, err
			}
			all = append(all, read)
		}
	}
	return all, nil
}

// description compares authority, policy, imprint rule and certificates with each token; a key that is absent says nothing.
func (r receipt) description(reports []tokenReport) report.Check {
	entries := append([]any{r.evidence}, listed(r.evidence["tokens"])...)
	untrue := map[string]bool{}
	for i := range min(len(entries), len(reports)) {
		entry, judged := object(entries[i]), reports[i]
		if entry == nil || judged.token == nil {
			continue
		}
		words := map[string]string{"policyOID": judged.token.policy, "imprint": imprintRule}
		if judged.sound() {
			words["authority"] = judged.authority()
		}
		for key, word := range words {
			if said, ok := entry[key]; ok && said != word {
				untrue[key] = true
			}
		}
		if said, ok := entry["certificates"]; ok && !belong(said, judged.token) {
			untrue["certificates"] = true
		}
	}
	if len(untrue) > 0 {
		return wrong("description", "does not fit the token: "+joined(untrue))
	}
	return holds("description", "fits the token")
}

// belong tells whether all listed certificates are the token's, or issued one that is, or one that issued one: nothing else leads anywhere.
func belong(said any, t *token) bool {
	texts, isList := said.([]any)
	if !isList {
		return false
	}
	var others []*certificate
	for _, text := range texts {
		der, _ := bytesOf(text)
		if has(t.certificates, der) {
			continue
		}
		certificate, err := readCertificate(der)
		if err != nil {
			return false
		}
		others = append(others, certificate)
	}
	for leading := readAll(t.certificates); len(others) > 0; {
		var issuers, left []*certificate
		for _, candidate := range others {
			if issuedAny(candidate, leading) {
				issuers = append(issuers, candidate)
			} else {
				left = append(left, candidate)
			}
		}
		if issuers == nil {
			return false
		}
		leading, others = issuers, left
	}
	return true
}

func issuedAny(issuer *certificate, below []*certificate) bool {
	for _, certificate := range below {
		if certificate.isIssuedBy(issuer) {
			return true
		}
	}
	return false
}

func has(all [][]byte, wanted []byte) bool {
	for _, one := range all {
		if bytes.Equal(one, wanted) {
			return true
		}
	}
	return false
}

// listed and object return a JSON value as what it should be; empty if it is something else.
func listed(value any) []any {
	all, _ := value.([]any)
	return all
}

func object(value any) map[string]any {
	keys, _ := value.(map[string]any)
	return keys
}
