package rfc3161

import (
	"bytes"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// largestReply is how many bytes a reply may have.
	largestReply = 1 << 20
	// mostSigners are read: one is right, more are wrong.
	mostSigners = 2

	oidSignedData, oidData = "1.2.840.113549.1.7.2", "1.2.840.113549.1.7.1"
	oidTimeStamp           = "1.2.840.113549.1.9.16.1.4"

	oidContentType, oidMessageDigest = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
	oidCertificateID                 = "1.2.840.113549.1.9.16.2.12"
	oidCertificateIDv2               = "1.2.840.113549.1.9.16.2.47"
)

// nestedForms are content types that are sequences inside octets.
var nestedForms = map[string]bool{
	oidSignedData: true, oidTimeStamp: true, "1.2.840.113549.1.7.3": true, "1.2.840.113549.1.7.4": true,
	"1.2.840.113549.1.7.5": true, "1.2.840.113549.1.7.6": true, "1.2.840.113549.1.9.16.1.2": true,
	"1.2.840.113549.1.9.16.1.9": true, "1.2.840.113549.1.9.16.1.23": true, "1.2.840.113549.1.9.16.1.31": true,
}

// request is what an authority was asked.
type request struct {
	imprintAlgorithm string
	imprint          []byte
	nonce            *big.Int
	policy           string
}

// certificateID is what ESSCertID(v2) says of a certificate.
type certificateID struct {
	algorithm string
	digest    []byte
	// issuer is in the form in which equal names are equal; empty where issuer and serial number are left out.
	issuer string
	serial *big.Int
}

// signer is a signature of a token, and what it covers.
type signer struct {
	digestAlgorithm string
	family, hash    string
	// mask and salt are of RSASSA-PSS.
	mask           string
	salt           *big.Int
	signature      []byte
	signed         []byte
	contentTypes   []string
	messageDigests [][]byte
	certificateIDs []certificateID
	// certificate is the one that the signer names; nil when the token does not carry it.
	certificate []byte
}

// token is what an authority signed.
type token struct {
	version          *big.Int
	policy           string
	imprintAlgorithm string
	imprint          []byte
	serial           *big.Int
	genTime          time.Time
	// accuracy is in microseconds; nil if it is not stated.
	accuracy     *big.Int
	nonce        *big.Int
	contentType  string
	content      []byte
	certificates [][]byte
	signers      []signer
}

// ref is what receipts call it.
func (t *token) ref() string { return "serial:" + t.serial.Text(16) }

// reply is a whole TimeStampResp.
type reply struct {
	status *big.Int
	said   []string
	token  *token
}

// readRequest reads a TimeStampReq.
func readRequest(der []byte) (read request, err error) {
	err = reading(func() {
		parts := fields(whole(der).sequence(), required, required, optional(universal, tagOID), optional(universal, tagInteger),
			optional(universal, tagBoolean), optional(contextual, 0))
		read.imprintAlgorithm, read.imprint = imprintOf(parts[1])
		if parts[2] != nil {
			read.policy = parts[2].oid()
		}
		if parts[3] != nil {
			read.nonce = parts[3].integer()
		}
		if parts[4] != nil {
			parts[4].boolean()
		}
	})
	if err != nil {
		err = fmt.Errorf("not a time-stamp request: %w", err)
	}
	return read, err
}

func imprintOf(e *element) (string, []byte) {
	parts := fields(e.sequence(), required, required)
	return digestName(parts[0]), parts[1].octets()
}

// digestName returns the hash that a DigestAlgorithm names; an unknown one by its object identifier.
func digestName(e *element) string {
	oid := fields(e.sequence(), required, anything)[0].oid()
	if known, ok := digests[oid]; ok {
		return known
	}
	return oid
}

