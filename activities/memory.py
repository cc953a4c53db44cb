"""Asks whether those who are asked about a ledger still show an older transaction of ours."""

import asyncio
import logging

from activities.anchors.contract import Anchoring
from activities.files import Files
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.target import Target

_LOG = logging.getLogger(__name__)


async def forgotten(files: Files, target: Target, anchoring: Anchoring) -> list[str]:
    """Return who does not, a line each; nothing is asked before a round of the target is final."""
    tx_ref = await asyncio.to_thread(_older_transaction, files, target)
    if not tx_ref:
        return []
    lines = await anchoring.forgetful(tx_ref)
    for line in lines:
        _LOG.warning("an endpoint forgets", extra={"target": str(target), "detail": line})
    return lines


def _older_transaction(files: Files, target: Target) -> str:
    """Return the transaction of the oldest of the newest final rounds; empty if there is none."""
    rounds = files.rounds(target)
    final = rounds.newest_final()
    try:
        closed = rounds.closed(final[-1]) if final else None
    except InvalidValue:  # told as damage
        return ""
    return closed.tx_ref if closed is not None else ""
