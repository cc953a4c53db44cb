"""Shows a namespace's schedule to operators, metrics and health."""

from datetime import datetime

from vaultmesh.domain.freshness import cadence_status, overall
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import CadenceConfig
from vaultmesh.domain.status import (
    AggregatorView,
    CadenceMemo,
    CadenceView,
    HeldMemo,
    InFlightView,
    LastAnchorView,
    NamespaceMemo,
    NamespaceState,
    NamespaceView,
    SlotOutcome,
    TargetMemo,
    cadence_state,
)


def namespace_state(schedule: NamespaceSchedule) -> NamespaceState:
    """Return the state of the namespace as a whole."""
    if schedule.state.stopping:
        return NamespaceState.DRAINING
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
        unknown_since=schedule.state.unknown_since,
    )


def _cadence_view(schedule: NamespaceSchedule, label: str, config: CadenceConfig) -> CadenceView:
    cadence = schedule.cadence(label)
    flight = cadence.in_flight
    state = cadence_state(cadence.failures, paused=cadence.paused is not None)
    is_draining = schedule.state.stopping and not cadence.failures
    return CadenceView(
        target=str(config.target),
        every=config.every,
        next_due=None if schedule.state.stopping else schedule.next_due(label),
        stale_at=schedule.stale_at(label),
        state=NamespaceState.DRAINING if is_draining else state,
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
                last_anchor=_unix(_learnt_at(schedule.cadence(label).last_anchor)),
                stale_at=_unix(schedule.stale_at(label)),
                outcomes=dict(schedule.cadence(label).outcomes),
            )
            for label, cadence in schedule.configuration.cadences.items()
        },
        paused=[
            label
            for label in schedule.configuration.cadences
            if schedule.cadence(label).paused is not None
        ],
        config_hash=schedule.configuration.config_hash,
        stopping=schedule.state.stopping,
        unknown_since=schedule.state.unknown_since,
    )


def target_memo(view: AggregatorView) -> TargetMemo:
    """Return what health and metrics read of an aggregator."""
    held = view.held
    return TargetMemo(
        target=view.target,
        paused=view.paused,
        held=held and HeldMemo(kind=held.kind, message=held.message, since=held.since),
    )


def _learnt_at(anchor: LastAnchorView | None) -> datetime | None:
    return anchor.anchored_at if anchor is not None else None


def _unix(instant: datetime | None) -> int | None:
    return int(instant.timestamp()) if instant is not None else None


_DASH = "–"
MOST_ROUNDS_SHOWN = 30
MOST_PROBLEMS_SHOWN = 5
LONGEST_CELL = 300
"""Characters of a foreign text that are shown: the whole summary must stay far below what Temporal takes."""


def namespace_status(schedule: NamespaceSchedule, now: datetime) -> str:
    """Return `paused`, `backing_off`, `stale` or `ok`, the value of the search attribute."""
    cadences = {label: schedule.state.cadences[label] for label in schedule.configuration.cadences}
    statuses = [
        cadence_status(
            backs_off=cadence.failures > 0,
            paused=cadence.paused is not None,
            stale_from=schedule.stale_at(label),
            now=now,
        )
        for label, cadence in cadences.items()
    ]
    return overall(statuses).value


def namespace_details(view: NamespaceView) -> str:
    """Return a markdown table of the cadences: target, next due, last anchor, what is wrong."""
    lines = [
        "| cadence | target | every | next due | last anchor | what is wrong |",
        "|---|---|---|---|---|---|",
    ]
    for label, cadence in view.cadences.items():
        due = write_seconds(cadence.next_due) if cadence.next_due else _DASH
        wrong = _cell(_wrong(view, label, cadence))
        lines.append(
            f"| {label} | `{cadence.target}` | {cadence.every} | {due} | {_cell(_last(cadence))} | {wrong} |"
        )
    if view.last_change is not None:
        change = view.last_change
        what = _cell(", ".join(change.cadences)) or "nothing"
        memo = f": {_cell(change.memo)}" if change.memo else ""
        lines += ["", f"Last `set_cadence` changed {what} at {write_seconds(change.at)}{memo}"]
    if view.last_rejected is not None:
        rejected = view.last_rejected
        lines.append("")
        lines.append(
            f"Last rejected: `{_cell(rejected.name)}` at {write_seconds(rejected.at)}: {_cell(rejected.reason)}"
        )
    return "\n".join(lines)


def _last(cadence: CadenceView) -> str:
    anchor = cadence.last_anchor
    if anchor is None or not anchor.tx_ref:
        return _DASH
    when = f" at {write_seconds(anchor.at)}" if anchor.at else ""
    return f"`{anchor.tx_ref[:18]}…` block {anchor.block}{when}, {anchor.batch_count} batches"


def _wrong(view: NamespaceView, label: str, cadence: CadenceView) -> str:
    lines = []
    if label in view.paused:
        reason = view.paused[label].reason
        lines.append(f"paused{': ' + reason if reason else ''}")
    flight = cadence.in_flight
    if flight is not None and flight.last_failure is not None:
        failure = flight.last_failure
        lines.append(f"failed {flight.failures} times ({failure.kind}): {failure.message}")
    elif flight is not None:
        lines.append(f"waiting for inclusion since {write_seconds(flight.since)}")
    return "; ".join(lines) or _DASH


def aggregator_details(view: AggregatorView) -> str:
    """Return markdown: what waits, every open round, and what is wrong."""
    lines = [
        f"{view.waiting} requests wait. Highest reservation: {_or_dash(view.last_sequence)}.",
        "",
    ]
    if view.paused is not None:
        lines.append(
            f"Paused since {write_seconds(view.paused.since)}: {_cell(view.paused.reason)}"
        )
    if view.held is not None:
        lines.append(
            f"**Held** ({view.held.kind}) since {write_seconds(view.held.since)}: {_cell(view.held.message)}"
        )
    if view.last_failure is not None and view.failures:
        failure = view.last_failure
        lines.append(f"Failed {view.failures} times ({failure.kind}): {_cell(failure.message)}")
    lines.extend(f"- {_cell(problem)}" for problem in view.problems[:MOST_PROBLEMS_SHOWN])
    if view.rounds:
        lines.extend(
            [
                "",
                "| round | state | reservation | candidates | transaction | block | depth | batches |",
            ]
        )
        lines.append("|---|---|---|---|---|---|---|---|")
    lines.extend(
        f"| `{row.round_id[:12]}…` | {row.state} | {_or_dash(row.sequence)} | {row.candidates} | "
        f"`{row.tx_ref[:18]}` | {_or_dash(row.block)} | {row.depth} | {row.leaves} |"
        for row in view.rounds[:MOST_ROUNDS_SHOWN]
    )
    return "\n".join(lines)


def _or_dash(value: int | None) -> str:
    return _DASH if value is None else str(value)


def _cell(text: str) -> str:
    """Return a foreign text in a form that ends neither its cell nor its line."""
    plain = " ".join(text.split())[:LONGEST_CELL]
    return plain.replace("\\", "\\\\").replace("|", "\\|")
