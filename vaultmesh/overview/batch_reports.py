"""Says all that the files below the root tell of one batch: its events, its receipts, what they prove, and when what happened.

1. Receipts are verified offline, by what they carry: no ledger is asked, and nothing is trusted.
2. A receipt or batch that can't be used is said with its problem, and hides no other.
3. Each instant says whose clock it is of. They stand in the order in which things happen: a block's clock may be
   behind the storage's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from vaultmesh.domain.batches.batch import Batch, parse_batch
from vaultmesh.domain.checks import Standing, Trust, Verdict
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.receipts.levels import Levels, Seen
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Status, parse_receipt
from vaultmesh.domain.rounds.manifest import Candidate
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.status import RoundStatus, TargetView
from vaultmesh.domain.target import Target
from vaultmesh.process.settings import Settings
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.storage.batches import SUFFIX
from vaultmesh.storage.round_files import RoundFiles
from vaultmesh.verification.batch_levels import BatchLevels, levels_seen
from vaultmesh.verification.live import Verifier
from vaultmesh.verification.offline import verify_offline

LONGEST_ID = 200
"""Bytes of a batch id that can be a file's name."""
MOST_ROUNDS = 50
"""Open rounds of a target that a batch is looked for in."""

_NO_LEVELS = BatchLevels("", Levels((), ()))


class Step(StrEnum):
    """What happened to a batch."""

    SEALED = "sealed"
    SENT = "sent"
    """Its first transaction or request was signed and stored, which is the last thing before it is sent."""
    SENT_AGAIN = "sent again"
    """Another version of the transaction, with a higher fee."""
    INCLUDED = "included"
    """In a block."""
    STAMPED = "stamped"
    """Under an authority's signature: there is no more to come."""
    LOST = "lost"
    """Its block left the chain."""
    ENDED = "ended"
    """An operator ended it; the batch is owed again."""
    FINAL = "final"


CLOCKS: Mapping[Step, str] = {
    Step.SEALED: "the sealer's clock",
    Step.SENT: "the storage's clock",
    Step.SENT_AGAIN: "the storage's clock",
    Step.INCLUDED: "the ledger's own clock",
    Step.STAMPED: "the authority's clock",
    Step.LOST: "the look that found it",
    Step.ENDED: "the scheduler's clock",
    Step.FINAL: "the first look that found it final",
}


_FINAL_STEPS = frozenset({Step.FINAL, Step.STAMPED})


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, and when."""

    at: datetime
    step: Step

    @property
    def clock(self) -> str:
        """Whose clock says so."""
        return CLOCKS[self.step]


@dataclass(frozen=True, slots=True)
class ReceiptReport:
    """One anchor receipt of a batch."""

    file: str
    """Below the root."""
    problem: str = ""
    """Why it can't be used; empty if it can."""
    receipt: AnchorReceipt | None = None
    verdict: Verdict | None = None
    """What it proves offline to somebody who trusts nothing: nothing is wrong in it, or something is."""
    trust: str = ""
    """What somebody must trust to whom it proves its anchor."""
    when: str = ""
    """By when that proves it, and whose clock says so."""
    moments: Sequence[Moment] = ()
    """In the order in which they happened."""

    @property
    def is_refuted(self) -> bool:
        """Whether something that it carries is wrong."""
        return self.verdict is not None and self.verdict.standing is Standing.REFUTED


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A round that holds the batch and has no receipt of it yet."""

    target: Target
    round: RoundStatus
    moments: Sequence[Moment]


@dataclass(frozen=True, slots=True)
class BatchReport:
    """All that is known of one batch of one namespace."""

    namespace: str
    batch_id: str
    batch: Batch | None
    problem: str
    """Why its file can't be used; empty if it can."""
    receipts: Sequence[ReceiptReport]
    levels: BatchLevels
    under_way: Sequence[UnderWay] = field(default_factory=tuple)

    @property
    def sealed(self) -> Sequence[Moment]:
        """When it was sealed, if its file says so."""
        created_at = self.batch.created_at if self.batch is not None else None
        try:
            return [] if created_at is None else [Moment(of_seconds(created_at), Step.SEALED)]
        except InvalidValue:
            return []

    def final_at(self, target: str) -> datetime | None:
        """Return when it was final on a target; None if it is not, or that is not known."""
        for report in self.receipts:
            receipt = report.receipt
            if receipt is None or str(receipt.network) != target or not receipt.is_final:
                continue
            ends = [moment.at for moment in report.moments if moment.step in _FINAL_STEPS]
            return max(ends, default=None)
        return None

    @property
    def is_unknown(self) -> bool:
        """Whether there is neither a batch file nor a receipt."""
        return self.batch is None and not self.problem and not self.receipts


