"""What a notary's receipt proves offline: a signature by a key that the user trusts."""

from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vaultmesh.domain.checks import (
    TRUSTED,
    Check,
    SchemeFindings,
    Trust,
    holds,
    holds_if,
    stays_open,
    wrong,
)
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot


def message_of(commitment: bytes, moment: datetime) -> bytes:
    """Return the bytes that the notary signs."""
    return commitment + write_time(moment).encode()


def signature_check(key: bytes, signature: bytes, commitment: bytes, moment: datetime) -> Check:
    """Check that a key signed a commitment at a time."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message_of(commitment, moment))
    except (InvalidSignature, ValueError) as error:
        return wrong("signature", f"not by {key.hex()[:16]}: {type(error).__name__}")
    return holds("signature", f"by {key.hex()[:16]}")


def find(receipt: AnchorReceipt, commitment: MerkleRoot, trust: Trust) -> SchemeFindings:
    """Find out what a receipt proves of its commitment, under a trust."""
    carried = receipt.scheme_evidence
    key, signature = (bytes.fromhex(str(carried[name])) for name in ("key", "signature"))
    checks = [signature_check(key, signature, commitment.digest, receipt.anchor_ts)]
    trusted = trust.further.get("notary", ())
    if trusted:
        checks.append(holds_if(f"{TRUSTED}key", key.hex(), condition=key in trusted))
    else:
        checks.append(stays_open(f"{TRUSTED}key", "no key of a notary is trusted"))
    return SchemeFindings(tuple(checks), write_time(receipt.anchor_ts), f"trust in {key.hex()}")
