"""Defines what an examination of the surroundings says: a line for each thing that was looked at, with its mend."""

from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """How something was met."""

    OK = "ok"
    WARNING = "warning"
    """It works, and something about it may hurt later."""
    WRONG = "wrong"
    """What rests on it does not work."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line."""

    part: str
    """What was examined: `temporal`, a target, a file, a service."""
    check: str
    """What was looked at there, such as `chain id`."""
    condition: Condition
    detail: str
    """What was met; for what is not ok also why that matters."""
    mend: str = ""
    """What to do; empty if nothing."""


def ok(part: str, check: str, detail: str) -> Diagnosis:
    """Return a line about what is as it should be."""
    return Diagnosis(part, check, Condition.OK, detail)


def warning(part: str, check: str, detail: str, mend: str) -> Diagnosis:
    """Return a line about what works and deserves a look."""
    return Diagnosis(part, check, Condition.WARNING, detail, mend)


def wrong(part: str, check: str, detail: str, mend: str) -> Diagnosis:
    """Return a line about what does not work."""
    return Diagnosis(part, check, Condition.WRONG, detail, mend)


def mended(part: str, check: str, text: str, mend: str) -> Diagnosis:
    """Return a line about what does not work, from a text that may name its mend after ` - `; `mend` stands where it does not."""
    what, _, own = text.partition(" - ")
    return wrong(part, check, what, own or mend)
