"""Lays out on one axis when what happened to a batch, for each ledger.

1. Time runs from left to right, from the sealing on, on a logarithmic scale: a second and a day both have their place.
2. What happens later in a row is never further left; clocks differ by less than anybody should read from a picture.
3. Everything is in percent, so that the picture fits any width and its texts keep their size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vaultmesh.api.admin.rendering import lasted
from vaultmesh.domain.instants import write_seconds
from vaultmesh.overview.batch_reports import BatchReport, Moment, Step

LEFT, RIGHT = 4.0, 96.0
"""Percent: a mark at either end is seen whole."""
CLOSEST = 8.0
"""Percent between two marks of a row, and so 25 px on a narrow screen."""
CLOSEST_LINES = 14.0
ROW, HEAD = 62, 34
"""Pixels of one ledger's row, and of the scale above."""
_SECONDS = (1, 2, 5, 10, 20, 40)
_LENGTHS = (
    *((number, f"{number} s") for number in _SECONDS),
    *((60 * number, f"{number} min") for number in _SECONDS),
    *((3_600 * number, f"{number} h") for number in (1, 2, 5, 12)),
    *((86_400 * number, f"{number} d") for number in (1, 2, 5, 10, 30, 100, 300, 1_000)),
)
"""Lengths of time that may stand on the scale."""
_LONGEST_LABEL = 40
_NUMBERS = {Step.SEALED: 1, Step.SENT: 2, Step.SENT_AGAIN: 2, Step.INCLUDED: 3, Step.STAMPED: 3, Step.FINAL: 4, Step.LOST: 0, Step.ENDED: 0}  # fmt: skip
"""What stands in a mark; 0: a cross."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment on the axis."""

    moment: Moment
    x: float
    """Percent of the width."""
    after: str
    """How long after the sealing; empty for the sealing itself, and where nobody knows when that was."""

    @property
    def sign(self) -> str:
        """What stands in it."""
        number = _NUMBERS[self.moment.step]
        return str(number) if number else "×"

    @property
    def tone(self) -> str:
        """The class of its colour."""
        return self.moment.step.value.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Row:
    """One ledger on the axis."""

    name: str
    marks: Sequence[Mark]
    awaited: str
    """What it waits for, in words; empty if nothing."""
    top: int
    """Pixels."""

    @property
    def label(self) -> str:
        """Its name, short enough for a narrow screen."""
        return self.name if len(self.name) <= _LONGEST_LABEL else f"{self.name[:_LONGEST_LABEL]}…"

    @property
    def text(self) -> str:
        """The row in words."""
        said = [
            f"{mark.moment.step} at {write_seconds(mark.moment.at)}"
            + (f", {mark.after} after the sealing" if mark.after else "")
            for mark in self.marks
        ]
        return f"{self.name}: {'; '.join([*said, *([f'awaiting {self.awaited}'] if self.awaited else [])])}"


@dataclass(frozen=True, slots=True)
class ScaleLine:
    """A length of time on the scale."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """The picture."""

    rows: Sequence[Row]
    grid: Sequence[ScaleLine]
    height: int
    """Pixels."""

    @property
    def text(self) -> str:
        """The picture in words."""
        return ". ".join(row.text for row in self.rows) + "."


def axis_of(report: BatchReport, now: datetime) -> Axis | None:
    """Return the picture of a batch; None if nothing is known that has a time."""
    lines = _lines(report)
    instants = [moment.at for _, moments, _ in lines for moment in moments]
    if not instants:
        return None
    start = report.sealed[0].at if report.sealed else min(instants)
    end = max(*instants, start, *([now] if any(awaited for _, _, awaited in lines) else []))
    scale = _Scale(start, end)
    rows = [
        Row(name, scale.marks(moments, is_sealed=bool(report.sealed)), awaited, HEAD + place * ROW)
        for place, (name, moments, awaited) in enumerate(lines)
    ]
    return Axis(rows, scale.grid(), HEAD + len(rows) * ROW)


def _lines(report: BatchReport) -> list[tuple[str, Sequence[Moment], str]]:
    """Return what is drawn of each ledger: its name, its moments, what it awaits."""
    awaited = {str(level.target): level.view.text for level in report.levels.levels.awaited}
    lines = [
        (str(each.receipt.network), [*report.sealed, *each.moments], awaited.pop(str(each.receipt.network), ""))
        for each in report.receipts
        if each.receipt is not None
    ]  # fmt: skip
    lines += [
        (str(each.target), [*report.sealed, *each.moments], awaited.pop(str(each.target), ""))
        for each in report.under_way
    ]
    return [*lines, *((target, report.sealed, text) for target, text in awaited.items())]


class _Scale:
    """Turns instants into percent of the width."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._start = start
        self._longest = math.log1p(max(1.0, (end - start).total_seconds()))

    def _x(self, seconds: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log1p(max(0.0, seconds)) / self._longest

    def marks(self, moments: Sequence[Moment], *, is_sealed: bool) -> list[Mark]:
        """Return the marks of one row, none closer to another than can be read."""
        places = [self._x((moment.at - self._start).total_seconds()) for moment in moments]
        for i in range(1, len(places)):
            places[i] = max(places[i], places[i - 1] + CLOSEST)
        if places and places[-1] > RIGHT:
            places[-1] = RIGHT
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - CLOSEST)
        return [
            Mark(moment, round(x, 2), self._after(moment) if is_sealed else "")
            for moment, x in zip(moments, places, strict=True)
        ]

    def _after(self, moment: Moment) -> str:
        if moment.step is Step.SEALED:
            return ""
        return lasted(max(0.0, (moment.at - self._start).total_seconds()) * 1_000)

    def grid(self) -> list[ScaleLine]:
        """Return the lengths of time that fit on the scale, none too close to another."""
        grid = [ScaleLine(LEFT, "0")]
        for seconds, text in _LENGTHS:
            x = round(self._x(seconds), 2)
            if x <= RIGHT and x - grid[-1].x >= CLOSEST_LINES:
                grid.append(ScaleLine(x, text))
        return grid
