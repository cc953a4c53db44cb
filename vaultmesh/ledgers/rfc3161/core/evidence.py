"""Checks a receipt's time-stamp evidence: by what it carries and given roots, and by no clock.

1. The primary token must be what the receipt says it is: its number, its time, its imprint.
2. Each further token is judged by the same rules; tokens count by the root they lead to (T8).
3. Revocation lists that the receipt carries count like those at hand: their issuers' signatures do (T5, T6).
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import JsonValue

from vaultmesh.domain.checks import Check, holds, holds_if, wrong
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.ledgers.rfc3161.core.certificates import (
    MALFORMED,
    Certificate,
    read_all,
    read_certificate,
)
from vaultmesh.ledgers.rfc3161.core.judge import TokenReport, judge
from vaultmesh.ledgers.rfc3161.core.token import IMPRINT_RULE, Token
from vaultmesh.ledgers.rfc3161.core.trust import Pinned

LONGEST_CARRIED_LIST = 4_096
"""Bytes of a revocation list that receipts carry; a longer one stays beside the reply, and is named by its hash."""
ALLOWS_SHA1 = "allowSha1CertId"
"""Key of receipts, reservations and settings: SHA-1 may bind the signer's certificate."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """What a receipt says of its time stamp."""

    commitment: bytes
    tx_ref: str
    block_number: int
    anchor_ts: datetime
    evidence: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What a receipt's evidence came to."""

    findings: tuple[Check, ...]
    reports: tuple[TokenReport, ...] = field(default=())
    """Of the primary token and the further ones; none if the primary one can't be read."""

    @property
    def vouching(self) -> set[bytes]:
        """The roots that sound tokens lead to, DER."""
        return {report.root for report in self.reports if report.sound}


def text_of(content: bytes) -> str:
    """Return bytes as base64."""
    return b64encode(content).decode("ascii")


def bytes_of(text: object) -> bytes | None:
    """Return the bytes of base64; None if it is none: as RFC 4648 writes them, and in no other way."""
    if not isinstance(text, str) or not text:
        return None
    try:
        content = b64decode(text, validate=True)
    except ValueError:
        return None
    return content if text_of(content) == text else None  # decoders differ in what else they take


def examine(
    stamped: Stamped,
    pinned: Pinned,
    *,
    quorum: int = 1,
    policy: str = "",
    leave_for_sha1: bool = False,
) -> EvidenceReport:
    """Check the evidence, a finding per rule.

    `policy` is required of a token whose request was not kept; `leave_for_sha1` counts also if the receipt records none.
    """
    if _carries_too_much(stamped.evidence):
        detail = f"more than {_MOST_TOKENS} further tokens, or {_MOST_PARTS} certificates or lists"
        return EvidenceReport((wrong("evidence", detail),))
    reply = bytes_of(stamped.evidence.get("token"))
    if reply is None:
        return EvidenceReport((wrong("token", "none, or no base64"),))
    recorded = stamped.evidence.get("request")
    request = bytes_of(recorded)
    if recorded is not None and request is None:
        return EvidenceReport((wrong("request", "no base64"),))
    lists = _carried_lists(stamped.evidence)
    if lists is None:
        return EvidenceReport(
            (wrong("revocation lists", "one can't be read, or is not what is said of it"),)
        )
    judged = partial(
        judge,
        commitment=stamped.commitment,
        pinned=pinned.and_lists(lists).and_intermediates(carried_certificates(stamped.evidence)),
        request=request,
        policy=policy if request is None else "",
        allows_sha1=leave_for_sha1 or allows_sha1(stamped.evidence),
    )
    first = judged(reply)
    others = [judged(token) for token in _further(stamped.evidence)]
    lines = [*first.findings, *_claimed(stamped, first), *_together(first, others, quorum)]
    return EvidenceReport(tuple(lines), (first, *others))


_MOST_TOKENS = 64
_MOST_PARTS = 256
"""A receipt carries some five certificates for each token. Every token is judged by all of them: more could take hours."""


def _carries_too_much(evidence: Mapping[str, JsonValue]) -> bool:
    if len(_listed(evidence.get("tokens"))) > _MOST_TOKENS:
        return True
    entries = _entries(evidence)
    return any(
        sum(len(_listed(entry.get(key))) for entry in entries) > _MOST_PARTS
        for key in ("certificates", "revocation")
    )


def _together(first: TokenReport, others: Sequence[TokenReport], quorum: int) -> Iterator[Check]:
    """Judge the tokens of a receipt together."""
    if others:
        bad = [other.problems for other in others if not other.sound]
        detail = "; ".join(bad) if bad else f"{len(others)} more"
        yield holds_if("further tokens", detail, condition=not bad)
    if others or quorum > 1:
        count = len(EvidenceReport((), (first, *others)).vouching)
        yield holds_if("quorum", f"{count} of {quorum} roots vouch", condition=count >= quorum)


def carried_certificates(evidence: Mapping[str, JsonValue]) -> list[Certificate]:
    """Return the certificates that a receipt carries and that can be read; nobody trusts them for that."""
    texts = [text for entry in _entries(evidence) for text in _listed(entry.get("certificates"))]
    return list(read_all(dict.fromkeys(filter(None, map(bytes_of, texts)))))


