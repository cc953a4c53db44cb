"""Verifies receipts and events; the library entry is `from vaultmesh.verification import Trust, verify`.

What is imported here needs no server, no ledger, no configuration and no network.
"""

from vaultmesh.domain.checks import Trust, Verdict
from vaultmesh.domain.receipts.receipt import parse_receipt
from vaultmesh.verification.offline import verify_event_offline, verify_offline
from vaultmesh.verification.proof_file import is_proof_file, parse_proof

__all__ = ["Trust", "Verdict", "verify"]


def verify(content: str | bytes, trust: Trust) -> Verdict:
    """Verify a proof file or an anchor receipt by what it carries and what the caller trusts, by nothing else.

    Raises:
        InvalidValue: it is neither, and says at which key.
    """
    if not is_proof_file(content):
        return verify_offline(parse_receipt(content), trust)
    proof = parse_proof(content)
    return verify_event_offline(proof.event, proof.anchors, trust, event_id=proof.event_id)
