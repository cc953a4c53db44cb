"""Lays cadences out so that they read well in 80 columns: a table for each namespace, and below it what is wrong, in whole words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vaultmesh.cli.output import visible
from vaultmesh.domain.status import CadenceView, NamespaceState
from vaultmesh.overview.words import DASH, at, due, shortened, state_word

_COLUMNS = {
    "cadence": 14,
    "state": 11,
    "next due": 9,
    "last anchor": 19,
    "tx": 9,
    "finality": 12,
}
"""Each with its least width, so that the tables of all namespaces stand below each other. With the gaps they take 79."""
_NOTE_INDENT = 2
STYLES: Mapping[NamespaceState, str] = {
    NamespaceState.RUNNING: "green",
    NamespaceState.PAUSED: "yellow",
    NamespaceState.BACKING_OFF: "red",
    NamespaceState.MISSING: "red",
    NamespaceState.FAILING: "bold red",
    NamespaceState.STOPPED: "yellow",
    NamespaceState.DRAINING: "yellow",
    NamespaceState.STALE: "red",
    NamespaceState.OVERDUE: "bold red",
    NamespaceState.SILENT: "red",
}


@dataclass(frozen=True, slots=True)
class CadenceLine:
    """One cadence as it is shown."""

    label: str
    view: CadenceView
    state: NamespaceState
    finality: str
    notes: Sequence[str] = ()
    """What is wrong or awaited, a line each."""


def namespace_block(
    name: str,
    state: NamespaceState | None,
    lines: Sequence[CadenceLine],
    now: datetime,
    *,
    notes: Sequence[str] = (),
    with_header: bool = True,
) -> list[RenderableType]:
    """Return what is shown of one namespace: its name, its cadences, and what there is to say of them."""
    title = Text(name, style="bold")
    if state is not None:
        title.append("  ").append(state_word(state), style=STYLES[state])
    block: list[RenderableType] = [title]
    if lines:
        block.append(_table(lines, now, with_header=with_header))
    said = [*notes, *(f"{line.label}: {note}" for line in lines for note in line.notes)]
    block += [Padding(Text(visible(note)), (0, 0, 0, _NOTE_INDENT)) for note in said]
    return block


def _table(lines: Sequence[CadenceLine], now: datetime, *, with_header: bool) -> Table:
    table = Table(
        box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=with_header, header_style="dim"
    )
    for column, width in _COLUMNS.items():
        table.add_column(column, min_width=width, overflow="fold")
    for line in lines:
        anchor = line.view.last_anchor
        table.add_row(
            escape(f"{line.label} {line.view.every}".rstrip()),
            Text(state_word(line.state), style=STYLES[line.state]),
            due(line.view.next_due, now),
            at(anchor.at if anchor else None),
            shortened(anchor.tx_ref) if anchor else DASH,
            line.finality,
        )
    return table
