"""Opens closed rounds again whose block has left the chain after all, beyond finality (E4, E8).

1. The closed round of the highest block is asked about: the hash at that height. While that is another one, the round of
   the block before it is asked about too; the first one whose block stands ends the walk. One that can't be read is passed over.
2. No answer is no answer: only what the ledger shows instead opens a round again. That is another block in its place, also
   where nobody can tell what became of the transaction: its receipts are wrong then, and the round is held by name.
3. What is opened is driven with the same bytes, like any round whose block left the chain before it was final.
"""

import asyncio
import time

from activities.anchoring.stores import Files
from vaultmesh.domain.aggregator.ledger_messages import (
    BlockRef,
    RoundState,
    RoundView,
    WatchedRound,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.rounds.manifest import RoundOutcome
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring

REST_SECONDS = 5.0
"""Between two looks at the closed rounds of a target: about half a block of the slowest chain that knows finality."""


class Reopening:
    """Looks at the closed rounds of each target."""

    def __init__(self, files: Files) -> None:
        """Look at what the files say was closed."""
        self._files = files
        self._looked: dict[Target, float] = {}

    async def look(self, target: Target, anchoring: Anchoring) -> list[str]:
        """Return the closed rounds that are no longer in the ledger, the newest first; asks nothing during a rest.

        `recover` opens them: an answer that is lost, since the activity was ended meanwhile, is found again at the next look.
        """
        now = time.monotonic()
        if now - self._looked.get(target, -REST_SECONDS) < REST_SECONDS:
            return []
        self._looked[target] = now
        reopened: list[str] = []
        for round_id in await asyncio.to_thread(self._files.rounds(target).newest_final):
            try:
                watched = await asyncio.to_thread(closed_round, self._files, target, round_id)
            except (
                InvalidValue
            ):  # told as damage; the round before it may have left the ledger all the same
                continue
            if watched is None or not await self._has_left(anchoring, watched):
                break
            reopened.append(round_id)
        return reopened

    async def _has_left(self, anchoring: Anchoring, watched: WatchedRound) -> bool:
        try:
            (view,) = await anchoring.look([watched])
        except AnchorError:
            return False
        return has_left(watched, view)


def closed_round(files: Files, target: Target, round_id: str) -> WatchedRound | None:
    """Return a final round as one that is included; None where it is not final, or its end names no block.

    Raises:
        InvalidValue: it can't be read.
    """
    rounds = files.rounds(target)
    closed = rounds.closed(round_id)
    if closed is None or closed.outcome is not RoundOutcome.FINAL or not closed.block:
        return None
    if not closed.block_hash or closed.block_time is None:
        return None
    block = BlockRef(number=closed.block, hash=closed.block_hash, time=closed.block_time)
    included = {
        "state": RoundState.INCLUDED,
        "tx_ref": closed.tx_ref,
        "block": block,
        "depths": [],
    }
    return rounds.watched(round_id).model_copy(update=included)


def has_left(watched: WatchedRound, view: RoundView) -> bool:
    """Whether a look shows a closed round elsewhere than in its block; a look that can't tell does not."""
    match view.state:
        case RoundState.INCLUDED:
            return view.block is not None and view.block != watched.block
        case RoundState.PENDING | RoundState.STUCK:
            return view.left_block or (bool(view.tx_ref) and not view.undecided)
        case _:
            return True
