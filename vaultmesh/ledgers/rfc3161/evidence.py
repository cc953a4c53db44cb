"""Collects the evidence of a stamped round's receipts, and checks such evidence again.

Nothing but the receipt and what is pinned is needed for the checks: an authority is never asked again.
"""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import JsonValue

from vaultmesh.domain.checks import Check
from vaultmesh.domain.instants import write_time
from vaultmesh.ledgers.driver import Claim, Evidence
from vaultmesh.ledgers.rfc3161.core.evidence import (
    ALLOWS_SHA1,
    Stamped,
    entry_of_list,
    examine,
    text_of,
)
from vaultmesh.ledgers.rfc3161.core.signature import needs_sha1
from vaultmesh.ledgers.rfc3161.core.token import IMPRINT_RULE
from vaultmesh.ledgers.rfc3161.core.trust import Pinned
from vaultmesh.ledgers.rfc3161.replies import Kept

CLOCKS_APART = timedelta(seconds=10)
"""Tokens of one anchor are made within seconds; authorities whose clocks differ by more are flagged, not dropped (T9)."""


def clocks_disagree(tokens: Sequence[Kept]) -> bool:
    """Whether the tokens' times lie further apart than two good clocks do."""
    times = [stamped.token.gen_time for stamped in tokens]
    return max(times) - min(times) > CLOCKS_APART


def evidence_of(tokens: Sequence[Kept], request: bytes) -> Evidence:
    """Return what receipts carry; the first token is the primary one, the rest follows in `tokens`."""
    primary, *others = tokens
    scheme: dict[str, JsonValue] = {
        "token": text_of(primary.reply),
        "authority": primary.authority,
        "tokens": [_other(stamped) for stamped in others],
        "request": text_of(request),
        "certificates": [text_of(certificate) for certificate in _certificates(primary)],
        "imprint": IMPRINT_RULE,
        "policyOID": primary.token.policy,
        "clocksDisagree": clocks_disagree(tokens),
        **_revocation(primary),
    }
    if any(needs_sha1(stamped.token) for stamped in tokens):
        scheme[ALLOWS_SHA1] = True
    return Evidence(scheme, primary.token.tx_ref, None, 0, primary.token.gen_time)


def checks_of(
    claim: Claim,
    pinned: Pinned,
    *,
    quorum: int = 1,
    policy: str = "",
    leave_for_sha1: bool = False,
) -> list[Check]:
    """Check a receipt's claim, a line per rule, as `examine` does."""
    stamped = Stamped(
        commitment=claim.commitment,
        tx_ref=claim.tx_ref,
        block_number=claim.block_number,
        anchor_ts=claim.anchor_ts,
        evidence=claim.evidence,
    )
    report = examine(stamped, pinned, quorum=quorum, policy=policy, leave_for_sha1=leave_for_sha1)
    return list(report.findings)


def _other(stamped: Kept) -> dict[str, JsonValue]:
    return {
        "authority": stamped.authority,
        "genTime": write_time(stamped.token.gen_time),
        "token": text_of(stamped.reply),
        "certificates": [text_of(certificate) for certificate in _certificates(stamped)],
        **_revocation(stamped),
    }


def _revocation(stamped: Kept) -> dict[str, JsonValue]:
    """Return the lists that were at hand when it was stamped, each whole if it is short; no key if there were none."""
    if not stamped.lists:
        return {}
    return {"revocation": [entry_of_list(revocations) for revocations in stamped.lists]}


def _certificates(stamped: Kept) -> list[bytes]:
    """Return everything a verifier needs to build the chain, the root last (T6)."""
    chain = [der for der in stamped.token.certificates if der != stamped.root]
    return [*chain, *stamped.left_out, stamped.root]
