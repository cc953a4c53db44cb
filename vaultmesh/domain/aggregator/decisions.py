"""Defines an operator's decision about a round, where evidence can't decide, and reads it from JSON.

1. It is written into the round's folder before it is acted on, and never changed: no loss of a database forgets it.
2. It is about one reservation. A direct commitment that is sealed again keeps its folder, and has another one.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from vaultmesh.domain.errors import InvalidValue, one_line
from vaultmesh.domain.rounds.leaf import Document
from vaultmesh.domain.rounds.manifest import Candidate

EVERY = "all"
"""Stands for every round that can't be read, where rounds are given up."""
LONGEST_NAME = 200
"""Characters of who decided."""


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
    numbers: tuple[int, int] | None = Field(default=None, strict=False)
    """First and last number of the rounds that are given up, where they are gone."""
    round_id: str = ""
    """Whose file it is; empty in files that were written before this was kept."""

    def is_same(self, other: "Resolved") -> bool:
        """Say whether another one decides the same, whoever made it and when."""
        mine = self.decision, self.tx_ref, self.reservation
        return mine == (other.decision, other.tx_ref, other.reservation)

    def is_about(self, reservation: dict[str, JsonValue]) -> bool:
        """Say whether it decides about what this reservation signs."""
        return self.reservation == reservation


@dataclass(frozen=True, slots=True)
class ResolveOrder:
    """An operator's decision about a round."""

    decision: Decision
    round_id: str
    tx_ref: str
    by: str


@dataclass(frozen=True, slots=True)
class FillGap:
    """Fill a gap below the open rounds now, although nothing is owed."""


class _Asked(BaseModel):
    """Argument of the update `resolve`: one of its first four."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lost: str = ""
    adopt: tuple[str, str] | None = Field(default=None, strict=False)
    """Round and transaction."""
    forget: str = ""
    fill: bool = False
    by: str = Field(default="", max_length=LONGEST_NAME)


def read_resolve(value: JsonValue) -> ResolveOrder | FillGap:
    """Return what the update `resolve` orders.

    Raises:
        InvalidValue: another form than one decision, or one that means nothing here.
    """
    try:
        asked = _Asked.model_validate(value)
    except ValidationError as error:
        message = f"resolve: {one_line(error, _Asked)}"
        raise InvalidValue(message) from None
    if sum((bool(asked.lost), asked.adopt is not None, bool(asked.forget), asked.fill)) != 1:
        message = "resolve takes one of lost, adopt, forget and fill"
        raise InvalidValue(message)
    if asked.fill:
        return FillGap()
    by = asked.by or "somebody who gave no name"
    if asked.adopt is not None:
        round_id, tx_ref = asked.adopt
        return ResolveOrder(Decision.ADOPTED, round_id, tx_ref, by)
    decision = Decision.LOST if asked.lost else Decision.FORGOTTEN
    return ResolveOrder(decision, asked.lost or asked.forget, "", by)
