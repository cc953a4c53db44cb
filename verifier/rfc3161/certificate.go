package rfc3161

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"sort"
	"strings"
	"time"
)

// Extensions that are judged.
const (
	extKeyIdentifier, extKeyUsage, extAlternativeName = "2.5.29.14", "2.5.29.15", "2.5.29.17"
	extBasic, extNames, extPolicies, extMappings      = "2.5.29.19", "2.5.29.30", "2.5.29.32", "2.5.29.33"
	extAuthorityKey, extPolicyLimits, extPurposes     = "2.5.29.35", "2.5.29.36", "2.5.29.37"
	extInhibit                                        = "2.5.29.54"

	purposeStamping, purposeAny = "1.3.6.1.5.5.7.3.8", "2.5.29.37.0"
)

// extensionTags say what the known extensions hold at their top.
var extensionTags = map[string]int{
	"2.5.29.9": tagSequence, extKeyIdentifier: tagOctets, extKeyUsage: tagBits, "2.5.29.16": tagSequence,
	extAlternativeName: tagSequence, "2.5.29.18": tagSequence, extBasic: tagSequence, extNames: tagSequence,
	"2.5.29.31": tagSequence, extPolicies: tagSequence, extMappings: tagSequence, extAuthorityKey: tagSequence,
	extPolicyLimits: tagSequence, extPurposes: tagSequence, "2.5.29.46": tagSequence, extInhibit: tagInteger,
	"1.3.6.1.5.5.7.1.1": tagSequence, "1.3.6.1.5.5.7.1.11": tagSequence, "1.3.6.1.5.5.7.1.24": tagSequence,
	"1.3.6.1.5.5.7.48.1.5": tagNull,
}

// extension is one extension of a certificate, or of an entry of a list.
type extension struct {
	oid      string
	critical bool
	value    []byte
}

// certificate is a certificate: its bytes, and what they say.
type certificate struct {
	der []byte
	// signed are the bytes under its signature, as they came.
	signed           []byte
	version          uint64
	serial           *big.Int
	serialOctets     int
	issuer, subject  name
	issuerRaw        []byte
	subjectRaw       []byte
	issuerKey        string
	subjectKey       string
	starts, ends     time.Time
	earlyGeneralized bool
	algorithm        algorithm
	signature        []byte
	keyAlgorithm     algorithm
	keyBits          []byte
	// keyUnused counts the bits that do not belong to the key; keys that we know are whole octets.
	keyUnused  byte
	key        any
	keyProblem error
	extensions []extension
	// usage says what its key may be used for, by the numbers of KeyUsage; nil if nothing is said.
	usage map[int]bool
	// purposes say what it is for, as object identifiers; nil if nothing is said.
	purposes []string
	// mended says that it is not in plain DER, and was read from a copy that is.
	mended bool
}

// String is whose it is.
func (c *certificate) String() string { return c.subject.String() }

// readCertificate reads a certificate; one that strict reading refuses from a copy in plain DER.
func readCertificate(der []byte) (read *certificate, err error) {
	err = reading(func() { read = strictCertificate(der) })
	if err != nil {
		var copied []byte
		if problem := reading(func() { copied = mend(der) }); problem != nil || bytes.Equal(copied, der) {
			return nil, fmt.Errorf("a certificate can't be read: %w", err)
		}
		err = reading(func() { read = strictCertificate(copied); read.mended = true })
	}
	if err == nil {
		err = reading(func() { read.interpret(der) })
	}
	if err != nil {
		return nil, fmt.Errorf("a certificate can't be read: %w", err)
	}
	return read, nil
}

// readAll returns those that can be read, each once: nobody needs the others.
func readAll(ders [][]byte) []*certificate {
	var all []*certificate
	for _, der := range ders {
		if read, err := readCertificate(der); err == nil {
			all = append(all, read)
		}
	}
	return all
}

// strictCertificate reads a certificate in DER.
func strictCertificate(der []byte) *certificate {
	read := &certificate{}
	inner(der, func(s *strict) {
		s.seq(func(s *strict) {
			s.seq(read.body)
			again := s.algorithm()
			if !again.equal(read.algorithm) {
				fail("it names two signature algorithms")
			}
			read.signature = s.bits()
		})
	})
	return read
}

