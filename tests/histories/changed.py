"""Changes the workflows as nobody may change them: one more timer."""

import asyncio

from temporalio import workflow

from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.jobs.messages import JobInput
from vaultmesh.domain.jobs.views import JobStatusView
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, JOB_WORKFLOW, NAMESPACE_WORKFLOW
from vaultmesh.domain.namespaces.state import NamespaceInput
from vaultmesh.domain.status import NamespaceView
from workflows.aggregator.workflow import AggregatorWorkflow
from workflows.jobs.workflow import JobWorkflow
from workflows.namespace.workflow import NamespaceWorkflow


@workflow.defn(name=NAMESPACE_WORKFLOW)
class RestingNamespace(NamespaceWorkflow):
    """A namespace that somebody changed: it rests before it starts."""

    @workflow.init
    def __init__(self, given: NamespaceInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: NamespaceInput) -> NamespaceView:
        await workflow.sleep(1)
        return await super().run(given)


@workflow.defn(name=AGGREGATOR_WORKFLOW)
class RestingAggregator(AggregatorWorkflow):
    """An aggregator that somebody changed: it rests before it starts."""

    @workflow.init
    def __init__(self, given: AggregatorInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: AggregatorInput) -> None:
        await asyncio.sleep(1)
        await super().run(given)


@workflow.defn(name=JOB_WORKFLOW)
class RestingJob(JobWorkflow):
    """A job that somebody changed: it rests before it starts."""

    @workflow.init
    def __init__(self, given: JobInput) -> None:
        super().__init__(given)

    @workflow.run
    async def run(self, given: JobInput) -> JobStatusView:
        await workflow.sleep(1)
        return await super().run(given)
