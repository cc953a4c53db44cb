"""Reads from PEM text what time stamps are judged by: pinned roots, and beside them intermediates and revocation lists.

1. A root is a certificate that signs itself; every other one is an intermediate, and has no trust of its own.
2. A list has none either: whoever judges by it checks that the certificate's issuer signed it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

from cryptography import x509

from vaultmesh.domain.checks import Check, holds, wrong
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.ledgers.rfc3161.core.certificates import MALFORMED, Certificate, read_pem
from vaultmesh.ledgers.rfc3161.core.path import Path

ROOT, CHAIN = "root", "chain"
"""Kinds of what may end, as metrics name them; the third is `revocation_list`."""
_MOST_BUNDLES = 8
"""Kept as they were read: each look reads its target's file again, and one with many roots takes long."""
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a token is judged by, beside what it carries."""

    roots: Sequence[Certificate] = ()
    """The only ones that count."""
    lists: Sequence[x509.CertificateRevocationList] = ()
    """Revocation lists of any issuers; those of others than the token's do nothing."""
    intermediates: Sequence[Certificate] = ()
    """Certificates that a token may have left out."""

    def and_intermediates(self, certificates: Sequence[Certificate]) -> "Pinned":
        """Return the same roots with further intermediates."""
        return replace(self, intermediates=[*self.intermediates, *certificates])

    def and_lists(self, lists: Sequence[x509.CertificateRevocationList]) -> "Pinned":
        """Return the same roots with further lists."""
        return replace(self, lists=[*self.lists, *lists])


def ends_of(pinned: Pinned, now: datetime) -> dict[str, datetime]:
    """Return when the first root, intermediate and newest revocation list of an issuer ends, by kind; absent if there is none.

    A certificate that has ended stays beside its successor, for the tokens of its time: it counts only where all have ended.
    """
    newest: dict[bytes, x509.CertificateRevocationList] = {}
    for revocations in sorted(pinned.lists, key=_issued):
        newest[revocations.issuer.public_bytes()] = revocations
    ends = {
        ROOT: first_to_end(pinned.roots, now),
        CHAIN: first_to_end(pinned.intermediates, now),
        "revocation_list": min(
            (
                revocations.next_update_utc
                for revocations in newest.values()
                if revocations.next_update_utc is not None
            ),
            default=None,
        ),
    }
    return {kind: end for kind, end in ends.items() if end is not None}


def first_to_end(certificates: Sequence[Certificate], now: datetime) -> datetime | None:
    """Return when the first of those that are valid still ends; where none is, when the last one did."""
    ends = [certificate.content.not_valid_after_utc for certificate in certificates]
    return min((end for end in ends if end > now), default=max(ends, default=None))


def ends_in_use(path: Path, pinned: Pinned) -> dict[str, datetime]:
    """Return when what a token rests on ends, by kind: its root, and the first certificate between signer and root.

    A root that was issued anew under the same name and key ends with the newest one.
    """
    used = path[-1]
    roots = [used, *(root for root in pinned.roots if _is_renewed(used, root))]
    return {
        ROOT: max(root.content.not_valid_after_utc for root in roots),
        CHAIN: min(link.content.not_valid_after_utc for link in path[:-1] or path),
    }


def _is_renewed(used: Certificate, root: Certificate) -> bool:
    """Whether a root has the name and the key of another one."""
    try:
        return root.subject == used.subject and used.is_issued_by(root)
    except MALFORMED:
        return False


@lru_cache(maxsize=_MOST_BUNDLES)
def read_pinned(pem: bytes) -> Pinned:
    """Read certificates and revocation lists (`X509 CRL`), in any order; other text is passed over.

    Raises:
        InvalidValue: there is no certificate, or a part that can't be read.
    """
    certificates = read_pem(pem)
    if not certificates:
        message = "holds no certificates that can be read: write the roots in PEM"
        raise InvalidValue(message)
    roots = [certificate for certificate in certificates if certificate.signs_itself]
    intermediates = [certificate for certificate in certificates if certificate not in roots]
    return Pinned(roots, read_lists(pem), intermediates)


def read_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """Read the revocation lists of a PEM text, which may have none.

    Raises:
        InvalidValue: one of them can't be read.
    """
    try:
        lists = [x509.load_pem_x509_crl(block) for block in _LIST.findall(pem)]
        _ = [(known.issuer, known.last_update_utc) for known in lists]  # or it can't be read
    except MALFORMED as error:
        message = f"holds a revocation list that can't be read ({error}): write it in PEM"
        raise InvalidValue(message) from error
    return lists


REVOCATION = "revocation"
_KEEPS_EARLIER = frozenset(
    {
        x509.ReasonFlags.unspecified,
        x509.ReasonFlags.affiliation_changed,
        x509.ReasonFlags.superseded,
        x509.ReasonFlags.cessation_of_operation,
    }
)

List = x509.CertificateRevocationList


def revocation_finding(path: Path, moment: datetime, lists: Sequence[List]) -> Check | None:
    """Judge a token of that moment and path; None when no list is by an issuer of the path."""
    details: list[str] = []
    for certificate, issuer in pairwise(path):
        fitting = _by(issuer, lists)
        for revocations in fitting:
            entry = _entry_of(certificate.content.serial_number, revocations)
            if entry is not None:
                kept, detail = _entry(certificate, entry, moment)
                if not kept:
                    return wrong(REVOCATION, detail)
                details.append(detail)
        if fitting:
            newest = max(fitting, key=_issued)
            details.append(f"as of {write_time(_issued(newest))} by the list of {issuer.name}")
    return holds(REVOCATION, "; ".join(details)) if details else None


def lists_for(path: Path, lists: Sequence[List]) -> list[List]:
    """Return the newest list of each issuer of a path, the signer's first."""
    by_issuer = [_by(issuer, lists) for issuer in path[1:]]
    return [max(fitting, key=_issued) for fitting in by_issuer if fitting]


def _by(issuer: Certificate, lists: Sequence[List]) -> list[List]:
    """Return the lists that an issuer signed."""
    named = [revocations for revocations in lists if revocations.issuer == issuer.content.subject]
    return [revocations for revocations in named if _signed(revocations, issuer.content)]


def _signed(revocations: List, issuer: x509.Certificate) -> bool:
    try:
        return revocations.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # any other key raises
    except MALFORMED:
        return False


def _entry_of(serial: int, revocations: List) -> x509.RevokedCertificate | None:
    if serial >= 0:
        return revocations.get_revoked_certificate_by_serial_number(serial)
    entries = (entry for entry in revocations if entry.serial_number == serial)
    return next(entries, None)  # the library looks for no negative one


def _entry(
    certificate: Certificate, entry: x509.RevokedCertificate, gen_time: datetime
) -> tuple[bool, str]:
    """Return whether a token of `gen_time` outlives a revocation, and what to tell."""
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except (x509.ExtensionNotFound, *MALFORMED):
        reason = None  # also if it can't be read: then nothing speaks for the certificate
    when = entry.revocation_date_utc
    name = certificate.name
    revoked = f"{name} was revoked at {write_time(when)} ({reason.value if reason else 'no reason given'})"
    if reason not in _KEEPS_EARLIER:
        return False, f"{revoked}: none of its tokens counts"
    if gen_time >= when:
        return False, f"{revoked}, before it stamped"
    return True, f"{revoked}, after it stamped"


def _issued(revocations: List) -> datetime:
    return revocations.last_update_utc