// readReply reads a TimeStampResp.
func readReply(der []byte) (read reply, err error) {
	if len(der) > largestReply {
		return read, fmt.Errorf("a reply of more than %d bytes is not read", largestReply)
	}
	var wrapped *element
	err = reading(func() {
		parts := fields(whole(der).sequence(), required, optional(universal, tagSequence))
		status := fields(parts[0].sequence(), required, optional(universal, tagSequence), optional(universal, tagBits))
		read.status = status[0].integer()
		read.said = append(texts(status[1]), failures(status[2])...)
		if wrapped = parts[1]; wrapped != nil {
			wrapped.sequence()
		}
	})
	if err != nil {
		return read, fmt.Errorf("not a time-stamp reply: %w", err)
	}
	if wrapped == nil {
		return read, nil
	}
	if err = reading(func() { read.token = readToken(wrapped) }); err != nil {
		err = fmt.Errorf("not a time-stamp token, though the reply around it is one: %w", err)
	}
	return read, err
}

func texts(e *element) (all []string) {
	if e == nil {
		return nil
	}
	for _, part := range elements(e.sequence()) {
		text := part.chunks(universal, tagUTF8)
		if !utf8.Valid(text) {
			fail("a text is not UTF-8")
		}
		all = append(all, string(text))
	}
	return all
}

func failures(e *element) (all []string) {
	if e == nil {
		return nil
	}
	for bit := range bitsSet(e.must(universal, tagBits, false).content) {
		all = append(all, "failure "+strconv.Itoa(bit))
	}
	return all
}

func readToken(wrapped *element) *token {
	parts := fields(wrapped.content, required, optional(contextual, 0))
	if kind := parts[0].oid(); kind != oidSignedData {
		fail("it holds %s, not signed data", kind)
	}
	signed := fields(parts[1].explicit(0).sequence(), required, required, required,
		optional(contextual, 0), optional(contextual, 1), required)
	read := &token{}
	read.contentType, read.content = encapsulated(signed[2], signed[0].integer())
	read.readInfo(whole(read.content))
	members := read.members(signed[3])
	for i, part := range elements(signed[5].set()) {
		if i == mostSigners {
			break
		}
		read.signers = append(read.signers, readSigner(part, members))
	}
	return read
}

// encapsulated returns the type and the bytes of what is signed; version 1 of the form around it puts no octets around a token.
func encapsulated(e *element, version *big.Int) (string, []byte) {
	parts := fields(e.sequence(), required, optional(contextual, 0))
	kind := parts[0].oid()
	if version.Cmp(big.NewInt(1)) == 0 && kind != oidData {
		fail("version 1 of signed data holds no time stamp")
	}
	content := parts[1].explicit(0).octets()
	if nestedForms[kind] && version.Cmp(big.NewInt(1)) != 0 {
		inside, _ := next(content)
		inside.sequence()
	}
	return kind, content
}

func (t *token) readInfo(info *element) {
	parts := fields(info.sequence(), required, required, required, required, required, optional(universal, tagSequence),
		optional(universal, tagBoolean), optional(universal, tagInteger), optional(contextual, 0), optional(contextual, 1))
	t.version, t.policy = parts[0].integer(), parts[1].oid()
	t.imprintAlgorithm, t.imprint = imprintOf(parts[2])
	t.serial, t.genTime = parts[3].integer(), generalizedTime(parts[4])
	t.accuracy = accuracyOf(parts[5])
	if parts[7] != nil {
		t.nonce = parts[7].integer()
	}
}

var generalizedForm = regexp.MustCompile(`^(\d{4})(\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)?)?(?:[,.](\d+))?(?:(Z)|[-+](\d\d)(\d\d)?)?\n?$`)

