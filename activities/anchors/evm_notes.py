"""The place where it is written what looks at an EVM round remember of earlier ones (`notes` of a round)."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from activities.anchors.evm_search import Search, Use
from vaultmesh.domain.ledger import BlockRef, Terms, WatchedRound

MARGIN = 8
"""Blocks below a remembered one that are read as well: the nodes behind one address lag behind each other."""


class EventProgress(BaseModel):
    """How far one provider was asked for our event."""

    through: int
    """Our event is in no block up to this one, as it said when that was final."""
    span: int
    """Blocks that it last allowed in one question."""


class Notes(BaseModel):
    """What is remembered."""

    model_config = ConfigDict(extra="ignore")

    free: BlockRef | None = None
    """The newest block at which the nonce was still free."""
    free_final: int | None = None
    """The newest final block at which it was."""
    since: datetime | None = None
    """When it was first counted as used without a candidate of ours."""
    searches: dict[str, Search] = Field(default_factory=dict)
    """By provider; one that has ended goes on with the blocks that were added since."""
    use: Use | None = None
    """What used it."""
    events: dict[str, EventProgress] = Field(default_factory=dict)
    """By provider."""

    @classmethod
    def of(cls, watched: WatchedRound) -> Self:
        """Return a round's; what can't be read is found out anew."""
        try:
            return cls.model_validate(watched.notes)
        except ValidationError:
            return cls()

    def document(self) -> Terms:
        """Return them as the round keeps them."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def calm(self, free: BlockRef | None, free_final: int | None) -> "Notes":
        """Return what is left once nothing is suspected."""
        if free is None:
            return Notes(free=self.free, free_final=self.free_final)
        return Notes(free=free, free_final=free_final)


def signed_at_block(watched: WatchedRound) -> int:
    """Return a block below all that can hold the round's transaction: the one at which it was reserved, less a margin."""
    height = watched.reservation.fields.get("blockNumber")
    return max(height - MARGIN, 0) if isinstance(height, int) else 0
