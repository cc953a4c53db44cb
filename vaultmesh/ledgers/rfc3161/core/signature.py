"""Judges a token's one signature, and the certificate that made it (T3, T4, T5).

The signature is verified with the one certificate that the signer names and ESSCertID binds; no other may vouch.
"""

import hashlib
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from vaultmesh.domain.checks import Check, holds, holds_if, wrong
from vaultmesh.ledgers.rfc3161.core.token import Signer, Token

_TOKEN_CONTENT = "tst_info"  # noqa: S105 - the name of a content type
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
"""SHA-256 or stronger (T1)."""
MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a hostile certificate raises."""


def signature_findings(token: Token) -> Iterator[Check]:
    """Judge who signed, what, and with which certificate; the chain is another matter."""
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
    yield _bound(signer, signer.certificate)
    try:
        certificate = x509.load_der_x509_certificate(signer.certificate)
        verified, detail = _verified(signer, certificate)
        yield holds_if("signature", detail, condition=verified)
        yield _purpose(certificate)
        yield _key_usage(certificate)
    except MALFORMED as error:
        yield wrong("certificate", f"can't be read: {error}")


def _bound(signer: Signer, certificate: bytes) -> Check:
    """ESSCertID(v2) names the certificate inside what is signed, so that no other can take its place (RFC 5816)."""
    first = signer.certificate_hashes[:1]
    bound = bool(first) and _digest(first[0][0], certificate) == first[0][1]
    detail = f"bound by {first[0][0]}" if first else "the signature names none"
    if first and not bound:
        weak = first[0][0] not in _HASHES
        detail += ", which is not accepted" if weak else ", but to another one"
    return holds_if("certificate", detail, condition=bound)


def _verified(signer: Signer, certificate: x509.Certificate) -> tuple[bool, str]:
    """Verify the signature with that very certificate (T4)."""
    algorithm = _HASHES.get(signer.signature_hash)
    if algorithm is None:
        return False, f"{signer.signature_hash} is not accepted"
    chosen, key = algorithm(), certificate.public_key()
    named = signer.signature_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey) and named == "rsassa_pkcs1v15":
            key.verify(signer.signature, signer.signed_bytes, padding.PKCS1v15(), chosen)
        elif isinstance(key, ec.EllipticCurvePublicKey) and named == "ecdsa":
            key.verify(signer.signature, signer.signed_bytes, ec.ECDSA(chosen))
        else:
            return False, f"{named} does not go with the certificate's key"
    except InvalidSignature:
        return False, "not made with the certificate's key"
    return True, f"{named} with {signer.signature_hash}"


def _purpose(certificate: x509.Certificate) -> Check:
    """The certificate is for time stamps, critically and for nothing else (T5)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return wrong("purpose", "the certificate names none")
    alone = list(extension.value) == [ExtendedKeyUsageOID.TIME_STAMPING]
    detail = "time stamps only" if alone else "not for time stamps alone"
    return holds_if(
        "purpose",
        detail if extension.critical else f"{detail}, not critical",
        condition=alone and extension.critical,
    )


def _key_usage(certificate: x509.Certificate) -> Check:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return holds("key usage", "not restricted")
    signs = usage.digital_signature or usage.content_commitment
    other = (
        usage.key_cert_sign or usage.crl_sign or usage.key_encipherment or usage.data_encipherment
    )
    fits = signs and not other and not usage.key_agreement
    return holds_if(
        "key usage", "signatures" if fits else "not for signatures alone", condition=fits
    )


def _digest(algorithm: str, content: bytes) -> bytes | None:
    """Hash with an accepted algorithm; None for any other."""
    return hashlib.new(algorithm, content).digest() if algorithm in _HASHES else None
