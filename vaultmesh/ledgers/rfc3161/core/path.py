"""Builds the path from a signer's certificate to a pinned root, as it was at the token's own time (T5).

1. A library judges, on the certificates alone: the token's signature is verified elsewhere.
2. What it does not read or judge is known by looking (`beyond`); then, and only then, `path_by_hand` judges instead.
3. On both ways each issuer may certify, and if it is limited to purposes, time stamps are among them.
4. Intermediates have no trust of their own, wherever they come from: token, bundle or receipt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import verification

from vaultmesh.ledgers.rfc3161.core import path_by_hand
from vaultmesh.ledgers.rfc3161.core.certificates import MALFORMED, Certificate
from vaultmesh.ledgers.rfc3161.core.path_by_hand import NoPath

Path = tuple[Certificate, ...]
"""The signer's certificate first, the root last."""

MOST_CERTIFICATES = 100
"""That could be on a path; a token of a real authority brings five at most."""
_RSA_BITS = 2_048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_EXTENSIONS = frozenset(
    {"basic_constraints", "key_usage", "extended_key_usage", "subject_alt_name"}
)
"""Critical ones that the library accounts for; limits to names are left out, since it judges few kinds of them."""
_NAME_CONSTRAINTS = "name_constraints"
_PURPOSES = frozenset({"time_stamping", "any_extended_key_usage"})
_GENERALIZED = "general_time"
_FIRST_GENERALIZED_YEAR = 2050
"""Before it, times are to be written as UTCTime, and the library insists."""


@dataclass(frozen=True, slots=True)
class Paths:
    """What was found: at most one path for each root."""

    paths: tuple[Path, ...]
    refusal: str
    """Why there is none; empty if there is one."""


def find_paths(
    signer: Certificate,
    intermediates: Sequence[Certificate],
    roots: Sequence[Certificate],
    moment: datetime,
) -> Paths:
    """Return the paths to pinned roots, in the order of the roots."""
    at = moment.astimezone(UTC).replace(microsecond=0)
    pool = [
        *dict.fromkeys(roots),
        *(candidate for candidate in intermediates if not candidate.signs_itself),
    ]
    near = _reachable(signer, list(dict.fromkeys(pool)))
    if len(near) > MOST_CERTIFICATES:
        return Paths((), f"more than {MOST_CERTIFICATES} certificates could be on it")
    refusals = [why for candidate in near if (why := _unfit(candidate))]
    fit = [candidate for candidate in near if not _unfit(candidate)]
    ends = [root for root in dict.fromkeys(roots) if root in fit or root == signer]
    between = [candidate for candidate in fit if candidate not in ends]
    paths: list[Path] = []
    build = (
        path_by_hand.build
        if any(beyond(candidate, fit) for candidate in (signer, *fit))
        else _build
    )
    for root in ends:
        try:
            paths.append(build(signer, between, root, at))
        except NoPath as refusal:
            refusals.append(str(refusal))
    if paths:
        return Paths(tuple(paths), "")
    return Paths((), refusals[0] if refusals else _missing(signer, near))


def _unfit(issuer: Certificate) -> str:
    """Return why a certificate may issue none for time stamps, whatever else it says; empty if it may."""
    if issuer.usage is not None and "key_cert_sign" not in issuer.usage:
        return f"{issuer.name} may not certify: its key usage has no keyCertSign"
    if issuer.purposes is not None and not _PURPOSES & set(issuer.purposes):
        return f"{issuer.name} may certify for other purposes than time stamps only"
    return ""


def beyond(certificate: Certificate, near: Sequence[Certificate]) -> bool:
    """Whether the library does not read or judge something about a certificate.

    Args:
        certificate: one of those that could be on the path.
        near: all of those that could issue.
    """
    content, parsed = certificate.content, certificate.parsed()
    above = [candidate for candidate in near if candidate.subject == certificate.issuer]
    return (
        certificate.mended
        or content.version is not x509.Version.v3
        or content.serial_number < 0
        or _has_early_generalized_time(parsed)
        or _NAME_CONSTRAINTS in certificate.extensions
        or not certificate.critical <= _EXTENSIONS
        or not (certificate.signs_itself or _judges_signature(content))
        or (certificate in near and not _judges_key(content))
        or any(issuer.parsed().subject.dump() != parsed.issuer.dump() for issuer in above)
    )


def _build(
    signer: Certificate, between: Sequence[Certificate], root: Certificate, at: datetime
) -> Path:
    """Have the library build and judge a path.

    Raises:
        NoPath: there is none to that root.
    """
    anything = verification.ExtensionPolicy.permit_all()
    authority = anything.require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
    )
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([root.content]))
        .time(at.replace(tzinfo=None))
        .extension_policies(ca_policy=authority, ee_policy=anything)
        .build_client_verifier()
    )
    try:
        chain = verifier.verify(signer.content, [candidate.content for candidate in between]).chain
    except (verification.VerificationError, *MALFORMED) as error:
        raise NoPath(" ".join(str(error).split())[:300]) from error
    by_content = {candidate.content: candidate for candidate in (signer, *between, root)}
    return tuple(by_content[content] for content in chain)


def _reachable(signer: Certificate, pool: Sequence[Certificate]) -> list[Certificate]:
    """Return those that lie above the signer by their names."""
    wanted, names = [signer.issuer], set()
    near: list[Certificate] = []
    while wanted:
        name = wanted.pop()
        if name in names:
            continue
        names.add(name)
        issuers = [candidate for candidate in pool if candidate.subject == name]
        near += issuers
        wanted += [candidate.issuer for candidate in issuers]
    return near


def _missing(signer: Certificate, near: Sequence[Certificate]) -> str:
    """Say whose certificate would lead on."""
    subjects = {candidate.subject for candidate in near}
    names = [
        candidate.content.issuer
        for candidate in (signer, *near)
        if candidate.issuer not in subjects
    ]
    wanted = " or ".join(sorted({name.rfc4514_string() for name in names}))
    if not wanted:
        return "its certificates lead to each other only"
    return (
        f"no certificate of {wanted} is at hand: a token may leave it out; put it beside the roots"
    )


def _has_early_generalized_time(parsed: Any) -> bool:  # noqa: ANN401 - the parser has no types
    validity = parsed["tbs_certificate"]["validity"]
    times = (validity["not_before"], validity["not_after"])
    return any(
        time.name == _GENERALIZED and time.native.year < _FIRST_GENERALIZED_YEAR for time in times
    )


def _judges_signature(content: x509.Certificate) -> bool:
    try:
        how, hashed = content.signature_algorithm_parameters, content.signature_hash_algorithm
    except MALFORMED:
        return False
    if isinstance(how, padding.PSS) and hashed is not None:
        plain = how.mgf._algorithm.name == hashed.name and how._salt_length == hashed.digest_size  # noqa: SLF001 - nothing public tells them
        return plain and isinstance(hashed, _HASHES)
    return isinstance(how, padding.PKCS1v15 | ec.ECDSA) and isinstance(hashed, _HASHES)


def _judges_key(content: x509.Certificate) -> bool:
    try:
        key = content.public_key()
    except MALFORMED:
        return False
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, _CURVES)
    return isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS
