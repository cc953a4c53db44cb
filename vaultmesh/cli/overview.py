"""The place where what `status` found out becomes JSON for programs and a table for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue
from rich.box import SIMPLE_HEAD
from rich.table import Table

from vaultmesh.domain.status import (
    AggregatorView,
    CadenceView,
    LastAnchorView,
    NamespaceState,
    NamespaceView,
    rfc3339,
)

_DASH = "–"
_COLUMNS = (
    "namespace", "cadence", "state", "next due", "last anchor", "transaction", "depth", "failures", "problems",
)  # fmt: skip
_WHOLE = ("namespace", "cadence", "state", "next due", "last anchor")
"""Columns that are never folded."""
_STYLES = {
    NamespaceState.RUNNING: "green",
    NamespaceState.PAUSED: "yellow",
    NamespaceState.BACKING_OFF: "red",
    NamespaceState.MISSING: "red",
}


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that one look showed."""

    namespaces: Sequence[NamespaceView]
    pens: Sequence[AggregatorView]
    silent: Sequence[str] = ()
    """Namespaces whose clock runs, but did not answer: no worker."""
    misconfigured: str = ""
    """What is wrong with namespaces.yaml, so that what it holds is not known."""

    def document(self) -> JsonValue:
        """Return it as `--json` prints it."""
        return {
            "namespaces": [view.model_dump(mode="json") for view in self.namespaces],
            "targets": [pen.model_dump(mode="json") for pen in self.pens],
        }


def status_table(overview: Overview) -> Table:
    """Return the table for people."""
    table = Table(box=SIMPLE_HEAD)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    rests = {pen.target: _why_it_rests(pen) for pen in overview.pens}
    for view in overview.namespaces:
        for label, cadence in view.cadences.items():
            table.add_row(*_cells(view, label, cadence, rests.get(cadence.target, [])))
    return table


def _cells(
    view: NamespaceView, label: str, cadence: CadenceView, rests: Sequence[str]
) -> list[str]:
    state = NamespaceState.PAUSED if label in view.paused else view.state
    anchor = cadence.last_anchor
    due = _short_time(cadence.next_due)
    at = _short_time(anchor.at if anchor else None)
    tx_ref = f"{anchor.tx_ref[:12]}…" if anchor and anchor.tx_ref else _DASH
    flight = cadence.in_flight
    failures = str(flight.failures) if flight and flight.failures else _DASH
    problems = [*_wrong(view, label, cadence), *rests]
    return [
        _plain(view.namespace),
        f"{label} {cadence.every}",
        f"[{_STYLES[state]}]{state.value}[/]",
        due,
        at,
        tx_ref,
        _depth(anchor),
        failures,
        _plain("\n".join(problems)) or _DASH,
    ]


def _short_time(instant: datetime | None) -> str:
    """Return an instant in UTC without its year."""
    return rfc3339(instant)[5:].replace("T", " ") if instant is not None else _DASH


def _depth(anchor: LastAnchorView | None) -> str:
    if anchor is None:
        return _DASH
    depth = f"{anchor.depth}/{anchor.required_depth} " if anchor.depth is not None else ""
    reached = f"{depth}{anchor.finality}"
    return f"{reached}\nawaiting: {anchor.awaiting.text}" if anchor.awaiting else reached


def _wrong(view: NamespaceView, label: str, cadence: CadenceView) -> list[str]:
    found: list[str] = []
    if label in view.paused and view.paused[label].reason:
        found.append(f"paused: {view.paused[label].reason}")
    flight = cadence.in_flight
    if flight is not None and flight.last_failure is not None:
        found.append(f"{flight.last_failure.kind}: {flight.last_failure.message}")
    if cadence.unanchored:
        found.append(f"{cadence.unanchored} unanchored")
    return [*found, *cadence.problems]


def _why_it_rests(pen: AggregatorView) -> list[str]:
    """Return why a target starts no new round: it touches every cadence that goes there."""
    found: list[str] = []
    if pen.paused:
        since = f"since {rfc3339(pen.paused.since)}"
        reason = f": {pen.paused.reason}" if pen.paused.reason else ""
        found.append(f"{pen.target} is paused {since}{reason}")
    if pen.held:
        found.append(f"{pen.target} is held: {pen.held.message}")
    return found


def _plain(text: str) -> str:
    """Return a text in which rich finds no markup."""
    return text.replace("[", "\\[")
