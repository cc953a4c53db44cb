"""Reads certificates so that a strict parser's taste refuses no good one.

1. What is signed is taken from the bytes as they came; a copy is only ever read.
2. What the strict parser refuses is read from a copy without defaults that are written out, in which a PrintableString
   that holds other characters (`_`, `@`, `*`) is called UTF8String. Nothing else is mended.
3. Whoever is said to have issued a certificate is asked by signature, never by name alone.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from asn1crypto import parser, pem  # type: ignore[import-untyped]
from asn1crypto import x509 as lenient
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from vaultmesh.domain.errors import InvalidValue

MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a hostile certificate raises."""
UNREADABLE = (*MALFORMED, KeyError, IndexError, AttributeError, OverflowError, RuntimeError)
"""What either parser raises on hostile bytes."""
_MOST_KEPT = 128
"""Certificates that are kept as they were read: each rule about a token reads those of its chain again."""
_PRINTABLE_STRING, _UTF8_STRING = 0x13, b"\x0c"
_TEXTS = {
    12: "utf-8", 18: "utf-8", 19: "utf-8", 20: "utf-8", 22: "utf-8", 26: "utf-8", 28: "utf-32-be", 30: "utf-16-be",
}  # fmt: skip
"""Kinds of strings in names, by tag; other letters than ASCII's are in UTF-8, as the strict parser wants them."""
_ECDSA_WITH_SHA1 = x509.ObjectIdentifier("1.2.840.10045.4.1")
"""The library knows its hash, but not how it signs."""
_KEY, _OID, _EC_KEY = 5, 6, bytes.fromhex("06072a8648ce3d0201")
"""Place of the key in what is signed, the tag of a name, and the name of keys on curves."""
_VERSION_1, _NOT_CRITICAL = b"\xa0\x03\x02\x01\x00", b"\x01\x01\x00"
"""Defaults, written out."""
_PRINTABLE = re.compile(rb"[A-Za-z0-9 '()+,\-./:=?]*")
_BEGIN = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_BLOCK = re.compile(_BEGIN.pattern + rb"([^-]*)-----END (?:X509 )?CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate: its bytes, and what they say."""

    der: bytes = field(repr=False)
    content: x509.Certificate = field(compare=False)
    """As the strict parser reads it; of a copy if `mended`."""
    issuer: str = field(compare=False)
    subject: str = field(compare=False)
    """Names in the form in which equal ones are equal, however they are written (RFC 5280, 7.1)."""
    usage: frozenset[str] | None = field(compare=False)
    """What its key may be used for; None if nothing is said."""
    purposes: tuple[str, ...] | None = field(compare=False)
    """What it is for; None if nothing is said."""
    extensions: frozenset[str] = field(compare=False)
    """Names of all its extensions."""
    critical: frozenset[str] = field(compare=False)
    """Names of those that whoever judges it must judge."""
    mended: bool = field(compare=False)

    @property
    def name(self) -> str:
        """Whose it is."""
        return self.content.subject.rfc4514_string()

    def parsed(self) -> Any:  # noqa: ANN401 - the parser has no types
        """Return it as the lenient parser reads it: each time anew, since that parser is lazy and not for threads."""
        return lenient.Certificate.load(self.der, strict=True)

    @property
    def signs_itself(self) -> bool:
        """Whether it is a root: it names itself as issuer, and its own key made the signature as far as anybody can tell."""
        if self.issuer != self.subject:
            return False
        try:
            return self.is_signed_by(self)
        except MALFORMED:
            return True  # by MD5, say: a root's own signature says nothing anyway

    def is_issued_by(self, issuer: "Certificate") -> bool:
        """Whether `issuer` has the name that is said and made the signature; not whether it was allowed to."""
        try:
            return self.issuer == issuer.subject and self.is_signed_by(issuer)
        except MALFORMED:
            return False

    def is_signed_by(self, issuer: "Certificate") -> bool:
        """Whether the issuer's key made the signature.

        Raises:
            ValueError: algorithm and key do not fit, or nobody knows the algorithm; see `MALFORMED` for all.
        """
        key, how = issuer.content.public_key(), self.content.signature_algorithm_parameters
        signature, signed = self.content.signature, _signed_part(self.der)
        hashed = self.content.signature_hash_algorithm
        try:
            named = self.content.signature_algorithm_oid
            if isinstance(key, ed25519.Ed25519PublicKey) and named == SignatureAlgorithmOID.ED25519:
                key.verify(signature, signed)
            elif (
                isinstance(key, ec.EllipticCurvePublicKey)
                and (isinstance(how, ec.ECDSA) or named == _ECDSA_WITH_SHA1)
                and hashed is not None
            ):
                key.verify(signature, signed, ec.ECDSA(hashed))
            elif (
                isinstance(key, rsa.RSAPublicKey)
                and isinstance(how, padding.PKCS1v15 | padding.PSS)
                and hashed is not None
            ):
                key.verify(signature, signed, how, hashed)
            else:
                message = "algorithm and key do not fit"
                raise ValueError(message)
        except InvalidSignature:
            return False
        return True


def read_certificate(der: bytes) -> Certificate:
    """Read a certificate.

    Raises:
        InvalidValue: it can't be read, not even with other names for its strings.
    """
    try:
        return _read(der)
    except UNREADABLE as error:
        message = f"a certificate can't be read: {_said(error)}"
        raise InvalidValue(message) from error


def read_all(certificates: Iterable[bytes]) -> Iterator[Certificate]:
    """Yield those that can be read: nobody needs the others."""
    for der in certificates:
        try:
            yield read_certificate(der)
        except InvalidValue:
            continue


def read_pem(text: bytes) -> list[Certificate]:
    """Read the certificates of a PEM text, which may have none.

    Raises:
        InvalidValue: one of them can't be read.
    """
    blocks = _BLOCK.findall(text)
    if len(blocks) < len(_BEGIN.findall(text)):
        message = "holds a certificate that can't be read (it has no end): write it in PEM"
        raise InvalidValue(message)
    try:
        return [_read(_from_base64(b"".join(block.split()))) for block in blocks]
    except UNREADABLE as error:
        message = f"holds a certificate that can't be read ({_said(error)}): write it in PEM"
        raise InvalidValue(message) from error


def _from_base64(text: bytes) -> bytes:
    """Return the bytes of base64 as RFC 4648 writes it; decoders differ in what else they take.

    Raises:
        ValueError: it is written in another way.
    """
    content = b64decode(text, validate=True)
    if b64encode(content) != text:
        message = "no base64"
        raise ValueError(message)
    return content


def pem_of(certificates: Iterable[bytes]) -> bytes:
    """Return certificates as a PEM text."""
    return b"".join(pem.armor("CERTIFICATE", der) for der in certificates)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def comparable(name: Any) -> str:  # noqa: ANN401 - the parser has no types
    """Return a name in the form in which equal ones are equal, whatever kinds of strings they are written as.

    The case of ASCII letters does not count, nor do spaces around or between words. Parts are divided by commas.
    """
    try:
        return ",".join(
            "+".join(sorted(map(_comparable_attribute, parts_of(parser.parse(part)[4]))))
            for part in parts_of(name.chosen.contents)
        )
    except (ValueError, IndexError):
        return str(name.chosen.dump().hex())


def _comparable_attribute(attribute: bytes) -> str:
    kind, value, *_ = parts_of(parser.parse(attribute)[4])
    class_, method, tag, _header, content, _trailer = parser.parse(value)
    if (class_, method) == (0, 0) and tag in _TEXTS:
        try:
            words = content.decode(_TEXTS[tag]).split(" ")
        except UnicodeDecodeError:
            return f"{kind.hex()}#{value.hex()}"
        text = " ".join(filter(None, words))
        folded = "".join(letter.lower() if letter.isascii() else letter for letter in text)
        return f"{kind.hex()}={folded.encode().hex()}"
    return f"{kind.hex()}#{value.hex()}"


@lru_cache(maxsize=_MOST_KEPT)
def _read(der: bytes) -> Certificate:
    parsed = lenient.Certificate.load(der, strict=True)
    body = parsed["tbs_certificate"]
    kinds = [extension["extn_id"].native for extension in body["extensions"] or ()]
    if len(set(kinds)) < len(kinds):
        message = "an extension stands there twice"
        raise ValueError(message)
    if body["signature"].dump() != parsed["signature_algorithm"].dump():
        message = "it names two signature algorithms"
        raise ValueError(message)
    if not _names_its_curve(der):
        message = "its key is on a curve that is not named (RFC 5480, 2.1.1)"
        raise ValueError(message)
    content, mended = _strictly(der)
    usage, purposes = parsed.key_usage_value, parsed.extended_key_usage_value
    _ = body["validity"].native  # or it can't be read
    return Certificate(
        der,
        content,
        issuer=comparable(body["issuer"]),
        subject=comparable(body["subject"]),
        usage=frozenset(usage.native) if usage is not None else None,
        purposes=tuple(purposes.native) if purposes is not None else None,
        extensions=frozenset(kinds),
        critical=frozenset(parsed.critical_extensions),
        mended=mended,
    )


def _names_its_curve(der: bytes) -> bool:
    """Whether a key on a curve says which one by its name."""
    body = [
        part for part in parts_of(parser.parse(_signed_part(der))[4]) if part[0] != _VERSION_1[0]
    ]
    algorithm, *_ = parts_of(parser.parse(body[_KEY])[4])
    kind, *parameters = parts_of(parser.parse(algorithm)[4])
    return kind != _EC_KEY or [part[0] for part in parameters] == [_OID]


def _strictly(der: bytes) -> tuple[x509.Certificate, bool]:
    """Return what the strict parser makes of it, and whether it had to be given a copy."""
    try:
        return _loaded(der), False
    except MALFORMED:
        copy = _mended(der)
        if copy == der:
            raise
        return _loaded(copy), True


def _loaded(der: bytes) -> x509.Certificate:
    """Return a certificate of which every part that is read without care can be read: the parser is lazy."""
    content = x509.load_der_x509_certificate(der)
    _ = content.issuer.rfc4514_string(), content.subject.rfc4514_string(), content.version
    _ = content.not_valid_before_utc, content.not_valid_after_utc, content.serial_number
    return content


def _mended(der: bytes) -> bytes:
    """Return a copy without defaults that are written out, whose names hold no PrintableString that is none."""
    body, *others = parts_of(parser.parse(der, strict=True)[4])
    return _rewritten(der, [_mended_body(body), *others])


def _mended_body(body: bytes) -> bytes:
    parts = list(parts_of(parser.parse(body)[4]))
    version = []
    if parser.parse(parts[0])[0:3:2] == (2, 0):
        version = [part for part in parts[:1] if part != _VERSION_1]
        parts = parts[1:]
    for place, part in enumerate(parts):
        if place in (2, 4):  # issuer and subject
            parts[place] = _renamed(part)
        elif parser.parse(part)[0:3:2] == (2, 3):
            parts[place] = _rewritten(
                part, map(_mended_extensions, parts_of(parser.parse(part)[4]))
            )
    return _rewritten(body, [*version, *parts])


def _mended_extensions(extensions: bytes) -> bytes:
    mended = []
    for extension in parts_of(parser.parse(extensions)[4]):
        kind, *others = parts_of(parser.parse(extension)[4])
        kept = others[1:] if others[:-1] == [_NOT_CRITICAL] else others
        mended.append(_rewritten(extension, [kind, *kept]))
    return _rewritten(extensions, mended)


def _rewritten(encoded: bytes, parts: Iterable[bytes]) -> bytes:
    """Return a value with other parts, in DER."""
    return bytes(parser.emit(*parser.parse(encoded)[:3], b"".join(parts)))


def _renamed(encoded: bytes) -> bytes:
    kind, method, tag, header, content, trailer = parser.parse(encoded, strict=True)
    if method == 1:
        content = b"".join(_renamed(part) for part in parts_of(content))
    elif kind == 0 and tag == _PRINTABLE_STRING and not _PRINTABLE.fullmatch(content):
        header = _UTF8_STRING + header[1:]
    return bytes(header + content + trailer)


def parts_of(content: bytes) -> Iterator[bytes]:
    """Yield the values in a content, as they came."""
    while content:
        length = sum(map(len, parser.parse(content)[3:6]))
        yield content[:length]
        content = content[length:]


def _signed_part(der: bytes) -> bytes:
    """Return the bytes under the signature, as they came."""
    body, *_ = parts_of(parser.parse(der)[4])
    return body
