"""The place where receipts follow what the ledger shows of a round, and where the waiting clocks are answered.

1. A receipt is written at inclusion, never before; each change of state carries a higher revision (X9).
2. A round is closed once every receipt of it is final, or once another round holds all its leaves.
3. A receipt that can't be written holds up only its own namespace; the rest is written and answered first.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from temporalio import activity

from activities.anchors.contract import Evidence
from activities.answers import Answers
from activities.entries import entries
from activities.failures import retried
from activities.files import Files
from activities.outcomes import anchored
from activities.rebuilding import closed_rounds
from activities.receipts import anchor_receipt, reorged
from activities.targets import Targets
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.ledger import RoundState, RoundView
from vaultmesh.domain.messages import AnchorOutcome, AnchorRequest, OutcomeStatus
from vaultmesh.domain.receipt import AnchorReceipt
from vaultmesh.domain.rounds import Closed, Manifest, RoundOutcome
from vaultmesh.domain.steps import Record, Recorded, RecordState
from vaultmesh.runtime.receipt_store import Written

OTHERS_SECONDS = 120.0
"""How long one order goes on with other rounds: well below the time-out of the activity."""


class Recording:
    """Adapter of the port `record`."""

    def __init__(self, files: Files, targets: Targets, answers: Answers) -> None:
        """Write through the files; collect evidence through the opened targets."""
        self._files = files
        self._targets = targets
        self._answers = answers

    @activity.defn(name="record")
    async def record(self, order: Record) -> Recorded:
        """Write a round's receipts and answer who waits; idempotent by round, state and revision."""
        with retried(order.backoff):
            match order.state:
                case RecordState.LOST:
                    return await asyncio.to_thread(self._close_lost, order)
                case RecordState.REORGED:
                    return await asyncio.to_thread(self._write_reorged, order)
                case RecordState.INCLUDED:
                    return await self._write_included(order)
                case RecordState.CLOSED:
                    return await self._write_again(order)

    # --- included --------------------------------------------------------------------------------------------------

    async def _write_included(self, order: Record) -> Recorded:
        anchoring = await self._targets.open(order.target)
        manifest = await asyncio.to_thread(
            self._files.rounds(order.target).read_manifest, order.round_id
        )
        view = await self._newest(order, order.view) if order.view else await self._closed(order)
        raw = await asyncio.to_thread(self._raw, order, view.tx_ref)
        watched = await asyncio.to_thread(self._files.rounds(order.target).watched, order.round_id)
        evidence = await anchoring.evidence(watched, view, raw)
        least = anchoring.confirmations
        done = await asyncio.to_thread(self._write_all, order, manifest, view, evidence, least)
        if done.newer and order.state is not RecordState.CLOSED:
            return Recorded(newer=True)
        if done.failed:
            await self._report(order, done)
        if order.view is not None and order.view.final and order.state is RecordState.INCLUDED:
            await asyncio.to_thread(self._close_final, order, view)
        await self._answers.complete(order.target, done.answers(order.waiting))
        return Recorded(receipts=len(done.receipts))

    async def _write_again(self, order: Record) -> Recorded:
        """Write a closed round's receipts again, then those of every other one that the same requests miss (X11)."""
        try:
            done = await self._write_included(order)
        except DomainError:
            await self._write_others_again(order)
            raise
        await self._write_others_again(order)
        return done

    async def _write_others_again(self, order: Record) -> None:
        """One slot brings back what years of slots wrote; what can't be had now is missed again at the next one."""
        ends = time.monotonic() + OTHERS_SECONDS
        asking = [*order.waiting, *order.riders]
        others = await asyncio.to_thread(closed_rounds, self._files, order.target, asking)
        for round_id in others:
            if time.monotonic() > ends:
                return
            changes = {"round_id": round_id, "waiting": [], "riders": asking}
            try:
                await self._write_included(order.model_copy(update=changes))
            except DomainError as error:
                told = {"round": round_id, "err": str(error)}
                activity.logger.warning("a closed round's receipts are missing still", extra=told)

    async def _report(self, order: Record, done: "_Done") -> NoReturn:
        """Answer who has all its receipts, tell the others' clocks, and fail, so that it is tried again."""
        stuck = [one for one in order.waiting if one.namespace in done.failed]
        written = [one for one in order.waiting if one.namespace not in done.failed]
        await self._answers.complete(order.target, done.answers(written))
        attempt = activity.info().attempt
        for one in stuck:
            failure = done.failed[one.namespace]
            await self._answers.note(one, attempt, failure.kind, str(failure), order.backoff)
        raise next(iter(done.failed.values()))

    async def _newest(self, order: Record, ordered: RoundView) -> RoundView:
        """Look again when this is not the first try: the rest of the round must not wait for one folder."""
        if activity.info().attempt == 1:
            return ordered
        view = await self._look(order)
        same = view.state is RoundState.INCLUDED and view.block == ordered.block
        return view if same else ordered

    async def _look(self, order: Record) -> RoundView:
        anchoring = await self._targets.open(order.target)
        watched = await asyncio.to_thread(self._files.rounds(order.target).watched, order.round_id)
        (view,) = await anchoring.look([watched])
        return view

    async def _closed(self, order: Record) -> RoundView:
        """Look at a closed round's ledger entry again: its receipts are to be rebuilt."""
        view = await self._look(order)
        if view.state is not RoundState.INCLUDED:
            message = (
                f"round {order.round_id} was closed as final, but its transaction is {view.state} now on "
                f"{order.target}: {view.message or 'see the ledger'}"
            )
            raise NetworkFailure(message)
        return view

    def _raw(self, order: Record, tx_ref: str) -> str:
        for candidate in self._files.rounds(order.target).candidates(order.round_id):
            if candidate.tx_ref == tx_ref:
                return candidate.raw
        message = (
            f"no stored candidate of round {order.round_id} has hash {tx_ref}; restore out/rounds"
        )
        raise NetworkFailure(message)

    def _write_all(
        self,
        order: Record,
        manifest: Manifest,
        view: RoundView,
        evidence: Evidence,
        least_depth: int,
    ) -> "_Done":
        done = _Done()
        revision = order.revision
        if order.state is RecordState.CLOSED:
            revision = (
                self._files.rounds(order.target).closed_revision(order.round_id) or order.revision
            )
        for entry in entries(self._files, order, manifest, least_depth):
            receipt = anchor_receipt(
                entry, order, view, evidence, now=datetime.now(UTC), revision=revision
            )
            try:
                written = self._files.receipts.write(receipt)
            except NetworkFailure as failure:
                done.failed.setdefault(entry.request.namespace, failure)
                continue
            if written is Written.NEWER_EXISTS:
                done.newer = True
                if order.state is not RecordState.CLOSED:
                    return done
            done.receipts.append(receipt)
        self._derive(done.receipts)
        return done

    def _derive(self, receipts: Sequence[AnchorReceipt]) -> None:
        """Bring event receipts and the Remembrancer up to date."""
        direct = {(one.metadata.batch_id, one.root) for one in receipts if one.is_direct}
        for batch_id, root in sorted(direct):
            self._files.receipts.derive_event_receipts(batch_id, root)
        self._files.remembrancer.append(*(one for one in receipts if one.is_final))

    # --- other states ----------------------------------------------------------------------------------------------

    def _write_reorged(self, order: Record) -> Recorded:
        """Say of every receipt of the round that its block left the chain."""
        manifest = self._files.rounds(order.target).read_manifest(order.round_id)
        count = 0
        for entry in entries(self._files, order, manifest):
            old = self._files.receipts.read(
                entry.request.namespace, entry.leaf.batch_id, order.target
            )
            if old is None or old.metadata.round != order.round_id:
                continue
            written = self._files.receipts.write(reorged(old, order.revision, datetime.now(UTC)))
            if written is Written.NEWER_EXISTS:
                return Recorded(newer=True)
            self._derive([old])
            count += 1
        return Recorded(receipts=count)

    def _close_lost(self, order: Record) -> Recorded:
        self._close(order, RoundOutcome.LOST, "", 0)
        return Recorded()

    def _close_final(self, order: Record, view: RoundView) -> None:
        self._close(order, RoundOutcome.FINAL, view.tx_ref, view.block.number if view.block else 0)

    def _close(self, order: Record, outcome: RoundOutcome, tx_ref: str, block: int) -> None:
        rounds = self._files.rounds(order.target)
        rounds.close(
            order.round_id,
            Closed(
                outcome=outcome,
                tx_ref=tx_ref,
                block=block,
                revision=order.revision,
                sequence=order.reservation.sequence if order.reservation else None,
                account=order.reservation.account if order.reservation else "",
                candidates=order.candidates if outcome is RoundOutcome.LOST else 0,
                closed_at=datetime.now(UTC),
            ),
        )


@dataclass(slots=True)
class _Done:
    """What a recorder wrote."""

    receipts: list[AnchorReceipt] = field(default_factory=list)
    newer: bool = False
    failed: dict[str, NetworkFailure] = field(default_factory=dict)
    """Namespaces with a receipt that could not be written."""

    def answers(
        self, waiting: Iterable[AnchorRequest]
    ) -> list[tuple[AnchorRequest, AnchorOutcome]]:
        """Return each waiting request's outcome."""
        by_namespace: dict[str, list[AnchorReceipt]] = {}
        for receipt in self.receipts:
            by_namespace.setdefault(receipt.metadata.namespace, []).append(receipt)
        return [(one, _outcome(one, by_namespace.get(one.namespace, []))) for one in waiting]


def _outcome(request: AnchorRequest, receipts: list[AnchorReceipt]) -> AnchorOutcome:
    own = [
        one
        for one in receipts
        if (one.metadata.cadence, one.metadata.slot) == (request.cadence, request.slot)
    ]
    if own or receipts:
        return anchored(own or receipts)
    return AnchorOutcome(status=OutcomeStatus.NOTHING_OWED)
