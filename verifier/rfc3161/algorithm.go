package rfc3161

import (
	"bytes"
	"math/big"
)

// Hashes, as receipts and findings call them.
const (
	sha1Name, sha224Name = "sha1", "sha224"
	sha256Name           = "sha256"
	sha384Name           = "sha384"
	sha512Name           = "sha512"
)

const (
	oidRSA, oidPSS, oidMask     = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"
	oidDH                       = "1.2.840.10046.2.1"
	oidEC, oidDSA               = "1.2.840.10045.2.1", "1.2.840.10040.4.1"
	oidEd25519, oidEd448        = "1.3.101.112", "1.3.101.113"
	oidX25519, oidX448          = "1.3.101.110", "1.3.101.111"
	oidSHA1                     = "1.3.14.3.2.26"
	defaultSalt, mostTrailerLen = 20, 8
)

// digests are the hashes by their object identifiers, as certificates name them.
var digests = map[string]string{
	oidSHA1:                  sha1Name,
	"2.16.840.1.101.3.4.2.4": sha224Name, "2.16.840.1.101.3.4.2.1": sha256Name,
	"2.16.840.1.101.3.4.2.2": sha384Name, "2.16.840.1.101.3.4.2.3": sha512Name,
	"2.16.840.1.101.3.4.2.7": "sha3_224", "2.16.840.1.101.3.4.2.8": "sha3_256",
	"2.16.840.1.101.3.4.2.9": "sha3_384", "2.16.840.1.101.3.4.2.10": "sha3_512",
}

// scheme says how a signature under a certificate or a list is made.
type scheme struct {
	family, hash string
	// null says that NULL may stand where parameters could; bare that nothing may.
	null, bare bool
}

const familyRSA, familyPSS, familyECDSA, familyEd25519 = "rsassa_pkcs1v15", "rsassa_pss", "ecdsa", "ed25519"

// schemes are the ways of signing certificates by their object identifiers.
var schemes = map[string]scheme{
	"1.2.840.113549.1.1.5": {familyRSA, sha1Name, true, false}, "1.3.14.3.2.29": {familyRSA, sha1Name, true, false},
	"1.2.840.113549.1.1.14": {familyRSA, sha224Name, true, false}, "1.2.840.113549.1.1.11": {familyRSA, sha256Name, true, false},
	"1.2.840.113549.1.1.12": {familyRSA, sha384Name, true, false}, "1.2.840.113549.1.1.13": {familyRSA, sha512Name, true, false},
	"2.16.840.1.101.3.4.3.13": {familyRSA, "sha3_224", true, false}, "2.16.840.1.101.3.4.3.14": {familyRSA, "sha3_256", true, false},
	"2.16.840.1.101.3.4.3.15": {familyRSA, "sha3_384", true, false}, "2.16.840.1.101.3.4.3.16": {familyRSA, "sha3_512", true, false},
	"1.2.840.10045.4.1":   {familyECDSA, sha1Name, false, false},
	"1.2.840.10045.4.3.1": {familyECDSA, sha224Name, false, true}, "1.2.840.10045.4.3.2": {familyECDSA, sha256Name, false, true},
	"1.2.840.10045.4.3.3": {familyECDSA, sha384Name, false, true}, "1.2.840.10045.4.3.4": {familyECDSA, sha512Name, false, true},
	"2.16.840.1.101.3.4.3.9": {familyECDSA, "sha3_224", false, true}, "2.16.840.1.101.3.4.3.10": {familyECDSA, "sha3_256", false, true},
	"2.16.840.1.101.3.4.3.11": {familyECDSA, "sha3_384", false, true}, "2.16.840.1.101.3.4.3.12": {familyECDSA, "sha3_512", false, true},
	oidEd25519: {familyEd25519, "", false, true}, oidEd448: {"ed448", "", false, true},
	oidX25519: {"", "", false, true}, oidX448: {"", "", false, true},
	"2.16.840.1.101.3.4.3.1": {"dsa", sha224Name, false, true}, "2.16.840.1.101.3.4.3.2": {"dsa", sha256Name, false, true},
	"2.16.840.1.101.3.4.3.3": {"dsa", sha384Name, false, true}, "2.16.840.1.101.3.4.3.4": {"dsa", sha512Name, false, true},
	"1.2.840.10040.4.3": {"dsa", sha1Name, false, false}, "1.2.840.113549.1.1.4": {"", "md5", false, false},
	oidRSA: {"", "", true, false},
}

