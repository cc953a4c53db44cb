"""What is read of a history: an order that ended late is read back to its beginning, and ends by force are orders too."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

from temporalio.api.common.v1 import Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseRequest as Request,
)
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseResponse as Response,
)
from temporalio.client import Client, WorkflowExecution
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.jobs.records import AuditLine
from vaultmesh.process.orders import orders_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ASKED = {"lost": "0" * 32, "by": "ada@desk"}


def event(number: int, after: timedelta) -> HistoryEvent:
    made = HistoryEvent(event_id=number)
    made.event_time.FromDatetime(NOON + after)
    return made


def payloads(value: object) -> Payloads:
    return Payloads(payloads=pydantic_data_converter.payload_converter.to_payloads([value]))


def accepted(number: int, after: timedelta, name: str, value: object) -> HistoryEvent:
    made = event(number, after)
    request = made.workflow_execution_update_accepted_event_attributes.accepted_request
    request.meta.update_id, request.meta.identity = f"update-{number}", "operator ada@desk"
    request.input.name = name
    request.input.args.CopyFrom(payloads(value))
    return made


def completed(number: int, after: timedelta, of: int, refused: str = "") -> HistoryEvent:
    made = event(number, after)
    ended = made.workflow_execution_update_completed_event_attributes
    ended.accepted_event_id = of
    if refused:
        ended.outcome.failure.message = refused
    else:
        ended.outcome.success.CopyFrom(payloads({}))
    return made


@dataclass
class Server:
    """Stands in for Temporal: gives one history backwards, an event an answer."""

    events: Sequence[HistoryEvent]
    asked: int = 0
    sizes: list[int] = field(default_factory=list)
    """How many events were asked for at a time."""
    namespace: str = "default"
    data_converter: object = field(default=pydantic_data_converter)

    @property
    def workflow_service(self) -> "Server":
        return self

    async def get_workflow_execution_history_reverse(
        self, request: Request, **_: object
    ) -> Response:
        self.asked += 1
        self.sizes.append(request.maximum_page_size)
        if not self.events:
            raise RPCError("not orders", RPCStatusCode.NOT_FOUND, b"")
        position = int(request.next_page_token or b"0")
        response = Response()
        response.history.events.append(list(reversed(self.events))[position])
        if position + 1 < len(self.events):
            response.next_page_token = str(position + 1).encode()
        return response


async def lines(
    server: Server, since: datetime, kind: str = "AggregatorWorkflow"
) -> list[AuditLine]:
    run = SimpleNamespace(id="aggregator:eip155:1", run_id="run", workflow_type=kind)
    client = cast("Client", server)
    orders = await orders_of(client, cast("WorkflowExecution", run), since)
    assert len({order.key for order in orders}) == len(orders)
    return [order.line for order in orders]


async def test_an_order_that_took_minutes_is_entered_when_it_has_ended() -> None:
    history = [
        event(1, timedelta()),
        accepted(2, timedelta(), "resolve", ASKED),
        event(3, MINUTE),
        completed(4, 5 * MINUTE, 2),
    ]
    assert await lines(Server(history[:3]), NOON - MINUTE) == []
    (line,) = await lines(Server(history), NOON + 4 * MINUTE)
    assert (line.actor, line.action, line.at) == ("operator ada@desk", "resolve", NOON + 5 * MINUTE)
    assert (line.job_name, line.detail) == ("aggregator:eip155:1", {"argument": ASKED})


async def test_an_order_that_was_refused_says_so() -> None:
    history = [accepted(1, MINUTE, "resolve", ASKED), completed(2, MINUTE, 1, "it is not lost")]
    (line,) = await lines(Server(history), NOON)
    assert line.detail == {"argument": ASKED, "refused": "it is not lost"}


async def test_no_more_is_read_than_is_new() -> None:
    history = [event(number, number * MINUTE) for number in range(1, 100)]
    server = Server(history)
    assert await lines(server, NOON + 98 * MINUTE) == []
    assert server.asked == 3


async def test_the_few_events_of_a_quiet_history_are_not_asked_for_by_the_hundred() -> None:
    """The harm: each round had the server read and send 100 events of each of 1,000 namespaces, for the two that were new."""
    server = Server([event(number, number * MINUTE) for number in range(1, 100)])
    await lines(server, NOON + 95 * MINUTE)
    assert server.sizes == [8, 32, 100, 100, 100, 100]


async def test_an_end_by_force_names_who_ended_it() -> None:
    ended = event(1, MINUTE)
    ended.workflow_execution_terminated_event_attributes.identity = "tctl@bob"
    ended.workflow_execution_terminated_event_attributes.reason = "stuck"
    (line,) = await lines(Server([ended]), NOON)
    assert (line.actor, line.action, line.detail) == ("tctl@bob", "terminate", {"reason": "stuck"})


async def test_what_parts_of_the_product_say_to_each_other_is_no_order() -> None:
    history = []
    for number, name in enumerate(("enqueue", "hurry", "note_failure", "endpoint_back"), 1):
        said = event(number, MINUTE)
        said.workflow_execution_signaled_event_attributes.signal_name = name
        history.append(said)
    assert await lines(Server(history), NOON) == []
    configured = [accepted(1, MINUTE, "configure", {}), completed(2, MINUTE, 1)]
    assert await lines(Server(configured), NOON, "JobWorkflow") == []


async def test_bytes_that_nobody_can_read_are_an_order_all_the_same() -> None:
    sent = event(1, MINUTE)
    signal = sent.workflow_execution_signaled_event_attributes
    signal.signal_name = "pause"
    signal.input.payloads.add(data=b"\xff\x00", metadata={"encoding": b"json/plain"})
    (line,) = await lines(Server([sent]), NOON)
    assert (line.actor, line.detail) == ("unknown", {"argument": "(not readable)", "by": "signal"})


async def test_a_history_that_is_gone_hides_no_other() -> None:
    assert await lines(Server([]), NOON) == []
