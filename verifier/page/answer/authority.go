package answer

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"vaultmesh/verifier/report"
	"vaultmesh/verifier/rfc3161"
)

const list = "list"

// Authority describes what one PEM file of the trust holds.
type Authority struct {
	// Parts are what it holds; empty if there is a problem.
	Parts   []Part   `json:"parts"`
	Problem *Problem `json:"problem,omitempty"`
}

// Part is one certificate or revocation list.
type Part struct {
	// Kind is root, intermediate, list, or certificate if it can't be told.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// SHA256 is what authorities publish as a fingerprint.
	SHA256 string `json:"sha256"`
	From   string `json:"from"`
	Until  string `json:"until"`
}

// readable returns the PEM files that can be trusted, and describes each one: those with a problem are left out,
// since a mistake in them says nothing about the proof. So are revocation lists alone, which make nobody trusted.
func readable(files []string) ([]string, []Authority) {
	trusted, described := []string{}, []Authority{}
	for _, file := range files {
		authority := describe(file)
		if slices.ContainsFunc(authority.Parts, func(part Part) bool { return part.Kind != list }) {
			trusted = append(trusted, file)
		}
		described = append(described, authority)
	}
	return trusted, described
}

func describe(file string) Authority {
	parts := []Part{}
	certificates := false
	for rest := []byte(file); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		part, problem := partOf(block, len(parts)+1)
		if problem != nil {
			return Authority{Parts: []Part{}, Problem: problem}
		}
		certificates = certificates || part.Kind != list
		parts = append(parts, part)
	}
	if begun := strings.Count(file, "-----BEGIN "); begun == 0 || begun != len(parts) {
		return Authority{Parts: []Part{}, Problem: &Problem{
			What:  "This is no certificate in PEM form.",
			Where: fmt.Sprintf("It begins %d blocks “-----BEGIN …-----”, of which %d can be read.", begun, len(parts)),
			Mend:  "Get the root certificate from the authority’s own site, and drop that file here as it is.",
		}}
	}
	if reason := refusal(file); certificates && reason != "" {
		return Authority{Parts: []Part{}, Problem: unread("certificate", reason)}
	}
	return Authority{Parts: parts}
}

// refusal asks the verifier itself why it can't read a file with certificates; empty if it can.
func refusal(file string) string {
	trust := report.Trust{Authorities: []string{file}}
	for _, check := range rfc3161.Find(json.RawMessage("{}"), "", "", "", false, [32]byte{}, trust).Checks {
		if check.Name == "trusted roots" && check.Found == report.Wrong {
			return strings.ToUpper(check.Detail[:1]) + check.Detail[1:]
		}
	}
	return ""
}

func partOf(block *pem.Block, number int) (Part, *Problem) {
	where := fmt.Sprintf("Block %d of the file, “%s”", number, block.Type)
	digest := sha256.Sum256(block.Bytes)
	part := Part{SHA256: hex.EncodeToString(digest[:])}
	switch {
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return part, &Problem{
			What:  "This file holds a private key.",
			Where: where + ".",
			Mend:  "Keep it to yourself: a certificate is public, its key is not. Drop the certificate alone.",
		}
	case block.Type == "X509 CRL":
		revoked, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return part, unread("revocation list", fmt.Sprintf("%s: %v", where, err))
		}
		part.Kind, part.Name = list, revoked.Issuer.String()
		part.From, part.Until = day(revoked.ThisUpdate), day(revoked.NextUpdate)
	case block.Type == "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil { // Go's reader is stricter than the verifier's, which decides
			part.Kind, part.Name = "certificate", "a certificate whose name this page can’t show"
			return part, nil
		}
		part.Kind, part.Name = "intermediate", certificate.Subject.String()
		if bytes.Equal(certificate.RawIssuer, certificate.RawSubject) {
			part.Kind = "root"
		}
		part.From, part.Until = day(certificate.NotBefore), day(certificate.NotAfter)
	default:
		return part, unread("block", where+" is neither a certificate nor a revocation list")
	}
	return part, nil
}

func unread(what, where string) *Problem {
	return &Problem{
		What:  fmt.Sprintf("This %s can’t be read.", what),
		Where: where + ".",
		Mend:  "Get it again from the authority’s own site, and drop the file here as it is.",
	}
}

func day(moment time.Time) string {
	if moment.IsZero() {
		return ""
	}
	return moment.UTC().Format(time.DateOnly)
}
