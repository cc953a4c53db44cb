"""Notices when the connection to Temporal was lost, however short: its server may come back with an older history.

A workflow that a worker keeps in memory may then be ahead of the history, and answers the next task with nothing: it
never goes on, and does not replay after a restart. So what is kept is dropped; the next task brings the whole history.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

PERIOD_SECONDS = 0.5
"""A server that ends and starts again is away for longer."""
ANSWER_WITHIN = timedelta(seconds=2)
SILENT_SECONDS = 10.0
"""A server that does not answer may be busy; after so long it is taken for one that is gone."""
_LOG = logging.getLogger(__name__)


class Connection:
    """Asks the server in short turns whether it is there."""

    def __init__(self, client: Client, lost: Callable[[], None]) -> None:
        """Call `lost` at every question that shows the connection lost."""
        self._client = client
        self._lost = lost
        self._answered_at = time.monotonic()
        self._is_lost = False

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(PERIOD_SECONDS)

    async def ask(self) -> None:
        """Ask once."""
        try:
            await self._client.workflow_service.get_system_info(
                GetSystemInfoRequest(), timeout=ANSWER_WITHIN
            )
        except RPCError as error:
            is_silent = time.monotonic() - self._answered_at > SILENT_SECONDS
            if error.status is RPCStatusCode.UNAVAILABLE or is_silent:
                self._note(error)
        else:
            self._answered_at = time.monotonic()
            self._is_lost = False

    def _note(self, error: RPCError) -> None:
        if not self._is_lost:
            _LOG.warning("connection to Temporal lost", extra={"err": error.message})
        self._is_lost = True
        self._lost()
