package rfc3161

import (
	"bytes"
	"fmt"
	"math/big"
	"sort"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	longestPath, mostDepth             = 8, 8
	mostSignatures, mostOrdinaryChecks = 100, 128
	smallestCurveBits                  = 256
	usageCertify                       = 5
	oidMail, anyPolicy                 = "1.2.840.113549.1.9.1", "2.5.29.32.0"
	kindMail, kindDirectory            = 1, 4
)

// search looks for one path from a signer's certificate to one root.
type search struct {
	// ordinary says that the rules of the web's certificates are used.
	ordinary bool
	between  []*certificate
	root     *certificate
	at       time.Time
	// refusal is why the first certificate was refused.
	refusal    string
	signatures int
	// ended says that nothing further is tried: what is judged may be hostile.
	ended bool
}

// above returns a path led on to the root; nil if it does not lead there.
func (s *search) above(so path) path {
	if s.ordinary {
		return s.ordinaryPath(so)
	}
	if !s.passes(so) {
		return nil
	}
	last := so[len(so)-1]
	if bytes.Equal(last.der, s.root.der) {
		return so
	}
	if len(so) == longestPath {
		return nil
	}
	for _, issuer := range append([]*certificate{s.root}, s.between...) {
		if issuer.subjectKey != last.issuerKey || contains(so, issuer) {
			continue
		}
		s.signatures++
		if s.signatures > mostSignatures {
			s.refusal = fmt.Sprintf("more than %d signatures would have to be verified", mostSignatures)
			return nil
		}
		if !last.isIssuedBy(issuer) {
			s.refuse("%s is not signed by the %s at hand", last, issuer)
			continue
		}
		if found := s.above(append(so[:len(so):len(so)], issuer)); found != nil {
			return found
		}
	}
	return nil
}

func (s *search) refuse(format string, arguments ...any) {
	if s.refusal == "" {
		s.refusal = fmt.Sprintf(format, arguments...)
	}
}

// passes judges the last certificate of a path, as the one above all others (RFC 5280, 6.1).
func (s *search) passes(so path) bool {
	last := so[len(so)-1]
	isRoot := bytes.Equal(last.der, s.root.der)
	err := reading(func() {
		last.checkForce(s.at)
		if !isRoot {
			last.checkAlgorithm()
		}
		if len(so) > 1 {
			last.checkIssuer(so[:len(so)-1], isRoot)
		}
		if isRoot {
			checkPolicies(so)
		}
	})
	if err != nil {
		s.refuse("%s", err)
	}
	return err == nil
}

var knownCritical = []string{
	extBasic, extKeyUsage, extPurposes, extAlternativeName, extNames, extPolicies, extMappings, extPolicyLimits, extInhibit,
}

func (c *certificate) checkForce(at time.Time) {
	if at.Before(c.starts) || at.After(c.ends) {
		fail("%s was not in force at the token's time", c)
	}
	for _, e := range c.extensions {
		if e.critical && !hasAny(knownCritical, e.oid) {
			fail("%s has the critical extension %s, which nobody here judges", c, e.oid)
		}
	}
}

// checkAlgorithm refuses weak hashes; SHA-1 is accepted under certificates that are older than its collisions.
func (c *certificate) checkAlgorithm() {
	family, hash := c.algorithm.scheme()
	switch {
	case family == familyEd25519:
	case hash == sha256Name, hash == sha384Name, hash == sha512Name:
	case hash == "sha3_256", hash == "sha3_384", hash == "sha3_512":
	case hash == sha1Name && c.starts.Year() < firstYearBeyond:
	default:
		fail("%s is signed with %s, which is not accepted", c, hash)
	}
}

