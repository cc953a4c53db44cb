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
    states = [schedule.state.cadences[label] for label in schedule.configuration.cadences]
    if any(state.failures for state in states):
        return NamespaceState.BACKING_OFF
    if states and all(state.paused is not None for state in states):
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
            label: cadence.paused
            for label, cadence in schedule.state.cadences.items()
            if cadence.paused is not None and label in cadences
        },
        cadences={
            label: _cadence_view(schedule, label, cadence) for label, cadence in cadences.items()
        },
        last_rejected=schedule.state.last_rejected,
        last_change=schedule.state.last_change,
        config_hash=schedule.configuration.config_hash,
    )


def _cadence_view(schedule: NamespaceSchedule, label: str, config: CadenceConfig) -> CadenceView:
    cadence = schedule.cadence(label)
    flight = cadence.in_flight
    return CadenceView(
        target=str(config.target),
        every=config.every,
        next_due=schedule.next_due(label),
        state=cadence_state(cadence.failures, paused=cadence.paused is not None),
        in_flight=flight
        and InFlightView(
            slot=flight.request.slot,
            since=flight.since,
            failures=cadence.failures,
            last_failure=flight.last_failure,
            next_retry=flight.next_retry,
        ),
        last_anchor=cadence.last_anchor,
        outcomes={outcome: cadence.outcomes.get(outcome, 0) for outcome in SlotOutcome},
    )


def namespace_memo(schedule: NamespaceSchedule) -> NamespaceMemo:
    """Return what metrics and health read."""
    return NamespaceMemo(
        namespace=schedule.configuration.namespace,
        batches=schedule.configuration.batches,
        cadences={
            label: CadenceMemo(
                target=str(cadence.target),
                failures=schedule.cadence(label).failures,
                last_anchor=_unix(schedule.cadence(label).last_anchor),
                outcomes=dict(schedule.cadence(label).outcomes),
            )
            for label, cadence in schedule.configuration.cadences.items()
        },
        paused=[
            label
            for label in schedule.configuration.cadences
            if schedule.cadence(label).paused is not None
        ],
    )


def newest_anchor(schedule: NamespaceSchedule) -> datetime | None:
    """Return when the newest anchor was learnt of."""
    instants = [
        cadence.last_anchor.anchored_at
        for cadence in schedule.state.cadences.values()
        if cadence.last_anchor is not None and cadence.last_anchor.anchored_at is not None
    ]
    return max(instants, default=None)


def _unix(anchor: LastAnchorView | None) -> int | None:
    return (
        int(anchor.anchored_at.timestamp())
        if anchor is not None and anchor.anchored_at is not None
        else None
    )
