"""Compares what a receipt says about its time-stamp tokens, beside them, with the tokens.

Nothing here proves anything: it is what a reader sees first, and so must not say anything else.
"""

from collections.abc import Iterator, Mapping, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from pydantic import JsonValue

from vaultmesh.domain.checks import Check, holds, wrong
from vaultmesh.ledgers.rfc3161.core.evidence import bytes_of
from vaultmesh.ledgers.rfc3161.core.judge import TokenReport
from vaultmesh.ledgers.rfc3161.core.signature import MALFORMED
from vaultmesh.ledgers.rfc3161.core.token import IMPRINT_RULE, Token

_NAME = "description"


def description_check(evidence: Mapping[str, JsonValue], reports: Sequence[TokenReport]) -> Check:
    """Compare authority, policy, imprint rule and certificates with each token; a key that is absent says nothing."""
    further = evidence.get("tokens")
    entries = [evidence, *(further if isinstance(further, list) else ())]
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
    listed = entry.get("certificates", [])
    if not isinstance(listed, list) or not all(_belongs(one, token) for one in listed):
        yield "certificates"


def _belongs(text: JsonValue, token: Token) -> bool:
    """Whether a certificate is one of the token's, or signed itself and one of those: nothing else leads anywhere."""
    der = bytes_of(text)
    if der is None or der in token.certificates:
        return der is not None
    try:
        root = x509.load_der_x509_certificate(der)
        root.verify_directly_issued_by(root)
        return any(_issued(one, root) for one in token.certificates)
    except (*MALFORMED, InvalidSignature):
        return False


def _issued(der: bytes, root: x509.Certificate) -> bool:
    try:
        x509.load_der_x509_certificate(der).verify_directly_issued_by(root)
    except (*MALFORMED, InvalidSignature):
        return False
    return True