// algorithm is an AlgorithmIdentifier of a certificate or list.
type algorithm struct {
	oid string
	raw []byte
	// null says that parameters are there, and NULL.
	null bool
	// curve is the object identifier of a named curve.
	curve string
	pss   *pssParameters
}

// pssParameters say how RSASSA-PSS fills up what is signed.
type pssParameters struct {
	hash, mask string
	salt       int
	// plain says that hash and mask state NULL parameters, as most do.
	plain bool
	// trailer says that the trailer field is written out.
	trailer bool
}

// algorithm reads an AlgorithmIdentifier, whose parameters must fit what it names.
func (s *strict) algorithm() (read algorithm) {
	start := s.rest
	s.seq(func(s *strict) {
		read.oid = s.oid()
		how, known := schemes[read.oid]
		_, digest := digests[read.oid]
		switch {
		case read.oid == oidPSS:
			if len(s.rest) > 0 {
				read.pss = s.pss()
			}
		case read.oid == oidEC:
			read.curve = s.oid() // it has to be named (RFC 5480, 2.1.1)
		case read.oid == oidDSA:
			s.seq(func(s *strict) { s.positive(); s.positive(); s.positive() })
		case read.oid == oidDH:
			s.seq(func(s *strict) {
				s.positive()
				s.positive()
				s.positive()
				if s.peek(0x02) {
					s.positive()
				}
				if s.peek(0x30) {
					s.any()
				}
			})
		case digest || known && how.null:
			read.null = s.optionalNull()
		case known && how.bare:
		case len(s.rest) > 0:
			s.any()
		}
	})
	read.raw = start[:len(start)-len(s.rest)]
	return read
}

func (s *strict) positive() *big.Int {
	value := s.number()
	if value.Sign() < 0 {
		fail("a number is negative")
	}
	return value
}

// pss reads the parameters of RSASSA-PSS; what is left out is by SHA-1 (RFC 4055, 3.1).
func (s *strict) pss() *pssParameters {
	read := &pssParameters{hash: sha1Name, mask: sha1Name, salt: defaultSalt}
	var hash, mask algorithm
	s.seq(func(s *strict) {
		if s.peek(0xa0) {
			inner(s.take(0xa0), func(s *strict) { hash = s.algorithm() })
			refuse(hash.oid == oidSHA1 && hash.null)
			read.hash = digests[hash.oid]
		}
		if s.peek(0xa1) {
			var generator string
			inner(s.take(0xa1), func(s *strict) {
				s.seq(func(s *strict) { generator, mask = s.oid(), s.algorithm() })
			})
			refuse(generator == oidMask && mask.oid == oidSHA1 && mask.null)
			if read.mask = digests[mask.oid]; generator != oidMask {
				read.mask = ""
			}
		}
		if s.peek(0xa2) {
			inner(s.take(0xa2), func(s *strict) { read.salt = int(s.small(16)) })
			refuse(read.salt == defaultSalt)
		}
		if s.peek(0xa3) {
			read.trailer = true
			inner(s.take(0xa3), func(s *strict) { s.small(mostTrailerLen) })
		}
	})
	read.plain = hash.null && mask.null
	return read
}

// refuse ends reading if a default is written out.
func refuse(written bool) {
	if written {
		fail("a default is written out")
	}
}

func (a algorithm) equal(b algorithm) bool { return bytes.Equal(a.raw, b.raw) }
