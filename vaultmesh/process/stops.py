"""Carries out stop decisions whose order did not reach the workflow, such as while Temporal was away.

1. Where a decision holds and a workflow runs that does not drain yet, it is told to stop, until it drains.
2. A failing workflow can't be told: it is as soon as it goes on.
3. A namespace that the file does not name is stopped if it runs with the entry that the decision is about: with another one
   it was registered anew.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta

from pydantic import JsonValue
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.names import STOP, namespace_workflow_id
from vaultmesh.domain.namespaces.stopped import StopDecision
from vaultmesh.process.desired import LAG_SECONDS
from vaultmesh.process.failing import one_line
from vaultmesh.process.turns import Turns
from vaultmesh.process.updates import cancellable
from vaultmesh.process.visibility import Snapshot

ANSWER_WITHIN = timedelta(seconds=6)
_LOG = logging.getLogger(__name__)


def running_stopped(
    decisions: Mapping[str, StopDecision], others: Mapping[str, StopDecision], snapshot: Snapshot
) -> dict[str, StopDecision]:
    """Return the decisions about namespaces whose workflows run all the same; `others` are not in the file."""
    unlisted = {
        name: decision
        for name, decision in others.items()
        if (memo := snapshot.namespaces.get(name)) is not None
        and decision.is_about(memo.config_hash)
    }
    return {
        name: decision
        for name, decision in {**unlisted, **decisions}.items()
        if namespace_workflow_id(name) in snapshot.running
    }


class Stops:
    """Remembers for one worker which workflows it told to stop."""

    def __init__(self, client: Client) -> None:
        """Remember nothing."""
        self._client = client
        self._turns = Turns()
        self._told: dict[str, float] = {}
        """When a workflow took the order, in Unix seconds."""
        self.problems: Mapping[str, str] = {}
        """Why a namespace is not stopped yet, in one line."""

    async def carry_out(
        self,
        stopping: Mapping[str, StopDecision],
        snapshot: Snapshot,
        still_holds: Callable[[StopDecision], Awaitable[bool]],
    ) -> Collection[str]:
        """Tell each of these to stop unless it drains; returns those that took it."""
        self._told = {name: at for name, at in self._told.items() if name in stopping}
        due = {
            name: decision
            for name, decision in stopping.items()
            if not self._drains(name, snapshot)
        }
        failing = {name for name in due if namespace_workflow_id(name) in snapshot.failing}
        problems = dict.fromkeys(
            failing, "not stopped yet: its workflow is failing, and is told as soon as it goes on"
        )
        took: set[str] = set()

        async def tell(name: str) -> None:
            problem = await self._tell(due[name], still_holds)
            if problem:
                problems[name] = problem
            else:
                took.add(name)

        await self._turns.take(due.keys() - failing, tell)
        self.problems = problems
        return took

    def _drains(self, name: str, snapshot: Snapshot) -> bool:
        memo, told_at = snapshot.namespaces.get(name), self._told.get(name)
        if memo is not None and memo.stopping:
            return True
        return told_at is not None and snapshot.taken_at < told_at + LAG_SECONDS

    async def _tell(
        self, decision: StopDecision, still_holds: Callable[[StopDecision], Awaitable[bool]]
    ) -> str:
        """Tell one workflow; returns why it did not take the order, empty if it did or has ended."""
        name = decision.namespace
        handle = self._client.get_workflow_handle(namespace_workflow_id(name))
        argument: dict[str, JsonValue] = {"reason": decision.reason} if decision.reason else {}
        try:
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                if not await still_holds(decision):
                    return ""
                with cancellable():
                    await handle.execute_update(STOP, argument, rpc_timeout=ANSWER_WITHIN)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return ""
            return one_line(f"not stopped yet: {error.message}")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one stops no other
            return one_line(f"not stopped yet: {str(error) or 'its workflow does not answer'}")
        self._told[name] = time.time()
        _LOG.info("namespace stopped by an earlier decision", extra={"ns": name})
        return ""
