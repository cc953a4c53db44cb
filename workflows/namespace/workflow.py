"""The workflow of a namespace: it takes messages, shows its state, and continues as new.

Every rule about slots is in `vaultmesh.domain.namespaces.slots`; its cadences run in `workflows.namespace.cadences`.
"""

from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.log_events import LogEvent
from vaultmesh.domain.message_guide import OF_NAMESPACES
from vaultmesh.domain.names import (
    ATTRIBUTE_STATUS,
    CONFIGURE,
    MEMO_DECIDED,
    MEMO_STATUS,
    NAMESPACE_WORKFLOW,
    STATUS,
    STOP,
)
from vaultmesh.domain.namespaces import commands
from vaultmesh.domain.namespaces.governance import SetCadence
from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import ConfigureAnswer, Decided, NamespaceInput
from vaultmesh.domain.namespaces.views import (
    namespace_details,
    namespace_memo,
    namespace_status,
    namespace_view,
)
from vaultmesh.domain.status import NamespaceMemo, NamespaceView
from workflows.lines import Lines
from workflows.metadata import describe
from workflows.namespace.cadences import Cadences
from workflows.runs import has_grown
from workflows.signals import count_rejected, decoded
from workflows.updates import own_workflow_task, refused

_STATUS = SearchAttributeKey.for_keyword(ATTRIBUTE_STATUS)


