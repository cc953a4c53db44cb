"""Writes receipts as the ledger shows a round, and answers the namespaces that wait for them.

1. A receipt is written at inclusion, never before; each change of state carries a higher revision (X9).
2. A round is closed once every receipt of it is final, or once another round holds all its leaves.
3. A receipt that can't be written holds up only its own namespace; the rest is written and answered first. Event
   receipts and the Remembrancer hold up nobody: they come last, and an order is tried again until they say the same.
4. An order is given back with its first failure: operators see it, and the round, or who waits for it, may change meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.anchoring.audit import differs
from activities.anchoring.evidence import end_of
from activities.anchoring.outcomes import Done
from activities.anchoring.recover import closed_rounds
from activities.anchoring.replies import Answers
from activities.anchoring.round_receipts import Entry, anchor_receipt, entries, reorged
from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from activities.current import Attempts
from activities.failures import decided_by_the_aggregator, kind_of
from vaultmesh.domain.aggregator.ledger_messages import (
    BlockRef,
    RoundState,
    RoundView,
    WatchedRound,
)
from vaultmesh.domain.aggregator.messages import Record, Recorded, RecordState
from vaultmesh.domain.aggregator.orders import MOST_ROUNDS
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.failures import AnchorError, FailureKind, NetworkFailure
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.receipts.receipt import PROOF_MISSING, AnchorReceipt
from vaultmesh.domain.rounds.manifest import Manifest, RoundOutcome
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring, Evidence
from vaultmesh.storage.files import NoFile
from vaultmesh.storage.receipts import Written

OTHERS_SECONDS = 120.0
"""How long one order goes on with other rounds: well below the time-out of the activity."""


STORED_LOOKED_AT = 8
"""Receipts that are read to find one with evidence of the same round: all of a round carry the same."""


class _EvidenceGone(NetworkFailure):
    """The tokens of a closed round, which lay in its folder alone, are gone."""


class Recording:
    """Adapter of the port `record`."""

    def __init__(
        self,
        files: Files,
        targets: Targets,
        answers: Answers,
        attempts: Attempts,
        paid: Callable[[Target, int], None] = lambda _target, _fee: None,
    ) -> None:
        """Write through the files while the attempt counts; collect evidence through the opened targets.

        `paid` counts what final rounds paid.
        """
        self._paid = paid
        self._files = files
        self._targets = targets
        self._answers = answers
        self._attempts = attempts

    @activity.defn(name="record")
    async def record(self, order: Record) -> Recorded:
        """Write a round's receipts and answer who waits; idempotent by round, state and revision."""
        with decided_by_the_aggregator():
            guard = self._attempts.guard()
            match order.state:
                case RecordState.LOST:
                    return await asyncio.to_thread(self._close_lost, order, guard)
                case RecordState.REORGED:
                    return await asyncio.to_thread(self._write_reorged, order, guard)
                case RecordState.INCLUDED:
                    return await self._write_included(order)
                case RecordState.CLOSED:
                    return await self._write_again(order)

    # --- included --------------------------------------------------------------------------------------------------

    async def _write_included(self, order: Record) -> Recorded:
        try:
            anchoring = await self._targets.open(order.target)
            manifest = await asyncio.to_thread(self._manifest, order)
            view, evidence = await self._shown(order, anchoring, manifest)
        except (AnchorError, InvalidValue) as error:
            await self._tell(order, order.waiting, error)
            raise
        least, guard = anchoring.confirmations, self._attempts.guard()
        every = await asyncio.to_thread(lambda: list(entries(self._files, order, manifest, least)))
        done = await asyncio.to_thread(self._write_all, order, every, view, evidence, guard)
        if done.newer and order.state is not RecordState.CLOSED:
            return Recorded(newer=True)
        reopened = order.state is RecordState.CLOSED and await asyncio.to_thread(
            self._reopened, order, done
        )
        await self._answers.complete(order.target, done.answers(order.waiting), order.round_id)
        await self._tell_stuck(order, done)
        done.behind += await asyncio.to_thread(self._follow, done.receipts)
        is_settled = order.view is not None and order.view.final and order.view.block == view.block
        if is_settled and not done.trouble:
            was_open = await asyncio.to_thread(self._close_final, order, view, guard)
            if was_open:
                await self._count_fee(order, anchoring, view.tx_ref)
        if done.trouble and not reopened:
            raise done.trouble[0]
        return Recorded(receipts=len(done.receipts), reopened=[order.round_id] if reopened else [])

    async def _shown(
        self, order: Record, anchoring: Anchoring, manifest: Manifest
    ) -> tuple[RoundView, Evidence]:
        """Return where the ledger shows the round, and what it shows of it."""
        view = await self._newest(order, order.view) if order.view else await self._closed(order)
        raw = await asyncio.to_thread(self._raw, order, view.tx_ref)
        watched = await asyncio.to_thread(self._with_stored, order, manifest)
        return view, await anchoring.evidence(watched, view, raw)

    def _manifest(self, order: Record) -> Manifest:
        """Return the round's manifest, restored from receipts or batches if its file can't be read."""
        rounds = self._files.rounds(order.target)
        try:
            return rounds.read_manifest(order.round_id)
        except InvalidValue:
            self._files.damaged(order.target).look([*order.waiting, *order.late_joiners])
            return rounds.read_manifest(order.round_id)

    def _reopened(self, order: Record, done: Done) -> bool:
        """Open a closed round again if a receipt of it is not final; whether it is open, also since an earlier try.

        Who could not be written then asks again, and joins the open round.
        """
        rounds = self._files.rounds(order.target)
        if not done.is_final:
            rounds.reopen(order.round_id)
        return rounds.closed(order.round_id) is None

    async def _write_again(self, order: Record) -> Recorded:
        """Write a closed round's receipts again, then those of every other one that the same requests miss (X11)."""
        try:
            done = await self._write_included(order)
        except _EvidenceGone:
            done = await asyncio.to_thread(self._ask_again, order)
        except DomainError:
            await self._write_others_again(order)
            raise
        others = await self._write_others_again(order)
        # The aggregator finds those beyond the most by itself: a seal that meets an unknown round has it recover.
        return done.model_copy(update={"reopened": [*done.reopened, *others][:MOST_ROUNDS]})

    def _ask_again(self, order: Record) -> Recorded:
        """Open a round again whose tokens are gone: the same request gives new ones."""
        extra = {"target": str(order.target), "round": order.round_id}
        activity.logger.warning("tokens of a closed round are gone; asked for again", extra=extra)
        self._files.rounds(order.target).reopen(order.round_id)
        return Recorded(reopened=[order.round_id])

    async def _write_others_again(self, order: Record) -> list[str]:
        """Write what the requests miss of all other closed rounds; the next slot tries again what fails now."""
        ends = time.monotonic() + OTHERS_SECONDS
        asking = [*order.waiting, *order.late_joiners]
        others = await asyncio.to_thread(closed_rounds, self._files, order.target, asking)
        reopened: list[str] = []
        for round_id in others:
            if time.monotonic() > ends:
                break
            changes = {"round_id": round_id, "waiting": [], "late_joiners": asking}
            try:
                done = await self._write_included(order.model_copy(update=changes))
                reopened += done.reopened
            except DomainError as error:
                extra = {"round": round_id, "err": str(error)}
                activity.logger.warning("a closed round's receipts are missing still", extra=extra)
        return reopened

    async def _tell_stuck(self, order: Record, done: Done) -> None:
        """Tell the namespaces of requests whose receipts can't be written."""
        for namespace, failure in done.failed.items():
            waiting = [request for request in order.waiting if request.namespace == namespace]
            await self._tell(order, waiting, failure)

    async def _tell(
        self, order: Record, waiting: Sequence[AnchorRequest], error: AnchorError | InvalidValue
    ) -> None:
        """Tell namespaces that wait why they go on waiting."""
        failures = order.tries + 1
        for request in waiting:
            await self._answers.note(request, failures, kind_of(error), str(error), order.backoff)

    async def _newest(self, order: Record, ordered: RoundView) -> RoundView:
        """Look again when this is not the first try: the ledger may show something else by now.

        What was seen final stays so while its block does: a node that lags takes nothing back.

        Raises:
            ApplicationError: it shows no inclusion any more; given back at once, since the aggregator will say what to write.
        """
        if order.tries == 0 and activity.info().attempt == 1:
            return ordered
        view = await self._look(order, ordered)
        if view.state is not RoundState.INCLUDED:
            message = f"round {order.round_id} is {view.state} now on {order.target}: {view.message or 'see the ledger'}"
            raise ApplicationError(message, type=FailureKind.NETWORK.value, non_retryable=True)
        return ordered if ordered.final and view.block == ordered.block else view

    async def _look(self, order: Record, seen: RoundView | None = None) -> RoundView:
        """Look at a round; one that was seen in a block stays there while that block is canonical."""
        anchoring = await self._targets.open(order.target)
        watched = await asyncio.to_thread(self._files.rounds(order.target).watched, order.round_id)
        if seen is not None and seen.block is not None:
            included = {"state": seen.state, "tx_ref": seen.tx_ref, "block": seen.block}
            watched = watched.model_copy(update=included)
        (view,) = await anchoring.look([watched])
        return view

    async def _closed(self, order: Record) -> RoundView:
        """Look at a closed round's ledger entry again: its receipts are to be rebuilt."""
        view = await self._look(order, await asyncio.to_thread(self._seen, order))
        if view.state is RoundState.MISSING and not SCHEMES[order.target.scheme].has_blocks:
            message = f"no file has the tokens of round {order.round_id}"
            raise _EvidenceGone(message)
        if view.state is not RoundState.INCLUDED:
            message = (
                f"round {order.round_id} was closed as final, but its transaction is {view.state} now on "
                f"{order.target}: {view.message or 'see the ledger'}"
            )
            raise NetworkFailure(message)
        return view

    def _seen(self, order: Record) -> RoundView | None:
        """Return what a closed round's end says of its block: a ledger's node may have forgotten the transaction."""
        closed = self._files.rounds(order.target).closed(order.round_id)
        if closed is None or not closed.block_hash or closed.block_time is None:
            return None
        return RoundView(
            round_id=order.round_id,
            state=RoundState.INCLUDED,
            tx_ref=closed.tx_ref,
            block=BlockRef(number=closed.block, hash=closed.block_hash, time=closed.block_time),
        )

    def _raw(self, order: Record, tx_ref: str) -> str:
        for candidate in self._files.rounds(order.target).candidates(order.round_id):
            if candidate.tx_ref == tx_ref:
                return candidate.raw
        message = (
            f"no stored candidate of round {order.round_id} has hash {tx_ref}; restore out/rounds"
        )
        raise NetworkFailure(message)

    def _with_stored(self, order: Record, manifest: Manifest) -> WatchedRound:
        """Return a round with what a receipt of it carries: a ledger that forgot it completes that one all the same."""
        watched = self._files.rounds(order.target).watched(order.round_id)
        for entry in islice(entries(self._files, order, manifest), STORED_LOOKED_AT):
            with suppress(NoFile):
                stored = self._of_round(order, entry)
                if stored is not None:
                    return watched.model_copy(update={"stored": stored.scheme_evidence})
        return watched

    def _write_all(
        self,
        order: Record,
        every: Sequence[Entry],
        view: RoundView,
        evidence: Evidence,
        require_current: Callable[[], None],
    ) -> Done:
        done, now = Done(), activity.info().started_time
        revision = order.revision
        if order.state is RecordState.CLOSED:
            revision = (
                self._files.rounds(order.target).closed_revision(order.round_id) or order.revision
            )
        has_blocks = SCHEMES[order.target.scheme].has_blocks
        may_keep = order.state is RecordState.CLOSED or not has_blocks
        require_current()
        self._keep_late_joiners(order, every, done)
        for entry in every:
            if may_keep and (kept := self._kept(order, entry, evidence)):
                done.receipts.append(kept)
                continue
            receipt = anchor_receipt(entry, order, view, evidence, now=now, revision=revision)
            require_current()
            try:
                written = self._files.receipts.write(receipt, only_differing=order.only_differing)
            except NoFile as failure:
                done.blocked.append(failure)
                continue
            except NetworkFailure as failure:
                done.failed.setdefault(entry.request.namespace, failure)
                continue
            if written is Written.NEWER_EXISTS:
                done.newer = True
                if order.state is not RecordState.CLOSED:
                    return done
            done.receipts.append(receipt)
        return done

    def _keep_late_joiners(self, order: Record, every: Sequence[Entry], done: Done) -> None:
        """Have the round's folder name its late joiners; where it can't, the round stays open until it does."""
        late_joiners = [entry.late_joiner for entry in every if entry.is_late_joiner]
        try:
            self._files.rounds(order.target).add_late_joiners(order.round_id, late_joiners)
        except NetworkFailure as failure:
            done.behind.append(failure)

    def _kept(self, order: Record, entry: Entry, evidence: Evidence) -> AnchorReceipt | None:
        """Return a receipt of a round, closed or without blocks, that is not gone: final ones are never written anew (X9).

        Only a proof that it lacks is added, once there is one.
        """
        try:
            stored = self._of_round(order, entry)
        except NoFile:
            return None
        if stored is None:
            return None
        closed = self._files.rounds(order.target).closed(order.round_id)
        if closed is not None and differs(stored, closed):
            return None
        if stored.lacks_proof and PROOF_MISSING not in evidence.scheme:
            return None
        return stored if stored.is_final and stored.root == entry.leaf.root else None

    def _follow(self, receipts: Sequence[AnchorReceipt]) -> list[NetworkFailure]:
        """Bring event receipts up to date, then the Remembrancer; returns why some are behind."""
        behind = self._derive(receipts)
        try:
            self._files.remembrancer.append(*(receipt for receipt in receipts if receipt.is_final))
        except NetworkFailure as failure:
            behind.append(failure)
        return behind

    def _derive(self, receipts: Sequence[AnchorReceipt]) -> list[NetworkFailure]:
        """Bring event receipts up to date; returns why those of some batches are not."""
        direct = {
            (receipt.metadata.batch_id, receipt.root) for receipt in receipts if receipt.is_direct
        }
        behind: list[NetworkFailure] = []
        for batch_id, root in sorted(direct):
            try:
                self._files.receipts.derive_event_receipts(batch_id, root)
            except NetworkFailure as failure:
                behind.append(failure)
        return behind

    # --- other states ----------------------------------------------------------------------------------------------

    def _write_reorged(self, order: Record, require_current: Callable[[], None]) -> Recorded:
        """Say of every receipt of the round that its block left the chain; one that can't be written keeps no other back."""
        manifest = self._files.rounds(order.target).read_manifest(order.round_id)
        done, now = Done(), activity.info().started_time
        for entry in entries(self._files, order, manifest):
            try:
                old = self._of_round(order, entry)
                if old is None:
                    continue
                require_current()
                written = self._files.receipts.write(reorged(old, order.revision, now))
            except NetworkFailure as failure:
                done.blocked.append(failure)
                continue
            if written is Written.NEWER_EXISTS:
                return Recorded(newer=True)
            done.receipts.append(old)
        done.behind += self._derive(done.receipts)
        if done.trouble:
            raise done.trouble[0]
        return Recorded(receipts=len(done.receipts))

    def _of_round(self, order: Record, entry: Entry) -> AnchorReceipt | None:
        """Return a receipt of the round as it is stored; None if another's, or none that can be read, is in its place."""
        try:
            stored = self._files.receipts.read(
                entry.request.namespace, entry.leaf.batch_id, order.target
            )
        except InvalidValue:
            return None
        return stored if stored is not None and stored.metadata.round == order.round_id else None

    def _close_lost(self, order: Record, require_current: Callable[[], None]) -> Recorded:
        require_current()
        self._close(order, RoundOutcome.LOST)
        return Recorded()

    def _close_final(
        self, order: Record, view: RoundView, require_current: Callable[[], None]
    ) -> bool:
        """Close a round; returns whether it was open until now."""
        require_current()
        was_open = not self._files.rounds(order.target).has_end(order.round_id)
        self._close(order, RoundOutcome.FINAL, view)
        return was_open

    async def _count_fee(self, order: Record, anchoring: Anchoring, tx_ref: str) -> None:
        """Count what a round paid that was closed just now; what nobody can tell is not counted."""
        rounds = self._files.rounds(order.target)
        try:
            for candidate in await asyncio.to_thread(rounds.candidates, order.round_id):
                if candidate.tx_ref == tx_ref:
                    fee = await anchoring.fee_paid(tx_ref, candidate.terms)
                    self._paid(order.target, fee or 0)
        except (AnchorError, InvalidValue) as error:
            extra = {"round": order.round_id, "err": str(error)}
            activity.logger.info("the fee of a round is not known", extra=extra)

    def _close(self, order: Record, outcome: RoundOutcome, view: RoundView | None = None) -> None:
        counted = order.candidates if outcome is RoundOutcome.LOST else 0
        end = end_of(outcome, view, order.reservation, revision=order.revision, candidates=counted)
        self._files.rounds(order.target).close(order.round_id, end)
