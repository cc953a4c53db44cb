"""Shows a namespace's schedule to operators, metrics and health."""

from datetime import datetime

from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import CadenceConfig
from vaultmesh.domain.status import (
    CadenceMemo,
    CadenceView,
    InFlightView,
    LastAnchorView,
    NamespaceMemo,
    NamespaceState,
    NamespaceView,
    SlotOutcome,
    cadence_state,
)


def namespace_state(schedule: NamespaceSchedule) -> NamespaceState:
    """Return the state of the namespace as a whole."""
    books = [schedule.state.books[label] for label in schedule.configuration.cadences]
    if any(book.failures for book in books):
        return NamespaceState.BACKING_OFF
    if books and all(book.paused is not None for book in books):
        return NamespaceState.PAUSED
    return NamespaceState.RUNNING


def namespace_view(schedule: NamespaceSchedule, workflow_id: str, run_id: str) -> NamespaceView:
    """Return what `status` shows."""
    cadences = schedule.configuration.cadences
    return NamespaceView(
        namespace=schedule.configuration.namespace,
        state=namespace_state(schedule),
        workflow_id=workflow_id,
        run_id=run_id,
        batches=schedule.configuration.batches,
        paused={
            label: book.paused
            for label, book in schedule.state.books.items()
            if book.paused is not None and label in cadences
        },
        cadences={
            label: _cadence_view(schedule, label, cadence) for label, cadence in cadences.items()
        },
        last_rejected=schedule.state.last_rejected,
        config_hash=schedule.configuration.config_hash,
    )


def _cadence_view(schedule: NamespaceSchedule, label: str, cadence: CadenceConfig) -> CadenceView:
    book = schedule.book(label)
    flight = book.in_flight
    return CadenceView(
        target=str(cadence.target),
        every=cadence.every,
        next_due=schedule.next_due(label),
        state=cadence_state(book.failures, paused=book.paused is not None),
        in_flight=flight
        and InFlightView(
            slot=flight.request.slot,
            since=flight.since,
            failures=book.failures,
            last_failure=flight.last_failure,
            next_retry=flight.next_retry,
        ),
        last_anchor=book.last_anchor,
        outcomes={outcome: book.outcomes.get(outcome, 0) for outcome in SlotOutcome},
    )


def namespace_memo(schedule: NamespaceSchedule) -> NamespaceMemo:
    """Return what metrics and health read."""
    return NamespaceMemo(
        namespace=schedule.configuration.namespace,
        batches=schedule.configuration.batches,
        cadences={
            label: CadenceMemo(
                target=str(cadence.target),
                failures=schedule.book(label).failures,
                last_anchor=_unix(schedule.book(label).last_anchor),
                outcomes=dict(schedule.book(label).outcomes),
            )
            for label, cadence in schedule.configuration.cadences.items()
        },
        paused=[
            label
            for label in schedule.configuration.cadences
            if schedule.book(label).paused is not None
        ],
    )


def newest_anchor(schedule: NamespaceSchedule) -> datetime | None:
    """Return when the newest anchor was learnt of."""
    instants = [
        book.last_anchor.anchored_at
        for book in schedule.state.books.values()
        if book.last_anchor is not None and book.last_anchor.anchored_at is not None
    ]
    return max(instants, default=None)


def _unix(anchor: LastAnchorView | None) -> int | None:
    return (
        int(anchor.anchored_at.timestamp())
        if anchor is not None and anchor.anchored_at is not None
        else None
    )