// generalizedTime reads a time in UTC, in any of the forms of ASN.1, rounded to microseconds.
func generalizedTime(e *element) time.Time {
	found := generalizedForm.FindStringSubmatch(string(e.chunks(universal, tagGeneralized)))
	if found == nil {
		fail("its time is none")
	}
	number := func(group int) int {
		value, _ := strconv.Atoi(found[group])
		return value
	}
	if found[8] == "" && (found[9] == "" || number(9) != 0 || number(10) != 0) {
		fail("its time is not in UTC")
	}
	year, month, day := number(1), number(2), number(3)
	hour, minute, second := number(4), number(5), number(6)
	value := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	exact := value.Month() == time.Month(month) && value.Day() == day && hour < 24 && minute < 60 && second < 60
	if year == 0 || !exact {
		fail("its time is none")
	}
	unit := int64(1_000_000)
	if found[5] == "" {
		unit *= 3600
	} else if found[6] == "" {
		unit *= 60
	}
	value = value.Add(time.Duration(rounded(found[7], unit)) * time.Microsecond)
	if value.Year() > 9999 {
		fail("its time is too late")
	}
	return value
}

// rounded returns a decimal fraction of a unit; a half is rounded down.
func rounded(fraction string, unit int64) int64 {
	if fraction == "" {
		return 0
	}
	above, _ := new(big.Int).SetString(fraction, 10)
	under := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(fraction))), nil)
	value, rest := new(big.Int).QuoRem(above.Mul(above, big.NewInt(unit)), under, new(big.Int))
	if rest.Lsh(rest, 1).Cmp(under) > 0 {
		return value.Int64() + 1
	}
	return value.Int64()
}

const mostDays, microsecondsOfDay = 999_999_999, 86_400_000_000

// accuracyOf returns how exact a time is, in microseconds.
func accuracyOf(e *element) *big.Int {
	if e == nil {
		return nil
	}
	parts := fields(e.sequence(), optional(universal, tagInteger), optional(contextual, 0), optional(contextual, 1))
	total := new(big.Int)
	for i, unit := range []int64{1_000_000, 1_000, 1} {
		if parts[i] != nil {
			value := signed(parts[i].must(parts[i].class, parts[i].tag, false).content)
			total.Add(total, value.Mul(value, big.NewInt(unit)))
		}
	}
	most := new(big.Int).Mul(big.NewInt(mostDays+1), big.NewInt(microsecondsOfDay))
	if total.CmpAbs(most) >= 0 {
		fail("its accuracy is out of all range")
	}
	return total
}

// members returns the certificates that came along; every other kind is passed over.
func (t *token) members(set *element) []*element {
	if set == nil {
		return nil
	}
	var certificates []*element
	for _, e := range elements(set.must(contextual, 0, true).content) {
		e.chosen()
		if !e.constructed || !e.is(universal, tagSequence) && (e.class != contextual || e.tag > 3) {
			fail("among the certificates is something else")
		}
		if e.is(contextual, 1) {
			body, _ := next(e.content)
			attributeVersion(body)
		}
		if e.class == universal {
			certificates = append(certificates, e)
			t.certificates = append(t.certificates, e.raw())
		}
	}
	return certificates
}

// attributeVersion looks at the version of an attribute certificate of the older kind.
func attributeVersion(body *element) {
	parts := elements(body.sequence())
	if len(parts) == 0 {
		fail("an attribute certificate is empty")
	}
	parts[0].integer()
}

// chosen ends reading if an alternative's length is not written.
func (e *element) chosen() *element {
	if e == nil || e.indefinite {
		fail("a part is missing, or its length is not written")
	}
	return e
}

func readSigner(e *element, members []*element) (read signer) {
	parts := fields(e.sequence(), required, required, required, optional(contextual, 0), required, required, optional(contextual, 1))
	values := map[string][]*element{}
	if attributes := parts[3]; attributes != nil {
		content := attributes.must(contextual, 0, true).content
		read.signed = rewritten(&element{tag: tagSet, constructed: true}, [][]byte{content})
		values = judgedAttributes(content)
	}
	read.digestAlgorithm = digestName(parts[2])
	read.readAlgorithm(fields(parts[4].sequence(), required, anything))
	read.signature = parts[5].octets()
	for _, value := range values[oidContentType] {
		read.contentTypes = append(read.contentTypes, value.oid())
	}
	for _, value := range values[oidMessageDigest] {
		read.messageDigests = append(read.messageDigests, value.octets())
	}
	read.certificateIDs = certificateIDs(values)
	read.certificate = named(parts[1], members)
	return read
}

