"""Notices when the connection to Temporal was lost, however short: its server may come back with an older history.

1. A call that the server answers late is always under way: whoever ends the server breaks it at once, also
   where the next one is there after a tenth of a second.
2. A server that is there and says nothing is noticed by short questions.

A workflow that a worker keeps in memory may then be ahead of the history, and answers the next task with nothing: it
never goes on, and does not replay after a restart. So what is kept is dropped; the next task brings the whole history.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, PollActivityTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.names import CONNECTION_QUEUE

PERIOD_SECONDS = 0.5
WAIT_WITHIN = timedelta(seconds=30)
"""A server ends such a wait a second before: no proxy takes the call for one that is idle."""
NEARLY_SECONDS = 1.0
"""A wait that ends so shortly before its time is over was ended by our own client: a busy server answered late."""
HELD_SECONDS = 0.1
"""A wait that ends sooner was refused, and was not broken off."""
_BROKEN = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.CANCELLED,
)
"""What a call ends with whose server is gone, as the transport has it."""
ANSWER_WITHIN = timedelta(seconds=2)
SILENT_SECONDS = 10.0
"""A server that does not answer may be busy; after so long it is taken for one that is gone."""
_LOG = logging.getLogger(__name__)


class Connection:
    """Watches whether the server is there."""

    def __init__(self, client: Client, *lost: Callable[[], None]) -> None:
        """Call each of `lost` at every sign that the connection is lost."""
        self._client = client
        self._lost = lost
        self._answered_at = time.monotonic()
        self._is_lost = False

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as both:  # if one fails, the other ends with it
            both.create_task(self._repeat(self.ask))
            both.create_task(self._repeat(self.wait))

    @staticmethod
    async def _repeat(look: Callable[[], Awaitable[None]]) -> None:
        while True:
            earliest = time.monotonic() + PERIOD_SECONDS
            await look()
            await asyncio.sleep(max(0.0, earliest - time.monotonic()))

    async def wait(self) -> None:
        """Wait for a task that never comes, until the server says so or is gone."""
        wait = PollActivityTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=CONNECTION_QUEUE),
            identity=self._client.identity,
        )
        began = time.monotonic()
        try:
            await self._client.workflow_service.poll_activity_task_queue(wait, timeout=WAIT_WITHIN)
        except RPCError as error:
            held = time.monotonic() - began
            has_run_out = held > WAIT_WITHIN.total_seconds() - NEARLY_SECONDS
            if error.status in _BROKEN and held > HELD_SECONDS and not has_run_out:
                self._note(error)

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
        for tell in self._lost:
            tell()