func (c *certificate) checkIssuer(below path, isRoot bool) {
	c.checkKey()
	content, stated := c.extensionContent(extBasic)
	if !stated && isRoot && c.version == 0 {
		return
	}
	if !stated {
		fail("%s may not certify: it is no certificate authority", c)
	}
	parts := fields(content, optional(universal, tagBoolean), optional(universal, tagInteger))
	if parts[0] == nil || !parts[0].boolean() {
		fail("%s may not certify: it is no certificate authority", c)
	}
	issuers := int64(0)
	for _, one := range below[1:] {
		if one.issuerKey != one.subjectKey {
			issuers++
		}
	}
	if parts[1] != nil && parts[1].integer().Cmp(big.NewInt(issuers)) < 0 {
		fail("%s allows a shorter path only", c)
	}
	if limits, limited := c.extensionContent(extNames); limited {
		for _, one := range below {
			one.checkNames(limits, c)
		}
	}
}

func (c *certificate) checkKey() {
	strong := false
	switch key := c.key.(type) {
	case rsaKey:
		strong = key.n.BitLen() >= smallestRSABits
	case ecKey:
		strong = key.curve.bits >= smallestCurveBits
	case nil, otherKey:
	default:
		strong = true
	}
	if !strong {
		fail("the key of %s is too weak, or of a kind that nobody here knows", c)
	}
}

// checkNames judges a certificate's names by an issuer's limits: distinguished names only; limited names of other kinds it must not have.
func (c *certificate) checkNames(limits []byte, issuer *certificate) {
	kinds := map[int]bool{}
	names := [][]string{nameParts(c.subjectKey)}
	for _, set := range c.subject {
		for _, a := range set {
			kinds[kindMail] = kinds[kindMail] || a.oid == oidMail
		}
	}
	if content, has := c.extensionContent(extAlternativeName); has {
		for _, e := range elements(content) {
			kinds[e.tag] = true
			if directory := generalName(e); directory != nil {
				names = append(names, nameParts(comparable(directory)))
			}
		}
	}
	parts := fields(limits, optional(contextual, 0), optional(contextual, 1))
	allowed, barred := issuer.subtrees(parts[0], kinds), issuer.subtrees(parts[1], kinds)
	for _, one := range names {
		if len(one) > 0 && (len(allowed) > 0 && !beginsWithAny(one, allowed) || beginsWithAny(one, barred)) {
			fail("%s may not certify %s: its names are limited to others", issuer, c)
		}
	}
}

// subtrees returns limits to distinguished names; a limit to another kind of name that is there ends the search.
func (c *certificate) subtrees(list *element, kinds map[int]bool) (limits [][]string) {
	if list == nil {
		return nil
	}
	for _, tree := range elements(list.must(contextual, list.tag, true).content) {
		base := fields(tree.sequence(), required, optional(contextual, 0), optional(contextual, 1))[0]
		if directory := generalName(base); directory != nil {
			limits = append(limits, nameParts(comparable(directory)))
		} else if kinds[base.tag] {
			fail("%s limits names of a kind that nobody here judges", c)
		}
	}
	return limits
}

func nameParts(name string) []string {
	if name == "" {
		return nil
	}
	return strings.Split(name, ",")
}

func beginsWithAny(name []string, limits [][]string) bool {
	for _, least := range limits {
		if len(least) <= len(name) && strings.Join(name[:len(least)], ",") == strings.Join(least, ",") {
			return true
		}
	}
	return false
}

// checkPolicies requires one policy that all below the root have, if any of them demands it (RFC 5280, 6.1.3 and 6.1.4, without mappings).
func checkPolicies(so path) {
	below, demanded := so[:len(so)-1], false
	for _, c := range below {
		if limits, limited := c.extensionContent(extPolicyLimits); limited {
			explicit := fields(limits, optional(contextual, 0), optional(contextual, 1))[0]
			if explicit != nil {
				explicit.must(contextual, 0, false)
				demanded = true
			}
		}
	}
	if !demanded {
		return
	}
	mapped, inhibited := false, false
	for _, c := range so {
		mapped = mapped || c.extension(extMappings) != nil
		inhibited = inhibited || c.extension(extInhibit) != nil
	}
	var shared map[string]bool
	for i := len(below) - 1; i >= 0; i-- {
		policies := below[i].policies()
		if policies[anyPolicy] && !inhibited {
			continue
		}
		shared = intersection(shared, policies)
	}
	if mapped || shared != nil && len(shared) == 0 {
		fail("%s: policies are demanded, and its path has none in common", so[len(so)-1])
	}
}

