"""Turns a domain error into Temporal's ApplicationError: kind as its type, delay from the golden backoff."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import activity
from temporalio.exceptions import ApplicationError

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, FailureKind
from vaultmesh.domain.messages import Backoff


def kind_of(error: AnchorError | InvalidValue) -> FailureKind:
    """Return the kind of a domain error; a value that means nothing is a validation failure."""
    return error.kind if isinstance(error, AnchorError) else FailureKind.VALIDATION


@contextmanager
def decided_by_the_aggregator() -> Iterator[None]:
    """Report a failed step once; the aggregator decides what comes next, so the server must not retry it."""
    try:
        yield
    except (AnchorError, InvalidValue) as error:
        raise ApplicationError(str(error), type=kind_of(error).value, non_retryable=True) from error


@contextmanager
def retried() -> Iterator[None]:
    """Report a failed attempt with its place on the backoff; the server tries again for ever."""
    try:
        yield
    except (AnchorError, InvalidValue) as error:
        kind = kind_of(error)
        delay = Backoff().delay(activity.info().attempt, kind)
        raise ApplicationError(str(error), type=kind.value, next_retry_delay=delay) from error
