"""Calls an activity for an aggregator's workflow, and gives its failure a kind."""

from typing import TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from vaultmesh.domain.errors import LONGEST_MESSAGE
from vaultmesh.domain.failures import FailureKind
from workflows.options import ActivityOptions
from workflows.ports import Port

TakesT = TypeVar("TakesT", bound=BaseModel)
GivesT = TypeVar("GivesT", bound=BaseModel)


class StepFailed(Exception):
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
    port: Port[TakesT, GivesT], message: TakesT, policy: ActivityOptions, summary: str
) -> GivesT:
    """Run an activity of the aggregator.

    Raises:
        StepFailed: it reported a failure, or no worker finished it in time.
    """
    try:
        reply = await workflow.execute_activity(
            port.name, message, result_type=RawValue, summary=summary, **policy
        )
    except ActivityError as error:
        raise failure_of(error, port.name) from error
    return understood(reply, port.name, port.gives)


def understood(reply: RawValue, name: str, form: type[GivesT]) -> GivesT:
    """Return an activity's result.

    Somebody may have completed the activity by hand, with anything. Had the SDK read the result, one of another form
    would fail the workflow task for ever.

    Raises:
        StepFailed: the result is not of the form that the activity gives.
    """
    try:
        value: GivesT = workflow.payload_converter().from_payload(reply.payload, form)
    except Exception as error:  # whatever a converter raises on bytes from outside
        message = f"{name} was completed with a result that means nothing; was it done by hand?"
        raise StepFailed(FailureKind.UNKNOWN, message) from error
    return value
