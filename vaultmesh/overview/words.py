"""Words what `status` and the admin page say of namespaces, cadences and targets."""

import shlex
from datetime import datetime, timedelta

from vaultmesh.domain.failures import ADVICE, FailureKind
from vaultmesh.domain.freshness import in_words, waits_for_worker
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.names import RESUME, aggregator_workflow_id
from vaultmesh.domain.promises import outcome
from vaultmesh.domain.status import (
    CadenceView,
    LastAnchorView,
    NamespaceState,
    NamespaceView,
    TargetState,
    TargetView,
    past_unknown,
)
from vaultmesh.overview.batch_reports import BatchReport
from vaultmesh.process.failing import mend_of

DASH = "–"
NO_ANSWER = "no answer"
_HEAD, _TAIL = 4, 4
"""Digits of a reference that are shown: serial numbers of one authority often begin alike, and so do none of both ends."""
_NOT_STARTED = "not started yet: its first request starts it"
_STARTS_AGAIN = "does not run: the next request or a worker starts it"
"""What a missing target means: before and after the first anchor."""


def state_word(state: NamespaceState) -> str:
    """Return a state as it is shown."""
    return NO_ANSWER if state is NamespaceState.SILENT else state.value


def shortened(tx_ref: str) -> str:
    """Return both ends of a transaction's hash or a token's serial number."""
    digits = tx_ref.removeprefix("serial:").removeprefix("0x")
    if len(digits) <= _HEAD + _TAIL + 1:
        return digits or DASH
    return f"{digits[:_HEAD]}…{digits[-_TAIL:]}"


def reached(state: str, depth: int | None, required: int | None) -> str:
    """Return how final an anchor is; the depth is said while it matters, and an authority has none."""
    if depth is None or not required or depth >= required:
        return state
    return f"{state} {depth}/{required}"


def times(count: int) -> str:
    """Return how often something happened."""
    return "once" if count == 1 else f"{count} times"


def due(instant: datetime | None, now: datetime) -> str:
    """Return when a slot is due, from now on."""
    if instant is None:
        return DASH
    if abs(instant - now) < timedelta(seconds=1):
        return "now"
    return f"in {in_words(instant - now)}" if instant >= now else f"{in_words(now - instant)} ago"


def at(instant: datetime | None) -> str:
    """Return an instant in UTC, to the second."""
    return write_seconds(instant)[:19].replace("T", " ") if instant is not None else DASH


# --- namespaces ----------------------------------------------------------------------------------


def namespace_notes(view: NamespaceView, now: datetime) -> list[str]:
    """Return what there is to say of a namespace as a whole, a line each."""
    return [*why_not_well(view, now), *last_rejected(view)]


def last_rejected(view: NamespaceView) -> list[str]:
    """Return in a line which message was refused last."""
    rejected = view.last_rejected
    if rejected is None:
        return []
    return [f"rejected {rejected.name} at {write_seconds(rejected.at)}: {rejected.reason}"]


def why_not_well(view: NamespaceView, now: datetime) -> list[str]:
    """Return why a namespace is not as it should be, a line each."""
    if view.waiting_since is not None:
        return [f"no answer; {waits_for_worker(view.waiting_since, now)}"]
    if view.state is NamespaceState.FAILING:
        return [f"failing: {view.cause}"]
    unknown = past_unknown(view.unknown_since) if view.unknown_since is not None else ""
    return [text for text in (view.cause, view.drift, unknown) if text]


def finality(anchor: LastAnchorView | None) -> str:
    """Return how final the newest anchor is."""
    return reached(anchor.finality, anchor.depth, anchor.required_depth) if anchor else DASH


def promise(cadence: CadenceView) -> str:
    """Return what is promised of a cadence's batches; empty if nothing is."""
    if cadence.deadline_seconds is None:
        return ""
    return f"final within {in_words(timedelta(seconds=cadence.deadline_seconds))} of sealing"


