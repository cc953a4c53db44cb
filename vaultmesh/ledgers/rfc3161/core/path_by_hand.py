"""Builds and judges paths of those certificates that the library behind `path` does not read or judge (RFC 5280, 6.1).

1. Judged are: signature, names, time, basic constraints with path length, usage, purposes, and names that are limited.
2. What is not judged here is refused: an unknown critical extension, a limit to other kinds of names, mapped policies that are demanded.
3. A pinned root is trusted by name and key; it must be in force all the same, and one of version 1 has nothing that
   says that it may certify.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from vaultmesh.ledgers.rfc3161.core.certificates import UNREADABLE, Certificate, comparable

LONGEST_PATH = 8
MOST_SIGNATURES = 100
"""Verified in search of one path: what is judged may be hostile."""
_SMALLEST_RSA_BITS, _SMALLEST_CURVE_BITS = 2_048, 256
_HASHES = (
    hashes.SHA256, hashes.SHA384, hashes.SHA512, hashes.SHA3_256, hashes.SHA3_384, hashes.SHA3_512,
)  # fmt: skip
_KNOWN = frozenset(
    {
        "basic_constraints", "key_usage", "extended_key_usage", "subject_alt_name", "name_constraints",
        "certificate_policies", "policy_mappings", "policy_constraints", "inhibit_any_policy",
    }
)  # fmt: skip
"""Critical extensions that are judged; policies bind only where they are demanded."""
_ANY_POLICY = "2.5.29.32.0"
_DISTINGUISHED, _MAIL = "directory_name", "rfc822_name"


_LAST_SHA1 = datetime(2017, 1, 1, tzinfo=UTC)
"""Certificates that are older may be signed with SHA-1: public issuers signed nothing with it any more when collisions could be made."""


class NoPath(Exception):
    """There is no path to the root; the text says why."""


def build(
    signer: Certificate, between: Sequence[Certificate], root: Certificate, at: datetime
) -> tuple[Certificate, ...]:
    """Build and judge a path.

    Raises:
        NoPath: there is none to that root.
    """
    search = _Search(between, root, at)
    path = search.above((signer,))
    if path is None:
        raise NoPath(search.refusal or "its certificates do not lead to the root")
    return path


@dataclass(slots=True)
class _Search:
    between: Sequence[Certificate]
    root: Certificate
    at: datetime
    refusal: str = ""
    """Of the first that was refused."""
    signatures: int = 0

    def above(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        """Return the path led on to the root; None if it does not lead there."""
        if not self._passes(path):
            return None
        last = path[-1]
        if last == self.root:
            return path
        if len(path) == LONGEST_PATH:
            return None
        return next(
            filter(None, (self.above((*path, certificate)) for certificate in self._issuers(path))),
            None,
        )

    def _issuers(self, path: Sequence[Certificate]) -> Iterator[Certificate]:
        named = [
            certificate
            for certificate in (self.root, *self.between)
            if certificate.subject == path[-1].issuer and certificate not in path
        ]
        for issuer in named:
            self.signatures += 1
            if self.signatures > MOST_SIGNATURES:
                self.refusal = f"more than {MOST_SIGNATURES} signatures would have to be verified"
                return
            if path[-1].is_issued_by(issuer):
                yield issuer
            else:
                self._refuse(f"{path[-1].name} is not signed by the {issuer.name} at hand")

    def _passes(self, path: tuple[Certificate, ...]) -> bool:
        """Judge the last certificate of a path, as the one above all others."""
        *below, last = path
        try:
            _check(last, self.at)
            if last != self.root:
                _check_signature(last)
            if below:
                _check_issuer(last, below, is_root=last == self.root)
            if last == self.root:
                _check_policies(path)
        except UNREADABLE as error:
            self._refuse(str(error))
            return False
        return True

    def _refuse(self, why: str) -> None:
        self.refusal = self.refusal or why


def _check(certificate: Certificate, at: datetime) -> None:
    content = certificate.content
    if not content.not_valid_before_utc <= at <= content.not_valid_after_utc:
        message = f"{certificate.name} was not in force at the token's time"
        raise ValueError(message)
    unknown = sorted(certificate.critical - _KNOWN)
    if unknown:
        message = (
            f"{certificate.name} has the critical extension {unknown[0]}, which nobody here judges"
        )
        raise ValueError(message)


def _check_policies(path: Sequence[Certificate]) -> None:
    """Require one policy that all below the root have, if any of them demands it (RFC 5280, 6.1.3 and 6.1.4, without mappings)."""
    below = [certificate.parsed() for certificate in path[:-1]]
    limits = [parsed.policy_constraints_value for parsed in below]
    if all(limit is None or limit["require_explicit_policy"].native is None for limit in limits):
        return
    extensions = {name for certificate in path for name in certificate.extensions}
    covering = frozenset() if "inhibit_any_policy" in extensions else frozenset({_ANY_POLICY})
    shared: frozenset[str] | None = None
    for parsed in reversed(below):
        value = parsed.certificate_policies_value
        policies = frozenset(entry["policy_identifier"].dotted for entry in value or ())
        if not policies & covering:
            shared = policies if shared is None else shared & policies
    if "policy_mappings" in extensions or shared == frozenset():
        message = f"{path[-1].name}: policies are demanded, and its path has none in common"
        raise ValueError(message)


def _check_signature(certificate: Certificate) -> None:
    hashed = certificate.content.signature_hash_algorithm
    if hashed is None or isinstance(hashed, _HASHES):
        return
    if signed_with_sha1(certificate) and certificate.content.not_valid_before_utc < _LAST_SHA1:
        return
    message = f"{certificate.name} is signed with {hashed.name}, which is not accepted"
    raise ValueError(message)


def signed_with_sha1(certificate: Certificate) -> bool:
    """Whether SHA-1 is under a certificate's signature."""
    return isinstance(certificate.content.signature_hash_algorithm, hashes.SHA1)


