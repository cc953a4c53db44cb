"""Reads in the histories of workflows who gave which order, and when: also orders that were sent by Temporal's own tools.

1. An order is what an operator may send: a signal, an update that was carried out, the start of a namespace, its end by force.
   What the product's own parts say to each other is none, nor is a configuration that changed nothing.
2. Each order has a key of its workflow's run, so that reading it again makes no second line.
3. A history is read from its end back to an instant; of workflows that have ended, those that ended after it.
4. A signal stands as it was sent. Whether its workflow refused it, `status` says.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import JsonValue
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client
from temporalio.client import WorkflowExecution as Listed
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.jobs.records import AuditLine
from vaultmesh.domain.jobs.storable import storable, storable_text
from vaultmesh.domain.message_guide import OF_AGGREGATORS, OF_NAMESPACES
from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    CONFIGURE,
    ENDPOINT_BACK,
    ENQUEUE,
    HURRY,
    JOB_WORKFLOW,
    NAMESPACE_WORKFLOW,
    NOTE_FAILURE,
    RELEASE,
    REOPENED,
    REWRITE,
    WITHDRAW,
    job_workflow_id,
)
from vaultmesh.process.logs import for_keeps

READ_WITHIN = timedelta(seconds=10)
PAGES = (8, 32, 100)
"""Events of the first answer, the second, and each further one: between two readings most histories grow by some events."""
LONGEST_TEXT = 500
"""Characters of one text of an order, or of its argument as a whole."""
OF_ANCHORING = (NAMESPACE_WORKFLOW, AGGREGATOR_WORKFLOW)
OF_JOBS = (JOB_WORKFLOW,)
_OWN_SIGNALS = frozenset(
    {NOTE_FAILURE, ENQUEUE, WITHDRAW, RELEASE, REOPENED, REWRITE, HURRY, ENDPOINT_BACK}
)
"""What the product's own parts say to each other."""
_UPDATES: Mapping[str, frozenset[str]] = {
    NAMESPACE_WORKFLOW: frozenset({*OF_NAMESPACES.updates, CONFIGURE}),
    AGGREGATOR_WORKFLOW: frozenset(OF_AGGREGATORS.updates),
    JOB_WORKFLOW: frozenset(),
}
"""Updates that are orders; those of jobs are decided in their store, which has its own lines."""
_UNCHANGED = "unchanged"
_JOBS = job_workflow_id("")
"""Begins the workflow ids of jobs; the audit has their names alone."""


@dataclass(frozen=True, slots=True)
class Order:
    """A line of audit, and what makes it unique."""

    line: AuditLine
    key: str


def update_key(workflow_id: str, update_id: str) -> str:
    """Return what makes an update's line unique: who sends it may enter it first, and knows better who asked for it."""
    return f"update:{workflow_id}:{update_id}"


def order_line(
    at: datetime, actor: str, action: str, workflow_id: str, detail: Mapping[str, JsonValue]
) -> AuditLine:
    """Return the line of an order to a workflow."""
    said: dict[str, JsonValue] = {
        key: value for key, value in detail.items() if value not in (None, "", [], {})
    }
    return AuditLine(
        at=at,
        actor=storable_text(actor),
        action=storable_text(action),
        job_name=storable_text(workflow_id),
        detail=storable(said) if said else None,
    )


async def executions(client: Client, since: datetime, kinds: Sequence[str]) -> list[Listed]:
    """Return the runs of workflows of some types that may hold orders from after an instant.

    Raises:
        RPCError: Temporal did not answer.
    """
    types = ", ".join(repr(name) for name in kinds)
    closed = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = (
        f"WorkflowType IN ({types}) AND (ExecutionStatus = 'Running' OR CloseTime >= '{closed}')"
    )
    return [run async for run in client.list_workflows(query, rpc_timeout=READ_WITHIN)]


async def orders_of(client: Client, run: Listed, since: datetime) -> list[Order]:
    """Return the orders to one run of a workflow from after an instant, oldest first; none if its history is gone.

    Raises:
        RPCError: Temporal did not answer.
    """
    reading = _Reading(client, run)
    async for event in _backwards(client, run, since, reading):
        reading.take(event)
    return reading.orders[::-1]


