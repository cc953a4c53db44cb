"""The workflow of a namespace: it takes messages, shows its state, and continues as new.

Every rule about slots is in `vaultmesh.domain.bookkeeping`; its cadences run in `workflows.cadences`.
"""

from collections.abc import Sequence

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey

from vaultmesh.domain import orders
from vaultmesh.domain.bookkeeping import Clock
from vaultmesh.domain.clock import ClockInput, ConfigureAnswer
from vaultmesh.domain.clock_views import namespace_memo, namespace_view
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.names import (
    ATTRIBUTE_STATUS,
    CONFIGURE,
    MEMO_STATUS,
    NAMESPACE_WORKFLOW,
    STATUS,
    STOP,
)
from vaultmesh.domain.status import NamespaceMemo, NamespaceView
from vaultmesh.domain.summary import namespace_details, namespace_status
from workflows.cadences import Cadences
from workflows.messages import decoded
from workflows.runs import has_grown
from workflows.updates import own_workflow_task, refused

_STATUS = SearchAttributeKey.for_keyword(ATTRIBUTE_STATUS)


@workflow.defn(name=NAMESPACE_WORKFLOW)
class NamespaceWorkflow:
    """One namespace's clock. Runs until it is stopped."""

    @workflow.init
    def __init__(self, given: ClockInput) -> None:
        """Open the book before any message arrives."""
        self._clock = Clock(given, workflow.now())
        self._cadences = Cadences(self._clock, self._show)
        self._leaving = False
        self._shown_status = ""
        self._shown_memo: NamespaceMemo | None = None

    @workflow.run  # noqa: RET503 - it ends by raising
    async def run(self, given: ClockInput) -> NamespaceView:
        """Serve every cadence until stopped, through as many runs as that takes."""
        del given
        self._cadences.resume_requests()
        self._cadences.start()
        self._show()
        await workflow.wait_condition(self._may_leave)
        if self._cadences.stopping:
            return self.status()
        self._leaving = True
        workflow.continue_as_new(
            ClockInput(configuration=self._clock.configuration, carried=self._clock.state),
            memo={MEMO_STATUS: namespace_memo(self._clock)},
        )

    def _may_leave(self) -> bool:
        self._cadences.raise_broken()
        if self._cadences.busy or not workflow.all_handlers_finished():
            return False
        if self._cadences.stopping:
            return all(book.in_flight is None for book in self._clock.state.books.values())
        return has_grown(self._clock.configuration.continue_after_events)

    # --- operators -------------------------------------------------------------------------------------------------

    def _carry_out(self, order: orders.Order) -> None:
        """Carry out an order that was found valid; what takes time goes on beside it."""
        match order:
            case orders.Note(note=note):
                self._clock.note_failure(note)
            case orders.SetCadence(cadences=changed):
                self._clock.set_cadences(changed, workflow.now())
                self._reconfigured()
            case orders.Stop():
                self._stop()
            case orders.Pause() | orders.Resume() | orders.Force():
                for label in order.cadences:
                    self._carry_out_for(label, order)
        self._show()

    def _carry_out_for(
        self, label: str, order: orders.Pause | orders.Resume | orders.Force
    ) -> None:
        match order:
            case orders.Pause(reason=reason):
                self._clock.pause(label, reason, workflow.now())
                self._cadences.withdraw(label)
            case orders.Resume():
                self._clock.resume(label)
            case orders.Force():
                self._cadences.force(label)

    def _reconfigured(self) -> None:
        """Let the cadences follow; what waits for a former target is let go: that one may never answer."""
        self._cadences.reconfigured()
        for label in self._clock.moved():
            self._cadences.withdraw(label)

    def _stop(self) -> None:
        """Drain: start nothing, take back what is in no round, wait for the rest."""
        self._cadences.stopping = True
        self._cadences.reconfigured()
        for label in self._clock.state.books:
            self._cadences.withdraw(label)

    def _refuse_while_stopping(self) -> None:
        if self._cadences.stopping:
            message = "the namespace is being unregistered; register it again afterwards"
            raise InvalidValue(message)

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any signal: what is malformed is remembered, never raised."""
        try:
            if not orders.is_report(name):
                self._refuse_while_stopping()
            self._carry_out(
                orders.read(name, decoded(arguments), self._clock.configuration, workflow.now())
            )
        except InvalidValue as refusal:
            self._clock.reject(name, str(refusal), workflow.now())
            self._show()
            workflow.logger.warning("signal rejected", extra={"signal": name[:100]})

    @workflow.update(dynamic=True)
    async def on_update(self, name: str, arguments: Sequence[RawValue]) -> NamespaceView:
        """Carry out the same verbs as the signals, and `configure` and `stop`; answers with the new state."""
        await own_workflow_task()
        try:
            return self._updated(name, decoded(arguments))
        except InvalidValue as refusal:
            raise refused(refusal) from refusal

    def _updated(self, name: str, values: list[JsonValue]) -> NamespaceView:
        if name != STOP:
            self._refuse_while_stopping()
        if name == CONFIGURE:
            return self._configured(values)
        self._carry_out(orders.read_update(name, values, self._clock.configuration, workflow.now()))
        return self.status()

    @on_update.validator
    def check_update(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Refuse what is malformed before it enters history."""
        if name != STOP:
            self._refuse_while_stopping()
        values = decoded(arguments)
        if name == CONFIGURE:
            orders.read_configuration(values, self._clock.configuration.namespace)
        else:
            orders.read_update(name, values, self._clock.configuration, workflow.now())

    def _configured(self, values: list[JsonValue]) -> ConfigureAnswer:
        configuration = orders.read_configuration(values, self._clock.configuration.namespace)
        changed, undone = self._clock.configure(configuration, workflow.now())
        if changed:
            self._reconfigured()
            self._show()
        answer = {"change": "updated" if changed else "unchanged", "undone": undone}
        return ConfigureAnswer.model_validate({**self.status().model_dump(), **answer})

    @workflow.query(name=STATUS)
    def status(self) -> NamespaceView:
        """Return the state of the namespace."""
        info = workflow.info()
        return namespace_view(self._clock, info.workflow_id, info.run_id)

    # --- what the Web UI, metrics and visibility show --------------------------------------------------------------

    def _show(self) -> None:
        """Bring details, search attribute and memo up to date where they changed, unless the run is left.

        A memo costs an event: slots that only count follow with the next other change, or with the next run.
        """
        if self._leaving:
            return
        workflow.set_current_details(namespace_details(namespace_view(self._clock, "", "")))
        state = namespace_status(self._clock, workflow.now())
        if state != self._shown_status:
            self._shown_status = state
            workflow.upsert_search_attributes([_STATUS.value_set(state)])
        content = namespace_memo(self._clock)
        if self._shown_memo is None or not content.differs_only_in_counts(self._shown_memo):
            self._shown_memo = content
            workflow.upsert_memo({MEMO_STATUS: content})
