"""Writes the short markdown that the Web UI shows, and the value of `VmshStatus`."""

from datetime import datetime, timedelta

from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.views import namespace_state, newest_anchor
from vaultmesh.domain.status import (
    STALE_AFTER_SECONDS,
    AggregatorView,
    CadenceView,
    NamespaceState,
    NamespaceView,
    rfc3339,
)

_DASH = "–"
MOST_ROUNDS_SHOWN = 30
MOST_PROBLEMS_SHOWN = 5
LONGEST_CELL = 300
"""Characters of a foreign text that are shown: the whole summary must stay far below what Temporal takes."""


def namespace_status(schedule: NamespaceSchedule, now: datetime) -> str:
    """Return `paused`, `backing_off`, `stale` or `ok`, the value of the search attribute."""
    state = namespace_state(schedule)
    if state in (NamespaceState.PAUSED, NamespaceState.BACKING_OFF):
        return state.value
    newest = newest_anchor(schedule)
    if newest is not None and now - newest > timedelta(seconds=STALE_AFTER_SECONDS):
        return "stale"
    return "ok"


def namespace_details(view: NamespaceView) -> str:
    """Return a markdown table of the cadences: target, next due, last anchor, what is wrong."""
    lines = [
        "| cadence | target | every | next due | last anchor | what is wrong |",
        "|---|---|---|---|---|---|",
    ]
    for label, cadence in view.cadences.items():
        due = rfc3339(cadence.next_due) if cadence.next_due else _DASH
        wrong = _cell(_wrong(view, label, cadence))
        lines.append(
            f"| {label} | `{cadence.target}` | {cadence.every} | {due} | {_cell(_last(cadence))} | {wrong} |"
        )
    if view.last_change is not None:
        change = view.last_change
        what = _cell(", ".join(change.cadences)) or "nothing"
        memo = f": {_cell(change.memo)}" if change.memo else ""
        lines += ["", f"Last `set_cadence` changed {what} at {rfc3339(change.at)}{memo}"]
    if view.last_rejected is not None:
        rejected = view.last_rejected
        lines.append("")
        lines.append(
            f"Last rejected: `{_cell(rejected.name)}` at {rfc3339(rejected.at)}: {_cell(rejected.reason)}"
        )
    return "\n".join(lines)


def _last(cadence: CadenceView) -> str:
    anchor = cadence.last_anchor
    if anchor is None or not anchor.tx_ref:
        return _DASH
    when = f" at {rfc3339(anchor.at)}" if anchor.at else ""
    return f"`{anchor.tx_ref[:18]}…` block {anchor.block}{when}, {anchor.batch_count} batches"


def _wrong(view: NamespaceView, label: str, cadence: CadenceView) -> str:
    found = []
    if label in view.paused:
        reason = view.paused[label].reason
        found.append(f"paused{': ' + reason if reason else ''}")
    flight = cadence.in_flight
    if flight is not None and flight.last_failure is not None:
        failure = flight.last_failure
        found.append(f"failed {flight.failures} times ({failure.kind}): {failure.message}")
    elif flight is not None:
        found.append(f"waiting for inclusion since {rfc3339(flight.since)}")
    return "; ".join(found) or _DASH


def aggregator_details(view: AggregatorView) -> str:
    """Return markdown: what waits, every open round, and what is wrong."""
    lines = [
        f"{view.waiting} requests wait. Highest reservation: {_or_dash(view.last_sequence)}.",
        "",
    ]
    if view.paused is not None:
        lines.append(f"Paused since {rfc3339(view.paused.since)}: {_cell(view.paused.reason)}")
    if view.held is not None:
        lines.append(
            f"**Held** ({view.held.kind}) since {rfc3339(view.held.since)}: {_cell(view.held.message)}"
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