func (c *certificate) policies() map[string]bool {
	stated := map[string]bool{}
	if content, has := c.extensionContent(extPolicies); has {
		for _, e := range elements(content) {
			stated[fields(e.sequence(), required, optional(universal, tagSequence))[0].oid()] = true
		}
	}
	return stated
}

func intersection(shared, further map[string]bool) map[string]bool {
	both := map[string]bool{}
	for policy := range further {
		if shared == nil || shared[policy] {
			both[policy] = true
		}
	}
	return both
}

// ordinaryPath finds a path among certificates of ordinary forms.
func (s *search) ordinaryPath(so path) path {
	signer := so[0]
	if err := reading(func() { signer.checkOrdinary(s.at); signer.checkAlternativeNames() }); err != nil {
		s.refuse("%s", err)
		return nil
	}
	found := s.ordinaryAbove(so)
	if found == nil {
		s.refuse("its certificates do not lead to the root")
		return nil
	}
	if err := reading(signer.checkTellableNames); err != nil {
		s.refuse("%s", err)
		return nil
	}
	return found
}

func (s *search) ordinaryAbove(so path) path {
	last, depth := so[len(so)-1], len(so)-1
	if bytes.Equal(last.der, s.root.der) {
		return so
	}
	if depth > mostDepth {
		s.refuse("the path is too long")
		return nil
	}
	for _, issuer := range s.likely(last) {
		if err := reading(func() { s.checkOrdinaryIssuer(issuer, last, depth) }); err != nil {
			s.refuse("%s", err)
			if s.ended {
				return nil
			}
			continue
		}
		if !bytes.Equal(issuer.issuerRaw, issuer.subjectRaw) {
			if err := reading(issuer.checkAlternativeNames); err != nil {
				s.refuse("%s", err)
				return nil
			}
		}
		if found := s.ordinaryAbove(append(so[:len(so):len(so)], issuer)); found != nil || s.ended {
			return found
		}
	}
	return nil
}

// likely returns the possible issuers, those first whose key the certificate names.
func (s *search) likely(below *certificate) []*certificate {
	var issuers []*certificate
	for _, candidate := range append([]*certificate{s.root}, s.between...) {
		if bytes.Equal(candidate.subjectRaw, below.issuerRaw) {
			issuers = append(issuers, candidate)
		}
	}
	wanted := below.authorityKey()
	sort.SliceStable(issuers, func(i, j int) bool { return issuers[i].rank(wanted) < issuers[j].rank(wanted) })
	return issuers
}

func (c *certificate) rank(wanted []byte) int {
	var have []byte
	if e := c.extension(extKeyIdentifier); e != nil {
		if reading(func() { inner(e.value, func(s *strict) { have = append([]byte{}, s.take(0x04)...) }) }) != nil {
			have = nil
		}
	}
	switch {
	case wanted == nil || have == nil:
		return 1
	case bytes.Equal(wanted, have):
		return 0
	}
	return 2
}

// authorityKey returns the identifier of the issuer's key, if it is stated.
func (c *certificate) authorityKey() (identifier []byte) {
	e := c.extension(extAuthorityKey)
	if e == nil {
		return nil
	}
	if reading(func() {
		inner(e.value, func(s *strict) {
			s.seq(func(s *strict) {
				if s.peek(0x80) {
					identifier = append([]byte{}, s.take(0x80)...)
				}
				if s.peek(0xa1) {
					inner(s.take(0xa1), (*strict).generalNames)
				}
				if s.peek(0x82) && minimal(s.take(0x82)).Sign() < 0 {
					fail("a serial number is negative")
				}
			})
		})
	}) != nil {
		return nil
	}
	return identifier
}

