package rfc3161

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math/big"

	"vaultmesh/verifier/report"
)

func holds(name, detail string) report.Check {
	return report.Check{Name: name, Found: report.Holds, Detail: detail}
}
func wrong(name, detail string) report.Check {
	return report.Check{Name: name, Found: report.Wrong, Detail: detail}
}
func open(name, detail string) report.Check {
	return report.Check{Name: name, Found: report.Open, Detail: detail}
}

func holdsIf(name, detail string, condition bool) report.Check {
	if condition {
		return holds(name, detail)
	}
	return wrong(name, detail)
}

// accepted are the hashes under signatures and imprints: SHA-256 or stronger.
var accepted = map[string]bool{sha256Name: true, sha384Name: true, sha512Name: true}

const (
	longestSalt                     = 512
	usageSignature, usageCommitment = 0, 1
)

// signatureFindings judges who signed, what, and with which certificate; the chain is another matter.
func signatureFindings(t *token, allowsSHA1 bool) []report.Check {
	count := len(t.signers)
	findings := []report.Check{holdsIf("signer", fmt.Sprintf("%d signatures", count), count == 1)}
	if count != 1 {
		return findings
	}
	s := t.signers[0]
	findings = append(findings, attributesFinding(t, s))
	if s.certificate == nil {
		return append(findings, wrong("certificate", "the reply does not carry the signer's certificate"))
	}
	certificate, err := readCertificate(s.certificate)
	if err != nil {
		return append(findings, wrong("certificate", err.Error()))
	}
	verified, detail := s.verified(certificate)
	return append(findings, s.bound(certificate, allowsSHA1), holdsIf("signature", detail, verified),
		certificate.purposeFinding(), certificate.usageFinding())
}

func attributesFinding(t *token, s signer) report.Check {
	types := len(s.contentTypes) == 1 && s.contentTypes[0] == t.contentType && t.contentType == oidTimeStamp
	digests := accepted[s.digestAlgorithm] && len(s.messageDigests) == 1 &&
		bytes.Equal(s.messageDigests[0], digestOf(s.digestAlgorithm, t.content))
	words := map[bool]string{true: "fits", false: "differs"}
	return holdsIf("signed attributes", fmt.Sprintf("content type %s, digest %s", words[types], words[digests]), types && digests)
}

// needsSHA1 tells whether nothing but SHA-1 binds the signer's certificate.
func (t *token) needsSHA1() bool {
	for _, s := range t.signers {
		if len(s.certificateIDs) > 0 && s.certificateIDs[0].algorithm == sha1Name {
			return true
		}
	}
	return false
}

// bound judges ESSCertID(v2), which names the certificate inside what is signed, so that no other can take its place (RFC 5816).
func (s signer) bound(c *certificate, allowsSHA1 bool) report.Check {
	const name = "certificate"
	if len(s.certificateIDs) == 0 {
		return wrong(name, "the signature names none")
	}
	id := s.certificateIDs[0]
	weak := id.algorithm == sha1Name
	if !weak && !accepted[id.algorithm] {
		return wrong(name, fmt.Sprintf("bound by %s, which is not supported", id.algorithm))
	}
	right := bytes.Equal(digestOf(id.algorithm, c.der), id.digest)
	if weak && right && !allowsSHA1 {
		return wrong(name, "bound by SHA-1 alone (ESSCertID without v2), which is not accepted: allowSha1CertId is not recorded")
	}
	if !right || id.issuer != "" && (id.issuer != c.issuerKey || id.serial.Cmp(c.serial) != 0) {
		return wrong(name, fmt.Sprintf("bound by %s, but to another one", id.algorithm))
	}
	detail := "bound by " + id.algorithm
	if weak {
		detail += " alone, which allowSha1CertId allows"
	}
	return holds(name, detail)
}

// verified verifies the signature with that very certificate.
func (s signer) verified(c *certificate) (bool, string) {
	supported := hasAny([]string{familyRSA, familyPSS, familyECDSA, familyEd25519}, s.family)
	if !supported {
		return false, s.family + " is not supported"
	}
	if !accepted[s.hash] {
		return false, fmt.Sprintf("%s with %s is not supported", s.family, s.hash)
	}
	if c.keyProblem != nil {
		return false, fmt.Sprintf("%s with the certificate's key is not supported: %s", s.family, c.keyProblem)
	}
	how := fmt.Sprintf("%s with %s", s.family, s.hash)
	made := false
	switch key := c.key.(type) {
	case rsaKey:
		if s.family != familyRSA && s.family != familyPSS || !s.isMarked(c) {
			return false, s.family + " does not go with the certificate's key"
		}
		if s.family == familyPSS && !s.supportsPadding() {
			return false, fmt.Sprintf("%s with a mask by %s is not supported", s.family, s.mask)
		}
		if s.family == familyPSS {
			made = key.verifyPSS(s.hash, s.mask, int(s.salt.Int64()), s.signature, s.signed)
		} else {
			made = key.verify(s.hash, s.signature, s.signed)
		}
	case ecKey:
		if s.family != familyECDSA {
			return false, s.family + " does not go with the certificate's key"
		}
		made = key.verify(s.hash, s.signature, s.signed)
	case ed25519.PublicKey:
		if s.family != familyEd25519 {
			return false, s.family + " does not go with the certificate's key"
		}
		how = s.family
		made = ed25519.Verify(key, s.signed, s.signature)
	default:
		return false, s.family + " does not go with the certificate's key"
	}
	if !made {
		return false, "not made with the certificate's key"
	}
	return true, how
}

func (s signer) supportsPadding() bool {
	return accepted[s.mask] && s.salt.Sign() >= 0 && s.salt.Cmp(big.NewInt(longestSalt)) <= 0
}

// isMarked tells whether a key makes such signatures: one that is marked for RSASSA-PSS makes no other, and with the hash that is named.
func (s signer) isMarked(c *certificate) bool {
	if c.keyAlgorithm.oid != oidPSS {
		return true
	}
	only := c.keyAlgorithm.pss
	return s.family == familyPSS && (only == nil || only.hash == s.hash)
}

// purposeFinding: the certificate is for time stamps, critically and for nothing else.
func (c *certificate) purposeFinding() report.Check {
	if c.purposes == nil {
		return wrong("purpose", "the certificate names none")
	}
	alone := len(c.purposes) == 1 && c.purposes[0] == purposeStamping
	detail := "time stamps only"
	if !alone {
		detail = "not for time stamps alone"
	}
	critical := c.extension(extPurposes).critical
	if !critical {
		detail += ", not critical"
	}
	return holdsIf("purpose", detail, alone && critical)
}

func (c *certificate) usageFinding() report.Check {
	if c.usage == nil {
		return holds("key usage", "not restricted")
	}
	fits := len(c.usage) > 0
	for bit := range c.usage {
		fits = fits && (bit == usageSignature || bit == usageCommitment)
	}
	if fits {
		return holds("key usage", "signatures")
	}
	return wrong("key usage", "not for signatures alone")
}
