"""The place where it is found out which closed rounds lie in blocks that left the chain, however deep.

A closed round is not watched any more. A reorganisation undoes the newest blocks, so the closed round of the highest
block is asked for, and the ones below it only while blocks are other ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ClosedBlock:
    """Where a round that was closed as final lay then."""

    round_id: str
    number: int
    block_hash: str


class Chain(Protocol):
    """What a target's module tells of blocks."""

    async def is_canonical(self, number: int, block_hash: str) -> bool | None:
        """Say whether a block is in the chain; None is no answer."""
        ...


async def left_the_chain(chain: Chain, closed: Iterable[ClosedBlock]) -> list[str]:
    """Return the closed rounds whose blocks are in the chain no more, the highest first; only asks.

    Args:
        chain: tells of blocks.
        closed: rounds that were closed as final, in descending order of their blocks; read no further than needed.
    """
    left: list[str] = []
    for one in closed:
        if await chain.is_canonical(one.number, one.block_hash) is not False:
            return left  # in the chain, or no answer: the next look asks again
        left.append(one.round_id)
    return left