@workflow.defn(name=NAMESPACE_WORKFLOW)
class NamespaceWorkflow:
    """One namespace's workflow. Runs until it is stopped."""

    @workflow.init
    def __init__(self, start: NamespaceInput) -> None:
        """Begin before any message arrives."""
        self._shown_at = workflow.now()
        """The newest instant that something was shown for; never that of an answer, which differs in replays."""
        self._schedule = NamespaceSchedule(start, self._shown_at)
        describe(OF_NAMESPACES, lambda: namespace_details(namespace_view(self._schedule, "", "")))
        self._cadences = Cadences(self._schedule, self._show)
        self._lines = Lines(ns=self._schedule.configuration.namespace)
        self._leaving = False
        self._shown_status = ""
        self._shown_memo: NamespaceMemo | None = None
        self._shown_decided = Decided()

    @workflow.run  # noqa: RET503 - it ends by raising
    async def run(self, start: NamespaceInput) -> NamespaceView:
        """Serve every cadence until stopped, through as many runs as that takes."""
        del start
        self._cadences.resume_requests()
        self._cadences.start()
        self._show(workflow.now())
        await workflow.wait_condition(self._may_leave)
        if self._cadences.stopping:
            return self.status()
        self._leaving = True
        workflow.continue_as_new(
            NamespaceInput(
                configuration=self._schedule.configuration, carried=self._schedule.state
            ),
            memo={
                MEMO_STATUS: namespace_memo(self._schedule),
                MEMO_DECIDED: self._schedule.decided,
            },
        )

    def _may_leave(self) -> bool:
        self._cadences.raise_broken()
        if self._cadences.busy or not workflow.all_handlers_finished():
            return False
        if self._cadences.stopping:
            return all(
                cadence.in_flight is None for cadence in self._schedule.state.cadences.values()
            )
        return has_grown(self._schedule.configuration.continue_after_events)

    # --- operators -------------------------------------------------------------------------------------------------

    def _carry_out(self, order: commands.Command) -> None:
        """Carry out an order that was found valid; what takes time goes on beside it."""
        match order:
            case commands.Note(note=note):
                self._schedule.note_failure(note)
            case SetCadence(cadences=changed, memo=memo, ignored=ignored):
                labels = self._schedule.set_cadences(changed, workflow.now(), memo, ignored)
                if labels:
                    self._lines.log_event(LogEvent.RECONFIGURED, cadences=labels)
                self._reconfigured()
            case commands.Stop():
                self._stop()
            case commands.Pause() | commands.Resume() | commands.Force():
                for label in order.cadences:
                    self._carry_out_for(label, order)
        self._show(workflow.now())

    def _carry_out_for(
        self, label: str, order: commands.Pause | commands.Resume | commands.Force
    ) -> None:
        match order:
            case commands.Pause(reason=reason):
                self._lines.log_event(LogEvent.PAUSED, label=label, reason=reason)
                self._schedule.pause(label, reason, workflow.now())
                self._cadences.withdraw(label)
            case commands.Resume():
                if self._schedule.cadence(label).paused is not None:
                    self._lines.log_event(LogEvent.RESUMED, label=label)
                self._schedule.resume(label, workflow.now())
            case commands.Force(reason=reason):
                self._lines.log_event(LogEvent.FORCED, label=label, reason=reason)
                self._cadences.force(label)

    def _reconfigured(self) -> None:
        """Let the cadences follow; what waits for a former target is let go: that one may never answer."""
        self._cadences.reconfigured()
        for label in self._schedule.moved():
            self._cadences.withdraw(label)

    def _stop(self) -> None:
        """Drain: start nothing, take back what is in no round, wait for the rest; a second order changes nothing."""
        if not self._schedule.stop():
            return
        self._cadences.reconfigured()
        for label in self._schedule.state.cadences:
            self._cadences.withdraw(label)

    def _refuse_while_stopping(self) -> None:
        if self._cadences.stopping:
            message = "the namespace is being unregistered; register it again afterwards"
            raise InvalidValue(message)

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any signal: what is malformed is remembered, never raised."""
        try:
            if not commands.is_report(name):
                self._refuse_while_stopping()
            self._carry_out(
                commands.read(
                    name, decoded(arguments), self._schedule.configuration, workflow.now()
                )
            )
        except InvalidValue as refusal:
            self._schedule.reject(name, str(refusal), workflow.now())
            self._show(workflow.now())
            count_rejected()
            self._lines.log_event(LogEvent.REJECTED, signal=name[:100], err=str(refusal))

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
        self._carry_out(
            commands.read_update(name, values, self._schedule.configuration, workflow.now())
        )
        return self.status()

    @on_update.validator
    def check_update(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Refuse what is malformed before it enters history."""
        if name != STOP:
            self._refuse_while_stopping()
        values = decoded(arguments)
        if name == CONFIGURE:
            commands.read_configuration(values, self._schedule.configuration.namespace)
        else:
            commands.read_update(name, values, self._schedule.configuration, workflow.now())

    def _configured(self, values: list[JsonValue]) -> ConfigureAnswer:
        configuration = commands.read_configuration(values, self._schedule.configuration.namespace)
        changed, undone = self._schedule.configure(configuration, workflow.now())
        if changed:
            content = configuration.config_hash
            self._lines.log_event(LogEvent.RECONFIGURED, cfgHash=content, undone=undone or None)
            self._reconfigured()
            self._show(workflow.now())
        answer = {"change": "updated" if changed else "unchanged", "undone": undone}
        return ConfigureAnswer.model_validate({**self.status().model_dump(), **answer})

    @workflow.query(name=STATUS)
    def status(self) -> NamespaceView:
        """Return the state of the namespace."""
        info = workflow.info()
        return namespace_view(self._schedule, info.workflow_id, info.run_id)

    # --- what the Web UI, metrics and visibility show --------------------------------------------------------------

    def _show(self, at: datetime) -> None:
        """Bring search attribute and memo up to date where they changed by an instant, unless the run is left.

        A memo costs an event: slots that only count follow with the next other change, or with the next run.
        """
        if self._leaving:
            return
        self._shown_at = max(self._shown_at, at)
        state = namespace_status(self._schedule, self._shown_at)
        if state != self._shown_status:
            self._shown_status = state
            workflow.upsert_search_attributes([_STATUS.value_set(state)])
        content = namespace_memo(self._schedule)
        decided = self._schedule.decided
        is_shown = self._shown_memo is not None and content.differs_only_in_counts(self._shown_memo)
        if not is_shown or decided != self._shown_decided:
            changed = {MEMO_DECIDED: decided} if decided != self._shown_decided else {}
            self._shown_memo, self._shown_decided = content, decided
            workflow.upsert_memo({MEMO_STATUS: content, **changed})
