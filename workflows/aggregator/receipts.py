"""Has receipts written until they say what the ledger shows; that is tried for ever, on the backoff, and stops nobody.

1. One order per round is under way; what changes meanwhile is the next one's.
2. Whoever joins a round while its receipts are written is in the next order: nobody is left without an answer.
3. A round whose final receipts can't be written is observed on: its block may leave the chain before they are.
4. Receipts of closed rounds that are gone are written again (X11), asked for once by each who misses them.
5. An order that failed is shown at once, and given again after a rest, which `hurry` ends.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial

from temporalio import workflow

from vaultmesh.domain.aggregator.messages import Record, RecordState
from vaultmesh.domain.aggregator.open_round import OpenRound, number_of
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.aggregator.waiting import merged
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.log_events import LogEvent
from vaultmesh.domain.messages import AnchorRequest
from workflows import options, ports
from workflows.aggregator.log import log_reopened
from workflows.aggregator.replies import Replies
from workflows.calls import StepFailed, call
from workflows.lines import Lines

ORDERS_BEFORE_A_LOOK = 3
"""Orders that fail of a round's files before the storage is read anew."""

MOST_AT_ONCE = 500
"""Orders under way for rounds that nobody waits for: a server takes 2,000 activities of one workflow, and fails its task beyond."""


