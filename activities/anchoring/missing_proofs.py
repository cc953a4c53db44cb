"""Tries again to have the proofs that final receipts lack: a node was asked too often, or a later version knows more.

1. The ledger is asked first. Receipts are written again only once a proof is there, so a chain that gives none costs no
   workflow anything.
2. One round is asked about at a look, each one later than the time before, and four times in a process's life.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from activities.anchoring.reopen import closed_round
from activities.anchoring.stores import Files
from vaultmesh.domain.aggregator.ledger_messages import WatchedRound
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.receipts.receipt import PROOF_MISSING
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring

PAUSES_SECONDS = (600.0, 3_600.0, 21_600.0, 86_400.0)
"""Before each try: a limit of requests has passed, a node has been mended, a day has gone by."""
LONGEST_SECONDS = 20.0
"""Of one try: targets with open rounds wait for the next look."""
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tries:
    """How often a round was asked about, and when it is next."""

    count: int
    due: float


class MissingProofs:
    """Rounds of one process whose final receipts carry no proof."""

    def __init__(self, files: Files, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of none yet."""
        self._files = files
        self._clock = clock
        self._rounds: dict[tuple[Target, str], _Tries] = {}

    def add(self, target: Target, round_ids: Iterable[str]) -> None:
        """Take rounds that a look at the receipts found; known ones keep their turn."""
        for round_id in round_ids:
            due = self._clock() + PAUSES_SECONDS[0]
            self._rounds.setdefault((target, round_id), _Tries(0, due))

    async def look(
        self, open_target: Callable[[Target], Awaitable[Anchoring]]
    ) -> tuple[Target, str] | None:
        """Return a round whose proof can be had now; None if none is due, or the one that is due has none."""
        now = self._clock()
        waiting = {
            key: tries.due
            for key, tries in self._rounds.items()
            if tries.count < len(PAUSES_SECONDS)
        }
        key = min(waiting, key=lambda each: waiting[each], default=None)
        if key is None or waiting[key] > now:
            return None
        tries = self._rounds[key]
        tries.count += 1
        tries.due = now + PAUSES_SECONDS[min(tries.count, len(PAUSES_SECONDS) - 1)]
        target, round_id = key
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                reason = await self._reason(await open_target(target), target, round_id)
        except (AnchorError, InvalidValue, TimeoutError) as error:
            reason = str(error) or "no answer in time"
        if reason:
            extra = {"target": str(target), "round": round_id, "reason": reason}
            _LOG.info("a final round can't be proven still", extra=extra)
            return None
        del self._rounds[key]
        return key

    async def _reason(self, anchoring: Anchoring, target: Target, round_id: str) -> str:
        """Return why there is no proof now; empty if there is one."""
        watched, raw = await asyncio.to_thread(self._stored, target, round_id)
        (view,) = await anchoring.look([watched])
        if not view.final:
            return view.message or "it is not final"
        evidence = await anchoring.evidence(watched, view, raw)
        return str(evidence.scheme.get(PROOF_MISSING, ""))

    def _stored(self, target: Target, round_id: str) -> tuple[WatchedRound, str]:
        """Return a final round and its signed bytes.

        Raises:
            InvalidValue: it can't be read, or is not final.
        """
        watched = closed_round(self._files, target, round_id)
        if watched is None:
            message = f"round {round_id} is not final"
            raise InvalidValue(message)
        candidates = self._files.rounds(target).candidates(round_id)
        raw = (candidate.raw for candidate in candidates if candidate.tx_ref == watched.tx_ref)
        return watched, next(raw, "")