func (c *certificate) body(s *strict) {
	if s.peek(0xa0) {
		inner(s.take(0xa0), func(s *strict) { c.version = s.small(8) })
		refuse(c.version == 0)
		if c.version != 2 {
			fail("%d is no version", c.version)
		}
	}
	start := s.rest
	c.serial = s.number()
	c.serialOctets = len((&strict{start}).any().content)
	c.algorithm = s.algorithm()
	start = s.rest
	c.issuer = s.name()
	c.issuerRaw = start[:len(start)-len(s.rest)]
	s.seq(func(s *strict) {
		var early, late bool
		c.starts, early = s.moment()
		c.ends, late = s.moment()
		c.earlyGeneralized = early && c.starts.Year() < 2050 || late && c.ends.Year() < 2050
	})
	start = s.rest
	c.subject = s.name()
	c.subjectRaw = start[:len(start)-len(s.rest)]
	s.seq(func(s *strict) {
		c.keyAlgorithm = s.algorithm()
		content := s.take(tagBits)
		c.keyBits, c.keyUnused = strictBits(content), content[0]
	})
	for _, identifier := range []byte{0x81, 0x82} {
		if s.peek(identifier) {
			strictBits(s.take(identifier))
		}
	}
	if s.peek(0xa3) {
		inner(s.take(0xa3), func(s *strict) { c.extensions = s.extensions() })
	}
}

// extensions reads a list of extensions.
func (s *strict) extensions() (all []extension) {
	s.seq(func(s *strict) {
		for len(s.rest) > 0 {
			var read extension
			s.seq(func(s *strict) {
				read.oid, read.critical, read.value = s.oid(), s.truth(), s.take(0x04)
			})
			all = append(all, read)
		}
	})
	return all
}

// interpret looks at what a certificate says; its extensions may be in BER.
func (c *certificate) interpret(der []byte) {
	c.der = der
	c.signed = elements(whole(der).content)[0].raw()
	c.issuerKey, c.subjectKey = comparable(whole(c.issuerRaw)), comparable(whole(c.subjectRaw))
	seen := map[string]bool{}
	for _, e := range c.extensions {
		if seen[e.oid] {
			fail("an extension stands there twice")
		}
		seen[e.oid] = true
		c.extensionContent(e.oid)
	}
	if content, ok := c.extensionContent(extKeyUsage); ok {
		c.usage = bitsSet(content)
	}
	if content, ok := c.extensionContent(extPurposes); ok {
		c.purposes = []string{}
		for _, purpose := range elements(content) {
			c.purposes = append(c.purposes, purpose.oid())
		}
	}
	c.keyProblem = reading(func() { c.key = publicKey(c.keyAlgorithm, c.keyBits, c.keyUnused) })
}

// extensionContent returns what a known extension holds below its top; an error if it is of another form.
func (c *certificate) extensionContent(oid string) ([]byte, bool) {
	tag, known := extensionTags[oid]
	e := c.extension(oid)
	if !known || e == nil {
		return nil, false
	}
	top, _ := next(e.value)
	return top.must(universal, tag, tag == tagSequence).content, true
}

func (c *certificate) extension(oid string) *extension {
	for i := range c.extensions {
		if c.extensions[i].oid == oid {
			return &c.extensions[i]
		}
	}
	return nil
}

// bitsSet returns which bits of a BIT STRING are set.
func bitsSet(content []byte) map[int]bool {
	if len(content) == 0 || content[0] > 7 || content[0] > 0 && len(content) == 1 {
		fail("a bit string is none")
	}
	set := map[int]bool{}
	octets := content[1:]
	for bit := range 8*len(octets) - int(content[0]) {
		if octets[bit/8]&(0x80>>(bit%8)) != 0 {
			set[bit] = true
		}
	}
	return set
}

