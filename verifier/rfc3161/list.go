package rfc3161

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"vaultmesh/verifier/report"
)

const (
	extReason, extCertificateIssuer, extInvalidity = "2.5.29.21", "2.5.29.29", "2.5.29.24"
	oidECDSAWithSHA1                               = "1.2.840.10045.4.1"
	// longestCarried is how many bytes a list may have that receipts carry.
	longestCarried = 4_096
	noReason       = -1
)

// reasons are why certificates are revoked, by their numbers.
var reasons = map[int64]string{
	0: "unspecified", 1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded",
	5: "cessationOfOperation", 6: "certificateHold", 8: "removeFromCRL", 9: "privilegeWithdrawn", 10: "aACompromise",
}

// keepsEarlier are the reasons that leave tokens valid which were made before.
var keepsEarlier = map[int64]bool{0: true, 3: true, 4: true, 5: true}

// revocation is an entry of a list.
type revocation struct {
	serial     *big.Int
	when       time.Time
	extensions []extension
}

// list is a revocation list.
type list struct {
	der, signed []byte
	issuer      name
	issued      time.Time
	entries     []revocation
	algorithm   algorithm
	inside      algorithm
	signature   []byte
}

// readList reads a revocation list in DER.
func readList(der []byte) (*list, error) {
	read := &list{der: der}
	err := reading(func() {
		inner(der, func(s *strict) {
			s.seq(func(s *strict) {
				start := s.rest
				s.seq(read.body)
				read.signed = start[:len(start)-len(s.rest)]
				read.algorithm, read.signature = s.algorithm(), s.bits()
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("a revocation list can't be read: %w", err)
	}
	return read, nil
}

func (l *list) body(s *strict) {
	if s.peek(0x02) {
		if version := s.small(8); version != 1 {
			fail("%d is no version", version)
		}
	}
	l.inside, l.issuer = s.algorithm(), s.name()
	l.issued, _ = s.moment()
	if s.peek(0x17) || s.peek(0x18) {
		s.moment()
	}
	if s.peek(0x30) {
		s.seq(func(s *strict) {
			for len(s.rest) > 0 {
				s.seq(func(s *strict) {
					entry := revocation{serial: s.number()}
					entry.when, _ = s.moment()
					if len(s.rest) > 0 {
						entry.extensions = s.extensions()
					}
					l.entries = append(l.entries, entry)
				})
			}
		})
	}
	if s.peek(0xa0) {
		inner(s.take(0xa0), func(s *strict) { s.extensions() })
	}
}

// isBy tells whether an issuer signed the list.
func (l *list) isBy(issuer *certificate) bool {
	if !l.issuer.equal(issuer.subject) || !l.inside.equal(l.algorithm) || l.algorithm.oid == oidECDSAWithSHA1 {
		return false
	}
	signed, err := issuer.made(l.algorithm, l.signature, l.signed)
	return signed && err == nil
}

// entry returns what a list says of a serial number.
func (l *list) entry(serial *big.Int) *revocation {
	for i := range l.entries {
		if l.entries[i].serial.Cmp(serial) == 0 {
			return &l.entries[i]
		}
	}
	return nil
}

// reason returns why a certificate was revoked; noReason if that is not said, or not readable.
func (r *revocation) reason() int64 {
	found := int64(noReason)
	err := reading(func() {
		seen := map[string]bool{}
		for _, e := range r.extensions {
			if seen[e.oid] {
				fail("an extension stands there twice")
			}
			seen[e.oid] = true
			inner(e.value, func(s *strict) {
				switch e.oid {
				case extReason:
					value := minimal(s.take(tagEnumerated))
					if found = value.Int64(); !value.IsInt64() || reasons[found] == "" {
						fail("a reason is unknown")
					}
				case extCertificateIssuer:
					s.seq((*strict).generalNames)
				case extInvalidity:
					if _, generalized := s.moment(); !generalized {
						fail("a time is of another kind")
					}
				default:
					s.rest = nil
				}
			})
		}
	})
	if err != nil {
		return noReason
	}
	return found
}

// revocationFinding judges a token of a path and moment; nil when no list is by an issuer of the path.
func revocationFinding(so path, moment time.Time, lists []*list) *report.Check {
	const name = "revocation"
	var details []string
	for i := range len(so) - 1 {
		subject, issuer := so[i], so[i+1]
		var newest *list
		for _, l := range lists {
			if !l.isBy(issuer) {
				continue
			}
			if newest == nil || l.issued.After(newest.issued) {
				newest = l
			}
			if entry := l.entry(subject.serial); entry != nil {
				kept, detail := entry.judge(subject, moment)
				if !kept {
					check := wrong(name, detail)
					return &check
				}
				details = append(details, detail)
			}
		}
		if newest != nil {
			details = append(details, fmt.Sprintf("as of %s by the list of %s", writeTime(newest.issued), issuer))
		}
	}
	if details == nil {
		return nil
	}
	check := holds(name, strings.Join(details, "; "))
	return &check
}

// judge tells whether a token of a moment outlives a revocation.
func (r *revocation) judge(subject *certificate, moment time.Time) (bool, string) {
	reason := r.reason()
	why := reasons[reason]
	if reason == noReason {
		why = "no reason given"
	}
	revoked := fmt.Sprintf("%s was revoked at %s (%s)", subject, writeTime(r.when), why)
	if !keepsEarlier[reason] {
		return false, revoked + ": none of its tokens counts"
	}
	if !moment.Before(r.when) {
		return false, revoked + ", before it stamped"
	}
	return true, revoked + ", after it stamped"
}

// carriedList returns a list that a receipt carries; an error if it can't be read, or is not what is said of it.
func carriedList(entry map[string]any) (*list, error) {
	der, ok := bytesOf(entry["list"])
	if !ok {
		return nil, fmt.Errorf("a revocation list is no base64")
	}
	read, err := readList(der)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(der)
	said := map[string]any{
		"issuer": read.issuer.String(), "thisUpdate": writeTime(read.issued), "sha256": hex.EncodeToString(digest[:]),
	}
	if len(der) <= longestCarried {
		said["list"] = base64.StdEncoding.EncodeToString(der)
	}
	if len(said) != len(entry) {
		return nil, fmt.Errorf("something else is said of a revocation list")
	}
	for key, word := range said {
		if entry[key] != word {
			return nil, fmt.Errorf("%s of a revocation list is not so", key)
		}
	}
	return read, nil
}

// pinned is what a token is judged by, beside what it carries.
type pinned struct {
	roots         []*certificate
	intermediates []*certificate
	lists         []*list
}

var (
	beginForm = regexp.MustCompile(`-----BEGIN (?:X509 )?CERTIFICATE-----`)
	blockForm = regexp.MustCompile(beginForm.String() + `([^-]*)-----END (?:X509 )?CERTIFICATE-----`)
	listForm  = regexp.MustCompile(`(?s)-----BEGIN X509 CRL-----(.*?)-----END X509 CRL-----`)
)

// readPinned reads certificates and revocation lists of a PEM text, in any order; other text is passed over.
func readPinned(text []byte) (read pinned, err error) {
	blocks := blockForm.FindAllSubmatch(text, -1)
	if len(blocks) < len(beginForm.FindAll(text, -1)) {
		return read, fmt.Errorf("holds a certificate that can't be read (it has no end): write it in PEM")
	}
	if len(blocks) == 0 {
		return read, fmt.Errorf("holds no certificates that can be read: write the roots in PEM")
	}
	for _, block := range blocks {
		der, ok := decode64(bytes.Join(bytes.Fields(block[1]), nil))
		if !ok {
			return read, fmt.Errorf("holds a certificate that can't be read (it is no base64): write it in PEM")
		}
		certificate, err := readCertificate(der)
		if err != nil {
			return read, fmt.Errorf("holds %w: write it in PEM", err)
		}
		if certificate.signsItself() {
			read.roots = append(read.roots, certificate)
		} else {
			read.intermediates = append(read.intermediates, certificate)
		}
	}
	for _, block := range listForm.FindAllSubmatch(text, -1) {
		der, ok := decode64(bytes.Join(bytes.Fields(block[1]), nil))
		if !ok {
			return read, fmt.Errorf("holds a revocation list that can't be read (it is no base64): write it in PEM")
		}
		l, err := readList(der)
		if err != nil {
			return read, fmt.Errorf("holds %w: write it in PEM", err)
		}
		read.lists = append(read.lists, l)
	}
	return read, nil
}

// decode64 decodes base64 without white space.
func decode64(text []byte) ([]byte, bool) {
	if bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	content, err := base64.StdEncoding.Strict().DecodeString(string(text))
	return content, err == nil
}

// bytesOf returns the bytes of a base64 text; empty ones are none.
func bytesOf(value any) ([]byte, bool) {
	text, isText := value.(string)
	if !isText || text == "" {
		return nil, false
	}
	return decode64([]byte(text))
}
