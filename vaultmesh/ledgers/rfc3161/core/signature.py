"""Judges a token's one signature, and the certificate that made it (T3, T4, T5).

The signature is verified with the one certificate that the signer names and ESSCertID binds; no other may vouch.
"""

import hashlib
from collections.abc import Iterator

from asn1crypto import algos  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from vaultmesh.domain.checks import Check, holds, holds_if, wrong
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.rfc3161.core.certificates import UNREADABLE, Certificate, read_certificate
from vaultmesh.ledgers.rfc3161.core.token import Signer, Token

_TOKEN_CONTENT = "tst_info"  # noqa: S105 - the name of a content type
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
"""SHA-256 or stronger (T1)."""
_ALGORITHMS: dict[str, type] = {
    "rsassa_pkcs1v15": rsa.RSAPublicKey,
    "rsassa_pss": rsa.RSAPublicKey,
    "ecdsa": ec.EllipticCurvePublicKey,
    "ed25519": ed25519.Ed25519PublicKey,
}
"""What is supported, and whose keys make it."""
_LONGEST_SALT = 512
"""Bytes; more fit under no key that anybody uses."""
_SHA1 = "sha1"
_PSS = "rsassa_pss"


def signature_findings(token: Token, *, allows_sha1: bool = False) -> Iterator[Check]:
    """Judge who signed, what, and with which certificate; the chain is another matter.

    Args:
        token: whose signature it is.
        allows_sha1: whether a certificate may be bound by SHA-1 (ESSCertID without v2).
    """
    count = len(token.signers)
    yield holds_if("signer", f"{count} signatures", condition=count == 1)
    if count != 1:
        return
    (signer,) = token.signers
    digest = _digest(signer.digest_algorithm, token.content)
    types = signer.content_types == (token.content_type,) == (_TOKEN_CONTENT,)
    digests = digest is not None and signer.message_digests == (digest,)
    detail = (
        f"content type {'fits' if types else 'differs'}, digest {'fits' if digests else 'differs'}"
    )
    yield holds_if("signed attributes", detail, condition=types and digests)
    if signer.certificate is None:
        detail = "the reply does not carry the signer's certificate"
        yield wrong("certificate", detail)
        return
    try:
        certificate = read_certificate(signer.certificate)
    except InvalidValue as error:
        yield wrong("certificate", str(error))
        return
    yield _bound(signer, certificate, allows_sha1=allows_sha1)
    verified, detail = _verified(signer, certificate)
    yield holds_if("signature", detail, condition=verified)
    yield _purpose(certificate)
    yield _key_usage(certificate)


def needs_sha1(token: Token) -> bool:
    """Whether nothing but SHA-1 binds the signer's certificate."""
    return any(
        signer.certificate_ids[:1] and signer.certificate_ids[0].algorithm == _SHA1
        for signer in token.signers
    )


def _bound(signer: Signer, certificate: Certificate, *, allows_sha1: bool) -> Check:
    """ESSCertID(v2) names the certificate inside what is signed, so that no other can take its place (RFC 5816)."""
    name = "certificate"
    if not signer.certificate_ids:
        return wrong(name, "the signature names none")
    id_ = signer.certificate_ids[0]
    if id_.algorithm == _SHA1:
        right = hashlib.sha1(certificate.der, usedforsecurity=False).digest() == id_.digest
        if right and not allows_sha1:
            detail = (
                "bound by SHA-1 alone (ESSCertID without v2), which is not accepted: set allowSha1CertId: true "
                "for the target if you trust this authority all the same"
            )
            return wrong(name, detail)
    elif id_.algorithm in _HASHES:
        right = _digest(id_.algorithm, certificate.der) == id_.digest
    else:
        return wrong(name, f"bound by {id_.algorithm}, which is not supported")
    issued = (certificate.issuer, certificate.content.serial_number)
    if not right or (id_.issuer and (id_.issuer, id_.serial) != issued):
        return wrong(name, f"bound by {id_.algorithm}, but to another one")
    allowed = " alone, which allowSha1CertId allows" if id_.algorithm == _SHA1 else ""
    return holds(name, f"bound by {id_.algorithm}{allowed}")


def _verified(signer: Signer, certificate: Certificate) -> tuple[bool, str]:
    """Verify the signature with that very certificate (T4)."""
    named, hashed = signer.signature_algorithm, _HASHES.get(signer.signature_hash)
    if named not in _ALGORITHMS or hashed is None:
        how = f" with {signer.signature_hash}" if named in _ALGORITHMS else ""
        return False, f"{named}{how} is not supported"
    try:
        key = certificate.content.public_key()
        if not _goes_with(signer, key, certificate):
            return False, f"{named} does not go with the certificate's key"
        return _verify(signer, key, hashed())
    except InvalidSignature:
        return False, "not made with the certificate's key"
    except UNREADABLE as error:
        return False, f"{named} with the certificate's key is not supported: {error}"


def _goes_with(signer: Signer, key: object, certificate: Certificate) -> bool:
    """Whether a key makes such signatures; one that is marked for RSASSA-PSS makes no other, and with the hash that is named."""
    if not isinstance(key, _ALGORITHMS[signer.signature_algorithm]):
        return False
    marked = certificate.parsed().public_key["algorithm"]
    if marked["algorithm"].native != _PSS:
        return True
    only = marked["parameters"]
    free = not isinstance(only, algos.RSASSAPSSParams)
    hashed = signer.signature_hash if free else only["hash_algorithm"]["algorithm"].native
    return signer.signature_algorithm == _PSS and signer.signature_hash == hashed


def _verify(signer: Signer, key: object, hashed: hashes.HashAlgorithm) -> tuple[bool, str]:
    """Verify.

    Raises:
        InvalidSignature: it is another's, or over something else.
    """
    named, signature, signed = signer.signature_algorithm, signer.signature, signer.signed_bytes
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, signed)
        return True, named
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(hashed))
    elif isinstance(key, rsa.RSAPublicKey) and signer.padding is None:
        key.verify(signature, signed, padding.PKCS1v15(), hashed)
    elif isinstance(key, rsa.RSAPublicKey) and signer.padding is not None:
        mask = _HASHES.get(signer.padding.mask_hash)
        if mask is None or not 0 <= signer.padding.salt_length <= _LONGEST_SALT:
            return False, f"{named} with a mask by {signer.padding.mask_hash} is not supported"
        filled = padding.PSS(padding.MGF1(mask()), signer.padding.salt_length)
        key.verify(signature, signed, filled, hashed)
    return True, f"{named} with {signer.signature_hash}"


def _purpose(certificate: Certificate) -> Check:
    """The certificate is for time stamps, critically and for nothing else (T5)."""
    if certificate.purposes is None:
        return wrong("purpose", "the certificate names none")
    alone = certificate.purposes == ("time_stamping",)
    critical = "extended_key_usage" in certificate.critical
    detail = "time stamps only" if alone else "not for time stamps alone"
    return holds_if(
        "purpose",
        detail if critical else f"{detail}, not critical",
        condition=alone and critical,
    )


def _key_usage(certificate: Certificate) -> Check:
    usage = certificate.usage
    if usage is None:
        return holds("key usage", "not restricted")
    fits = bool(usage) and usage <= {"digital_signature", "non_repudiation"}
    return holds_if(
        "key usage", "signatures" if fits else "not for signatures alone", condition=fits
    )


def _digest(algorithm: str, content: bytes) -> bytes | None:
    """Hash with an accepted algorithm; None for any other."""
    return hashlib.new(algorithm, content).digest() if algorithm in _HASHES else None