// signsItself tells whether it is a root: it names itself as issuer, and its own key made the signature as far as anybody can tell.
func (c *certificate) signsItself() bool {
	if c.issuerKey != c.subjectKey {
		return false
	}
	signed, err := c.isSignedBy(c)
	return signed || err != nil
}

// isIssuedBy tells whether an issuer has the name that is said and made the signature; not whether it was allowed to.
func (c *certificate) isIssuedBy(issuer *certificate) bool {
	if c.issuerKey != issuer.subjectKey {
		return false
	}
	signed, err := c.isSignedBy(issuer)
	return signed && err == nil
}

// isSignedBy tells whether the issuer's key made the signature; an error says that algorithm and key do not fit.
func (c *certificate) isSignedBy(issuer *certificate) (bool, error) {
	return issuer.made(c.algorithm, c.signature, c.signed)
}

// made tells whether a certificate's key made a signature.
func (c *certificate) made(how algorithm, signature, signed []byte) (bool, error) {
	if c.keyProblem != nil {
		return false, c.keyProblem
	}
	family, hash := how.scheme()
	switch key := c.key.(type) {
	case rsaKey:
		if family == familyRSA {
			return key.verify(hash, signature, signed), nil
		}
		if family == familyPSS {
			return key.verifyPSS(hash, how.pss.mask, how.pss.salt, signature, signed), nil
		}
	case ecKey:
		if family == familyECDSA {
			return key.verify(hash, signature, signed), nil
		}
	default:
		if family == familyEd25519 {
			return ed25519Verify(key, signature, signed)
		}
	}
	return false, errNoFit
}

// scheme returns how a signature was made, and its hash; empty if nobody here knows.
func (a algorithm) scheme() (family, hash string) {
	if a.oid == oidPSS {
		if a.pss == nil || a.pss.hash == "" || a.pss.mask == "" {
			return "", ""
		}
		return familyPSS, a.pss.hash
	}
	how := schemes[a.oid]
	return how.family, how.hash
}

// comparable returns a name in the form in which equal ones are equal, however they are written (RFC 5280, 7.1).
func comparable(e *element) string {
	var parts []string
	err := reading(func() {
		for _, set := range elements(e.content) {
			var attributes []string
			for _, attribute := range elements(set.content) {
				attributes = append(attributes, comparableAttribute(elements(attribute.content)))
			}
			sort.Strings(attributes)
			parts = append(parts, strings.Join(attributes, "+"))
		}
	})
	if err != nil {
		return hex.EncodeToString(e.raw())
	}
	return strings.Join(parts, ",")
}

func comparableAttribute(parts []*element) string {
	if len(parts) < 2 {
		fail("a name has a part without a value")
	}
	kind, value := parts[0], parts[1]
	written := value.raw()
	if value.class == universal && !value.constructed {
		if text, ok := comparableText(value); ok {
			written = []byte(text)
			return hex.EncodeToString(kind.raw()) + "=" + hex.EncodeToString(written)
		}
	}
	return hex.EncodeToString(kind.raw()) + "#" + hex.EncodeToString(written)
}

// comparableText returns a text without regard to the case of ASCII letters and to spaces around or between words.
func comparableText(value *element) (string, bool) {
	switch value.tag {
	case tagOctets, tagUTCTime, tagGeneralized:
		return "", false
	}
	text, ok := textOf(value.tag, value.content, false)
	if !ok {
		return "", false
	}
	var words []string
	for _, word := range strings.Split(text, " ") {
		if word != "" {
			words = append(words, word)
		}
	}
	lower := strings.Map(func(letter rune) rune {
		if letter >= 'A' && letter <= 'Z' {
			return letter + 'a' - 'A'
		}
		return letter
	}, strings.Join(words, " "))
	return lower, true
}

// mend returns a copy of a certificate without defaults that are written out, whose names hold no PrintableString that is none.
func mend(der []byte) []byte {
	outer := whole(der)
	parts := elements(outer.content)
	if len(parts) == 0 {
		fail("it is empty")
	}
	copied := rewritten(outer, append([][]byte{mendBody(parts[0])}, raws(parts[1:])...))
	return copied
}

const versionPlaces, issuerPlace, subjectPlace = 1, 2, 4