async def _backwards(
    client: Client, run: Listed, since: datetime, reading: "_Reading"
) -> AsyncIterator[HistoryEvent]:
    """Return events, newest first, until an instant, and beyond it to what updates began that ended later."""
    execution = WorkflowExecution(workflow_id=run.id, run_id=run.run_id)
    token = b""
    for page_events in chain(PAGES, repeat(PAGES[-1])):
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=client.namespace,
            execution=execution,
            maximum_page_size=page_events,
            next_page_token=token,
        )
        try:
            answer = await client.workflow_service.get_workflow_execution_history_reverse(
                request, timeout=READ_WITHIN
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return
            raise
        for event in answer.history.events:
            if _instant(event.event_time) < since and not reading.waits:
                return
            yield event
        token = answer.next_page_token
        if not token:
            return


class _Reading:
    """The orders of one run, as its history is read from its end."""

    def __init__(self, client: Client, run: Listed) -> None:
        self._client = client
        self._run = run
        self._outcomes: dict[int, HistoryEvent] = {}
        """Of updates that ended, by the event that accepted them."""
        self.orders: list[Order] = []

    @property
    def waits(self) -> bool:
        """Whether an update ended whose beginning is still to be read."""
        return bool(self._outcomes)

    def take(self, event: HistoryEvent) -> None:
        """Take one event, which is older than all before it."""
        match event.WhichOneof("attributes"):
            case "workflow_execution_update_completed_event_attributes":
                accepted = (
                    event.workflow_execution_update_completed_event_attributes.accepted_event_id
                )
                self._outcomes[accepted] = event
            case "workflow_execution_update_accepted_event_attributes":
                self._take_update(event, self._outcomes.pop(event.event_id, None))
            case "workflow_execution_signaled_event_attributes":
                self._take_signal(event)
            case "workflow_execution_terminated_event_attributes":
                ended = event.workflow_execution_terminated_event_attributes
                self._add(event, ended.identity, "terminate", {"reason": ended.reason})
            case "workflow_execution_cancel_requested_event_attributes":
                asked = event.workflow_execution_cancel_requested_event_attributes
                self._add(event, asked.identity, "cancel", {"reason": asked.cause})
            case "workflow_execution_started_event_attributes":
                self._take_start(event)
            case _:
                pass

    def _take_start(self, event: HistoryEvent) -> None:
        """Take the start of a namespace; a run that follows another one was ordered by nobody."""
        started = event.workflow_execution_started_event_attributes
        if self._run.workflow_type == NAMESPACE_WORKFLOW and not started.continued_execution_run_id:
            self._add(event, started.identity, "start", {})

    def _take_signal(self, event: HistoryEvent) -> None:
        signal = event.workflow_execution_signaled_event_attributes
        if signal.signal_name not in _OWN_SIGNALS:
            detail: dict[str, JsonValue] = {
                "argument": self._values(signal.input.payloads),
                "by": "signal",
            }
            self._add(event, signal.identity, signal.signal_name, detail)

    def _take_update(self, event: HistoryEvent, completed: HistoryEvent | None) -> None:
        """Take an update that was carried out; one under way is taken once it has ended."""
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
        if request.input.name not in _UPDATES[self._run.workflow_type] or completed is None:
            return
        outcome = completed.workflow_execution_update_completed_event_attributes.outcome
        detail: dict[str, JsonValue] = {"argument": self._values(request.input.args.payloads)}
        if outcome.HasField("failure"):
            detail["refused"] = _bounded(outcome.failure.message)
        elif request.input.name == CONFIGURE:
            changed = self._changed(outcome.success.payloads, request.input.args.payloads)
            if changed is None:
                return
            detail = changed
        key = update_key(self._run.id, request.meta.update_id)
        line = self._line(completed, request.meta.identity, request.input.name, detail)
        self.orders.append(Order(line, key))

    def _changed(
        self, answer: Sequence[Payload], argument: Sequence[Payload]
    ) -> dict[str, JsonValue] | None:
        """Return what a configuration says; None if the namespace had it already."""
        said, asked = self._decoded(answer), self._decoded(argument)
        if isinstance(said, dict) and said.get("change") == _UNCHANGED:
            return None
        detail: dict[str, JsonValue] = {}
        if isinstance(asked, dict):
            detail["config_hash"] = _bounded_value(asked.get("config_hash"))
            cadences = asked.get("cadences")
            for label, cadence in cadences.items() if isinstance(cadences, dict) else ():
                if isinstance(cadence, dict):
                    detail[_bounded(str(label))] = _bounded(
                        f"{cadence.get('every')} on {cadence.get('target')}"
                    )
        if isinstance(said, dict):
            detail["undone"] = _bounded_value(said.get("undone"))
        return detail

    def _add(
        self, event: HistoryEvent, actor: str, action: str, detail: dict[str, JsonValue]
    ) -> None:
        key = f"event:{self._run.run_id}:{event.event_id}"
        self.orders.append(Order(self._line(event, actor, action, detail), key))

    def _line(
        self, event: HistoryEvent, actor: str, action: str, detail: dict[str, JsonValue]
    ) -> AuditLine:
        by = _bounded(actor) or "unknown"
        at = _instant(event.event_time)
        bounded = {key: _bounded_value(value) for key, value in detail.items()}
        about = _bounded(self._run.id.removeprefix(_JOBS))
        return order_line(at, by, _bounded(action), about, bounded)

    def _values(self, payloads: Sequence[Payload]) -> JsonValue:
        return self._decoded(payloads)

    def _decoded(self, payloads: Sequence[Payload]) -> JsonValue:
        """Return the first value; None without one, and a note where it can't be read."""
        if not payloads:
            return None
        try:
            (value,) = self._client.data_converter.payload_converter.from_payloads(
                payloads[:1], [Any]
            )
        except Exception:  # noqa: BLE001 - anybody may send any bytes, in any encoding
            return "(not readable)"
        return value if _is_json(value) else "(not readable)"


def _instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _bounded(text: str) -> str:
    """Return a text of bounded length, without secrets."""
    return for_keeps(text)[:LONGEST_TEXT]


def _bounded_value(value: JsonValue) -> JsonValue:
    """Return a value whose texts are bounded; one that is long as a whole becomes a text that is cut."""
    if isinstance(value, str):
        return _bounded(value)
    if value is None or isinstance(value, bool):
        return value
    written = json.dumps(value, ensure_ascii=False)
    bounded = _bounded(written)
    return value if bounded == written else bounded
