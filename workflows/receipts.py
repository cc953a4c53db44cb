"""The place where a pen has receipts written, until they say what its ledger shows; that is retried for ever and stops nobody.

1. One order per round is under way; what changes meanwhile is the next one's.
2. Whoever joins a round while its receipts are written is in the next order: nobody is left without an answer.
3. A round whose final receipts can't be written is watched on: its block may leave the chain before they are.
4. Receipts of closed rounds that are gone are written again (X11), asked for once by each who misses them.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta

from temporalio import workflow

from vaultmesh.domain.ledger import RoundState, RoundView
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.pen import PenInput, PenRound, PenState, merged
from vaultmesh.domain.steps import Record, RecordState
from workflows import options, ports
from workflows.calls import StepFailed, call

RECORD_REST = timedelta(seconds=5)
"""Rest after an order that was given back, or ended by hand; most retries are the server's."""


class Receipts:
    """Has the receipts of one pen's rounds written."""

    def __init__(self, given: PenInput, state: PenState, rewatch: Callable[[], None]) -> None:
        """Write for a pen; `rewatch` is called when a round is no longer open."""
        self._given = given
        self._state = state
        self._rewatch = rewatch
        self._recording: dict[str, asyncio.Task[None]] = {}
        self._broken: BaseException | None = None
        self._missing = Missing()

    def raise_broken(self) -> None:
        """Raise what ended a recorder unexpectedly: the workflow task fails in sight of all, and is tried again."""
        if self._broken is not None:
            raise self._broken

    def record_closed(
        self, round_id: str, waiting: list[AnchorRequest], riders: Sequence[AnchorRequest] = ()
    ) -> None:
        """Have the receipts of a closed round written again, for requests that wait for theirs or only miss them."""
        self._missing.add(round_id, waiting, riders)
        if round_id not in self._recording:
            self._start_recording(round_id, self._record_closed(round_id))

    def record_wanted(self) -> None:
        """Start writing receipts for every round that asks for it."""
        for row in self._state.rounds:
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
            while (row := self._state.find(round_id)) is not None and row.wanted is not None:
                if not await self._record_once(row, row.wanted):
                    await workflow.sleep(RECORD_REST)
        finally:
            self._recording.pop(round_id, None)

    async def _record_once(self, row: PenRound, wanted: RecordState) -> bool:
        self._state.revision += 1
        view, waiting = row.view, list(row.waiting) if wanted is RecordState.INCLUDED else []
        order = Record(
            target=self._given.target,
            round_id=row.round_id,
            state=wanted,
            revision=self._state.revision,
            view=view,
            reservation=row.reservation,
            candidates=row.known().candidates,
            waiting=waiting,
            riders=row.riders,
            tries=row.record_tries,
            backoff=self._given.backoff,
        )
        try:
            done = await call(
                ports.RECORD, order, options.RECORD, f"{wanted}, {row.sealed.leaves} leaves"
            )
        except StepFailed as failure:
            row.record_tries += 1
            row.record_failure = failure.message
            if not row.is_watched and wanted is RecordState.INCLUDED:
                row.watch_again()
                self._rewatch()
            return False
        row.record_tries, row.record_failure = 0, ""
        if done.newer:
            row.wanted = None
            self._state.recovered = False
            return True
        answered = {request.id for request in waiting}
        late = wanted is RecordState.INCLUDED and any(
            request.id not in answered for request in row.waiting
        )
        if (row.wanted, row.view) == (wanted, view) and not late:
            row.wanted = None
        self._recorded(row, wanted, view, answered)
        return True

    def _recorded(
        self,
        row: PenRound,
        wanted: RecordState,
        view: RoundView | None,
        answered: set[str],
    ) -> None:
        if wanted is RecordState.LOST:
            self._forget(row)
            return
        row.recorded = True
        row.waiting = [request for request in row.waiting if request.id not in answered]
        for request_id in answered:
            self._state.ended(request_id)
        if wanted is not RecordState.INCLUDED or view is None:
            return
        if (
            view.final
            and not row.open_depths
            and row.wanted is None
            and not row.waiting
            and row.state is RoundState.INCLUDED
        ):
            self._forget(row)

    def _forget(self, row: PenRound) -> None:
        self._state.rounds = [one for one in self._state.rounds if one is not row]
        self._rewatch()

    async def _record_closed(self, round_id: str) -> None:
        """Write the receipts of a closed round again, from storage and ledger (X11)."""
        tries = 0
        try:
            while round_id in self._missing:
                waiting, riders = self._missing.take(round_id)
                self._state.revision += 1
                order = Record(
                    target=self._given.target,
                    round_id=round_id,
                    state=RecordState.CLOSED,
                    revision=self._state.revision,
                    waiting=waiting,
                    riders=riders,
                    tries=tries,
                    backoff=self._given.backoff,
                )
                try:
                    done = await call(
                        ports.RECORD, order, options.RECORD, f"closed round {round_id[:12]}"
                    )
                except StepFailed:
                    workflow.logger.warning("receipts of a closed round not written")
                    tries += 1
                    self._missing.add(round_id, waiting, riders)
                    await workflow.sleep(RECORD_REST)
                    continue
                tries = 0
                for request in waiting:
                    self._state.ended(request.id)
                if done.reopened:
                    self._state.reopened.extend(done.reopened)
                    self._state.recovered = False
        finally:
            self._recording.pop(round_id, None)


class Missing:
    """Requests by closed round; those that wait for an answer, and those that only miss receipts."""

    def __init__(self) -> None:
        """Know of nobody."""
        self._waiting: dict[str, dict[str, AnchorRequest]] = {}
        self._riders: dict[str, list[AnchorRequest]] = {}

    def __contains__(self, round_id: str) -> bool:
        """Whether anybody misses receipts of a round."""
        return round_id in self._waiting

    def add(
        self, round_id: str, waiting: Iterable[AnchorRequest], riders: Iterable[AnchorRequest]
    ) -> None:
        """Add requests; of the same namespace and folder one rider is enough."""
        known = self._waiting.setdefault(round_id, {})
        known.update({request.id: request for request in waiting})
        missing = (*self._riders.get(round_id, ()), *riders)
        self._riders[round_id] = list(merged(missing).values())

    def take(self, round_id: str) -> tuple[list[AnchorRequest], list[AnchorRequest]]:
        """Return who waits for a round's receipts and who misses them, and forget both."""
        return list(self._waiting.pop(round_id).values()), self._riders.pop(round_id)
