"""Turns what `status` found out into tables for people."""

from collections.abc import Mapping
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vaultmesh.cli.cadence_table import CadenceLine, namespace_block
from vaultmesh.cli.output import visible
from vaultmesh.domain.status import (
    TargetState,
    TargetView,
)
from vaultmesh.overview.overview import Overview
from vaultmesh.overview.words import (
    DASH,
    NO_ANSWER,
    cadence_notes,
    finality,
    namespace_notes,
    why_it_rests,
    why_missing,
)

_TARGET_COLUMNS = ("target", "state", "waiting", "open rounds", "problems")
_NO_ANSWER = f"[red]{NO_ANSWER}[/]"
_TARGET_STYLES: Mapping[str, str] = {
    TargetState.RUNNING: "green",
    TargetState.PAUSED: "yellow",
    TargetState.HELD: "red",
    TargetState.FAILING: "bold red",
    TargetState.MISSING: "dim",
}


def tables(overview: Overview) -> list[RenderableType]:
    """Return what is shown to people: each namespace with its cadences, then targets."""
    now = datetime.now(UTC)
    rests = {target.target: why_it_rests(target) for target in overview.targets}
    blocks: list[RenderableType] = []
    for view in (*overview.namespaces, *overview.silent):
        lines = [
            CadenceLine(
                label,
                cadence,
                cadence.state or view.state,
                finality(cadence.last_anchor),
                [*cadence_notes(view, label, cadence, now), *rests.get(cadence.target, [])],
            )
            for label, cadence in view.cadences.items()
        ]
        notes = namespace_notes(view, now)
        blocks += namespace_block(
            view.namespace, view.state, lines, now, notes=notes, with_header=not blocks
        )
        blocks.append(Text())
    return [*blocks, *_targets_table(overview)]


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
        problems.append(why_missing(was_used=was_used))
    return [
        _plain(target.target),
        f"[{_TARGET_STYLES[state]}]{state.value}[/]",
        str(target.waiting) if known else DASH,
        str(len(target.rounds)) if known else DASH,
        _plain("\n".join(problems)) or DASH,
    ]


def _plain(text: str) -> str:
    """Return a text in which rich finds no markup, and a terminal no orders."""
    return visible(text).replace("[", "\\[")