const mostSerialOctets = 21

func (c *certificate) checkOrdinary(at time.Time) {
	if c.serialOctets > mostSerialOctets {
		fail("%s has too long a serial number", c)
	}
	if len(c.issuer) == 0 {
		fail("%s names no issuer", c)
	}
	if at.Before(c.starts) || at.After(c.ends) {
		fail("%s was not in force at the token's time", c)
	}
}

func (s *search) checkOrdinaryIssuer(issuer, below *certificate, depth int) {
	issuer.checkOrdinary(s.at)
	e := issuer.extension(extBasic)
	if e == nil {
		fail("%s may not certify: it is no certificate authority", issuer)
	}
	authority, longest := basicConstraints(e.value)
	if longest != nil && longest.Cmp(big.NewInt(int64(depth))) < 0 {
		fail("%s violates a constraint of the path length", issuer)
	}
	if !authority {
		fail("%s may not certify: it is no certificate authority", issuer)
	}
	if issuer.keyAlgorithm.oid != oidRSA && issuer.keyAlgorithm.oid != oidEC || issuer.keyAlgorithm.oid == oidRSA && !issuer.keyAlgorithm.null {
		fail("%s has a key of another form", issuer)
	}
	family, _ := below.algorithm.scheme()
	plain := family == familyECDSA || family == familyRSA && below.algorithm.null ||
		family == familyPSS && below.algorithm.pss.plain
	if !below.algorithm.isOrdinary() || !plain {
		fail("%s is signed in another way", below)
	}
	if s.signatures++; s.signatures > mostOrdinaryChecks {
		s.ended = true
		fail("more than %d signatures would have to be verified", mostOrdinaryChecks)
	}
	if signed, err := below.isSignedBy(issuer); err != nil || !signed {
		fail("%s is not signed by the %s at hand", below, issuer)
	}
}

const pathLengthBits = 64

// basicConstraints reads BasicConstraints in DER.
func basicConstraints(value []byte) (authority bool, longest *big.Int) {
	inner(value, func(s *strict) {
		s.seq(func(s *strict) {
			authority = s.truth()
			if s.peek(0x02) {
				longest = new(big.Int).SetUint64(s.small(pathLengthBits))
			}
		})
	})
	return authority, longest
}

// checkAlternativeNames refuses alternative names that can't be read.
func (c *certificate) checkAlternativeNames() {
	if e := c.extension(extAlternativeName); e != nil {
		inner(e.value, func(s *strict) { s.seq((*strict).generalNames) })
	}
}

// checkTellableNames refuses alternative names that can be read and not told.
func (c *certificate) checkTellableNames() {
	e := c.extension(extAlternativeName)
	if e == nil {
		return
	}
	for _, one := range elements(whole(e.value).content) {
		length := len(one.content)
		if one.tag == 3 || one.tag == 5 || one.tag == 7 && length != 4 && length != 8 && length != 16 && length != 32 {
			fail("%s has an alternative name of a kind that nobody here tells", c)
		}
	}
}

// generalNames reads names of any kind in DER.
func (s *strict) generalNames() {
	for len(s.rest) > 0 {
		switch identifier := s.rest[0]; identifier {
		case 0xa0:
			inner(s.take(identifier), func(s *strict) {
				s.oid()
				inner(s.take(0xa0), func(s *strict) { s.any() })
			})
		case 0x81, 0x82, 0x86:
			if !utf8.Valid(s.take(identifier)) {
				fail("a name is no text")
			}
		case 0xa3, 0xa5, 0x87:
			s.take(identifier)
		case 0xa4:
			inner(s.take(identifier), func(s *strict) { s.name() })
		case 0x88:
			strictOID(s.take(identifier))
		default:
			fail("a name is of no known kind")
		}
	}
}
