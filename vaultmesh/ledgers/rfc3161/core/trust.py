"""Reads from PEM text what time stamps are judged by: pinned roots, and revocation lists beside them.

A list needs no trust of its own: whoever judges by it checks that the certificate's issuer signed it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography import x509

from vaultmesh.domain.errors import InvalidValue

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
    return [_read_list(one) for one in _LIST.findall(pem)]


def _read_list(pem: bytes) -> x509.CertificateRevocationList:
    try:
        return x509.load_pem_x509_crl(pem)
    except ValueError as error:
        message = f"holds a revocation list that can't be read ({error}): write it in PEM"
        raise InvalidValue(message) from error
