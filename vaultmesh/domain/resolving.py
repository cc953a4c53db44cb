"""Defines an operator's decision about a round, where evidence can't decide.

1. It is written into the round's folder before it is acted on, and never changed: no loss of a database forgets it.
2. It is about one reservation. A direct commitment that is sealed again keeps its folder, and has another one.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue

from vaultmesh.domain.aggregation import Document
from vaultmesh.domain.rounds import Candidate


class Decision(StrEnum):
    """What an operator decided."""

    LOST = "lost"
    """Its reservation was used up without its commitment: its leaves are owed again."""
    ADOPTED = "adopted"
    """A transaction that is in the ledger is its own, although it is none of the stored candidates."""
    FORGOTTEN = "forgotten"
    """It can't be read; what it may hold is not held back for it any longer."""


class Resolved(Document):
    """One decision: `resolved.json`, and `resolved-<n>.json` for a later one about the same folder."""

    version: Literal["1"] = "1"
    decision: Decision = Field(strict=False)
    tx_ref: str = ""
    """The transaction that is adopted."""
    by: str
    """Who decided."""
    decided_at: datetime
    evidence: tuple[str, ...] = Field(default=(), strict=False)
    """What was found when it was decided, a line each."""
    reservation: dict[str, JsonValue] | None = None
    """The reservation that it is about; None where none could be read."""
    candidate: Candidate | None = None
    """What is adopted, as the ledger shows it."""

    def is_about(self, reservation: dict[str, JsonValue]) -> bool:
        """Say whether it decides about what this reservation signs."""
        return self.reservation == reservation
