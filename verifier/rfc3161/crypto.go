package rfc3161

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	_ "crypto/sha1" // binds certificates where it is allowed, and is under old ones
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
	"errors"
	"math/big"
)

// hashes are what can be computed; who accepts which is decided elsewhere.
var hashes = map[string]crypto.Hash{
	sha1Name: crypto.SHA1, sha224Name: crypto.SHA224, sha256Name: crypto.SHA256,
	sha384Name: crypto.SHA384, sha512Name: crypto.SHA512,
	"sha3_224": crypto.SHA3_224, "sha3_256": crypto.SHA3_256, "sha3_384": crypto.SHA3_384, "sha3_512": crypto.SHA3_512,
}

// prefixes stand before a digest that RSASSA-PKCS1-v1_5 signs (RFC 8017, 9.2): a DigestInfo without the digest.
var prefixes = map[string][]byte{
	sha1Name:   {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14},
	sha224Name: nistPrefix(4, 28), sha256Name: nistPrefix(1, 32), sha384Name: nistPrefix(2, 48), sha512Name: nistPrefix(3, 64),
	"sha3_224": nistPrefix(7, 28), "sha3_256": nistPrefix(8, 32), "sha3_384": nistPrefix(9, 48), "sha3_512": nistPrefix(10, 64),
}

func nistPrefix(arc, size byte) []byte {
	return []byte{0x30, 17 + size, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, arc, 0x05, 0x00, 0x04, size}
}

func digestOf(hash string, content []byte) []byte {
	h := hashes[hash].New()
	h.Write(content)
	return h.Sum(nil)
}

// errNoFit says that a key makes no signatures of that kind.
var errNoFit = errors.New("algorithm and key do not fit")

// rsaKey and the others are public keys.
type rsaKey struct{ n, e *big.Int }

type ecKey struct {
	curve *curve
	x, y  *big.Int
}

// otherKey is a key of a kind that nobody here verifies with.
type otherKey struct{}

// publicKey reads a SubjectPublicKeyInfo, whose bits leave some unused.
func publicKey(how algorithm, bits []byte, unused byte) (key any) {
	switch how.oid {
	case oidRSA, oidPSS, oidEC, oidEd25519:
		if unused != 0 {
			fail("a key is no whole octets")
		}
	}
	switch how.oid {
	case oidRSA, oidPSS:
		inner(bits, func(s *strict) {
			s.seq(func(s *strict) { key = rsaKey{s.positive(), s.positive()} })
		})
		if rsa := key.(rsaKey); rsa.e.Cmp(big.NewInt(3)) < 0 || rsa.e.Cmp(rsa.n) >= 0 || rsa.e.Bit(0) == 0 {
			fail("an RSA key has no exponent")
		}
		return key
	case oidEC:
		on := curves[how.curve]
		if on == nil {
			fail("the curve of a key is unknown")
		}
		x, y := on.point(bits)
		return ecKey{on, x, y}
	case oidEd25519:
		if len(bits) != ed25519.PublicKeySize {
			fail("an Ed25519 key has another length")
		}
		return ed25519.PublicKey(bits)
	}
	return otherKey{}
}

// verify tells whether a key of a fitting kind made an RSASSA-PKCS1-v1_5 signature.
func (k rsaKey) verify(hash string, signature, signed []byte) bool {
	filled, ok := k.open(signature)
	digest := append(bytes.Clone(prefixes[hash]), digestOf(hash, signed)...)
	if !ok || len(filled) < len(digest)+11 {
		return false
	}
	wanted := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, len(filled)-len(digest)-3)...)
	return bytes.Equal(filled, append(append(wanted, 0), digest...))
}

// A larger key makes no signature: opening one could take hours, and no authority has such a key. OpenSSL has the same
// bounds.
const largestRSABits, mostBitsWithAnyExponent, largestExponentBits = 16_384, 3_072, 64

func (k rsaKey) isTooLarge() bool {
	bits := k.n.BitLen()
	return bits > largestRSABits || bits > mostBitsWithAnyExponent && k.e.BitLen() > largestExponentBits
}

