"""Fills the columns of the demonstration's table."""

from dataclasses import dataclass
from datetime import timedelta

from rich.markup import escape
from rich.table import Table

from vaultmesh.domain.freshness import in_words
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.status import CadenceView

DASH = "–"


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

    def cells(self) -> tuple[str, ...]:
        """Return what the columns show."""
        view, anchor = self.view, self.view.last_anchor
        due = write_seconds(view.next_due)[11:19] if view.next_due else DASH
        anchored = (
            f"{write_seconds(anchor.at)[11:19]} block {anchor.block}"
            if anchor and anchor.at
            else DASH
        )
        tx_ref = f"{anchor.tx_ref[:14]}…" if anchor and anchor.tx_ref else DASH
        return (
            self.namespace,
            self.cadence,
            view.every or DASH,
            due,
            anchored,
            tx_ref,
            self._depth(),
            self._wrong(),
        )

    def _depth(self) -> str:
        if self.receipt is None:
            return DASH
        finality = self.receipt.finality
        return f"{finality.observed_depth}/{finality.required_depth} {finality.state.value}"

    def _wrong(self) -> str:
        if self.cause:
            return self.cause
        if self.view.overdue_seconds is not None:
            return f"due {in_words(timedelta(seconds=self.view.overdue_seconds))} ago, and not taken up yet"
        flight = self.view.in_flight
        if flight is not None and flight.last_failure is not None:
            return (
                f"{flight.failures}× {flight.last_failure.kind}: {flight.last_failure.message[:60]}"
            )
        if flight is not None:
            return "in flight"
        return self.view.problems[0][:60] if self.view.problems else DASH


def demo_table(rows: list[Row], sealed: int) -> Table:
    """Return the table of all cadences."""
    table = Table(title=f"{sealed} batches sealed")
    for column in (
        "namespace",
        "cadence",
        "every",
        "next due",
        "last anchor",
        "transaction",
        "depth",
        "failures",
    ):
        table.add_column(column)
    for row in rows:
        table.add_row(*map(escape, row.cells()))
    return table


def plain_line(row: Row) -> str:
    """Return one cadence in a line that a program can read."""
    if row.cause:
        return f"{row.namespace} {row.cadence}: {row.cause}"
    anchor = row.view.last_anchor
    what = f"{anchor.tx_ref} block {anchor.block}" if anchor else "no anchor"
    return f"{row.namespace} {row.cadence}: {what} {row.receipt.finality.state.value if row.receipt else ''}".rstrip()