class Receipts:
    """Has the receipts of one aggregator's rounds written."""

    def __init__(
        self,
        start: AggregatorInput,
        rounds: OpenRounds,
        replies: Replies,
        lines: Lines,
        observe_anew: Callable[[], None],
    ) -> None:
        """Write for an aggregator; `observe_anew` is called when a round is no longer open."""
        self._target = start.target
        self._backoff = start.backoff
        self._rounds = rounds
        self._replies = replies
        self._lines = lines
        self._observe_anew = observe_anew
        self._recording: dict[str, asyncio.Task[None]] = {}
        self._broken: BaseException | None = None
        self._missing = Missing()
        self._hurried = 0

    def raise_broken(self) -> None:
        """Raise what ended a recorder unexpectedly: the workflow task fails in sight of all, and is tried again."""
        if self._broken is not None:
            raise self._broken

    def hurry(self) -> None:
        """Give every order again at once that failed: what it failed of may be mended."""
        self._hurried += 1

    def _is_hurried_since(self, before: int) -> bool:
        return self._hurried != before

    async def _rest(self, tries: int, failure: StepFailed, is_over: Callable[[], bool]) -> None:
        """Rest after an order that failed."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                is_over,
                timeout=self._backoff.delay(tries, failure.kind),
                timeout_summary="rest before receipts are tried again",
            )

    def record_closed(
        self,
        round_id: str,
        waiting: list[AnchorRequest],
        late_joiners: Sequence[AnchorRequest] = (),
    ) -> None:
        """Have the receipts of a closed round written again, for requests that wait for theirs or only miss them."""
        self._missing.add(round_id, waiting, late_joiners)
        if round_id not in self._recording:
            self._start_recording(round_id, self._record_closed(round_id))

    def rewrite_closed(self, round_ids: Iterable[str]) -> None:
        """Have the receipts of closed rounds written again; those that are too many at once are found again by who compares."""
        for round_id in round_ids:
            if len(self._recording) >= MOST_AT_ONCE:
                workflow.logger.info("more receipts are to be written again than at once")
                return
            self.record_closed(round_id, [])

    def record_wanted(self) -> None:
        """Start writing receipts for every round that asks for it."""
        for row in self._rounds.open:
            if row.wanted is not None and row.round_id not in self._recording:
                self._start_recording(row.round_id, self._record(row.round_id))

    def _start_recording(self, round_id: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._recording[round_id] = task
        task.add_done_callback(self._recording_ended)

    def _recording_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()

    async def _record(self, round_id: str) -> None:
        """Write a round's receipts until nothing is asked for any more."""
        try:
            while (row := self._rounds.find(round_id)) is not None and row.wanted is not None:
                await self._record_or_rest(row, row.wanted)
        finally:
            self._recording.pop(round_id, None)

    async def _record_or_rest(self, row: OpenRound, wanted: RecordState) -> None:
        """Have receipts written, or rest until somebody hurries or they are to say something else."""
        before = self._hurried
        failure = await self._record_once(row, wanted)
        if failure is not None:
            await self._rest(
                row.record_tries,
                failure,
                lambda: self._is_hurried_since(before) or row.wanted is not wanted,
            )

    async def _record_once(self, row: OpenRound, wanted: RecordState) -> StepFailed | None:
        """Have receipts written as ordered now; returns why they are not."""
        view, waiting = row.view, list(row.waiting) if wanted is RecordState.INCLUDED else []
        order = Record(
            target=self._target,
            round_id=row.round_id,
            state=wanted,
            revision=self._rounds.next_revision(),
            view=view,
            reservation=row.reservation,
            candidates=row.all_candidates,
            waiting=waiting,
            late_joiners=row.late_joiners,
            only_differing=row.was_recorded,
            tries=row.record_tries,
            backoff=self._backoff,
        )
        try:
            done = await call(
                ports.RECORD, order, options.RECORD, f"{wanted}, {row.sealed.leaves} leaves"
            )
        except StepFailed as failure:
            row.record_failed(failure.message)
            self._learn_anew(row, failure)
            if not row.is_observed and wanted is RecordState.INCLUDED:
                row.observe_again()
                self._observe_anew()
            return failure
        if done.newer:
            row.record_overtaken()
            self._rounds.recover_again()
            return None
        answered = {request.id for request in waiting}
        row.record(wanted, view, answered)
        self._replies.ended(answered)
        if wanted is RecordState.LOST or row.is_over:
            self._end(row)
        return None

    def _end(self, row: OpenRound) -> None:
        """Let a round go that is final, or lost."""
        view = row.view
        if row.is_over and view is not None:
            self._lines.log_event(
                LogEvent.FINAL,
                round=row.round_id,
                tx=view.tx_ref,
                block=number_of(view),
                depth=view.depth,
            )
        self._rounds.forget(row)
        self._observe_anew()

    def _learn_anew(self, row: OpenRound, failure: StepFailed) -> None:
        """Look what the storage knows after some orders that failed of a round's files: they may be gone.

        Whoever waits for a round that can't be read is told so then, and comes back by its own retry. Without anybody who
        waits one look is enough: each has the other rounds looked at anew.
        """
        is_about_files = failure.kind is FailureKind.VALIDATION
        is_first = row.record_tries == ORDERS_BEFORE_A_LOOK
        is_due = row.record_tries % ORDERS_BEFORE_A_LOOK == 0 and bool(row.waiting)
        if is_about_files and (is_first or is_due):
            self._rounds.recover_again()

    async def _record_closed(self, round_id: str) -> None:
        """Write the receipts of a closed round again, from storage and ledger (X11)."""
        tries = 0
        try:
            while round_id in self._missing:
                hurried = self._hurried
                waiting, late_joiners = self._missing.take(round_id)
                order = Record(
                    target=self._target,
                    round_id=round_id,
                    state=RecordState.CLOSED,
                    revision=self._rounds.next_revision(),
                    waiting=waiting,
                    late_joiners=late_joiners,
                    tries=tries,
                    backoff=self._backoff,
                )
                try:
                    done = await call(
                        ports.RECORD, order, options.RECORD, f"closed round {round_id[:12]}"
                    )
                except StepFailed as failure:
                    workflow.logger.warning("receipts of a closed round not written")
                    tries += 1
                    self._missing.add(round_id, waiting, late_joiners)
                    await self._rest(tries, failure, partial(self._is_hurried_since, hurried))
                    continue
                tries = 0
                self._replies.ended(request.id for request in waiting)
                if done.reopened:
                    log_reopened(self._lines, self._rounds, done.reopened)
                    self._rounds.reopen(done.reopened)
        finally:
            self._recording.pop(round_id, None)


class Missing:
    """Requests by closed round; those that wait for an answer, and those that only miss receipts."""

    def __init__(self) -> None:
        """Know of nobody."""
        self._waiting: dict[str, dict[str, AnchorRequest]] = {}
        self._late_joiners: dict[str, list[AnchorRequest]] = {}

    def __contains__(self, round_id: str) -> bool:
        """Whether anybody misses receipts of a round."""
        return round_id in self._waiting

    def add(
        self, round_id: str, waiting: Iterable[AnchorRequest], late_joiners: Iterable[AnchorRequest]
    ) -> None:
        """Add requests; of the same namespace and folder one late joiner is enough."""
        known = self._waiting.setdefault(round_id, {})
        known.update({request.id: request for request in waiting})
        missing = (*self._late_joiners.get(round_id, ()), *late_joiners)
        self._late_joiners[round_id] = list(merged(missing).values())

    def take(self, round_id: str) -> tuple[list[AnchorRequest], list[AnchorRequest]]:
        """Return who waits for a round's receipts and who misses them, and forget both."""
        return list(self._waiting.pop(round_id).values()), self._late_joiners.pop(round_id)
