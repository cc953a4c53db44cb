"""Lays out what the demonstration shows of each cadence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from vaultmesh.cli.cadence_table import CadenceLine, namespace_block
from vaultmesh.domain.freshness import in_words
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.status import CadenceView, NamespaceState
from vaultmesh.overview.words import DASH, reached, times


@dataclass(frozen=True, slots=True)
class Row:
    """One cadence as it is shown."""

    namespace: str
    cadence: str
    view: CadenceView
    receipt: AnchorReceipt | None
    """Receipt of the newest anchor."""
    cause: str = ""
    """Why the namespace or its target can't go on; empty if it can."""

    @property
    def is_final(self) -> bool:
        """Whether the newest anchor can't vanish any more."""
        return self.receipt is not None and self.receipt.is_final

    def line(self) -> CadenceLine:
        """Return what its line shows."""
        finality = self.receipt.finality if self.receipt is not None else None
        return CadenceLine(
            self.cadence,
            self.view,
            NamespaceState.FAILING if self.cause else self.view.state or NamespaceState.RUNNING,
            reached(finality.state.value, finality.observed_depth, finality.required_depth)
            if finality
            else DASH,
            self._notes(),
        )

    def _notes(self) -> list[str]:
        if self.cause:
            return [self.cause]
        notes = []
        if self.view.overdue_seconds is not None:
            late = in_words(timedelta(seconds=self.view.overdue_seconds))
            notes.append(f"due {late} ago, and not taken up yet")
        flight = self.view.in_flight
        if flight is not None and flight.last_failure is not None:
            failure = flight.last_failure
            notes.append(f"failed {times(flight.failures)}: {failure.kind}: {failure.message}")
        return [*notes, *(self.view.problems or ())]


def demo_table(rows: Sequence[Row], sealed: int, jobs: Sequence[RenderableType] = ()) -> Group:
    """Return the blocks of all cadences, by namespace, and then what is shown of jobs."""
    now = datetime.now(UTC)
    blocks: list[RenderableType] = []
    for namespace, group in groupby(rows, key=lambda row: row.namespace):
        lines = [row.line() for row in group]
        blocks += [
            *namespace_block(namespace, None, lines, now, with_header=not blocks),
            Text(),
        ]
    return Group(f"{sealed} batches sealed", Text(), *blocks, *jobs)


def plain_line(row: Row) -> str:
    """Return one cadence in a line that a program can read."""
    if row.cause:
        return f"{row.namespace} {row.cadence}: {row.cause}"
    anchor = row.view.last_anchor
    if anchor is None:
        what = "no anchor"
    else:
        what = f"{anchor.tx_ref} block {anchor.block}" if anchor.block else anchor.tx_ref
    return f"{row.namespace} {row.cadence}: {what} {row.receipt.finality.state.value if row.receipt else ''}".rstrip()
