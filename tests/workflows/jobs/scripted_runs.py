"""Stands in for the activities of jobs: runs as planned, and remembers what was asked for."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import activity
from temporalio.exceptions import ApplicationError

from tests.workflows.stage import Adapter
from vaultmesh.domain.jobs.messages import (
    CloseOrder,
    DecisionOrder,
    Recorded,
    RunEnd,
    RunOrder,
    Written,
)
from vaultmesh.domain.jobs.run import RunStatus


class ScriptedRuns:
    """A store and a service in memory."""

    def __init__(self) -> None:
        """Every run completes at once and is written."""
        self.orders: list[RunOrder] = []
        self.closed: list[CloseOrder] = []
        self.decisions: list[DecisionOrder] = []
        self.seconds = 0.0
        """How long each run takes."""
        self.status = RunStatus.COMPLETED
        self.is_written = True
        self.is_dropped = False
        self.is_skipped = False
        self.breaks = False
        """Whether runs end without an answer of the worker."""
        self.close_failures = 0
        """How often writing fails before it succeeds."""
        self.revision = 100
        self.at_once = 0
        self.most_at_once = 0

    def adapters(self) -> Sequence[Adapter]:
        """Return the activities."""
        return (self.run_job, self.close_run, self.record_decision)

    @property
    def slots(self) -> list[datetime]:
        """The slots that were run, in their order."""
        return [order.slot for order in self.orders if order.slot is not None]

    @activity.defn(name="run_job")
    async def run_job(self, order: RunOrder) -> RunEnd:
        """Run as planned."""
        self.orders.append(order)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if self.breaks:
            message = "the worker broke"
            raise ApplicationError(message)
        return RunEnd(
            run_id=order.run_id,
            status=self.status,
            slot=order.slot,
            triggered_by=order.triggered_by,
            user=order.user,
            started_at=datetime.now(UTC),
            completed_at=datetime.now(UTC),
            is_written=self.is_written,
            is_dropped=self.is_dropped,
            is_skipped=self.is_skipped,
        )

    @activity.defn(name="close_run")
    async def close_run(self, order: CloseOrder) -> Written:
        """Write, or fail as planned."""
        if self.close_failures > 0:
            self.close_failures -= 1
            message = "the store is down"
            raise ApplicationError(message)
        self.closed.append(order)
        return Written(run_ids=[end.run_id for end in order.ends])

    @activity.defn(name="record_decision")
    async def record_decision(self, order: DecisionOrder) -> Recorded:
        """Write a decision under the next revision."""
        self.decisions.append(order)
        self.revision += 1
        return Recorded(revision=self.revision)