class BatchReports:
    """Reports of batches below one root; used by any thread."""

    def __init__(self, settings: Settings, files: BatchFiles) -> None:
        """Read nothing before it is asked for."""
        self._settings = settings
        self._files = files

    def report(
        self, namespace: str, folder: str, batch_id: str, targets: Iterable[TargetView] = ()
    ) -> BatchReport:
        """Return what is known of a batch; `targets` are those whose open rounds may hold it. Blocks.

        Raises:
            NetworkFailure: the storage failed.
        """
        if not is_id(batch_id):
            return BatchReport(namespace, batch_id, None, "", (), _NO_LEVELS)
        batch, problem = self._batch(namespace, folder or BATCHES_FOLDER, batch_id)
        receipts = self._receipts(namespace, batch_id, batch)
        seen = [
            Seen(report.receipt, verified=not report.is_refuted)
            for report in receipts
            if report.receipt is not None
        ]
        levels = levels_seen(self._settings, batch_id, seen, namespace)
        anchored = {entry.receipt.network for entry in seen}
        rounds = [
            under_way
            for target in targets
            for under_way in self._under_way(target, batch)
            if under_way.target not in anchored
        ]
        return BatchReport(namespace, batch_id, batch, problem, receipts, levels, rounds)

    def _batch(self, namespace: str, folder: str, batch_id: str) -> tuple[Batch | None, str]:
        """Return a batch and what is wrong with its file; neither, if there is none of this namespace's."""
        place = f"{folder}/{batch_id}{SUFFIX}"
        content = self._files.store.read(place)
        if content is None:
            return None, ""
        try:
            batch = parse_batch(content, name=batch_id)
        except InvalidValue as error:
            return None, f"{place}: {error}"
        return (batch, "") if batch.namespace in ("", namespace) else (None, "")

    # --- receipts --------------------------------------------------------------------------------------------------

    def _receipts(self, namespace: str, batch_id: str, batch: Batch | None) -> list[ReceiptReport]:
        verifier = Verifier(self._settings)
        root = self._settings.root
        return [
            self._receipt(path.relative_to(root).as_posix(), batch)
            for path in verifier.receipts_of(batch_id, namespace)
        ]

    def _receipt(self, file: str, batch: Batch | None) -> ReceiptReport:
        try:
            content = self._files.store.read(file)
            receipt = parse_receipt(content or b"")
        except NetworkFailure as failure:
            return ReceiptReport(file, str(failure))
        except InvalidValue as error:
            return ReceiptReport(file, f"not what we write: {error}")
        if receipt.path != file:
            return ReceiptReport(file, f"it is the receipt of {receipt.path}; restore it")
        verdict = verify_offline(receipt, Trust(), batch)
        (part,) = verdict.ledgers
        moments = [*self._sent(receipt), *_of_receipt(receipt)]
        return ReceiptReport(file, "", receipt, verdict, part.trust, part.when, moments)

    def _sent(self, receipt: AnchorReceipt) -> list[Moment]:
        rounds = RoundFiles(self._files.store, receipt.network)
        return _sent(rounds, receipt.metadata.round, receipt.tx_ref)

    # --- rounds without a receipt ----------------------------------------------------------------------------------

    def _under_way(self, target: TargetView, batch: Batch | None) -> list[UnderWay]:
        """Return the open rounds of a target that hold a batch."""
        if batch is None:
            return []
        parsed = Target.parse(target.target)
        rounds = RoundFiles(self._files.store, parsed)
        return [
            UnderWay(parsed, status, _sent(rounds, status.round_id, status.tx_ref))
            for status in target.rounds[:MOST_ROUNDS]
            if _holds(rounds, status.round_id, batch)
        ]


def is_id(batch_id: str) -> bool:
    """Tell whether a batch's file can be called so."""
    is_name = bool(batch_id) and not batch_id.startswith(".") and not set(batch_id) & {"/", "\0"}
    return is_name and len(batch_id.encode(errors="replace")) <= LONGEST_ID


def _holds(rounds: RoundFiles, round_id: str, batch: Batch) -> bool:
    try:
        leaves = rounds.read_manifest(round_id).leaves
    except DomainError:
        return False
    return any((leaf.batch_id, leaf.root) == (batch.id, batch.root) for leaf in leaves)


def _sent(rounds: RoundFiles, round_id: str, tx_ref: str) -> list[Moment]:
    """Return when a round's transaction was sent first, and when the version was that won."""
    try:
        candidates: list[Candidate] = rounds.candidates(round_id)
    except DomainError:
        return []
    moments: list[Moment] = []
    for candidate in candidates:
        stamp = rounds.candidate_stamp(round_id, candidate.n)
        is_first = candidate is candidates[0]
        if stamp is not None and (is_first or candidate.tx_ref == tx_ref):
            at = datetime.fromtimestamp(stamp.modified_ns / 1e9, UTC)
            moments.append(Moment(at, Step.SENT if is_first else Step.SENT_AGAIN))
    return moments


def _of_receipt(receipt: AnchorReceipt) -> list[Moment]:
    """Return what a receipt says of when it was included, and what became of it."""
    has_blocks = SCHEMES[receipt.network.scheme].has_blocks
    moments = [Moment(receipt.anchor_ts, Step.INCLUDED if has_blocks else Step.STAMPED)]
    if receipt.status is Status.REORGED:
        moments.append(Moment(receipt.observed_at, Step.LOST))
    elif receipt.status is Status.FAILED:
        moments.append(Moment(receipt.observed_at, Step.ENDED))
    elif receipt.is_final and has_blocks:
        moments.append(Moment(receipt.observed_at, Step.FINAL))
    return moments