// open returns what a signature holds, as long as the modulus.
func (k rsaKey) open(signature []byte) ([]byte, bool) {
	if k.isTooLarge() {
		return nil, false
	}
	size := (k.n.BitLen() + 7) / 8
	value := new(big.Int).SetBytes(signature)
	if len(signature) != size || value.Cmp(k.n) >= 0 || k.n.Bit(0) == 0 {
		return nil, false
	}
	return value.Exp(value, k.e, k.n).FillBytes(make([]byte, size)), true
}

// verifyPSS verifies RSASSA-PSS (RFC 8017, 9.1.2) with a salt of one length.
func (k rsaKey) verifyPSS(hash, mask string, salt int, signature, signed []byte) bool {
	filled, ok := k.open(signature)
	digest := digestOf(hash, signed)
	bits := k.n.BitLen() - 1
	if ok && bits%8 == 0 {
		ok = filled[0] == 0
		filled = filled[1:]
	}
	split := len(filled) - len(digest) - 1
	if !ok || split < salt+1 || filled[len(filled)-1] != 0xbc {
		return false
	}
	block, check := filled[:split], filled[split:len(filled)-1]
	if unused := 8*len(filled) - bits; block[0]>>(8-unused) != 0 && unused > 0 {
		return false
	}
	block = unmasked(mask, check, block)
	block[0] &= 0xff >> (8*len(filled) - bits)
	rest := len(block) - salt - 1
	if !bytes.Equal(block[:rest], make([]byte, rest)) || block[rest] != 1 {
		return false
	}
	again := append(append(make([]byte, 8), digest...), block[rest+1:]...)
	return bytes.Equal(digestOf(hash, again), check)
}

// unmasked takes the mask of MGF1 off.
func unmasked(hash string, seed, block []byte) []byte {
	open := bytes.Clone(block)
	for at, counter := 0, byte(0); at < len(open); counter++ {
		for _, octet := range digestOf(hash, append(bytes.Clone(seed), 0, 0, 0, counter)) {
			if at < len(open) {
				open[at] ^= octet
				at++
			}
		}
	}
	return open
}

// verify tells whether a key made an ECDSA signature over what is signed.
func (k ecKey) verify(hash string, signature, signed []byte) bool {
	digest := digestOf(hash, signed)
	if k.curve.fast != nil {
		key := &ecdsa.PublicKey{Curve: k.curve.fast, X: k.x, Y: k.y}
		return ecdsa.VerifyASN1(key, digest, signature)
	}
	var r, s *big.Int
	if reading(func() {
		inner(signature, func(form *strict) {
			form.seq(func(form *strict) { r, s = form.positive(), form.positive() })
		})
	}) != nil {
		return false
	}
	return k.curve.verify(k.x, k.y, r, s, digest)
}

// curve is y² = x³ + ax + b over a prime field; `fast` is the standard library's, where it has it.
type curve struct {
	fast               elliptic.Curve
	bits               int
	p, a, b, gx, gy, n *big.Int
}

func hexNumber(text string) *big.Int {
	value, _ := new(big.Int).SetString(text, 16)
	return value
}

func fastCurve(on elliptic.Curve) *curve {
	given := on.Params()
	a := new(big.Int).Sub(given.P, big.NewInt(3))
	return &curve{on, given.BitSize, given.P, a, given.B, given.Gx, given.Gy, given.N}
}

func slowCurve(bits int, p, a, b, gx, gy, n string) *curve {
	return &curve{nil, bits, hexNumber(p), hexNumber(a), hexNumber(b), hexNumber(gx), hexNumber(gy), hexNumber(n)}
}

// size is how many octets a coordinate has.
func (c *curve) size() int { return (c.p.BitLen() + 7) / 8 }

// square returns x³ + ax + b.
func (c *curve) square(x *big.Int) *big.Int {
	value := new(big.Int).Mul(x, x)
	value.Add(value, c.a).Mul(value, x).Add(value, c.b)
	return value.Mod(value, c.p)
}

