"""Reads certificates so that a strict parser's taste refuses no good one.

1. What is signed is taken from the bytes as they came; a copy is only ever read.
2. What the strict parser refuses is read from a copy in plain DER, in which a PrintableString that holds other
   characters (`_`, `@`, `*`) is called UTF8String.
3. Whoever is said to have issued a certificate is asked by signature, never by name alone.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from asn1crypto import parser, pem  # type: ignore[import-untyped]
from asn1crypto import x509 as lenient
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

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
_PRINTABLE_STRING, _UTF8_STRING = 0x13, b"\x0c"
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
            if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) and how is None:
                key.verify(signature, signed)
            elif (
                isinstance(key, ec.EllipticCurvePublicKey)
                and isinstance(how, ec.ECDSA | None)  # with SHA-1 the library calls it none
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
        return [_read(b64decode(b"".join(block.split()), validate=True)) for block in blocks]
    except UNREADABLE as error:
        message = f"holds a certificate that can't be read ({_said(error)}): write it in PEM"
        raise InvalidValue(message) from error


def pem_of(certificates: Iterable[bytes]) -> bytes:
    """Return certificates as a PEM text."""
    return b"".join(pem.armor("CERTIFICATE", der) for der in certificates)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def comparable(name: Any) -> str:  # noqa: ANN401 - the parser has no types
    """Return a name in the form in which equal ones are equal, however they are written."""
    try:
        return str(name.hashable)
    except ValueError:
        return str(name.dump().hex())  # characters that no name should have


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
    """Return a copy in DER, without defaults that are written out, whose names hold no PrintableString that is none."""
    parsed = lenient.Certificate.load(der, strict=True)
    copy: bytes = parsed.dump(force=True)
    for part in ("issuer", "subject"):
        name: bytes = parsed["tbs_certificate"][part].chosen.dump()
        copy = copy.replace(name, _renamed(name))
    return copy


def _renamed(encoded: bytes) -> bytes:
    kind, method, tag, header, content, trailer = parser.parse(encoded, strict=True)
    if method == 1:
        content = b"".join(_renamed(part) for part in _parts(content))
    elif kind == 0 and tag == _PRINTABLE_STRING and not _PRINTABLE.fullmatch(content):
        header = _UTF8_STRING + header[1:]
    return bytes(header + content + trailer)


def _parts(content: bytes) -> Iterator[bytes]:
    while content:
        length = sum(map(len, parser.parse(content)[3:6]))
        yield content[:length]
        content = content[length:]


def _signed_part(der: bytes) -> bytes:
    """Return the bytes under the signature, as they came."""
    return next(_parts(parser.parse(der)[4]))
