"""The place where a process learns the state of all namespaces: one visibility list, every 15 seconds."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.domain.names import MEMO_STATUS, NAMESPACE_WORKFLOW
from vaultmesh.domain.status import NamespaceMemo
from vaultmesh.runtime.metrics import Metrics

PERIOD_SECONDS = 15.0
RETRY_SECONDS = 2.0
"""After a list that failed, and until the first one succeeds."""
ANSWER_WITHIN = timedelta(seconds=10)
"""A server that hangs is one that does not answer."""
_QUERY = f"WorkflowType = '{NAMESPACE_WORKFLOW}' AND ExecutionStatus = 'Running'"
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Snapshot:
    """What the last list showed."""

    taken_at: float = 0.0
    """Unix seconds; 0 before the first."""
    namespaces: Mapping[str, NamespaceMemo] = field(default_factory=dict)


class Visibility:
    """Keeps the snapshot of one process fresh."""

    def __init__(self, client: Client, metrics: Metrics) -> None:
        """Know nothing before the first list."""
        self._client = client
        self._metrics = metrics
        self.snapshot = Snapshot()

    async def run(self) -> None:
        """Take a list every 15 seconds until cancelled; a failed one keeps the last."""
        while True:
            try:
                await self.refresh()
                await asyncio.sleep(PERIOD_SECONDS)
            except RPCError as error:
                _LOG.warning("namespaces not listed", extra={"err": error.message})
                await asyncio.sleep(RETRY_SECONDS)

    async def refresh(self) -> None:
        """Take one list.

        Raises:
            RPCError: Temporal did not answer.
        """
        found: dict[str, NamespaceMemo] = {}
        async for execution in self._client.list_workflows(_QUERY, rpc_timeout=ANSWER_WITHIN):
            content = await execution.memo_value(MEMO_STATUS, default=None)
            if content is None:
                continue
            try:
                memo = NamespaceMemo.model_validate(content)
            except ValidationError:
                _LOG.warning("memo not understood", extra={"workflow": execution.id})
                continue
            found[memo.namespace] = memo
        now = time.time()
        self.snapshot = Snapshot(now, found)
        self._metrics.listed(found)
        self._metrics.talked_to_temporal(now)
