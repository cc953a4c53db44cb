"""The place where it is written down who has receipts of a round without being named in its manifest.

A manifest never changes, so that who joins a round later stands beside it: in `joined.json`.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from vaultmesh.domain.aggregation import Document


class Rider(Document):
    """One receipt that a round gives beyond those that its manifest names."""

    namespace: str
    """Whose receipt it is."""
    cadence: str
    slot: str
    required_depth: int = Field(ge=0)
    leaf_namespace: str
    """What the batch's file names, empty if it names none."""
    batch_id: str = Field(min_length=1)
    """Under a direct commitment it may be another batch with the same root."""
    index: int = Field(ge=0)
    """Position of the manifest's leaf that proves it."""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and batch: each has one receipt."""
        return self.namespace, self.batch_id


class Riders(Document):
    """All riders of a round."""

    version: Literal["1"] = "1"
    riders: tuple[Rider, ...] = Field(default=(), strict=False)
    round_id: str = ""
    """Whose file it is; empty in files that were written before this was kept."""

    def with_more(self, more: Iterable[Rider]) -> "Riders":
        """Return them with others; whoever is known stays as it is."""
        known = {one.key: one for one in (*more, *self.riders)}
        return self.model_copy(update={"riders": tuple(known[key] for key in sorted(known))})
