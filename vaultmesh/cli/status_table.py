"""Turns what `status` found out into tables for people."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vaultmesh.cli.cadence_table import (
    DASH,
    NO_ANSWER,
    CadenceLine,
    namespace_block,
    reached,
    times,
)
from vaultmesh.cli.output import visible
from vaultmesh.domain.freshness import in_words, waits_for_worker
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.status import (
    CadenceView,
    LastAnchorView,
    NamespaceState,
    NamespaceView,
    TargetState,
    TargetView,
    past_unknown,
)
from vaultmesh.overview.overview import Overview

_TARGET_COLUMNS = ("target", "state", "waiting", "open rounds", "problems")
_NO_ANSWER = f"[red]{NO_ANSWER}[/]"
_TARGET_STYLES: Mapping[str, str] = {
    TargetState.RUNNING: "green",
    TargetState.PAUSED: "yellow",
    TargetState.HELD: "red",
    TargetState.FAILING: "bold red",
    TargetState.MISSING: "dim",
}
_NOT_STARTED = "not started yet: its first request starts it"
_STARTS_AGAIN = "does not run: the next request or a worker starts it"
"""What a missing target means: before and after the first anchor."""


def tables(overview: Overview) -> list[RenderableType]:
    """Return what is shown to people: each namespace with its cadences, then targets."""
    now = datetime.now(UTC)
    rests = {target.target: _why_it_rests(target) for target in overview.targets}
    blocks: list[RenderableType] = []
    for view in (*overview.namespaces, *overview.silent):
        lines = [
            CadenceLine(
                label,
                cadence,
                cadence.state or view.state,
                _finality(cadence.last_anchor),
                [*_wrong(view, label, cadence), *rests.get(cadence.target, [])],
            )
            for label, cadence in view.cadences.items()
        ]
        notes = [*_why_not_well(view), *_last_rejected(view)]
        blocks += namespace_block(
            view.namespace, view.state, lines, now, notes=notes, with_header=not blocks
        )
        blocks.append(Text())
    return [*blocks, *_targets_table(overview)]


def _last_rejected(view: NamespaceView) -> list[str]:
    """Return in a line which message was refused last."""
    rejected = view.last_rejected
    if rejected is None:
        return []
    return [f"rejected {rejected.name} at {write_seconds(rejected.at)}: {rejected.reason}"]


def _targets_table(overview: Overview) -> list[Table]:
    if not overview.targets and not overview.silent_targets:
        return []
    table = Table(box=SIMPLE_HEAD)
    for column in _TARGET_COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=column != "problems")
    used = {
        cadence.target
        for view in overview.namespaces
        for cadence in view.cadences.values()
        if cadence.last_anchor is not None or cadence.in_flight is not None
    }
    for target in overview.targets:
        table.add_row(*_target_cells(target, was_used=target.target in used))
    for name in overview.silent_targets:
        table.add_row(_plain(name), _NO_ANSWER, *[DASH] * (len(_TARGET_COLUMNS) - 2))
    return [table]


def _target_cells(target: TargetView, *, was_used: bool) -> list[str]:
    state, problems = target.state, list(target.problems)
    known = state not in (TargetState.FAILING, TargetState.MISSING)
    if state is TargetState.MISSING:
        problems.append(_STARTS_AGAIN if was_used else _NOT_STARTED)
    return [
        _plain(target.target),
        f"[{_TARGET_STYLES[state]}]{state.value}[/]",
        str(target.waiting) if known else DASH,
        str(len(target.rounds)) if known else DASH,
        _plain("\n".join(problems)) or DASH,
    ]


def _why_not_well(view: NamespaceView) -> list[str]:
    if view.waiting_since is not None:
        return [f"no answer; {waits_for_worker(view.waiting_since, datetime.now(UTC))}"]
    if view.state is NamespaceState.FAILING:
        return [f"failing: {view.cause}"]
    unknown = past_unknown(view.unknown_since) if view.unknown_since is not None else ""
    return [text for text in (view.cause, view.drift, unknown) if text]


def _finality(anchor: LastAnchorView | None) -> str:
    return reached(anchor.finality, anchor.depth, anchor.required_depth) if anchor else DASH


def _wrong(view: NamespaceView, label: str, cadence: CadenceView) -> list[str]:
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
    anchor = cadence.last_anchor
    if anchor is not None and anchor.awaiting is not None:
        complaints.append(f"awaiting: {anchor.awaiting.text}")
    return [*complaints, *(cadence.problems or ())]


def _why_it_rests(target: TargetView) -> list[str]:
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


def _plain(text: str) -> str:
    """Return a text in which rich finds no markup, and a terminal no orders."""
    return visible(text).replace("[", "\\[")
