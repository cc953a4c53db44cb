"""Stands in for a Temporal client on which every namespace runs already; it takes configurations alone."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.state import Configuration, ConfigureAnswer
from vaultmesh.domain.status import NamespaceState

DRAINING = "the namespace is being unregistered;\nregister it again afterwards"
REFUSED = (
    "its workflow refused the configuration: the namespace is being unregistered; "
    "register it again afterwards"
)
"""What an operator reads of it, in one line."""


@dataclass
class RunningNamespaces:
    """Stands in for Temporal's client."""

    draining: set[str] = field(default_factory=set)
    """Namespaces that refuse."""
    ending: set[str] = field(default_factory=set)
    """Namespaces that end before they are asked."""
    configured: list[str] = field(default_factory=list)
    """Namespaces that took their configuration, in that order."""

    async def start_workflow(self, workflow: str, _: object, *, id: str, **__: object) -> None:  # noqa: A002 - the client's own name
        """Say that the namespace runs already."""
        raise WorkflowAlreadyStartedError(id, workflow)

    def get_workflow_handle(self, workflow_id: str) -> "RunningNamespaces":
        """Return what answers for every namespace."""
        del workflow_id
        return self

    async def describe(self, **_: object) -> SimpleNamespace:
        """Say that the namespace runs."""
        return SimpleNamespace(status=WorkflowExecutionStatus.RUNNING)

    async def execute_update(
        self, verb: str, configuration: Configuration, **_: object
    ) -> ConfigureAnswer:
        """Answer as a namespace does."""
        assert verb == "configure"
        name = configuration.namespace
        if name in self.draining:
            raise WorkflowUpdateFailedError(ApplicationError(DRAINING, type="InvalidValue"))
        if name in self.ending:
            raise RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND, b"")
        self.configured.append(name)
        return ConfigureAnswer(
            namespace=name,
            state=NamespaceState.RUNNING,
            workflow_id=namespace_workflow_id(name),
            change="updated",
        )
