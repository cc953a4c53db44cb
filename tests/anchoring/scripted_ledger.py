"""Scripts what a ledger shows, and lets `record` and `recover` work on real files below a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.anchoring.record import Recording
from activities.anchoring.recover import Recovery
from activities.anchoring.stores import Files
from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    BlockRef,
    Reservation,
    RoundState,
    RoundView,
    Terms,
    WatchedRound,
)
from vaultmesh.domain.aggregator.messages import Record, Recorded, RecordState, Recover, Recovered
from vaultmesh.domain.batches.batch import Batch, batch_document
from vaultmesh.domain.failures import FailureKind, NetworkFailure
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, Backoff
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import Candidate, OwedLeaf, RoundRequest, compose
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Evidence

EVM = Target.parse("eip155:31337")
TSA = Target.parse("rfc3161:tsa")
TX_REFS = {EVM: "0x" + "ab" * 32, TSA: "serial:0b"}
VIEW_REFS = {EVM: TX_REFS[EVM], TSA: "request:" + "ab" * 32}
"""Candidates and looks name an authority's request; its receipts name the token."""
BLOCK_TIME = datetime(2026, 1, 15, 10, tzinfo=UTC)
ROOT, OTHER_ROOT = MerkleRoot(b"\2" * 32), MerkleRoot(b"\3" * 32)
RESERVATION = Reservation(account="0xa", sequence=0, fields={})


def request(namespace: str, depth: int = 2, *, batches: str = "") -> AnchorRequest:
    """Return a namespace's request."""
    return AnchorRequest(
        namespace=namespace, cadence="fast", slot="7", required_depth=depth, batches=batches
    )


def owed(batch_id: str, *asking: AnchorRequest, root: MerkleRoot = ROOT) -> OwedLeaf:
    """Return a shared batch that is owed: its file names no namespace."""
    requests = [
        RoundRequest(
            namespace=asked.namespace,
            cadence=asked.cadence,
            slot=asked.slot,
            required_depth=asked.required_depth,
        )
        for asked in asking
    ]
    return OwedLeaf(namespace="", batch_id=batch_id, root=root, requests=tuple(requests))


@dataclass
class ScriptedLedger:
    """A ledger that shows one transaction where the test says; it is its own opened target."""

    target: Target
    state: RoundState = RoundState.INCLUDED
    block: int = 5
    depth: int = 3
    confirmations: int = 2
    aggregator_settings: AggregatorSettings = field(default_factory=AggregatorSettings)
    aggregation: str = "auto"
    stored_terms: list[Terms] = field(default_factory=list)
    """The stored terms that each question for evidence carried."""
    unprovable: str = ""
    """Why there is no proof; empty when there is one."""
    refusals: list[str] = field(default_factory=list)
    """What keeps rounds from becoming final."""

    async def forgetful(self, _: str) -> list[str]:
        return []

    async def unsettling(self) -> list[str]:
        return self.refusals

    def proven(self, _commitment: bytes, _stored: Terms) -> str:
        return ""

    async def open(self, target: Target) -> "ScriptedLedger":
        assert target == self.target
        return self

    def view(self, round_id: str, depths: Sequence[int] = (2,)) -> RoundView:
        """Return what a look says now."""
        height = self.block + self.depth - 1
        if self.state is not RoundState.INCLUDED:
            return RoundView(round_id=round_id, state=self.state, height=height)
        return RoundView(
            round_id=round_id,
            state=self.state,
            tx_ref=VIEW_REFS[self.target],
            block=BlockRef(number=self.block, hash=f"0x{self.block:064x}", time=BLOCK_TIME),
            depth=self.depth,
            irrevocable=True,
            final=self.depth >= max(depths, default=0),
            height=height,
        )

    async def look(self, rounds: Sequence[WatchedRound]) -> list[RoundView]:
        return [self.view(watched.round_id, watched.depths) for watched in rounds]

    async def fee_paid(self, _tx_ref: str, _terms: Terms) -> int | None:
        return None

    async def evidence(self, watched: WatchedRound | None, view: RoundView, _raw: str) -> Evidence:
        self.stored_terms.append({} if watched is None else watched.stored)
        if view.block is None or view.block.number != self.block:
            raise NetworkFailure("the block is not canonical any more; looking again")
        tx_ref = TX_REFS[self.target]
        tx_hash = None if self.target == TSA else tx_ref
        scheme: Terms = {"blockHash": view.block.hash}
        if self.unprovable:
            scheme["proofMissing"] = self.unprovable
        return Evidence(scheme, tx_ref, tx_hash, view.block.number, view.block.time)


