"""Turns what `status` found out into JSON for programs and tables for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue
from rich.box import SIMPLE_HEAD
from rich.table import Table

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
from vaultmesh.process.failing import Failing

_DASH = "–"
_COLUMNS = (
    "namespace", "cadence", "state", "next due", "last anchor", "transaction", "depth", "failures", "problems",
)  # fmt: skip
_WHOLE = ("namespace", "cadence", "state", "next due", "last anchor")
"""Columns that are never folded."""
_TARGET_COLUMNS = ("target", "state", "waiting", "open rounds", "problems")
_NO_ANSWER = "[red]no answer[/]"
_STYLES: Mapping[str, str] = {
    NamespaceState.RUNNING: "green",
    NamespaceState.PAUSED: "yellow",
    NamespaceState.BACKING_OFF: "red",
    NamespaceState.MISSING: "red",
    NamespaceState.FAILING: "bold red",
    NamespaceState.STOPPED: "yellow",
    NamespaceState.DRAINING: "yellow",
    NamespaceState.STALE: "red",
    NamespaceState.OVERDUE: "bold red",
}
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


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that one look showed."""

    namespaces: Sequence[NamespaceView]
    targets: Sequence[TargetView]
    silent: Sequence[NamespaceView] = ()
    """Namespaces whose workflow runs, but did not answer: what files and Temporal itself say of them."""
    silent_targets: Sequence[str] = ()
    """Targets whose aggregator runs, but did not answer."""
    failing: Sequence[Failing] = ()
    """Workflows that can't go on; they are among `namespaces` and `targets` too."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with a configuration file, by its name: what it holds is not known."""
    silence: str = ""
    """Why something that runs did not answer, as far as Temporal knows; empty if all did."""

    @property
    def unanswered(self) -> Sequence[str]:
        """What did not answer, in words."""
        names = [view.namespace for view in self.silent]
        return [*names, *(f"target {target}" for target in self.silent_targets)]

    @property
    def all_answered(self) -> bool:
        """Whether everything that runs answered."""
        return not self.unanswered and not self.failing

    def document(self) -> JsonValue:
        """Return it as `--json` prints it."""
        return {
            "namespaces": [view.model_dump(mode="json") for view in self.namespaces],
            "targets": [target.model_dump(mode="json") for target in self.targets],
            "unanswered": list(self.unanswered),
            "silent": [view.model_dump(mode="json") for view in self.silent],
            "refused": dict(self.refused),
        }


def tables(overview: Overview) -> list[Table]:
    """Return the tables for people: cadences, then targets."""
    return [_namespaces_table(overview), *_targets_table(overview)]


def _namespaces_table(overview: Overview) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    rests = {target.target: _why_it_rests(target) for target in overview.targets}
    for view in (*overview.namespaces, *overview.silent):
        if not view.cadences:
            table.add_row(*_namespace_cells(view))
        for label, cadence in view.cadences.items():
            table.add_row(*_cells(view, label, cadence, rests.get(cadence.target, [])))
    return table


def _namespace_cells(view: NamespaceView) -> list[str]:
    """Return the row of a namespace whose cadences nobody knows."""
    problems = _plain("\n".join(_why_not_well(view))) or _DASH
    dashes = [_DASH] * (len(_COLUMNS) - 4)
    return [_plain(view.namespace), _DASH, _styled(view.state), *dashes, problems]


def _styled(state: NamespaceState) -> str:
    if state is NamespaceState.SILENT:
        return _NO_ANSWER
    return f"[{_STYLES[state]}]{state.value}[/]"


def _cells(
    view: NamespaceView, label: str, cadence: CadenceView, rests: Sequence[str]
) -> list[str]:
    state = cadence.state or view.state
    anchor = cadence.last_anchor
    due = _short_time(cadence.next_due)
    at = _short_time(anchor.at if anchor else None)
    tx_ref = f"{anchor.tx_ref[:12]}…" if anchor and anchor.tx_ref else _DASH
    flight = cadence.in_flight
    failures = str(flight.failures) if flight and flight.failures else _DASH
    is_first = label == next(iter(view.cadences))
    why = [*_why_not_well(view), *_last_rejected(view)] if is_first else []
    problems = [*why, *_wrong(view, label, cadence), *rests]
    return [
        _plain(view.namespace),
        f"{label} {cadence.every}".rstrip(),
        _styled(state),
        due,
        at,
        tx_ref,
        _depth(anchor),
        failures,
        _plain("\n".join(problems)) or _DASH,
    ]


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
        table.add_row(_plain(name), _NO_ANSWER, *[_DASH] * (len(_TARGET_COLUMNS) - 2))
    return [table]


def _target_cells(target: TargetView, *, was_used: bool) -> list[str]:
    state, problems = target.state, list(target.problems)
    known = state not in (TargetState.FAILING, TargetState.MISSING)
    if state is TargetState.MISSING:
        problems.append(_STARTS_AGAIN if was_used else _NOT_STARTED)
    return [
        _plain(target.target),
        f"[{_TARGET_STYLES[state]}]{state.value}[/]",
        str(target.waiting) if known else _DASH,
        str(len(target.rounds)) if known else _DASH,
        _plain("\n".join(problems)) or _DASH,
    ]


def _why_not_well(view: NamespaceView) -> list[str]:
    if view.waiting_since is not None:
        return [f"no answer; {waits_for_worker(view.waiting_since, datetime.now(UTC))}"]
    if view.state is NamespaceState.FAILING:
        return [f"failing: {view.cause}"]
    unknown = past_unknown(view.unknown_since) if view.unknown_since is not None else ""
    return [text for text in (view.cause, view.drift, unknown) if text]


def _short_time(instant: datetime | None) -> str:
    """Return an instant in UTC without its year."""
    return write_seconds(instant)[5:].replace("T", " ") if instant is not None else _DASH


def _depth(anchor: LastAnchorView | None) -> str:
    if anchor is None:
        return _DASH
    depth = f"{anchor.depth}/{anchor.required_depth} " if anchor.depth is not None else ""
    reached = f"{depth}{anchor.finality}"
    return f"{reached}\nawaiting: {anchor.awaiting.text}" if anchor.awaiting else reached


def _wrong(view: NamespaceView, label: str, cadence: CadenceView) -> list[str]:
    complaints: list[str] = []
    if label in view.paused and view.paused[label].reason:
        complaints.append(f"paused: {view.paused[label].reason}")
    flight = cadence.in_flight
    if flight is not None and flight.last_failure is not None:
        complaints.append(f"{flight.last_failure.kind}: {flight.last_failure.message}")
    if cadence.overdue_seconds is not None:
        late = in_words(timedelta(seconds=cadence.overdue_seconds))
        complaints.append(f"due {late} ago, and not taken up yet")
    if cadence.state is NamespaceState.STALE and cadence.stale_at is not None:
        complaints.append(
            f"no request ended well for long; stale since {write_seconds(cadence.stale_at)}"
        )
    if cadence.unanchored:
        complaints.append(f"{cadence.unanchored} unanchored")
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
    """Return a text in which rich finds no markup."""
    return text.replace("[", "\\[")
