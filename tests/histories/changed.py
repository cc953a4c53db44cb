"""The place where the workflows are changed as nobody may change them: one more timer."""

import asyncio

from temporalio import workflow
from vaultmesh.domain.clock import ClockInput
from vaultmesh.domain.pen import PenInput

from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, NAMESPACE_WORKFLOW
from vaultmesh.domain.status import NamespaceView
from workflows.aggregator import AggregatorWorkflow
from workflows.namespace import NamespaceWorkflow


@workflow.defn(name=NAMESPACE_WORKFLOW)
class RestingClock(NamespaceWorkflow):
    """A clock that somebody changed: it rests before it starts."""

    @workflow.init
    def __init__(self, given: ClockInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: ClockInput) -> NamespaceView:
        await workflow.sleep(1)
        return await super().run(given)


@workflow.defn(name=AGGREGATOR_WORKFLOW)
class RestingPen(AggregatorWorkflow):
    """A pen that somebody changed: it rests before it starts."""

    @workflow.init
    def __init__(self, given: PenInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: PenInput) -> None:
        await asyncio.sleep(1)
        await super().run(given)