func mendBody(body *element) []byte {
	parts := elements(body.content)
	var written [][]byte
	if len(parts) > 0 && parts[0].is(contextual, 0) {
		if version := parts[0].raw(); !bytes.Equal(version, []byte{0xa0, 3, 2, 1, 0}) {
			written = append(written, version)
		}
		parts = parts[versionPlaces:]
	}
	for place, part := range parts {
		switch {
		case place == issuerPlace || place == subjectPlace:
			written = append(written, renamed(part))
		case part.is(contextual, 3):
			written = append(written, mendExtensions(part))
		default:
			written = append(written, part.raw())
		}
	}
	return rewritten(body, written)
}

// mendExtensions leaves out that an extension is not critical: it is the default.
func mendExtensions(tagged *element) []byte {
	var lists [][]byte
	for _, list := range elements(tagged.content) {
		var all [][]byte
		for _, one := range elements(list.content) {
			parts := raws(elements(one.content))
			if len(parts) == 3 && bytes.Equal(parts[1], []byte{1, 1, 0}) {
				parts = append(parts[:1:1], parts[2:]...)
			}
			all = append(all, rewritten(one, parts))
		}
		lists = append(lists, rewritten(list, all))
	}
	return rewritten(tagged, lists)
}

// renamed calls a PrintableString with other characters a UTF8String.
func renamed(e *element) []byte {
	content, header := e.content, e.header
	if e.constructed {
		content = nil
		for _, part := range elements(e.content) {
			content = append(content, renamed(part)...)
		}
	} else if e.is(universal, tagPrintable) && !isPrintable(content) {
		header = append([]byte{tagUTF8}, header[1:]...)
	}
	return (&element{indefinite: e.indefinite, header: header, content: content}).raw()
}

func raws(parts []*element) [][]byte {
	var all [][]byte
	for _, part := range parts {
		all = append(all, part.raw())
	}
	return all
}

// rewritten returns an element with another content, in DER.
func rewritten(e *element, parts [][]byte) []byte {
	content := bytes.Join(parts, nil)
	if e.tag >= 31 {
		fail("a tag is too large")
	}
	identifier := byte(e.class<<6 | e.tag)
	if e.constructed {
		identifier |= 0x20
	}
	header := []byte{identifier}
	if len(content) < 0x80 {
		return append(append(header, byte(len(content))), content...)
	}
	length := big.NewInt(int64(len(content))).Bytes()
	header = append(append(header, byte(0x80|len(length))), length...)
	return append(header, content...)
}

// shortNames are names of attributes (RFC 4514, 3).
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.9": "STREET",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

// String writes a name as RFC 4514 does, its last part first.
func (n name) String() string {
	parts := make([]string, 0, len(n))
	for i := len(n) - 1; i >= 0; i-- {
		var set []string
		for _, a := range n[i] {
			kind := shortNames[a.oid]
			if kind == "" {
				kind = a.oid
			}
			set = append(set, kind+"="+a.escaped())
		}
		parts = append(parts, strings.Join(set, "+"))
	}
	return strings.Join(parts, ",")
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "+", `\+`, ",", `\,`, ";", `\;`, "<", `\<`, ">", `\>`, "\x00", `\00`)

func (a attribute) escaped() string {
	if a.text == "" {
		return ""
	}
	if a.octets {
		return "#" + hex.EncodeToString([]byte(a.text))
	}
	text := escapes.Replace(a.text)
	if text[0] == '#' || text[0] == ' ' && len(text) > 1 {
		text = `\` + text
	}
	if text[len(text)-1] == ' ' {
		text = text[:len(text)-1] + `\ `
	}
	return text
}

// equal tells whether two names say the same, as whatever kinds of strings.
func (n name) equal(other name) bool {
	if len(n) != len(other) {
		return false
	}
	for i, set := range n {
		have := map[attribute]bool{}
		for _, a := range set {
			have[a] = true
		}
		for _, a := range other[i] {
			if !have[a] {
				return false
			}
		}
		if len(set) != len(other[i]) {
			return false
		}
	}
	return true
}