def carried_roots(evidence: Mapping[str, JsonValue]) -> list[Certificate]:
    """Return those that sign themselves among the certificates that a receipt carries."""
    return [
        certificate for certificate in carried_certificates(evidence) if certificate.signs_itself
    ]


def allows_sha1(evidence: Mapping[str, JsonValue]) -> bool:
    """Whether the target allowed SHA-1 to bind a signer's certificate when it was stamped (T3)."""
    return evidence.get(ALLOWS_SHA1) is True


def entry_of_list(known: x509.CertificateRevocationList) -> dict[str, JsonValue]:
    """Return what a receipt says of a revocation list; the list itself only if it is short."""
    der = known.public_bytes(Encoding.DER)
    entry: dict[str, JsonValue] = {
        "issuer": known.issuer.rfc4514_string(),
        "thisUpdate": write_time(known.last_update_utc),
        "sha256": sha256(der).hexdigest(),
    }
    return entry | ({"list": text_of(der)} if len(der) <= LONGEST_CARRIED_LIST else {})


def _carried_lists(
    evidence: Mapping[str, JsonValue],
) -> list[x509.CertificateRevocationList] | None:
    """Return the lists that a receipt carries whole; None if one is no list."""
    lists = []
    for entry in _entries(evidence):
        for carried in _listed(entry.get("revocation")):
            if isinstance(carried, dict) and "list" not in carried:
                continue  # too long to be carried
            known = _list_of(carried)
            if known is None:
                return None
            lists.append(known)
    return lists


def _list_of(entry: JsonValue) -> x509.CertificateRevocationList | None:
    """Return a carried list; None if it can't be read, or is not what its entry says it is."""
    if not isinstance(entry, dict):
        return None
    try:
        known = x509.load_der_x509_crl(bytes_of(entry.get("list")) or b"")
        return known if entry_of_list(known) == entry else None
    except MALFORMED:
        return None


def _entries(evidence: Mapping[str, JsonValue]) -> list[Mapping[str, JsonValue]]:
    """Return what belongs to each token: the primary one, then the further ones."""
    further = (token for token in _listed(evidence.get("tokens")) if isinstance(token, dict))
    return [evidence, *further]


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _further(evidence: Mapping[str, JsonValue]) -> list[bytes]:
    further = _listed(evidence.get("tokens"))
    texts = [entry.get("token") if isinstance(entry, dict) else None for entry in further]
    return [bytes_of(text) or b"" for text in texts]


def _claimed(stamped: Stamped, judged: TokenReport) -> list[Check]:
    token = judged.token
    if token is None:
        return []
    moment, claimed = token.gen_time, stamped.anchor_ts.astimezone(UTC)
    whole = moment.replace(microsecond=0)  # a legacy anchor has whole seconds
    detail = f"stamped {write_time(moment)}, claimed {write_time(claimed)}"
    right_ref = stamped.tx_ref == token.tx_ref
    return [
        holds_if("serial number", f"{token.tx_ref}, claimed {stamped.tx_ref}", condition=right_ref),
        holds_if("timestamp", detail, condition=claimed in (moment, whole)),
        holds_if("block", "an authority has no blocks", condition=stamped.block_number == 0),
    ]


_NAME = "description"


def description_check(evidence: Mapping[str, JsonValue], reports: Sequence[TokenReport]) -> Check:
    """Compare authority, policy, imprint rule and certificates with each token; a key that is absent says nothing."""
    entries = [evidence, *_listed(evidence.get("tokens"))]
    false = [
        what
        for entry, judged in zip(entries, reports, strict=False)
        if isinstance(entry, dict)
        for what in _false_words(entry, judged)
    ]
    if false:
        return wrong(_NAME, f"does not fit the token: {', '.join(dict.fromkeys(false))}")
    return holds(_NAME, "fits the token")


def _false_words(entry: Mapping[str, JsonValue], judged: TokenReport) -> Iterator[str]:
    token = judged.token
    if token is None:
        return  # what is wrong with it is said elsewhere
    true_words = {"policyOID": token.policy, "imprint": IMPRINT_RULE}
    if judged.sound:
        true_words["authority"] = judged.authority
    yield from (key for key, word in true_words.items() if entry.get(key, word) != word)
    if not _belong(entry.get("certificates", []), token):
        yield "certificates"


def _belong(listed: JsonValue, token: Token) -> bool:
    """Whether all listed certificates are the token's, or issued one that is, or one that issued one: nothing else leads anywhere."""
    if not isinstance(listed, list):
        return False
    ders = [bytes_of(text) or b"" for text in listed]
    try:
        others = [read_certificate(der) for der in ders if der not in token.certificates]
    except InvalidValue:
        return False
    leading = list(read_all(token.certificates))
    while others:
        issuers = [
            certificate
            for certificate in others
            if any(below.is_issued_by(certificate) for below in leading)
        ]
        if not issuers:
            return False
        leading = issuers
        others = [certificate for certificate in others if certificate not in issuers]
    return True