// judgedAttributes returns the values of those attributes that are judged; what nobody judges may be as odd as it likes.
func judgedAttributes(content []byte) map[string][]*element {
	values := map[string][]*element{}
	for _, attribute := range elements(content) {
		parts := fields(attribute.sequence(), required, required)
		switch kind := parts[0].oid(); kind {
		case oidContentType, oidMessageDigest, oidCertificateID, oidCertificateIDv2:
			values[kind] = append(values[kind], elements(parts[1].set())...)
		}
	}
	return values
}

// signedAlgorithms say how a token's signature is made; an empty hash is left to the digest's.
var signedAlgorithms = map[string]scheme{
	oidRSA: {family: familyRSA}, "1.2.840.10045.4": {family: familyECDSA}, oidEC: {family: familyECDSA}, oidEd25519: {family: familyEd25519},
	"1.2.840.113549.1.1.11": {family: familyRSA, hash: sha256Name}, "1.2.840.113549.1.1.12": {family: familyRSA, hash: sha384Name},
	"1.2.840.113549.1.1.13": {family: familyRSA, hash: sha512Name}, "1.2.840.10045.4.3.2": {family: familyECDSA, hash: sha256Name},
	"1.2.840.10045.4.3.3": {family: familyECDSA, hash: sha384Name}, "1.2.840.10045.4.3.4": {family: familyECDSA, hash: sha512Name},
	"1.2.840.113549.1.1.5": {family: familyRSA, hash: sha1Name}, "1.2.840.10045.4.1": {family: familyECDSA, hash: sha1Name},
}

// readAlgorithm reads how a signature is made; an algorithm that is not supported keeps its object identifier.
func (s *signer) readAlgorithm(parts []*element) {
	oid := parts[0].oid()
	if oid == oidPSS {
		s.family = familyPSS
		s.readPadding(parts[1])
		return
	}
	how, known := signedAlgorithms[oid]
	s.family, s.hash = how.family, how.hash
	if !known {
		s.family = oid
	}
	if s.hash == "" {
		s.hash = s.digestAlgorithm
	}
}

// readPadding reads the parameters of RSASSA-PSS; without them hash and mask are by SHA-1 (RFC 4055, 3.1).
func (s *signer) readPadding(e *element) {
	s.hash, s.mask, s.salt = sha1Name, sha1Name, big.NewInt(defaultSalt)
	if e == nil {
		return
	}
	parts := fields(e.sequence(), optional(contextual, 0), optional(contextual, 1), optional(contextual, 2), optional(contextual, 3))
	if parts[0] != nil {
		s.hash = digestName(parts[0].explicit(0))
	}
	if parts[1] != nil {
		mask := fields(parts[1].explicit(1).sequence(), required, anything)
		if s.mask = mask[0].oid(); s.mask == oidMask {
			s.mask = digestName(mask[1])
		}
	}
	if parts[2] != nil {
		s.salt = parts[2].explicit(2).integer()
	}
}

// certificateIDs returns what ESSCertIDv2 says, or where it is absent the older ESSCertID, whose hash is SHA-1.
func certificateIDs(values map[string][]*element) []certificateID {
	var newer, older []certificateID
	for _, e := range entriesOf(values[oidCertificateIDv2]) {
		parts := fields(e.sequence(), optional(universal, tagSequence), required, optional(universal, tagSequence))
		algorithm := sha256Name
		if parts[0] != nil {
			algorithm = digestName(parts[0])
		}
		newer = append(newer, readID(algorithm, parts[1], parts[2]))
	}
	entries := entriesOf(values[oidCertificateID])
	if newer != nil {
		return newer
	}
	for _, e := range entries {
		parts := fields(e.sequence(), required, optional(universal, tagSequence))
		older = append(older, readID(sha1Name, parts[0], parts[1]))
	}
	return older
}

