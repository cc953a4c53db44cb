package answer

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// Authority describes what one PEM file of the trust holds.
type Authority struct {
	// Parts are what it holds; empty if there is a problem.
	Parts   []Part   `json:"parts"`
	Problem *Problem `json:"problem,omitempty"`
}

// Part is one certificate or revocation list.
type Part struct {
	// Kind is root, intermediate or list.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// SHA256 is what authorities publish as a fingerprint.
	SHA256 string `json:"sha256"`
	From   string `json:"from"`
	Until  string `json:"until"`
}

// readable returns the PEM files that can be trusted, and describes each one: those with a problem are left out,
// since a mistake in them says nothing about the proof.
func readable(files []string) ([]string, []Authority) {
	trusted, described := []string{}, []Authority{}
	for _, file := range files {
		authority := describe([]byte(file))
		if authority.Problem == nil {
			trusted = append(trusted, file)
		}
		described = append(described, authority)
	}
	return trusted, described
}

func describe(file []byte) Authority {
	parts := []Part{}
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		part, problem := partOf(block, len(parts)+1)
		if problem != nil {
			return Authority{Parts: []Part{}, Problem: problem}
		}
		parts = append(parts, part)
	}
	if begun := bytes.Count(file, []byte("-----BEGIN ")); begun == 0 || begun != len(parts) {
		return Authority{Parts: []Part{}, Problem: &Problem{
			What:  "This is no certificate in PEM form.",
			Where: fmt.Sprintf("It begins %d blocks “-----BEGIN …-----”, of which %d can be read.", begun, len(parts)),
			Mend:  "Get the root certificate from the authority’s own site, and drop that file here as it is.",
		}}
	}
	return Authority{Parts: parts}
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
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return part, unread("revocation list", where, err)
		}
		part.Kind, part.Name = "list", list.Issuer.String()
		part.From, part.Until = day(list.ThisUpdate), day(list.NextUpdate)
	default:
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return part, unread("certificate", where, err)
		}
		part.Kind, part.Name = "intermediate", certificate.Subject.String()
		if bytes.Equal(certificate.RawIssuer, certificate.RawSubject) {
			part.Kind = "root"
		}
		part.From, part.Until = day(certificate.NotBefore), day(certificate.NotAfter)
	}
	return part, nil
}

func unread(what, where string, err error) *Problem {
	return &Problem{
		What:  fmt.Sprintf("This %s can’t be read.", what),
		Where: fmt.Sprintf("%s: %v.", where, err),
		Mend:  "Get it again from the authority’s own site, and drop the file here as it is.",
	}
}

func day(moment time.Time) string {
	if moment.IsZero() {
		return ""
	}
	return moment.UTC().Format(time.DateOnly)
}
