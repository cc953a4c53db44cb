package rfc3161

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"

	"vaultmesh/verifier/report"
)

const (
	chainCheck = "chain"
	// largestAccuracy is in microseconds: a token that is less certain about its time is refused.
	largestAccuracy = 60_000_000
	// largestSerialBits are what has to be supported (RFC 3161, 2.4.2).
	largestSerialBits = 160
	lastGranted       = 1
)

var statusNames = []string{
	"granted", "granted with modifications", "rejected", "waiting", "revocation warning", "revoked",
}

// tokenReport is what came out of a reply.
type tokenReport struct {
	findings []report.Check
	token    *token
	// path leads from the signer's certificate to a pinned root; empty if there is none.
	path path
}

// sound tells whether every rule holds.
func (r tokenReport) sound() bool {
	for _, finding := range r.findings {
		if finding.Found != report.Holds {
			return false
		}
	}
	return r.token != nil
}

// problems says what does not hold, in one line.
func (r tokenReport) problems() string {
	var failed []string
	for _, finding := range r.findings {
		if finding.Found != report.Holds {
			failed = append(failed, finding.Name+": "+finding.Detail)
		}
	}
	return strings.Join(failed, "; ")
}

// authority is the name of who signed a sound token, from the certificate.
func (r tokenReport) authority() string {
	if !r.sound() {
		return ""
	}
	return r.path[0].String()
}

// rules are what all tokens of a receipt are judged by.
type rules struct {
	commitment [32]byte
	pinned     pinned
	// request is what was asked; nil if nobody kept it.
	request    []byte
	allowsSHA1 bool
}

// judge judges a TimeStampResp: with what it carries and pinned roots alone, at any later time.
func (r rules) judge(der []byte) tokenReport {
	read, err := readReply(der)
	if err != nil {
		return tokenReport{findings: []report.Check{wrong("token form", err.Error())}}
	}
	status := statusFinding(read)
	if read.token == nil || status.Found != report.Holds {
		findings := []report.Check{status}
		if read.token == nil {
			findings = append(findings, wrong("token", "the reply holds none"))
		}
		return tokenReport{findings: findings}
	}
	found, chain, revocation := chainFindings(read.token, r.pinned)
	findings := append([]report.Check{status}, r.contentFindings(read.token)...)
	findings = append(findings, accuracyFinding(read.token))
	findings = append(findings, signatureFindings(read.token, r.allowsSHA1)...)
	findings = append(findings, chain)
	if revocation != nil {
		findings = append(findings, *revocation)
	}
	return tokenReport{findings, read.token, found}
}

// statusFinding: only granted, and granted with modifications, bring a token; what was modified shows in the other rules.
func statusFinding(read reply) report.Check {
	detail := "status " + read.status.String()
	if read.status.IsInt64() && read.status.Sign() >= 0 && read.status.Int64() < int64(len(statusNames)) {
		detail = statusNames[read.status.Int64()]
	}
	if len(read.said) > 0 {
		detail += " (" + strings.Join(strings.Fields(strings.Join(read.said, ", ")), " ") + ")"
	}
	granted := read.status.Sign() >= 0 && read.status.Cmp(big.NewInt(lastGranted)) <= 0
	return holdsIf("status", detail, granted)
}

// contentFindings judges what was stamped, and whether it is what was asked for.
func (r rules) contentFindings(t *token) []report.Check {
	wanted := sha256.Sum256(r.commitment[:])
	asked := request{imprintAlgorithm: sha256Name, imprint: wanted[:]}
	if r.request != nil {
		var err error
		if asked, err = readRequest(r.request); err != nil {
			return []report.Check{wrong("request", err.Error())}
		}
	}
	imprinted := t.imprintAlgorithm == sha256Name && bytes.Equal(t.imprint, wanted[:])
	fits := imprinted && asked.imprintAlgorithm == sha256Name && bytes.Equal(asked.imprint, wanted[:])
	findings := []report.Check{
		holdsIf("version", "v"+t.version.String(), t.version.Cmp(big.NewInt(1)) == 0),
		holdsIf("imprint", fmt.Sprintf("%s %x", t.imprintAlgorithm, t.imprint), fits),
	}
	if r.request == nil {
		findings = append(findings, holds("nonce", "no request was kept to compare it with"))
	} else if asked.nonce != nil && t.nonce != nil && asked.nonce.Cmp(t.nonce) == 0 {
		findings = append(findings, holds("nonce", "as asked"))
	} else {
		findings = append(findings, wrong("nonce", "not the one that was asked for"))
	}
	policy := holds("policy", t.policy)
	if asked.policy != "" && asked.policy != t.policy {
		policy = wrong("policy", fmt.Sprintf("%s, not %s", t.policy, asked.policy))
	}
	serial := holds("serial", t.ref())
	if t.serial.Sign() < 0 || t.serial.BitLen() > largestSerialBits {
		serial = wrong("serial", "negative, or above 160 bits")
	}
	return append(findings, policy, serial)
}

func accuracyFinding(t *token) report.Check {
	if t.accuracy == nil {
		return holds("accuracy", "not stated")
	}
	return holdsIf("accuracy", tolerance(t.accuracy), t.accuracy.Cmp(big.NewInt(largestAccuracy)) <= 0)
}

// chainFindings finds the pinned root that the signer's certificate leads to at the token's time; if there are several, one whose path was not revoked.
func chainFindings(t *token, pins pinned) (path, report.Check, *report.Check) {
	if len(pins.roots) == 0 {
		return nil, wrong(chainCheck, "no root is pinned"), nil
	}
	if len(t.signers) == 0 || t.signers[0].certificate == nil {
		return nil, wrong(chainCheck, "the reply does not carry the signer's certificate"), nil
	}
	first, err := readCertificate(t.signers[0].certificate)
	if err != nil {
		return nil, wrong(chainCheck, err.Error()), nil
	}
	between := append(readAll(t.certificates), pins.intermediates...)
	paths, refusal := findPaths(first, between, pins.roots, t.genTime)
	if len(paths) == 0 {
		return nil, wrong(chainCheck, "leads to no pinned root: "+refusal), nil
	}
	chosen, said := paths[0], (*report.Check)(nil)
	for i, candidate := range paths {
		finding := revocationFinding(candidate, t.genTime, pins.lists)
		if i == 0 {
			said = finding
		}
		if finding == nil || finding.Found == report.Holds {
			chosen, said = candidate, finding
			break
		}
	}
	detail := "up to " + chosen[len(chosen)-1].String()
	var old []string
	for _, below := range chosen[:len(chosen)-1] {
		if _, hash := below.algorithm.scheme(); hash == sha1Name {
			old = append(old, below.String())
		}
	}
	if old != nil {
		detail += "; signed with SHA-1: " + strings.Join(old, " and ")
	}
	return chosen, holds(chainCheck, detail), said
}
