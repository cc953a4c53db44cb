"""The place where a pen's workflow calls an activity, and where its failure gets a kind."""

from typing import TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import LONGEST_MESSAGE
from workflows.options import ActivityOptions
from workflows.ports import Port

TakesT = TypeVar("TakesT", bound=BaseModel)
GivesT = TypeVar("GivesT", bound=BaseModel)


class StepFailed(Exception):  # noqa: N818 - a step's outcome, caught one level up
    """A step failed; carries what the waiting requests are told."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        """Keep kind and message."""
        super().__init__(message)
        self.kind = kind
        self.message = message[:LONGEST_MESSAGE]


def failure_of(error: ActivityError, name: str) -> StepFailed:
    """Return what an activity's failure means."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        kinds = {kind.value: kind for kind in FailureKind}
        return StepFailed(kinds.get(cause.type or "", FailureKind.UNKNOWN), cause.message)
    return StepFailed(FailureKind.NETWORK, f"no worker finished {name} in time: {cause}")


async def call(
    port: Port[TakesT, GivesT], given: TakesT, policy: ActivityOptions, summary: str
) -> GivesT:
    """Run an activity of the pen.

    Raises:
        StepFailed: it reported a failure, or no worker finished it in time.
    """
    try:
        given_back: GivesT = await workflow.execute_activity(
            port.name, given, result_type=port.gives, summary=summary, **policy
        )
    except ActivityError as error:
        raise failure_of(error, port.name) from error
    return given_back
