"""Defines what an observation of a Bitcoin round leaves for later ones: how far its output was searched for.

Notes save work and are no evidence: lost ones cost a new search, and malformed ones count as none.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from vaultmesh.domain.aggregator.ledger_messages import Terms


class _Noted(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True
    )


class Mark(_Noted):
    """A block that was the newest, or the last one read."""

    height: int = Field(ge=0)
    hash: str = ""
    """Empty where only the height was kept."""


class Spend(_Noted):
    """A transaction in a block that spends what a round needs; its whole block was read and checked."""

    txid: str
    outpoint: str
    """What it spends: the round's own output, or one that the output's own transaction needs."""
    height: int
    block_hash: str
    is_candidate: bool = False
    """Whether it is one of the round's own."""
    commits: bool = False
    """Whether it publishes the round's commitment, and nothing else of our form."""


class Notes(_Noted):
    """What is known of the output that a round spends."""

    unspent_at: Mark | None = None
    """Newest block at which it was unspent: whatever spent it lies above."""
    read_to: Mark | None = None
    """Block up to which the chain was searched since then."""
    needs: int = 0
    """How many outputs were searched for; more of them begin a new search."""
    unread: tuple[int, int] | None = None
    """First and last height of blocks that the node did not show."""
    spend: Spend | None = None
    """What was found."""

    @classmethod
    def of(cls, terms: Terms) -> Self:
        """Read what an earlier look left."""
        try:
            return cls.model_validate(terms)
        except ValidationError:
            return cls()

    @property
    def terms(self) -> Terms:
        """Return it as it is kept."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def without(self, height: int) -> Self:
        """Note that the node did not show a block."""
        first, last = self.unread or (height, height)
        return self.model_copy(update={"unread": (min(first, height), max(last, height))})