// point reads a point of the curve in any form: whole, with one coordinate only, or with a sign beside it.
func (c *curve) point(encoded []byte) (x, y *big.Int) {
	size := c.size()
	if len(encoded) == 0 {
		fail("a key has no point")
	}
	form := encoded[0]
	compressed := form == 2 || form == 3
	if full := form == 4 || form == 6 || form == 7; !(full && len(encoded) == 1+2*size || compressed && len(encoded) == 1+size) {
		fail("a key is no point of its curve")
	}
	x = new(big.Int).SetBytes(encoded[1 : 1+size])
	if x.Cmp(c.p) >= 0 {
		fail("a key is no point of its curve")
	}
	if compressed {
		y = new(big.Int).ModSqrt(c.square(x), c.p)
		if y == nil {
			fail("a key is no point of its curve")
		}
		if y.Bit(0) != uint(form&1) {
			y.Sub(c.p, y)
		}
		return x, y
	}
	y = new(big.Int).SetBytes(encoded[1+size:])
	squared := new(big.Int).Mul(y, y)
	if y.Cmp(c.p) >= 0 || squared.Mod(squared, c.p).Cmp(c.square(x)) != 0 || form > 4 && y.Bit(0) != uint(form&1) {
		fail("a key is no point of its curve")
	}
	return x, y
}

// verify is ECDSA (SEC 1, 4.1.4).
func (c *curve) verify(x, y, r, s *big.Int, digest []byte) bool {
	if r.Sign() <= 0 || s.Sign() <= 0 || r.Cmp(c.n) >= 0 || s.Cmp(c.n) >= 0 {
		return false
	}
	e := new(big.Int).SetBytes(digest)
	if excess := 8*len(digest) - c.n.BitLen(); excess > 0 {
		e.Rsh(e, uint(excess))
	}
	w := new(big.Int).ModInverse(s, c.n)
	u1, u2 := e.Mul(e, w), w.Mul(w, r)
	u1.Mod(u1, c.n)
	u2.Mod(u2, c.n)
	ax, ay := c.times(c.gx, c.gy, u1)
	bx, by := c.times(x, y, u2)
	sum, _ := c.add(ax, ay, bx, by)
	return sum != nil && sum.Mod(sum, c.n).Cmp(r) == 0
}

// times and add work on points; the point at infinity is nil.
func (c *curve) times(x, y, k *big.Int) (sx, sy *big.Int) {
	for bit := k.BitLen() - 1; bit >= 0; bit-- {
		sx, sy = c.add(sx, sy, sx, sy)
		if k.Bit(bit) == 1 {
			sx, sy = c.add(sx, sy, x, y)
		}
	}
	return sx, sy
}

func (c *curve) add(x1, y1, x2, y2 *big.Int) (*big.Int, *big.Int) {
	if x1 == nil {
		return x2, y2
	}
	if x2 == nil {
		return x1, y1
	}
	above, under := new(big.Int).Sub(y2, y1), new(big.Int).Sub(x2, x1)
	if x1.Cmp(x2) == 0 {
		if y1.Cmp(y2) != 0 || y1.Sign() == 0 {
			return nil, nil
		}
		above.Mul(x1, x1).Mul(above, big.NewInt(3)).Add(above, c.a)
		under.Lsh(y1, 1)
	}
	slope := under.ModInverse(under.Mod(under, c.p), c.p)
	slope.Mul(slope, above).Mod(slope, c.p)
	x3 := new(big.Int).Mul(slope, slope)
	x3.Sub(x3, x1).Sub(x3, x2).Mod(x3, c.p)
	y3 := new(big.Int).Sub(x1, x3)
	y3.Mul(y3, slope).Sub(y3, y1).Mod(y3, c.p)
	return x3, y3
}

// ed25519Verify verifies with a key that has to be one of Ed25519.
func ed25519Verify(key any, signature, signed []byte) (bool, error) {
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return false, errNoFit
	}
	return ed25519.Verify(public, signed, signature), nil
}
