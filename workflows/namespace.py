"""The place where a namespace's clock runs: it sleeps until a cadence is due and asks for an anchor.

Every rule about slots is in `vaultmesh.domain.bookkeeping`; here is only the deterministic order of things.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey
from temporalio.exceptions import ActivityError

from vaultmesh.domain import orders
from vaultmesh.domain.bookkeeping import Clock
from vaultmesh.domain.clock import ClockInput, ConfigureAnswer, InFlight
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import AnchorAsk, AnchorOutcome, CountOwed, Owed
from vaultmesh.domain.names import (
    ATTRIBUTE_STATUS,
    CONFIGURE,
    MEMO_STATUS,
    NAMESPACE_WORKFLOW,
    STATUS,
)
from vaultmesh.domain.status import NamespaceMemo, NamespaceView, SlotOutcome
from vaultmesh.domain.summary import namespace_details, namespace_status
from workflows import options, ports
from workflows.messages import decoded

SLOTS_PER_MEMO = 16
"""A slot without an anchor changes only a counter: the memo follows up to this many of them late, for no event each."""
RETRY_PAUSE = timedelta(seconds=8)
"""Rest after an `anchor` that somebody ended by hand, before the same request is sent again."""

_STATUS = SearchAttributeKey.for_keyword(ATTRIBUTE_STATUS)


@workflow.defn(name=NAMESPACE_WORKFLOW)
class NamespaceWorkflow:
    """One namespace's clock. Runs until it is stopped."""

    @workflow.init
    def __init__(self, given: ClockInput) -> None:
        """Open the book before any message arrives."""
        self._clock = Clock(given, workflow.now())
        self._generation = 0
        self._stopping = False
        self._short_work = 0
        """Local activities and short calls that run now: the run is not left while there are any."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._runners: dict[str, asyncio.Task[None]] = {}
        self._slots_since_memo = 0
        self._shown_status = ""
        self._shown_memo: NamespaceMemo | None = None

    @workflow.run
    async def run(self, given: ClockInput) -> NamespaceView:
        """Serve every cadence until stopped, through as many runs as that takes."""
        del given
        for label in list(self._clock.state.books):
            self._follow(label)
        while True:
            self._start_runners()
            self._show()
            await workflow.wait_condition(lambda: self._runners_missing() or self._may_leave())
            if self._may_leave():
                break
        if self._stopping:
            return self.status()
        workflow.continue_as_new(
            ClockInput(configuration=self._clock.configuration, carried=self._clock.state)
        )

    # --- leaving -----------------------------------------------------------------------------------------------

    def _may_leave(self) -> bool:
        if self._short_work:
            return False
        if self._stopping:
            return all(book.in_flight is None for book in self._clock.state.books.values())
        info = workflow.info()
        return (
            info.is_continue_as_new_suggested()
            or info.get_current_history_length() >= self._clock.configuration.continue_after_events
        )

    # --- cadences ----------------------------------------------------------------------------------------------

    def _runners_missing(self) -> bool:
        return not self._stopping and any(label not in self._runners for label in self._clock.configuration.cadences)

    def _start_runners(self) -> None:
        if self._stopping:
            return
        for label in self._clock.configuration.cadences:
            if label not in self._runners:
                self._runners[label] = asyncio.create_task(self._run_cadence(label))

    def _configured(self, label: str) -> bool:
        return not self._stopping and label in self._clock.configuration.cadences

    async def _run_cadence(self, label: str) -> None:
        """Serve one cadence: at registration once, then slot by slot."""
        book = self._clock.book(label)
        if not book.registered:
            book.registered = True
            if book.in_flight is None and book.paused is None:
                await self._serve(label, f"r{int(workflow.now().timestamp())}", is_slot=False)
        while self._configured(label):
            generation = self._generation
            due = self._clock.next_due(label)
            wait = due - workflow.now()
            if wait > timedelta(0):
                try:
                    await workflow.wait_condition(
                        lambda generation=generation: self._generation != generation,
                        timeout=wait,
                        timeout_summary=f"{label} due {due:%Y-%m-%d %H:%M:%S} UTC",
                    )
                    continue
                except TimeoutError:
                    pass
            await self._slot_came(label)
        self._runners.pop(label, None)

    async def _slot_came(self, label: str) -> None:
        if not self._configured(label):
            return
        due = self._clock.take_due(label, workflow.now())
        if due.slots:
            await self._serve(label, str(int(due.last.timestamp())), is_slot=True)
        self._slots_since_memo += 1
        self._show(memo=self._slots_since_memo >= SLOTS_PER_MEMO)

    async def _serve(self, label: str, slot: str, *, is_slot: bool) -> None:
        """Look whether anything is owed, and ask for an anchor if so."""
        owed = await self._count_owed(label)
        if label not in self._clock.state.books:
            return
        book = self._clock.book(label)
        if owed is not None:
            self._clock.note_owed(label, owed)
        if book.in_flight is not None or (is_slot and book.paused is not None):
            if is_slot:
                book.count(SlotOutcome.PAUSED if book.paused is not None else SlotOutcome.COALESCED)
            return
        if owed is not None and not owed.batches and not owed.refused_count:
            if is_slot:
                book.count(SlotOutcome.NOTHING_NEW)
            return
        if label in self._clock.configuration.cadences:
            self._clock.begin(label, slot, workflow.now(), is_slot=is_slot)
            self._follow(label)
            self._show(memo=False)

    async def _count_owed(self, label: str) -> Owed | None:
        """Return what is owed, or None when the storage does not say: `anchor` will then find out and report."""
        configuration = self._clock.configuration
        question = CountOwed(
            namespace=configuration.namespace,
            target=configuration.cadences[label].target,
            batches=configuration.batches,
        )
        self._short_work += 1
        try:
            return await workflow.execute_local_activity(
                ports.COUNT_OWED.name, question, result_type=Owed, **options.COUNT_OWED
            )
        except ActivityError:
            workflow.logger.warning("owed batches not counted")
            return None
        finally:
            self._short_work -= 1

    # --- requests ----------------------------------------------------------------------------------------------

    def _follow(self, label: str) -> None:
        flight = self._clock.book(label).in_flight
        if flight is not None:
            self._spawn(self._await_anchor(label, flight))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Start work beside the cadences; the set keeps it from being collected."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _errand(self, work: Coroutine[None, None, None]) -> None:
        """Start short work that the run is not left during."""

        async def counted() -> None:
            try:
                await work
            finally:
                self._short_work -= 1

        self._short_work += 1
        self._spawn(counted())

    async def _await_anchor(self, label: str, flight: InFlight) -> None:
        """Wait for the answer to a request, however long it takes."""
        while True:
            try:
                outcome: AnchorOutcome = await workflow.execute_activity(
                    ports.ANCHOR.name,
                    self._ask(flight),
                    result_type=AnchorOutcome,
                    activity_id=flight.request.id,
                    summary=f"{label} slot {flight.request.slot} to {flight.target}",
                    **options.anchor(self._clock.configuration.anchor_timeout_seconds),
                )
                break
            except ActivityError:
                workflow.logger.warning("anchor ended by somebody else; the same request is sent again")
                await workflow.sleep(RETRY_PAUSE)
        self._clock.finish(label, outcome, workflow.now())
        self._clock.drop_removed()
        self._show()

    def _ask(self, flight: InFlight) -> AnchorAsk:
        configuration = self._clock.configuration
        return AnchorAsk(target=flight.target, request=flight.request, backoff=configuration.backoff)

    async def _send(self, port_name: str, flight: InFlight) -> None:
        """Have a worker signal the target's pen about a request."""
        try:
            await workflow.execute_activity(port_name, self._ask(flight), **options.ASK_AGAIN)
        except ActivityError:
            workflow.logger.warning("the target's pen was not reached; the request itself is retried anyway")

    # --- operators ---------------------------------------------------------------------------------------------

    def _carry_out(self, order: orders.Order) -> None:
        """Carry out an order that was found valid; what takes time goes on beside it."""
        now = workflow.now()
        match order:
            case orders.Pause(cadences=cadences, reason=reason):
                for label in cadences:
                    self._clock.pause(label, reason, now)
                    self._errand_for_flight(ports.WITHDRAW.name, label)
            case orders.Resume(cadences=cadences):
                for label in cadences:
                    self._clock.resume(label)
            case orders.Force(cadences=cadences):
                for label in cadences:
                    self._errand(self._force(label))
            case orders.SetCadence(cadences=changed):
                self._clock.set_cadences(changed, now)
                self._generation += 1
            case orders.Stop():
                self._stopping = True
                self._generation += 1
                for label in self._clock.state.books:
                    self._errand_for_flight(ports.WITHDRAW.name, label)
            case orders.Note(note=note):
                self._clock.note_failure(note)
        self._show()

    def _errand_for_flight(self, port_name: str, label: str) -> None:
        flight = self._clock.book(label).in_flight
        if flight is not None:
            self._errand(self._send(port_name, flight))

    async def _force(self, label: str) -> None:
        book = self._clock.state.books.get(label)
        if book is None:
            return
        if book.in_flight is not None:
            await self._send(ports.ASK_AGAIN.name, book.in_flight)
        else:
            await self._serve(label, f"f{int(workflow.now().timestamp())}", is_slot=False)

    def _refuse_while_stopping(self) -> None:
        if self._stopping:
            message = "the namespace is being unregistered; register it again afterwards"
            raise InvalidValue(message)

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any signal: what is malformed is remembered, never raised."""
        try:
            if not orders.is_report(name):
                self._refuse_while_stopping()
            self._carry_out(orders.read(name, decoded(arguments), self._clock.configuration, workflow.now()))
        except InvalidValue as refusal:
            self._clock.reject(name, str(refusal), workflow.now())
            workflow.logger.warning("signal rejected", extra={"signal": name})

    @workflow.update(dynamic=True)
    def on_update(self, name: str, arguments: Sequence[RawValue]) -> NamespaceView:
        """Carry out the same verbs as the signals, and `configure` and `stop`; answers with the new state."""
        values = decoded(arguments)
        if name == CONFIGURE:
            return self._configure(values)
        self._carry_out(orders.read_update(name, values, self._clock.configuration, workflow.now()))
        return self.status()

    @on_update.validator
    def check_update(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Refuse what is malformed before it enters history."""
        self._refuse_while_stopping()
        values = decoded(arguments)
        if name == CONFIGURE:
            orders.read_configuration(values, self._clock.configuration.namespace)
            return
        orders.read_update(name, values, self._clock.configuration, workflow.now())

    def _configure(self, values: list[JsonValue]) -> ConfigureAnswer:
        configuration = orders.read_configuration(values, self._clock.configuration.namespace)
        changed, undone = self._clock.configure(configuration, workflow.now())
        if changed:
            self._generation += 1
            self._show()
        view = self.status()
        return ConfigureAnswer.model_validate(
            {**view.model_dump(), "change": "updated" if changed else "unchanged", "undone": undone}
        )

    @workflow.query(name=STATUS)
    def status(self) -> NamespaceView:
        """Return the state of the namespace."""
        info = workflow.info()
        return self._clock.view(info.workflow_id, info.run_id)

    # --- what the Web UI, metrics and visibility show ----------------------------------------------------------

    def _show(self, *, memo: bool = True) -> None:
        """Bring details, search attribute and memo up to date, where they changed."""
        workflow.set_current_details(namespace_details(self._clock.view("", "")))
        state = namespace_status(self._clock, workflow.now())
        if state != self._shown_status:
            self._shown_status = state
            workflow.upsert_search_attributes([_STATUS.value_set(state)])
        content = self._clock.memo()
        if memo and content != self._shown_memo:
            self._shown_memo = content
            self._slots_since_memo = 0
            workflow.upsert_memo({MEMO_STATUS: content})
