"""Asks whether those who are asked about a ledger can show what an anchor rests on.

That is an older transaction of ours, and what finality goes by.
"""

import asyncio
import logging

from activities.anchoring.stores import Files
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring
from vaultmesh.storage.rounds import RoundStore

_LOG = logging.getLogger(__name__)


async def shortcomings(files: Files, target: Target, anchoring: Anchoring) -> list[str]:
    """Return a line for each endpoint that forgets, or that names nothing final."""
    unsettling = await anchoring.unsettling()
    for line in unsettling:
        _LOG.warning(
            "an endpoint names nothing final", extra={"target": str(target), "detail": line}
        )
    return [*unsettling, *await _forgotten(files, target, anchoring)]


async def _forgotten(files: Files, target: Target, anchoring: Anchoring) -> list[str]:
    """Return who does not show an older transaction; nothing is asked before a round of the target is final."""
    tx_ref = await asyncio.to_thread(older_transaction, files.rounds(target))
    if not tx_ref:
        return []
    lines = await anchoring.forgetful(tx_ref)
    for line in lines:
        _LOG.warning("an endpoint forgets", extra={"target": str(target), "detail": line})
    return lines


def older_transaction(rounds: RoundStore) -> str:
    """Return the transaction of the oldest of a target's newest final rounds; empty if there is none. Blocks."""
    final = rounds.newest_final()
    try:
        closed = rounds.closed(final[-1]) if final else None
    except InvalidValue:  # told as damage
        return ""
    return closed.tx_ref if closed is not None else ""
