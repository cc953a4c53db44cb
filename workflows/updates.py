"""Lets an update take effect in a workflow task of its own.

A replay may join workflow tasks that issued no command with the next one that brings an update, although they were
handled apart at first, or the other way round (temporalio/sdk-rust#1146). The update then meets the answers of the
earlier tasks before or after they are handled. If what it orders depended on them, the history would never replay again.
So an update handler only starts a timer, which is the same either way, and goes on when that has fired.

A run MUST NOT be left before `workflow.all_handlers_finished()`: the update would have no effect.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from vaultmesh.domain.errors import InvalidValue

OWN_TASK = timedelta(milliseconds=1)
"""The shortest timer: what matters is that it ends the workflow task."""


async def own_workflow_task() -> None:
    """Go on in a later workflow task."""
    await workflow.sleep(OWN_TASK, summary="an update takes effect in a task of its own")


def refused(refusal: InvalidValue) -> ApplicationError:
    """Return the failure of an update that was accepted, and means nothing any more when it takes effect."""
    return ApplicationError(str(refusal), type=InvalidValue.__name__, non_retryable=True)
