package rfc3161

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"time"
)

const (
	// mostCertificates could be on a path; a token of a real authority brings five at most.
	mostCertificates = 100
	smallestRSABits  = 2_048
	firstYearBeyond  = 2017
)

// path begins with the signer's certificate and ends with a root.
type path []*certificate

// findPaths returns the paths to pinned roots in the order of the roots, one for each at most; if there is none, it says why.
func findPaths(signer *certificate, intermediates, roots []*certificate, moment time.Time) ([]path, string) {
	at := moment.UTC().Truncate(time.Second)
	roots = distinct(roots)
	pool := append([]*certificate{}, roots...)
	for _, candidate := range intermediates {
		if !candidate.signsItself() {
			pool = append(pool, candidate)
		}
	}
	near := reachable(signer, distinct(pool))
	if len(near) > mostCertificates {
		return nil, fmt.Sprintf("more than %d certificates could be on it", mostCertificates)
	}
	fit, refusal := fitIssuers(near)
	var ends, between []*certificate
	for _, root := range roots {
		if contains(fit, root) || bytes.Equal(root.der, signer.der) {
			ends = append(ends, root)
		}
	}
	for _, candidate := range fit {
		if !contains(ends, candidate) {
			between = append(between, candidate)
		}
	}
	var paths []path
	ordinary := isOrdinary(signer, fit)
	for _, root := range ends {
		search := &search{ordinary: ordinary, between: between, root: root, at: at}
		if found := search.above(path{signer}); found != nil {
			paths = append(paths, found)
		} else if refusal == "" {
			refusal = search.refusal
		}
	}
	if refusal == "" {
		refusal = missing(signer, near)
	}
	return paths, refusal
}

// distinct returns each certificate once.
func distinct(all []*certificate) []*certificate {
	var kept []*certificate
	for _, c := range all {
		if !contains(kept, c) {
			kept = append(kept, c)
		}
	}
	return kept
}

func contains(all []*certificate, wanted *certificate) bool {
	for _, c := range all {
		if bytes.Equal(c.der, wanted.der) {
			return true
		}
	}
	return false
}

// reachable returns those that lie above the signer by their names.
func reachable(signer *certificate, pool []*certificate) []*certificate {
	wanted, known := []string{signer.issuerKey}, map[string]bool{}
	var near []*certificate
	for len(wanted) > 0 {
		name := wanted[len(wanted)-1]
		wanted = wanted[:len(wanted)-1]
		if known[name] {
			continue
		}
		known[name] = true
		for _, candidate := range pool {
			if candidate.subjectKey == name {
				near = append(near, candidate)
				wanted = append(wanted, candidate.issuerKey)
			}
		}
	}
	return near
}

// fitIssuers returns those that may issue certificates for time stamps, and why the first other one may not.
func fitIssuers(near []*certificate) (fit []*certificate, refusal string) {
	for _, candidate := range near {
		why := ""
		if candidate.usage != nil && !candidate.usage[usageCertify] {
			why = fmt.Sprintf("%s may not certify: its key usage has no keyCertSign", candidate)
		} else if candidate.purposes != nil && !hasAny(candidate.purposes, purposeStamping, purposeAny) {
			why = fmt.Sprintf("%s may certify for other purposes than time stamps only", candidate)
		}
		if why == "" {
			fit = append(fit, candidate)
		} else if refusal == "" {
			refusal = why
		}
	}
	return fit, refusal
}

func hasAny(all []string, wanted ...string) bool {
	for _, item := range all {
		for _, one := range wanted {
			if item == one {
				return true
			}
		}
	}
	return false
}

// missing says whose certificate would lead on.
func missing(signer *certificate, near []*certificate) string {
	subjects := map[string]bool{}
	for _, c := range near {
		subjects[c.subjectKey] = true
	}
	names := map[string]bool{}
	for _, c := range append([]*certificate{signer}, near...) {
		if !subjects[c.issuerKey] {
			names[c.issuer.String()] = true
		}
	}
	if len(names) == 0 {
		return "its certificates lead to each other only"
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	return fmt.Sprintf("no certificate of %s is at hand: a token may leave it out; put it beside the roots",
		strings.Join(sorted, " or "))
}

// isOrdinary tells whether all certificates are of the forms that public authorities use now. Such a path is judged by
// the rules of the web's certificates, any other one by those of RFC 5280, which are wider in some things.
func isOrdinary(signer *certificate, fit []*certificate) bool {
	if !signer.isOrdinary(fit) {
		return false
	}
	for _, candidate := range fit {
		if !candidate.isOrdinary(fit) {
			return false
		}
	}
	return true
}

func (c *certificate) isOrdinary(fit []*certificate) bool {
	if c.mended || c.version != 2 || c.serial.Sign() < 0 || c.earlyGeneralized || c.extension(extNames) != nil {
		return false
	}
	for _, e := range c.extensions {
		if e.critical && !hasAny([]string{extBasic, extKeyUsage, extPurposes, extAlternativeName}, e.oid) {
			return false
		}
	}
	if !c.signsItself() && !c.algorithm.isOrdinary() || contains(fit, c) && !c.hasOrdinaryKey() {
		return false
	}
	for _, issuer := range fit {
		if issuer.subjectKey == c.issuerKey && !bytes.Equal(issuer.subjectRaw, c.issuerRaw) {
			return false
		}
	}
	return true
}

// isOrdinary tells whether a signature is by RSA or ECDSA with SHA-2.
func (a algorithm) isOrdinary() bool {
	family, hash := a.scheme()
	if hash != sha256Name && hash != sha384Name && hash != sha512Name {
		return false
	}
	if family == familyPSS {
		return a.pss.mask == hash && a.pss.salt == hashes[hash].Size()
	}
	return family == familyRSA || family == familyECDSA
}

func (c *certificate) hasOrdinaryKey() bool {
	switch key := c.key.(type) {
	case ecKey:
		return key.curve.fast != nil && key.curve.bits >= 256
	case rsaKey:
		return key.n.BitLen() >= smallestRSABits
	}
	return false
}