def promises_of(view: NamespaceView, report: BatchReport, now: datetime) -> list[tuple[str, str]]:
    """Return what came of what is promised of a batch, by target; one whose sealing nobody knows has no promise."""
    lines = list[tuple[str, str]]()
    for cadence in view.cadences.values():
        if cadence.deadline_seconds is None or not report.sealed:
            continue
        deadline = timedelta(seconds=cadence.deadline_seconds)
        final_at = report.final_at(cadence.target)
        came = outcome(report.sealed[0].at, deadline, final_at, now)
        lines.append((cadence.target, f"{promise(cadence)}: {came}"))
    return lines


def overdue_promise(cadence: CadenceView, now: datetime) -> str:
    """Return that the oldest owed batch missed what was promised; empty if it did not, or nobody can say."""
    if cadence.deadline_seconds is None or cadence.oldest_owed is None:
        return ""
    late = now - cadence.oldest_owed - timedelta(seconds=cadence.deadline_seconds)
    if late < timedelta(0):
        return ""
    return f"deadline missed {in_words(late)} ago by the oldest owed batch"


def cadence_notes(
    view: NamespaceView, label: str, cadence: CadenceView, now: datetime
) -> list[str]:
    """Return what is wrong with a cadence, owed or awaited, a line each."""
    complaints: list[str] = []
    if label in view.paused and view.paused[label].reason:
        complaints.append(f"paused: {view.paused[label].reason}")
    flight = cadence.in_flight
    if flight is not None and flight.last_failure is not None:
        failure = flight.last_failure
        complaints.append(f"failed {times(flight.failures)}: {failure.kind}: {failure.message}")
    if cadence.overdue_seconds is not None:
        late = in_words(timedelta(seconds=cadence.overdue_seconds))
        complaints.append(f"due {late} ago, and not taken up yet")
    if cadence.state is NamespaceState.STALE and cadence.stale_at is not None:
        complaints.append(
            f"no request ended well for long; stale since {write_seconds(cadence.stale_at)}"
        )
    if cadence.unanchored:
        complaints.append(f"{cadence.unanchored} unanchored")
    if late := overdue_promise(cadence, now):
        complaints.append(late)
    anchor = cadence.last_anchor
    if anchor is not None and anchor.awaiting is not None:
        complaints.append(f"awaiting: {anchor.awaiting.text}")
    return [*complaints, *(cadence.problems or ())]


def why_it_rests(target: TargetView) -> list[str]:
    """Return why a target starts no new round: it touches every cadence that goes there."""
    reasons: list[str] = []
    if target.paused:
        since = f"since {write_seconds(target.paused.since)}"
        reason = f": {target.paused.reason}" if target.paused.reason else ""
        reasons.append(f"{target.target} is paused {since}{reason}")
    if target.held:
        reasons.append(f"{target.target} is held: {target.held.message}")
    if target.state is TargetState.FAILING:
        reasons.append(f"{target.target} is failing, see below")
    return reasons


# --- targets -------------------------------------------------------------------------------------


def why_missing(*, was_used: bool) -> str:
    """Return what it means that a target's aggregator does not run."""
    return _STARTS_AGAIN if was_used else _NOT_STARTED


def advice(kind: FailureKind) -> str:
    """Return what an operator can do about a failure of a kind."""
    return ADVICE[kind]


def mends(target: TargetView) -> list[str]:
    """Return what an operator can do for a target that does not work, a line each."""
    workflow_id = aggregator_workflow_id(target.target)
    lines: list[str] = []
    if target.state is TargetState.FAILING:
        lines.append(mend_of(workflow_id, target.cause))
    if target.paused:
        lines.append(
            f"resume it: temporal workflow signal --workflow-id {shlex.quote(workflow_id)} --name {RESUME}"
        )
    kinds = [
        trouble.kind
        for trouble in (target.held, target.last_failure if target.failures else None)
        if trouble is not None
    ]
    return [*lines, *dict.fromkeys(ADVICE[kind] for kind in kinds)]
