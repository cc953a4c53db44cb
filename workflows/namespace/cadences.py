"""Runs a namespace's cadences: each sleeps until it is due, and asks for an anchor.

Every rule about slots is in `vaultmesh.domain.namespaces.slots`; here is only the deterministic order of things. There are no
local activities: in a replay their results may resolve in another order than at first.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

from vaultmesh.domain.messages import AnchorAsk, AnchorOutcome
from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import InFlight
from workflows import options, ports
from workflows.calls import StepFailed, understood

RETRY_PAUSE = timedelta(seconds=8)
"""Rest after an `anchor` that somebody ended by hand, before the same request is sent again."""


class Cadences:
    """Runs the cadences of a namespace's schedule.

    `changed` is told of every change that operators should see, with an instant that is the same in every replay: an answer
    that changes nothing else may be handled at another one (ADR 19), so it is told with that of its request.
    """

    def __init__(self, schedule: NamespaceSchedule, changed: Callable[[datetime], None]) -> None:
        """Run nothing before `start`."""
        self._schedule = schedule
        self._changed = changed
        self._generation = 0
        self._running: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._awaited: set[str] = set()
        """Ids of the requests that this run has sent."""
        self._broken: BaseException | None = None
        self._short_work = 0

    @property
    def busy(self) -> bool:
        """Whether short work is under way that the run must not be left during."""
        return self._short_work > 0

    @property
    def stopping(self) -> bool:
        """Whether nothing is to start any more."""
        return self._schedule.state.stopping

    def reconfigured(self) -> None:
        """Wake every cadence, so that it sleeps until its new slot; start the new ones."""
        self._generation += 1
        self.start()

    def resume_requests(self) -> None:
        """Wait again for the requests that an earlier run left in flight; what a message began already is awaited."""
        for label in self._schedule.state.cadences:
            self._follow(label)

    def start(self) -> None:
        """Run every configured cadence that does not run yet."""
        for label in self._schedule.configuration.cadences:
            if label not in self._running and not self.stopping:
                self._running.add(label)
                self._spawn(self._run(label))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Start work beside the rest; the set keeps it from being collected."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()

    def raise_broken(self) -> None:
        """Raise what ended a cadence unexpectedly: the workflow task fails in sight of all, and is tried again."""
        if self._broken is not None:
            raise self._broken

    def _errand(self, work: Coroutine[None, None, None]) -> None:
        """Start short work that the run is not left during."""

        async def counted() -> None:
            try:
                await work
            finally:
                self._short_work -= 1

        self._short_work += 1
        self._spawn(counted())

    # --- one cadence -----------------------------------------------------------------------------------------------

    def _configured(self, label: str) -> bool:
        return not self.stopping and label in self._schedule.configuration.cadences

    async def _run(self, label: str) -> None:
        """Serve one cadence: at registration once, then slot by slot.

        What a message starts begins after all messages of the same moment: the cadence may be gone again.
        """
        cadence = self._schedule.state.cadences.get(label)
        if cadence is not None and self._configured(label) and not cadence.registered:
            cadence.registered = True
            if cadence.in_flight is None and cadence.paused is None:
                self._begin(label, f"r{_unix(workflow.now())}", is_slot=False)
        while self._configured(label):
            due = await self._slept_until_due(label)
            if due is not None and self._configured(label):
                self._serve_due(label, due)
        self._running.discard(label)
        self.start()

    async def _slept_until_due(self, label: str) -> datetime | None:
        """Sleep until the next slot; returns the instant up to which slots are due, None if the cadences changed.

        That is the slot that the timer was set for, whatever the namespace says then: a query that a worker answers without
        the workflow in memory may hand out a timer that fired with the time of the task before, and a replay with its own.
        """
        generation = self._generation
        due, now = self._schedule.next_due(label), workflow.now()
        wait = due - now
        if wait <= timedelta(0):
            return now
        try:
            await workflow.wait_condition(
                lambda: self._generation != generation,
                timeout=wait,
                timeout_summary=f"{label} due {due:%Y-%m-%d %H:%M:%S} UTC",
            )
        except TimeoutError:
            return due
        return None

    def _serve_due(self, label: str, due: datetime) -> None:
        """Ask for an anchor at a due slot; whether anything is owed, `anchor` finds out."""
        taken = self._schedule.take_due(label, due)
        if taken.slots:
            self._begin(label, str(_unix(taken.last)), is_slot=True)
        self._changed(due)

    # --- requests --------------------------------------------------------------------------------------------------

    def _begin(self, label: str, slot: str, *, is_slot: bool) -> None:
        """Ask for an anchor."""
        self._schedule.begin(label, slot, workflow.now(), is_slot=is_slot)
        self._follow(label)

    def _begin_forced(self, label: str) -> None:
        self._begin(label, self._schedule.forced_slot(label, workflow.now()), is_slot=False)

    def _follow(self, label: str) -> None:
        """Send a cadence's request, at once: what a timer sets off stays together, whatever fires beside it."""
        flight = self._schedule.cadence(label).in_flight
        if flight is not None and flight.request.id not in self._awaited:
            self._awaited.add(flight.request.id)
            self._spawn(self._await_answer(label, flight, self._start(label, flight)))

    def _start(self, label: str, flight: InFlight) -> "workflow.ActivityHandle[RawValue]":
        ask, flight.asked = self._ask(flight), True
        return workflow.start_activity(
            ports.ANCHOR.name,
            ask,
            result_type=RawValue,
            activity_id=flight.request.id,
            summary=f"{label} {flight.request.due} to {flight.target}",
            **options.anchor(self._schedule.anchor_timeout(label)),
        )

    async def _await_answer(
        self, label: str, flight: InFlight, asked: "workflow.ActivityHandle[RawValue]"
    ) -> None:
        """Wait for the answer to a request, however long it takes."""
        outcome: AnchorOutcome | None = None
        while outcome is None:
            try:
                outcome = understood(await asked, ports.ANCHOR.name, AnchorOutcome)
            except (ActivityError, StepFailed):
                workflow.logger.warning(
                    "anchor ended by somebody else; the same request is sent again"
                )
                await workflow.sleep(RETRY_PAUSE)
                asked = self._start(label, flight)
        self._awaited.discard(flight.request.id)
        is_forced = self._schedule.finish(label, outcome, workflow.now())
        self._schedule.drop_removed()
        if is_forced and self._configured(label):
            self._begin_forced(label)
        self._changed(flight.since)

    def _ask(self, flight: InFlight) -> AnchorAsk:
        configuration = self._schedule.configuration
        return AnchorAsk(
            target=flight.target,
            request=flight.request,
            backoff=configuration.backoff,
            continue_after_events=configuration.continue_after_events,
            asked_before=flight.asked,
            outcomes=self._schedule.cadence(flight.request.cadence).outcomes,
        )

    def withdraw(self, label: str) -> None:
        """Ask for the cadence's request back, unless it is in a round; of a cadence that moved in any case."""
        flight = self._schedule.cadence(label).in_flight
        if flight is not None:
            ask = self._ask(flight).model_copy(update={"moved": label in self._schedule.moved()})
            self._errand(self._send(ports.WITHDRAW.name, ask))

    def force(self, label: str) -> None:
        """Anchor now: a request in flight is asked again at once, and followed by a forced one if it finds nothing."""
        flight = self._schedule.cadence(label).in_flight
        if flight is None:
            self._begin_forced(label)
        elif self._schedule.force(label):
            self._errand(self._send(ports.ASK_AGAIN.name, self._ask(flight)))

    async def _send(self, port_name: str, ask: AnchorAsk) -> None:
        """Have a worker signal the target's aggregator about a request."""
        try:
            await workflow.execute_activity(
                port_name,
                ask,
                summary=f"{ask.request.cadence} {ask.request.due} of {ask.target}",
                **options.ASK_AGAIN,
            )
        except ActivityError:
            workflow.logger.warning(
                "the target's aggregator was not reached; the request itself is retried anyway"
            )


def _unix(instant: datetime) -> int:
    return int(instant.timestamp())
