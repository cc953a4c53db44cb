"""The workflow of a job: it sleeps until a slot is due or somebody asks, has the job run, and continues as new.

Every rule about slots, triggers and revisions is in `vaultmesh.domain.jobs.schedule`.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.jobs import commands
from vaultmesh.domain.jobs.messages import (
    BY_SIGNAL,
    CloseOrder,
    JobInput,
    JobKind,
    JobPause,
    JobSpec,
    RunEnd,
    RunOrder,
    Written,
)
from vaultmesh.domain.jobs.run import (
    CANCELLED,
    FATE_UNKNOWN,
    NO_WORKER,
    TASK_LEFT,
    WORKER_DIED,
)
from vaultmesh.domain.jobs.schedule import JobSchedule
from vaultmesh.domain.jobs.slots import JobState
from vaultmesh.domain.jobs.views import JobStatusView, job_details, job_status, job_view
from vaultmesh.domain.log_events import LogEvent
from vaultmesh.domain.message_guide import OF_JOBS
from vaultmesh.domain.names import ATTRIBUTE_STATUS, JOB_WORKFLOW, MEMO_REVISION, STATUS
from workflows import options, ports
from workflows.calls import StepFailed, understood
from workflows.lines import Lines
from workflows.metadata import describe
from workflows.runs import has_grown
from workflows.signals import count_rejected, decoded
from workflows.updates import own_workflow_task, refused

COUNTS_EVERY = timedelta(hours=1)
"""How long slots may be counted that the store does not know of."""
_STATUS = SearchAttributeKey.for_keyword(ATTRIBUTE_STATUS)


@workflow.defn(name=JOB_WORKFLOW)
class JobWorkflow:
    """One job's workflow, and its only runner. Runs until it is stopped."""

    @workflow.init
    def __init__(self, start: JobInput) -> None:
        """Begin before any message arrives."""
        self._schedule = JobSchedule(start, workflow.now())
        describe(OF_JOBS, lambda: job_details(job_view(self._schedule, "", "")))
        self._lines = Lines(job=self._schedule.spec.name)
        self._news = 0
        """Rises with every message that may change what comes next."""
        self._writing: asyncio.Task[None] | None = None
        self._counts_due = workflow.now() + COUNTS_EVERY
        self._shown_status = ""
        self._shown_revision: int | None = workflow.memo_value(MEMO_REVISION, None, type_hint=int)

    @workflow.run
    async def run(self, start: JobInput) -> JobStatusView:
        """Run slots and triggers by turns until stopped, through as many runs as that takes."""
        self._write(also_counts=False)
        while True:
            order = self._schedule.take(workflow.now())
            self._show()
            if order is not None:
                await self._run(order)
            elif not workflow.all_handlers_finished():
                await workflow.wait_condition(workflow.all_handlers_finished)
            elif self._schedule.stopping and self._is_all_written():
                return self.status()
            elif has_grown(start.spec.continue_after_events):
                workflow.continue_as_new(self._schedule.carried())
            else:
                await self._sleep()

    # --- turns -----------------------------------------------------------------------------------------------------

    async def _run(self, order: RunOrder) -> None:
        """Have the job run once; how that ended is known afterwards, or that nobody knows."""
        try:
            end = await self._called(order)
        except ActivityError as error:
            not_taken = _is_not_taken(error.cause)
            if not_taken and order.slot is not None:
                self._schedule.not_taken(workflow.now())
                return
            end = _unknown_end(order, NO_WORKER if not_taken else _why(error.cause, order.spec))
        except StepFailed as failure:
            end = _unknown_end(order, f"{failure.message}; {FATE_UNKNOWN}")
        self._schedule.ended(end, workflow.now())
        self._write(also_counts=False)

    async def _called(self, order: RunOrder) -> RunEnd:
        spec = order.spec
        what = f"slot {order.slot:%Y-%m-%dT%H:%M:%SZ}" if order.slot else "asked for"
        port, policy = ports.RUN_JOB, options.run_job(spec.timeout, spec.catch_up)
        if spec.kind is JobKind.MAINTENANCE:
            port, policy = (
                ports.RUN_TASK,
                options.run_task(spec.timeout, spec.catch_up, spec.attempts),
            )
            order = order.model_copy(update={"began": workflow.now()})
            what = f"{spec.config.get('kind')}, {what}"
        reply = await workflow.execute_activity(
            port.name,
            order,
            activity_id=order.run_id,
            result_type=RawValue,
            summary=f"{spec.name}: {what}",
            **policy,
        )
        end = understood(reply, port.name, RunEnd)
        if end.run_id != order.run_id:
            # The server was put back, and an answer names its step by number.
            message = "the answer of another run came in place of this one's"
            raise StepFailed(FailureKind.UNKNOWN, message)
        return end

    async def _sleep(self) -> None:
        """Wait for the next slot, a message, or the hour in which counts are written."""
        now, before = workflow.now(), self._news
        if now >= self._counts_due:
            self._counts_due = now + COUNTS_EVERY
            self._schedule.count_paused(now)
            self._write(also_counts=True)
        wakes = [due] if (due := self._schedule.next_due()) is not None else []
        if self._schedule.state is JobState.PAUSED or self._is_anything_unwritten():
            wakes.append(self._counts_due)
        timeout = max(min(wakes) - now, timedelta(0)) if wakes else None
        try:
            await workflow.wait_condition(
                lambda: self._news != before, timeout=timeout, timeout_summary="next slot"
            )
        except TimeoutError:
            return

    # --- what the store does not know yet --------------------------------------------------------------------------

    def _is_anything_unwritten(self) -> bool:
        return self._schedule.has_unwritten_counts or not self._is_all_written()

    def _is_all_written(self) -> bool:
        return (
            self._writing is None
            and self._schedule.unrecorded is None
            and self._schedule.unwritten(also_counts=False) is None
        )

    def _write(self, *, also_counts: bool) -> None:
        """Write beside the schedule what is left to be written; what comes meanwhile follows."""
        if self._writing is None and (
            self._schedule.unrecorded is not None
            or self._schedule.unwritten(also_counts=also_counts) is not None
        ):
            self._writing = asyncio.create_task(self._write_all(also_counts=also_counts))

    async def _write_all(self, *, also_counts: bool) -> None:
        try:
            while await self._write_one(also_counts=also_counts):
                also_counts = False
        finally:
            self._writing = None
            self._news += 1

    async def _write_one(self, *, also_counts: bool) -> bool:
        """Write one thing; False if nothing is left, or somebody ended the activity by hand."""
        decision = self._schedule.unrecorded
        ends = self._schedule.unwritten(also_counts=also_counts)
        try:
            if decision is not None:
                reply = await workflow.execute_activity(
                    ports.RECORD_DECISION.name,
                    decision,
                    result_type=RawValue,
                    summary="a signal's decision",
                    **options.STORE,
                )
                recorded = understood(
                    reply, ports.RECORD_DECISION.name, ports.RECORD_DECISION.gives
                )
                self._schedule.recorded(decision, recorded.revision)
            elif ends is not None:
                self._schedule.wrote(ends, await self._closed(ends))
                self._show()
        except (ActivityError, StepFailed) as error:
            workflow.logger.warning("not written to the store", extra={"err": str(error)})
            return False
        return decision is not None or ends is not None

    async def _closed(self, order: CloseOrder) -> Written:
        reply = await workflow.execute_activity(
            ports.CLOSE_RUN.name,
            order,
            result_type=RawValue,
            summary=f"{len(order.ends)} ends of runs",
            **options.STORE,
        )
        written = understood(reply, ports.CLOSE_RUN.name, ports.CLOSE_RUN.gives)
        if written.run_ids != [end.run_id for end in order.ends]:
            message = "the answer about other runs came in place of these"
            raise StepFailed(FailureKind.UNKNOWN, message)
        return written

    # --- messages --------------------------------------------------------------------------------------------------

    def _carry_out(self, command: commands.Command) -> None:
        """Carry out a command that was found valid."""
        now = workflow.now()
        match command:
            case commands.Pause(reason=reason):
                self._lines.log_event(LogEvent.PAUSED, reason=reason)
                pause = JobPause(by=BY_SIGNAL, at=now, reason=reason)
                self._schedule.pause(pause)
                self._schedule.decided(pause, now)
            case commands.Resume():
                if self._schedule.resume(now):
                    self._lines.log_event(LogEvent.RESUMED)
                    self._schedule.decided(None, now)
            case commands.Trigger():
                self._schedule.trigger(command.order(str(workflow.uuid4())))
            case commands.Configure(spec=spec):
                self._schedule.configure(spec, now)
            case commands.Stop(revision=revision):
                self._schedule.stop(revision)
        self._news += 1
        self._show()
        self._write(also_counts=False)

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any signal: what is malformed is remembered, never raised."""
        try:
            self._carry_out(commands.read_signal(name, decoded(arguments)))
        except InvalidValue as refusal:
            self._schedule.reject(name, str(refusal), workflow.now())
            self._show()
            count_rejected()
            self._lines.log_event(LogEvent.REJECTED, signal=name[:100], err=str(refusal))

    @workflow.update(dynamic=True)
    async def on_update(self, name: str, arguments: Sequence[RawValue]) -> JobStatusView:
        """Carry out `configure`, `trigger` or `stop`; answers with the new state."""
        await own_workflow_task()
        try:
            self._carry_out(
                commands.read_update(name, decoded(arguments), self._schedule.spec.name)
            )
        except InvalidValue as refusal:
            raise refused(refusal) from refusal
        return self.status()

    @on_update.validator
    def check_update(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Refuse what is malformed, and a trigger during a run, before it enters history."""
        command = commands.read_update(name, decoded(arguments), self._schedule.spec.name)
        if isinstance(command, commands.Trigger):
            self._schedule.check_trigger(command.run_id)

    @workflow.query(name=STATUS)
    def status(self) -> JobStatusView:
        """Return the state of the job."""
        info = workflow.info()
        return job_view(self._schedule, info.workflow_id, info.run_id)

    def _show(self) -> None:
        """Bring search attribute and the revision in the memo up to date where they changed."""
        state = job_status(self._schedule)
        if state != self._shown_status:
            self._shown_status = state
            workflow.upsert_search_attributes([_STATUS.value_set(state)])
        if self._schedule.spec.revision != self._shown_revision:
            self._shown_revision = self._schedule.spec.revision
            workflow.upsert_memo({MEMO_REVISION: self._shown_revision})


def _unknown_end(order: RunOrder, error: str) -> RunEnd:
    """Return the end of a run of which the worker said nothing."""
    return RunEnd(
        run_id=order.run_id,
        slot=order.slot,
        triggered_by=order.triggered_by,
        user=order.user,
        error=error,
        completed_at=workflow.now(),
    )


def _is_not_taken(cause: BaseException | None) -> bool:
    """Whether no worker ever took the run: one that died in it has beaten before, and another was waited for."""
    if not isinstance(cause, ActivityTimeout) or cause.type is not TimeoutType.SCHEDULE_TO_START:
        return False
    return not cause.last_heartbeat_details


def _why(cause: BaseException | None, spec: JobSpec) -> str:
    """Return what is known of a run whose activity failed."""
    if isinstance(cause, ApplicationError):
        return f"{cause.message}; {FATE_UNKNOWN}"
    if isinstance(cause, CancelledError):
        return CANCELLED
    return TASK_LEFT if spec.kind is JobKind.MAINTENANCE else WORKER_DIED