def _check_issuer(issuer: Certificate, below: Sequence[Certificate], *, is_root: bool) -> None:
    _check_key(issuer)
    constraints = issuer.parsed().basic_constraints_value
    if constraints is None and is_root and issuer.content.version is x509.Version.v1:
        return
    if constraints is None or not constraints["ca"].native:
        message = f"{issuer.name} may not certify: it is no certificate authority"
        raise ValueError(message)
    longest = constraints["path_len_constraint"].native
    issuers = [
        certificate for certificate in below[1:] if certificate.issuer != certificate.subject
    ]
    if longest is not None and len(issuers) > longest:
        message = f"{issuer.name} allows a shorter path only"
        raise ValueError(message)
    limits = issuer.parsed().name_constraints_value
    if limits is not None:
        permitted, excluded = (
            [tree["base"] for tree in limits[field] or ()]
            for field in ("permitted_subtrees", "excluded_subtrees")
        )
        for certificate in below:
            _check_names(certificate, permitted, excluded, issuer)


def _check_key(issuer: Certificate) -> None:
    key = issuer.content.public_key()
    strong = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA_BITS)
        or (isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= _SMALLEST_CURVE_BITS)
    )
    if not strong:
        message = f"the key of {issuer.name} is too weak, or of a kind that nobody here knows"
        raise ValueError(message)


def _check_names(
    certificate: Certificate, permitted: Sequence[Any], excluded: Sequence[Any], issuer: Certificate
) -> None:
    """Judge a certificate's names by an issuer's limits: distinguished names only; limited names of other kinds it must not have."""
    parsed = certificate.parsed()
    alternative = list(parsed.subject_alt_name_value or ())
    kinds = {name.name for name in alternative}
    if any(
        attribute["type"].native == "email_address"
        for part in parsed.subject.chosen
        for attribute in part
    ):
        kinds.add(_MAIL)
    limited = {limit.name for limit in (*permitted, *excluded)}
    if limited & kinds - {_DISTINGUISHED}:
        message = f"{issuer.name} limits names of a kind that nobody here judges"
        raise ValueError(message)
    allowed, barred = (
        [_parts(limit.chosen) for limit in limits if limit.name == _DISTINGUISHED]
        for limits in (permitted, excluded)
    )
    alternative_names = [name.chosen for name in alternative if name.name == _DISTINGUISHED]
    for name in filter(None, map(_parts, (parsed.subject, *alternative_names))):
        good = not allowed or any(name[: len(least)] == least for least in allowed)
        if not good or any(name[: len(least)] == least for least in barred):
            message = (
                f"{issuer.name} may not certify {certificate.name}: its names are limited to others"
            )
            raise ValueError(message)


def _parts(name: Any) -> list[str]:  # noqa: ANN401 - the parser has no types
    """Return a distinguished name's parts, in the form in which equal ones are equal."""
    return [part for part in comparable(name).split(",") if part]