func entriesOf(values []*element) (entries []*element) {
	for _, value := range values {
		certs := fields(value.sequence(), required, optional(universal, tagSequence))[0]
		entries = append(entries, elements(certs.sequence())...)
	}
	for _, entry := range entries {
		entry.sequence()
	}
	return entries
}

func readID(algorithm string, digest, stated *element) certificateID {
	read := certificateID{algorithm: algorithm, digest: digest.octets()}
	if stated == nil {
		return read
	}
	parts := fields(stated.sequence(), required, required)
	var names []string
	all := elements(parts[0].sequence())
	for _, general := range all {
		if directory := generalName(general); directory != nil {
			names = append(names, comparable(directory))
		}
	}
	read.issuer = "not one distinguished name"
	if len(names) == 1 && len(all) == 1 {
		read.issuer = names[0]
	}
	read.serial = parts[1].integer()
	return read
}

// generalName checks a GeneralName, and returns the distinguished name if it is one.
func generalName(e *element) *element {
	e.chosen()
	switch {
	case e.class != contextual || e.tag > 8:
		fail("a name is of no known kind")
	case e.tag == 4:
		directory := e.explicit(4).chosen()
		directory.sequence()
		return directory
	default:
		e.must(contextual, e.tag, e.tag == 0 || e.tag == 3 || e.tag == 5)
	}
	return nil
}

// named returns the certificate that a signer names, by issuer and serial number or by its key.
func named(sid *element, members []*element) []byte {
	sid.chosen()
	byKey := sid.is(contextual, 0)
	var wantedIssuer, wantedKey []byte
	var wantedSerial *big.Int
	if byKey {
		wantedKey = sid.chunks(contextual, 0)
	} else {
		content := sid.sequence()
		if len(members) == 0 {
			return nil
		}
		parts := fields(content, required, required)
		wantedIssuer, wantedSerial = directoryName(parts[0]).raw(), parts[1].integer()
	}
	for _, member := range members {
		body := certificateBody(member)
		if byKey {
			if key := keyIdentifier(body); key != nil && bytes.Equal(key, wantedKey) {
				return member.raw()
			}
			continue
		}
		issuer, serial := directoryName(body[3]).raw(), body[1].integer()
		if bytes.Equal(issuer, wantedIssuer) && serial.Cmp(wantedSerial) == 0 {
			return member.raw()
		}
	}
	return nil
}

func directoryName(e *element) *element {
	e.chosen().sequence()
	return e
}

// certificateBody returns the parts of a TBSCertificate in BER.
func certificateBody(e *element) []*element {
	parts := fields(e.sequence(), required, required, required)
	return fields(parts[0].sequence(), optional(contextual, 0), required, required, required, required, required, required,
		optional(contextual, 1), optional(contextual, 2), optional(contextual, 3))
}

// keyIdentifier returns the identifier of a certificate's key, if it states one.
func keyIdentifier(body []*element) (identifier []byte) {
	if body[9] == nil {
		return nil
	}
	for _, e := range elements(body[9].explicit(3).sequence()) {
		parts := fields(e.sequence(), required, optional(universal, tagBoolean), required)
		oid := parts[0].oid()
		if tag, known := extensionTags[oid]; known {
			top, _ := next(parts[2].octets())
			if oid == extKeyIdentifier {
				identifier = append([]byte{}, top.octets()...)
			} else {
				top.must(universal, tag, tag == tagSequence)
			}
		}
		if parts[1] != nil {
			parts[1].boolean()
		}
	}
	return identifier
}

// writeTime writes a time as receipts do: RFC 3339 in UTC, with as many digits as it needs.
func writeTime(value time.Time) string {
	return value.UTC().Format("2006-01-02T15:04:05.999999Z")
}

// tolerance says how far a clock may be off: "± 1 s", "± 0.5 s".
func tolerance(accuracy *big.Int) string {
	text := new(big.Rat).SetFrac(accuracy, big.NewInt(1_000_000)).FloatString(6)
	return "± " + strings.TrimRight(strings.TrimRight(text, "0"), ".") + " s"
}
