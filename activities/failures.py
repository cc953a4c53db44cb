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
def retried(
    settings: Backoff | None = None, *, before: int = 0, give_back_at: int = 0
) -> Iterator[None]:
    """Report a failed attempt with its place on the backoff; the server tries again for ever.

    Args:
        settings: the backoff.
        before: attempts of earlier calls that count as well.
        give_back_at: attempt after whose failure the caller gets it back and decides anew; 0: never.
    """
    try:
        yield
    except (AnchorError, InvalidValue) as error:
        kind, attempt = kind_of(error), activity.info().attempt
        delay = (settings or Backoff()).delay(before + attempt, kind)
        raise ApplicationError(
            str(error),
            type=kind.value,
            next_retry_delay=delay,
            non_retryable=0 < give_back_at <= attempt,
        ) from error
