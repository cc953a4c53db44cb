"""Runs what commands ask of Temporal; what it refuses becomes one clear line."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from vaultmesh.cli.output import Refusal
from vaultmesh.process.anchor_workflows import reason_of
from vaultmesh.process.client import Unreachable

Result = TypeVar("Result")


def run(work: Coroutine[None, None, Result]) -> Result:
    """Run a command to its end; what Temporal refuses becomes one clear line.

    Raises:
        Unreachable: Temporal went away, or refused a call.
        Refusal: a namespace refused an update.
    """
    try:
        return asyncio.run(work)
    except WorkflowUpdateFailedError as error:
        message = f"refused: {reason_of(error)}"
        raise Refusal(message) from error
    except RPCError as error:
        message = (
            f"Temporal did not do what was asked: {error.message} ({error.status.name.lower()})"
        )
        raise Unreachable(message) from error
