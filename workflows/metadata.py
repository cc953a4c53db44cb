"""Tells the Web UI which messages a workflow takes.

The SDK lists handlers by name. Ours are dynamic, since a typed handler would drop or fail on what it can't read, and so
would be listed as one handler without a name.
"""

from collections.abc import Callable, Mapping

from temporalio import workflow
from temporalio.api.sdk.v1 import (
    WorkflowDefinition,
    WorkflowInteractionDefinition,
    WorkflowMetadata,
)

from vaultmesh.domain.message_guide import MessageGuide

METADATA_QUERY = "__temporal_workflow_metadata"
"""Temporal's own name for it."""


def describe(guide: MessageGuide, details: Callable[[], str]) -> None:
    """Answer the metadata query of this workflow by the guide; a query adds nothing to history.

    `details` tells the state in Markdown. Only who looks at the page pays for it: to write it at each step took a tenth of a
    job's workflow tasks.
    """

    def metadata() -> WorkflowMetadata:
        definition = WorkflowDefinition(
            type=workflow.info().workflow_type,
            signal_definitions=_listed(guide.signals),
            update_definitions=_listed(guide.updates),
            query_definitions=_listed(guide.queries),
        )
        return WorkflowMetadata(definition=definition, current_details=details())

    workflow.set_query_handler(METADATA_QUERY, metadata)


def _listed(messages: Mapping[str, str]) -> list[WorkflowInteractionDefinition]:
    return [
        WorkflowInteractionDefinition(name=name, description=text)
        for name, text in sorted(messages.items())
    ]
