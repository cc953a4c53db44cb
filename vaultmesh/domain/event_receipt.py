"""The place where VaultMesh's event receipts are read, and where their one `anchor` is derived.

1. A receipt belongs to a batch by its `batchRoot` and the prefix `vmr1-<batchId>-` of its
   `integrity`, never by a substring.
2. `anchor` is derived from all anchor receipts of the batch, never merged: direct, verified and
   finalized ones only; Bitcoin before EVM before time-stamps, then the earliest.
3. Keys we don't know are kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ConfigDict, Field, JsonValue

from vaultmesh.domain.aggregation import Document, read_document
from vaultmesh.domain.batch import Batch
from vaultmesh.domain.receipt import LATEST_SECOND, AnchorReceipt
from vaultmesh.domain.roots import BatchRoot

VERIFIER = "did:vm:arbiter:local-sealer"
"""Who sealed, as VaultMesh's sealer writes it."""
INTEGRITY_PREFIX = "vmr1-"
INTERNAL_CHAIN = "vm:internal"
"""`chain` of the placeholder: sealed, not anchored."""


@dataclass(frozen=True, slots=True)
class LegacyForm:
    """How the legacy `anchor` of one scheme looks beyond `chain`, `tx`, `block` and `ts`."""

    rank: int
    """Lower ones win."""
    memo: str = ""
    contract_key: str = ""
    """Key of the contract in the scheme's evidence."""
    policy_key: str = ""
    """Key of the policy that the memo names."""
    signature_key: str = ""
    """Key of what `sig` holds."""


LEGACY_FORMS: Mapping[str, LegacyForm] = {
    "btc": LegacyForm(rank=0, memo="OP_RETURN:RV+sha256"),
    "eip155": LegacyForm(rank=1, contract_key="contract"),
    "rfc3161": LegacyForm(rank=2, policy_key="policyOID", signature_key="token"),
}
"""Forms by the target's scheme."""


class LegacyAnchor(Document):
    """`anchor` of an event receipt: the one anchor that fits."""

    model_config = ConfigDict(extra="allow")

    chain: str
    contract: str | None = None
    tx: str
    block: int
    ts: int = Field(ge=0, le=LATEST_SECOND)
    """Unix seconds."""
    memo: str | None = None
    sig: str | None = None


class EventReceipt(Document):
    """The way from one event to its batch's root."""

    model_config = ConfigDict(extra="allow")

    event_hash: BatchRoot
    batch_root: BatchRoot
    path: tuple[BatchRoot, ...] = Field(strict=False)
    anchor: LegacyAnchor
    verifier: str
    integrity: str

    def event_id_in(self, batch: Batch) -> str | None:
        """Return the event id if the receipt belongs to this batch, else None."""
        prefix = integrity(batch.id, "")
        if self.batch_root != batch.root or not self.integrity.startswith(prefix):
            return None
        return self.integrity[len(prefix) :] or None


def integrity(batch_id: str, event_id: str) -> str:
    """Return the text that binds an event to its batch."""
    return f"{INTEGRITY_PREFIX}{batch_id}-{event_id}"


def placeholder(batch_id: str, sealed_at: int) -> LegacyAnchor:
    """Return the anchor of a batch that is sealed only; `sealed_at` in Unix seconds."""
    return LegacyAnchor(chain=INTERNAL_CHAIN, tx=f"batch:{batch_id}", block=0, ts=sealed_at)


def parse_event_receipt(text: str | bytes) -> EventReceipt:
    """Read an event receipt.

    Raises:
        InvalidValue: it is malformed.
    """
    return read_document(EventReceipt, text)


def event_receipt_document(receipt: EventReceipt) -> str:
    """Return the file's text: two-space indentation, no final newline, no null keys of ours."""
    anchor = receipt.anchor
    absent = {key for key in ("contract", "memo", "sig") if getattr(anchor, key) is None}
    return receipt.model_dump_json(by_alias=True, indent=2, exclude={"anchor": absent})


def derive_anchor(receipts: Iterable[AnchorReceipt]) -> LegacyAnchor | None:
    """Return what the event receipts of a batch are to say, given all its anchor receipts.

    Receipts of several namespaces for the same anchor count once.
    """
    final = [receipt for receipt in receipts if receipt.is_direct and receipt.is_final]
    if not final:
        return None
    return _legacy_anchor(min(final, key=_precedence))


def _precedence(receipt: AnchorReceipt) -> tuple[int, float, str, str]:
    rank = LEGACY_FORMS[receipt.network.scheme].rank
    return rank, receipt.anchor_ts.timestamp(), str(receipt.network), receipt.tx_ref


def _legacy_anchor(receipt: AnchorReceipt) -> LegacyAnchor:
    form, evidence = LEGACY_FORMS[receipt.network.scheme], receipt.scheme_evidence
    policy = _text(evidence, form.policy_key)
    return LegacyAnchor(
        chain=str(receipt.network),
        contract=_text(evidence, form.contract_key),
        tx=receipt.tx_ref,
        block=receipt.block_number,
        ts=int(receipt.anchor_ts.timestamp()),
        memo=f"tsaPolicyOID={policy}" if policy else form.memo,
        sig=_text(evidence, form.signature_key),
    )


def _text(evidence: Mapping[str, JsonValue], key: str) -> str | None:
    value = evidence.get(key) if key else None
    return value if isinstance(value, str) else None
