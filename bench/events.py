"""Reads from histories what happened when: their times are the server's, not ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from bench.system import for_each
from vaultmesh.domain.names import namespace_workflow_id

_ANCHOR = "anchor"


@dataclass(frozen=True, slots=True)
class Anchored:
    """One request that was answered as anchored, or that owed nothing; in Unix seconds."""

    due: float
    scheduled: float
    started: float
    """When the attempt that was answered began."""
    answered: float
    attempts: int
    has_anchor: bool


async def history(client: Client, workflow_id: str) -> list[HistoryEvent]:
    """Return the events of a workflow's newest run."""
    handle = client.get_workflow_handle(workflow_id)
    return [event async for event in handle.fetch_history_events()]


def at(event: HistoryEvent) -> float:
    """Return when an event happened."""
    return event.event_time.ToNanoseconds() / 1e9


def is_anchor(event: HistoryEvent) -> bool:
    """Tell whether an event schedules `anchor`."""
    return (
        event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name == _ANCHOR
    )


def answers_anchored(event: HistoryEvent) -> bool:
    """Tell whether an event answers a request with an anchor."""
    payloads = event.activity_task_completed_event_attributes.result.payloads
    return any(b'"anchored"' in payload.data for payload in payloads)


def slots(events: Sequence[HistoryEvent]) -> list[Anchored]:
    """Return the answered requests of due slots, oldest first."""
    started, answered = {}, {}
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started[event.activity_task_started_event_attributes.scheduled_event_id] = event
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            number = event.activity_task_completed_event_attributes.scheduled_event_id
            answered[number] = event
    anchored = []
    for event in filter(is_anchor, events):
        slot = event.activity_task_scheduled_event_attributes.activity_id.rpartition("/")[2]
        if slot.isdigit() and event.event_id in answered:
            start = started[event.event_id]
            attempts = start.activity_task_started_event_attributes.attempt
            end = answered[event.event_id]
            times = (at(event), at(start), at(end))
            anchored.append(Anchored(float(slot), *times, attempts, answers_anchored(end)))
    return anchored


def between_timers(events: Sequence[HistoryEvent]) -> list[Sequence[HistoryEvent]]:
    """Return the events from each timer's end to the next one's."""
    ends = [
        index
        for index, event in enumerate(events)
        if event.event_type == EventType.EVENT_TYPE_TIMER_FIRED
    ]
    return [events[start:end] for start, end in pairwise(ends)]


async def anchors_of(client: Client, names: Sequence[str]) -> list[Anchored]:
    """Return the requests of many namespaces that were answered with an anchor."""
    return [slot for slot in await slots_of(client, names) if slot.has_anchor]


async def slots_of(client: Client, names: Sequence[str]) -> list[Anchored]:
    """Return the answered requests of many namespaces, also those that owed nothing."""

    async def ask(name: str) -> list[Anchored]:
        return slots(await history(client, namespace_workflow_id(name)))

    return [slot for answer in await for_each(names, ask) for slot in answer]
