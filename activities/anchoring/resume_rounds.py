"""Starts an aggregator that does not run while rounds of its target are open.

Receipts become final also when no batch is owed, and after somebody terminated the aggregator. Where no round is open, nobody
else looks whether the newest closed one is still in the ledger: then it is done here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice

from temporalio.client import Client

from activities.anchoring.audit import Audit
from activities.anchoring.forgotten_rounds import ForgottenRounds
from activities.anchoring.missing_proofs import MissingProofs
from activities.anchoring.reopen import Reopening
from activities.anchoring.signals import NO_STATUS, signal_aggregator, start_aggregator
from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from vaultmesh.domain.aggregator.orders import MOST_ROUNDS
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, NetworkFailure
from vaultmesh.domain.names import REOPENED, REWRITE
from vaultmesh.domain.paths import ROUNDS_FOLDER
from vaultmesh.domain.target import Target
from vaultmesh.process.settings import Settings
from vaultmesh.process.unforeseen import Unforeseen

TASK = "resume_rounds"
PERIOD_SECONDS = 30.0
MOST_PER_LOOK = 100
"""Rounds whose receipts an aggregator is told to write again: each is an order of its own, and looks at the ledger."""
ROUNDS_LOGGED = 10
_LOG = logging.getLogger(__name__)


class ResumeRounds:
    """Looks for targets with open rounds, at start and every 30 seconds."""

    def __init__(
        self,
        client: Client,
        files: Files,
        targets: Targets,
        settings: Settings,
        unforeseen: Unforeseen,
    ) -> None:
        """Start aggregators through a client; look at closed rounds through the opened targets."""
        self._client = client
        self._unforeseen = unforeseen
        self._files = files
        self._opened = targets
        self._closed = Reopening(files)
        self._audit = Audit(files)
        self._forgotten = ForgottenRounds(client)
        self._proofs = MissingProofs(files)
        self._settings = settings
        self._targets: dict[str, Target] = {}
        self._damage: dict[Target, list[str]] = {}
        """What each aggregator was told to look at."""
        self._stale: dict[Target, dict[str, None]] = {}
        """Rounds with stale receipts that are still to be named to their aggregators."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            for target in await self._looked_for():
                await self._try(target, self._report_damage)
                await self._try(target, self._attend)
            await self._part(self._rewrite_stale)
            await self._part(self._rewrite_unproven)
            await asyncio.sleep(PERIOD_SECONDS)

    async def _looked_for(self) -> list[Target]:
        """Return every target with rounds; none while the storage does not say."""
        try:
            return await asyncio.to_thread(self._every_target)
        except NetworkFailure as failure:
            _LOG.warning("rounds not looked for", extra={"err": str(failure)})
        except Exception as error:  # noqa: BLE001 - receipts are looked at all the same
            self._unforeseen.note(TASK, error)
        return []

    async def _part(self, look: Callable[[], Awaitable[None]]) -> None:
        """Do a part of a look; what nobody foresaw in it keeps no other part from being done."""
        try:
            await look()
        except Exception as error:  # noqa: BLE001 - as said
            self._unforeseen.note(TASK, error)

    async def _try(self, target: Target, look: Callable[[Target], Awaitable[None]]) -> None:
        """Look at one target; what is wrong with it hides no other."""
        extra = {"target": str(target)}
        try:
            await look(target)
        except (AnchorError, InvalidValue) as failure:  # not configured any more, perhaps
            _LOG.warning("rounds not looked at", extra={**extra, "err": str(failure)})
        except NO_STATUS as error:
            _LOG.warning("aggregator not reached", extra={**extra, "err": str(error)})
        except Exception as error:  # noqa: BLE001 - nor does what nobody foresaw
            self._unforeseen.note(TASK, error, str(target))

    async def _report_damage(self, target: Target) -> None:
        """Report signed rounds that can't be read, whether anything is owed or not; `status` shows what a recovery finds."""
        await asyncio.to_thread(self._files.damaged(target).mend)
        lines = await asyncio.to_thread(self._files.damaged(target).look)
        if lines != self._damage.get(target, []):
            await self._call(target, [])
            self._damage[target] = lines

    async def _rewrite_stale(self) -> None:
        """Have receipts written again that do not say how their rounds ended."""
        try:
            stale = await asyncio.to_thread(self._audit.look)
        except NetworkFailure as failure:
            _LOG.warning("receipts not compared", extra={"err": str(failure)})
            return
        for target, round_ids in stale.items():
            self._stale.setdefault(target, {}).update(dict.fromkeys(round_ids))
            extra = {
                "target": str(target),
                "rounds": round_ids[:ROUNDS_LOGGED],
                "count": len(round_ids),
            }
            _LOG.warning("receipts differ from the ends of their rounds", extra=extra)
        for target in list(self._stale):
            await self._try(target, self._rewrite_some)

    async def _rewrite_some(self, target: Target) -> None:
        """Name some of the stale rounds of a target; the next look names the next."""
        round_ids = list(islice(self._stale[target], MOST_PER_LOOK))
        await self._call(target, round_ids, REWRITE)
        for round_id in round_ids:
            del self._stale[target][round_id]
        if not self._stale[target]:
            del self._stale[target]

    async def _rewrite_unproven(self) -> None:
        """Have receipts written again whose proof can be had by now."""
        for target, round_ids in self._audit.unproven.items():
            self._proofs.add(target, round_ids)
        provable = await self._proofs.look(self._opened.open)
        if provable is not None:
            target, round_id = provable
            extra = {"target": str(target), "round": round_id}
            _LOG.info("a final round can be proven by now", extra=extra)
            await self._try(target, partial(self._call, round_ids=[round_id], signal=REWRITE))

    async def _attend(self, target: Target) -> None:
        """Start the aggregator of a target with open rounds; at rest, tell it which closed ones left the chain."""
        open_rounds = await asyncio.to_thread(self._files.rounds(target).open_rounds)
        if open_rounds:
            await start_aggregator(
                self._client,
                target,
                backoff=self._settings.backoff,
                continue_after_events=self._settings.continue_after_events,
            )
            forgotten = await self._forgotten.look(target, open_rounds)
            if forgotten:
                extra = {"target": str(target)}
                _LOG.warning("rounds are open that the aggregator took for ended", extra=extra)
                await self._call(target, [])
                self._forgotten.told(target, forgotten)
            return
        reopened = await self._closed.look(target, await self._opened.open(target))
        if reopened:
            await self._call(target, reopened)

    async def _call(self, target: Target, round_ids: list[str], signal: str = REOPENED) -> None:
        """Have the aggregator learn anew what is stored and open these rounds again, or write their receipts again."""
        await signal_aggregator(
            self._client,
            target,
            signal,
            round_ids[:MOST_ROUNDS],
            backoff=self._settings.backoff,
            continue_after_events=self._settings.continue_after_events,
        )

    def _every_target(self) -> list[Target]:
        folders = sorted(self._files.store.names(ROUNDS_FOLDER))
        named = [target for target in map(self._target, folders) if target is not None]
        return list(dict.fromkeys([*named, *self._files.known_targets()]))

    def _target(self, folder: str) -> Target | None:
        """Return whose rounds a folder holds: as its first readable manifest says, else its name."""
        if folder not in self._targets:
            for round_id in sorted(self._files.store.names(f"{ROUNDS_FOLDER}/{folder}")):
                target = self._files.target_of(f"{ROUNDS_FOLDER}/{folder}/{round_id}")
                if target is not None and target.path == folder:
                    self._targets[folder] = target
                    break
        return self._targets.get(folder) or Target.of_path(folder)
