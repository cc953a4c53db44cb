"""Reads from PEM text what time stamps are judged by: pinned roots, and revocation lists beside them.

A list needs no trust of its own: whoever judges by it checks that the certificate's issuer signed it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from vaultmesh.domain.checks import Check, holds, wrong
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.ledgers.rfc3161.core.signature import MALFORMED
from vaultmesh.ledgers.rfc3161.core.token import Token

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a token is judged by, beside what it carries."""

    roots: Sequence[x509.Certificate] = ()
    """The only ones that count."""
    lists: Sequence[x509.CertificateRevocationList] = ()
    """Revocation lists of any issuers; those of others than the token's do nothing."""

    def and_lists(self, lists: Sequence[x509.CertificateRevocationList]) -> "Pinned":
        """Return the same roots with further lists."""
        return replace(self, lists=[*self.lists, *lists])


def read_pinned(pem: bytes) -> Pinned:
    """Read certificates and revocation lists (`X509 CRL`), in any order; other text is passed over.

    Raises:
        InvalidValue: there is no certificate, or one of either can't be read.
    """
    try:
        roots = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        message = f"holds no certificates that can be read ({error}): write the roots in PEM"
        raise InvalidValue(message) from error
    return Pinned(roots, read_lists(pem))


def read_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """Read the revocation lists of a PEM text, which may have none.

    Raises:
        InvalidValue: one of them can't be read.
    """
    try:
        return [x509.load_pem_x509_crl(block) for block in _LIST.findall(pem)]
    except ValueError as error:
        message = f"holds a revocation list that can't be read ({error}): write it in PEM"
        raise InvalidValue(message) from error


REVOCATION = "revocation"
_LONGEST_CHAIN = 8
_KEEPS_EARLIER = frozenset(
    {
        x509.ReasonFlags.unspecified,
        x509.ReasonFlags.affiliation_changed,
        x509.ReasonFlags.superseded,
        x509.ReasonFlags.cessation_of_operation,
    }
)

List = x509.CertificateRevocationList


def revocation_finding(token: Token, root: x509.Certificate, lists: Sequence[List]) -> Check | None:
    """Judge a token that leads to `root`; None when no list is by an issuer of its chain."""
    details: list[str] = []
    for certificate, issuer in _links(token, root):
        fitting = _by(issuer, lists)
        for revocations in fitting:
            entry = revocations.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None:
                kept, detail = _entry(certificate, entry, token.gen_time)
                if not kept:
                    return wrong(REVOCATION, detail)
                details.append(detail)
        if fitting:
            newest = max(fitting, key=_issued)
            name = issuer.subject.rfc4514_string()
            details.append(f"as of {write_time(_issued(newest))} by the list of {name}")
    return holds(REVOCATION, "; ".join(details)) if details else None


def lists_for(token: Token, root: x509.Certificate, lists: Sequence[List]) -> list[List]:
    """Return the newest list of each issuer of the token's chain, the signer's first."""
    by_issuer = [_by(issuer, lists) for _, issuer in _links(token, root)]
    return [max(fitting, key=_issued) for fitting in by_issuer if fitting]


def _links(
    token: Token, root: x509.Certificate
) -> Iterator[tuple[x509.Certificate, x509.Certificate]]:
    """Yield each certificate from the signer's up to the root with the one that issued it."""
    signer = token.signers[0].certificate if token.signers else None
    if signer is None:
        return
    issuers = [root]
    for der in token.certificates:
        try:
            issuers.append(x509.load_der_x509_certificate(der))
        except MALFORMED:
            continue
    current = x509.load_der_x509_certificate(signer)
    for _ in range(_LONGEST_CHAIN):
        issuer = next((parent for parent in issuers if _issued_by(current, parent)), None)
        if current == root or issuer is None:
            return
        yield current, issuer
        current = issuer


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*MALFORMED, InvalidSignature):
        return False
    return True


def _by(issuer: x509.Certificate, lists: Sequence[List]) -> list[List]:
    """Return the lists that an issuer signed."""
    named = [revocations for revocations in lists if revocations.issuer == issuer.subject]
    return [revocations for revocations in named if _signed(revocations, issuer)]


def _signed(revocations: List, issuer: x509.Certificate) -> bool:
    try:
        return revocations.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # any other key raises
    except MALFORMED:
        return False


def _entry(
    certificate: x509.Certificate, entry: x509.RevokedCertificate, gen_time: datetime
) -> tuple[bool, str]:
    """Return whether a token of `gen_time` outlives a revocation, and what to tell."""
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        reason = None
    when = entry.revocation_date_utc
    name = certificate.subject.rfc4514_string()
    revoked = f"{name} was revoked at {write_time(when)} ({reason.value if reason else 'no reason given'})"
    if reason not in _KEEPS_EARLIER:
        return False, f"{revoked}: none of its tokens counts"
    if gen_time >= when:
        return False, f"{revoked}, before it stamped"
    return True, f"{revoked}, after it stamped"


def _issued(revocations: List) -> datetime:
    return revocations.last_update_utc
