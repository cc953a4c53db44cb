"""Makes certificates of every kind that authorities have, and of those that nobody may accept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asn1crypto import algos, cms, core, pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.simulators.timestamps import STAMPED_AT, Holder, Key, key_usage, new_key

YEAR = timedelta(days=365)
STAMPS = (ExtendedKeyUsageOID.TIME_STAMPING,)


def name_of(*parts: str) -> x509.Name:
    """Return a name of organisations and one common name."""
    *organisations, common = parts
    kinds = [(NameOID.ORGANIZATION_NAME, text) for text in organisations]
    kinds.append((NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in kinds])


def certificate(
    subject: str | x509.Name,
    issuer: Holder | None = None,
    *,
    key: Key | None = None,
    authority: bool | None = True,
    path_length: int | None = None,
    purposes: Sequence[ObjectIdentifier] | None = None,
    usage: x509.KeyUsage | None = None,
    starts: datetime = STAMPED_AT - YEAR,
    ends: datetime = STAMPED_AT + 20 * YEAR,
    hashed: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008 - has no state
    padded: padding.PSS | None = None,
    further: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Holder:
    """Return a certificate of a key; without an issuer it signs itself. `authority=None`: no basic constraints."""
    key = key or new_key()
    named = name_of(subject) if isinstance(subject, str) else subject
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(issuer.certificate.subject if issuer else named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
    )
    for identifier in (
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
    ):
        builder = builder.add_extension(identifier, critical=False)
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, path_length), True)
    if usage is not None:
        builder = builder.add_extension(usage, True)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), not authority)
    for extension, critical in further:
        builder = builder.add_extension(extension, critical)
    edwards = isinstance(signer, ed25519.Ed25519PrivateKey)
    return Holder(key, builder.sign(signer, None if edwards else hashed, rsa_padding=padded))


def issuer_of(subject: str | x509.Name, issuer: Holder | None = None, **how: Any) -> Holder:
    """Return a certificate authority: a root, or one below another."""
    return certificate(subject, issuer, **{"usage": key_usage(signs=False, certifies=True), **how})


def signer_of(issuer: Holder | None, subject: str | x509.Name = "authority", **how: Any) -> Holder:
    """Return a time-stamp authority's own certificate."""
    given = {"authority": False, "purposes": STAMPS, **how}
    return certificate(subject, issuer, usage=key_usage(signs=True, certifies=False), **given)


@dataclass(frozen=True)
class RawHolder(Holder):
    """A key and a certificate that the library would not write; the other one was its pattern."""

    raw: bytes

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.raw

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return bytes(pem.armor("CERTIFICATE", self.raw))


def with_other_parts(made: Holder, by: Holder, **parts: Any) -> Holder:
    """Return a certificate with other parts (of TBSCertificate), signed again by the issuer's key."""
    return signed_again(made, by, _body(made, parts))


def signed_with_sha1(made: Holder, by: Holder) -> Holder:
    """Return a certificate as issuers made them until 2016."""
    body = _body(made, {"signature": {"algorithm": "sha1_ecdsa"}})
    return signed_again(made, by, body, "sha1_ecdsa", hashes.SHA1())  # noqa: S303 - that is the point


def _body(made: Holder, parts: dict[str, Any]) -> bytes:
    body = asn1_x509.Certificate.load(made.der)["tbs_certificate"]
    for part, value in parts.items():
        body[part] = value
    return bytes(body.dump(force=True))


def version_1(made: Holder) -> Holder:
    """Return a root as they were before there were extensions."""
    body = asn1_x509.Certificate.load(made.der)["tbs_certificate"]
    parts = [body[name].dump() for name in body if name not in ("version", "extensions")]
    return signed_again(made, made, core.Sequence(contents=b"".join(parts)).dump())


def signed_again(
    made: Holder,
    issuer: Holder,
    body: bytes,
    algorithm: str = "sha256_ecdsa",
    hashed: hashes.HashAlgorithm = hashes.SHA256(),  # noqa: B008 - has no state
) -> Holder:
    """Return a certificate with other contents."""
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(body, ec.ECDSA(hashed))
    named = algos.SignedDigestAlgorithm({"algorithm": algorithm})
    parts = (body, named.dump(), core.OctetBitString(signature).dump())
    return RawHolder(made.key, made.certificate, core.Sequence(contents=b"".join(parts)).dump())


def printable_name(common: str) -> asn1_x509.Name:
    """Return a name in a PrintableString, also if it holds characters that such a string may not."""
    attribute = asn1_x509.NameTypeAndValue(
        {
            "type": "common_name",
            "value": asn1_x509.DirectoryString("printable_string", core.PrintableString(common)),
        }
    )
    part = asn1_x509.RelativeDistinguishedName([attribute])
    return asn1_x509.Name("", asn1_x509.RDNSequence([part]))


def attribute_certificate(issuer: Holder) -> bytes:
    """Return an attribute certificate, as some authorities put one beside theirs."""
    named = asn1_x509.GeneralName("directory_name", asn1_x509.Certificate.load(issuer.der).subject)
    body = {
        "version": "v2",
        "holder": {"entity_name": [named]},
        "issuer": cms.AttCertIssuer("v2_form", cms.V2Form({"issuer_name": [named]})),
        "signature": {"algorithm": "sha256_ecdsa"},
        "serial_number": 7,
        "att_cert_validity_period": {
            "not_before_time": STAMPED_AT - YEAR, "not_after_time": STAMPED_AT + YEAR,
        },
        "attributes": [],
    }  # fmt: skip
    info = cms.AttributeCertificateInfoV2(body)
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(info.dump(), ec.ECDSA(hashes.SHA256()))
    return bytes(
        cms.AttributeCertificateV2(
            {
                "ac_info": info,
                "signature_algorithm": {"algorithm": "sha256_ecdsa"},
                "signature": signature,
            }
        ).dump()
    )


def rsa_key(bits: int = 2_048) -> rsa.RSAPrivateKey:
    """Return a fresh RSA key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def list_pem(revocations: x509.CertificateRevocationList) -> bytes:
    """Return a revocation list as PEM."""
    return revocations.public_bytes(Encoding.PEM)
