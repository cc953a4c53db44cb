"""Starts an aggregator that does not run while rounds of its target are open.

Receipts become final also when no batch is owed, and after somebody terminated the aggregator. Where no round is open, nobody
else looks whether the newest closed one is still in the ledger: then it is done here.
"""

import asyncio
import logging

from temporalio.client import Client
from temporalio.service import RPCError

from activities.anchoring.reopen import Reopening
from activities.anchoring.signals import signal_aggregator, start_aggregator
from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, NetworkFailure
from vaultmesh.domain.names import REOPENED
from vaultmesh.domain.paths import ROUNDS_FOLDER
from vaultmesh.domain.target import Target
from vaultmesh.process.settings import Settings

PERIOD_SECONDS = 30.0
_LOG = logging.getLogger(__name__)


class ResumeRounds:
    """Looks for targets with open rounds, at start and every 30 seconds."""

    def __init__(self, client: Client, files: Files, targets: Targets, settings: Settings) -> None:
        """Start aggregators through a client; look at closed rounds through the opened targets."""
        self._client = client
        self._files = files
        self._opened = targets
        self._closed = Reopening(files)
        self._settings = settings
        self._targets: dict[str, Target] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._report_damage)
                for target in await asyncio.to_thread(self.targets_with_open_rounds):
                    await start_aggregator(
                        self._client,
                        target,
                        backoff=self._settings.backoff,
                        continue_after_events=self._settings.continue_after_events,
                    )
                await self._look_at_closed()
            except (NetworkFailure, InvalidValue) as failure:
                _LOG.warning("open rounds not looked for", extra={"err": str(failure)})
            except RPCError as error:
                _LOG.warning("aggregator not started", extra={"err": error.message})
            await asyncio.sleep(PERIOD_SECONDS)

    async def _look_at_closed(self) -> None:
        """Tell the aggregators of targets without open rounds which closed ones had to be opened again."""
        for target in await asyncio.to_thread(self._targets_at_rest):
            try:
                reopened = await self._closed.look(target, await self._opened.open(target))
            except AnchorError as failure:  # not configured any more, perhaps
                _LOG.info("closed rounds not looked at", extra={"err": str(failure)})
                continue
            if reopened:
                await signal_aggregator(
                    self._client,
                    target,
                    REOPENED,
                    reopened,
                    backoff=self._settings.backoff,
                    continue_after_events=self._settings.continue_after_events,
                )

    def targets_with_open_rounds(self) -> list[Target]:
        """Return every target with a round that is signed and has no end."""
        return [one for one in self._every_target() if self._files.rounds(one).open_rounds()]

    def _targets_at_rest(self) -> list[Target]:
        return [one for one in self._every_target() if not self._files.rounds(one).open_rounds()]

    def _every_target(self) -> list[Target]:
        folders = sorted(self._files.store.names(ROUNDS_FOLDER))
        return [one for one in map(self._target, folders) if one is not None]

    def _report_damage(self) -> None:
        """Report signed rounds that can't be read, whether anything is owed or not."""
        for folder in sorted(self._files.store.names(ROUNDS_FOLDER)):
            target = self._target(folder)
            if target is not None:
                self._files.damaged(target).look()

    def _target(self, folder: str) -> Target | None:
        """Return whose rounds a folder holds: as its first readable manifest says, else its name."""
        if folder not in self._targets:
            for round_id in sorted(self._files.store.names(f"{ROUNDS_FOLDER}/{folder}")):
                target = self._files.target_of(f"{ROUNDS_FOLDER}/{folder}/{round_id}")
                if target is not None and target.path == folder:
                    self._targets[folder] = target
                    break
        return self._targets.get(folder) or Target.of_path(folder)
