package rfc3161

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"testing"
)

// signSlowly makes an ECDSA signature on any curve.
func signSlowly(t *testing.T, c *curve, key *big.Int, digest []byte) []byte {
	t.Helper()
	k := big.NewInt(0x1234_5678_9abc)
	x, _ := c.times(c.gx, c.gy, k)
	r := new(big.Int).Mod(x, c.n)
	e := new(big.Int).SetBytes(digest)
	if excess := 8*len(digest) - c.n.BitLen(); excess > 0 {
		e.Rsh(e, uint(excess))
	}
	s := new(big.Int).Mul(r, key)
	s.Add(s, e).Mul(s, new(big.Int).ModInverse(k, c.n)).Mod(s, c.n)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestEveryCurveVerifiesWhatWasSignedAndNothingElse(t *testing.T) {
	for oid, c := range curves {
		if c.square(c.gx).Cmp(new(big.Int).Exp(c.gy, big.NewInt(2), c.p)) != 0 {
			t.Errorf("%s: the generator is not on the curve", oid)
		}
		if x, _ := c.times(c.gx, c.gy, c.n); x != nil {
			t.Errorf("%s: the order is another", oid)
		}
		secret := big.NewInt(0xfeed_beef)
		x, y := c.times(c.gx, c.gy, secret)
		key := ecKey{c, x, y}
		digest := sha256.Sum256([]byte("signed"))
		signature := signSlowly(t, c, secret, digest[:])
		if !key.verify(sha256Name, signature, []byte("signed")) || key.verify(sha256Name, signature, []byte("other")) {
			t.Errorf("%s: a signature is misjudged", oid)
		}
		if c.fast != nil && !ecdsa.VerifyASN1(&ecdsa.PublicKey{Curve: c.fast, X: x, Y: y}, digest[:], signature) {
			t.Errorf("%s: the standard library disagrees", oid)
		}
	}
}

func TestPointsAreReadInEveryForm(t *testing.T) {
	for oid, c := range curves {
		size := c.size()
		x, y := c.gx.FillBytes(make([]byte, size)), c.gy.FillBytes(make([]byte, size))
		sign := byte(c.gy.Bit(0))
		for _, encoded := range [][]byte{
			append(append([]byte{4}, x...), y...), append([]byte{2 + sign}, x...), append(append([]byte{6 + sign}, x...), y...),
		} {
			gx, gy := c.point(encoded)
			if gx.Cmp(c.gx) != 0 || gy.Cmp(c.gy) != 0 {
				t.Errorf("%s: form %d is another point", oid, encoded[0])
			}
		}
		bad := append(append([]byte{4}, x...), x...)
		if reading(func() { c.point(bad) }) == nil {
			t.Errorf("%s: a point beside the curve is taken", oid)
		}
	}
}

func TestBothPaddingsOfRSAVerifyWithAnySalt(t *testing.T) {
	for _, bits := range []int{1024, 1025, 1031, 1032, 2048} {
		made, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		key := rsaKey{made.N, big.NewInt(int64(made.E))}
		digest := sha256.Sum256([]byte("signed"))
		signature, err := rsa.SignPKCS1v15(rand.Reader, made, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		if !key.verify(sha256Name, signature, []byte("signed")) || key.verify(sha256Name, signature, []byte("x")) {
			t.Errorf("%d bits: PKCS #1 v1.5 is misjudged", bits)
		}
		for _, salt := range []int{1, 20, 32} {
			options := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}
			signature, err := rsa.SignPSS(rand.Reader, made, crypto.SHA256, digest[:], options)
			if err != nil {
				t.Fatal(err)
			}
			right := key.verifyPSS(sha256Name, sha256Name, salt, signature, []byte("signed"))
			other := key.verifyPSS(sha256Name, sha256Name, salt+1, signature, []byte("signed"))
			if !right || other || key.verifyPSS(sha256Name, sha384Name, salt, signature, []byte("signed")) {
				t.Errorf("%d bits, salt %d: PSS is misjudged", bits, salt)
			}
		}
	}
}

func TestAKeyThatLeavesBitsUnusedIsNone(t *testing.T) {
	how, bits := algorithm{oid: oidEd25519}, make([]byte, ed25519.PublicKeySize)
	if err := reading(func() { publicKey(how, bits, 0) }); err != nil {
		t.Error(err)
	}
	if err := reading(func() { publicKey(how, bits, 1) }); err == nil {
		t.Error("a key of 255 bits is taken for one of 256")
	}
}

func TestAKeyThatWouldTakeHoursMakesNoSignature(t *testing.T) {
	for _, sizes := range [][2]uint{{1 << 18, 2}, {1 << 14, 1<<14 - 1}} {
		odd := func(bits uint) *big.Int {
			return new(big.Int).Or(new(big.Int).Lsh(big.NewInt(1), bits-1), big.NewInt(1))
		}
		key := rsaKey{odd(sizes[0]), odd(sizes[1])}
		if key.verify(sha256Name, make([]byte, sizes[0]/8), nil) || !key.isTooLarge() {
			t.Errorf("a key of %d bits was used", sizes[0])
		}
	}
	if ordinary := (rsaKey{new(big.Int).Lsh(big.NewInt(1), 16_383), big.NewInt(65_537)}); ordinary.isTooLarge() {
		t.Error("a key that OpenSSL takes is too large")
	}
}