@dataclass
class Replies:
    """What the waiting namespaces were answered."""

    outcomes: list[tuple[str, AnchorOutcome]] = field(default_factory=list)
    """Namespace and outcome, in the order they were answered."""
    failures: list[tuple[str, int]] = field(default_factory=list)
    """Namespace and count of failures."""

    async def complete(
        self,
        _target: Target,
        answers: Sequence[tuple[AnchorRequest, AnchorOutcome]],
        _round_id: str = "",
    ) -> None:
        self.outcomes += [(asked.namespace, outcome) for asked, outcome in answers]

    async def note(
        self,
        asked: AnchorRequest,
        failures: int,
        _kind: FailureKind,
        _message: str,
        _backoff: Backoff,
    ) -> None:
        self.failures.append((asked.namespace, failures))


class Stage:
    """Real files below a folder, recorder and recovery, and one scripted ledger."""

    def __init__(self, root: Path, target: Target = EVM) -> None:
        self.root = root
        self.target = target
        self.files = Files(root)
        self.ledger = ScriptedLedger(target)
        self.replies = Replies()

    # --- what lies there

    def batch(self, batch_id: str, *, root: MerkleRoot = ROOT, folder: str = "out/batches") -> None:
        """Write the file of a shared batch of one leaf."""
        batch = Batch(batch_id, root, (root,), created_at=1_760_000_000)
        place = self.root / folder / f"{batch_id}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(batch_document(batch))

    def sign(self, *leaves: OwedLeaf) -> str:
        """Store a round that commits to the leaves' one root, with one candidate."""
        rounds = self.files.rounds(self.target)
        manifest = compose(self.target, leaves, "auto", lambda: b"\0" * 32)
        rounds.create_manifest(manifest)
        document: dict[str, Any] = {
            "n": 0,
            "reservation": RESERVATION.model_dump(mode="json"),
            "raw": "0x01",
            "hash": VIEW_REFS[self.target],
        }
        rounds.add_candidate(manifest.round_id, Candidate.model_validate(document))
        return manifest.round_id

    def place(self, namespace: str, batch_id: str = "b1") -> Path:
        """Return where a receipt lies."""
        folder = self.root / "out/anchors" / path_form(namespace) / path_form(batch_id)
        return folder / f"{self.target.path}.json"

    def receipt(self, namespace: str, batch_id: str = "b1") -> AnchorReceipt:
        """Return a receipt that MUST be there."""
        receipt = self.files.receipts.read(namespace, batch_id, self.target)
        assert receipt is not None
        return receipt

    # --- what is done

    def order(self, state: RecordState, round_id: str, *waiting: AnchorRequest) -> Record:
        """Return the order that the aggregator gives when the ledger shows what it shows now."""
        depths = [asked.required_depth for asked in waiting] or [2]
        is_closed = state is RecordState.CLOSED
        return Record(
            target=self.target,
            round_id=round_id,
            state=state,
            revision=2 if is_closed else 1,
            view=None if is_closed else self.ledger.view(round_id, depths),
            reservation=None if is_closed else RESERVATION,
            candidates=1,
            waiting=list(waiting),
        )

    async def record(self, order: Record, *, attempt: int = 1) -> Recorded:
        """Let the recorder work."""
        recording = Recording(self.files, self.ledger, self.replies, self)  # type: ignore[arg-type]
        environment = ActivityEnvironment()
        began = datetime.now(UTC)
        environment.info = replace(environment.info, attempt=attempt, started_time=began)
        return await environment.run(recording.record, order)

    def guard(self) -> Callable[[], None]:
        """Let every attempt count."""
        return lambda: None

    async def included(self, round_id: str, *waiting: AnchorRequest, **changes: Any) -> Recorded:
        """Have receipts written that say what the ledger shows now."""
        order = self.order(RecordState.INCLUDED, round_id, *waiting)
        return await self.record(order.model_copy(update=changes))

    async def recover(
        self, *reopened: str, left: Sequence[str] = (), files: Files | None = None
    ) -> Recovered:
        """Recover in this process, or in the one that the files belong to."""
        recovery = Recovery(files or self.files, self.ledger)  # type: ignore[arg-type]
        order = Recover(target=self.target, reopened=list(reopened), left=list(left))
        return await ActivityEnvironment().run(recovery.recover, order)
