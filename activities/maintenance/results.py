"""Turns what became of a maintenance task into the end of a run: its state, its counts, one line, and what is kept beside."""

from collections import Counter

from pydantic import JsonValue

from vaultmesh.domain.errors import in_one_line
from vaultmesh.domain.jobs import answer
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.maintenance.outcomes import (
    GOOD,
    Outcome,
    Reason,
    TaskResult,
)

MOST_STEPS = 100
"""Steps that a run's metadata holds, of those that did anything: a run each five minutes must not fill the history."""
_LONGEST_ERROR = 500


def end_of(result: TaskResult, attempt: int, locked_too_often: int | None = None) -> answer.RunEnd:
    """Return how a run ended, from what its last attempt came to.

    One that a lock kept out is good, unless as many runs in a row as may be, `locked_too_often`, were kept out just before it.
    """
    good = sum(step.outcome in GOOD for step in result.steps)
    error = None if result.is_good else error_of(result)
    if locked_too_often is not None:
        error = f"{error_of(result)}; more than {locked_too_often} runs in a row - see who holds the lock"
    return answer.RunEnd(
        status=RunStatus.COMPLETED if error is None else RunStatus.FAILED,
        error=error,
        items_processed=len(result.steps),
        items_succeeded=good,
        items_failed=len(result.steps) - good,
        metadata=_metadata(result, attempt),
    )


def error_of(result: TaskResult) -> str:
    """Return in one line why a run failed: of its parts the first that went as wrong as the whole, and how many did."""
    blamed = {result.outcome, *(set(Outcome) - GOOD)}
    wrong = [step for step in result.steps if step.outcome in blamed]
    first = next((step for step in wrong if step.outcome is result.outcome), None)
    text = result.detail
    if not text and first is not None:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        text = (
            f"{first.subject}: {first.detail}{more}" if first.detail else f"{first.subject}{more}"
        )
    return in_one_line(f"{result.outcome}: {text}" if text else str(result.outcome), _LONGEST_ERROR)


def unfinished(task: str, kind: str, run: str, outcome: Outcome, detail: str) -> TaskResult:
    """Return the result of an attempt in which nothing could be sent."""
    reason = Reason.TIMEOUT if outcome is Outcome.TIMED_OUT else None
    return TaskResult(task=task, kind=kind, run=run, outcome=outcome, detail=detail, reason=reason)


def is_passing(result: TaskResult) -> bool:
    """Whether another attempt may do better: the database was away, and nobody has to mend anything."""
    if result.is_good or result.outcome in {Outcome.CANCELLED, Outcome.TIMED_OUT}:
        return False
    return result.reason is Reason.CONNECTION


def _metadata(result: TaskResult, attempt: int) -> dict[str, JsonValue]:
    acted = [step for step in result.steps if step.outcome is not Outcome.NOT_NEEDED]
    wrong_first = sorted(acted, key=lambda step: step.outcome in GOOD)[:MOST_STEPS]
    kept = [step for step in acted if step in wrong_first]
    counts = Counter(step.outcome.value for step in result.steps)
    steps: list[JsonValue] = [step.model_dump(mode="json", exclude_none=True) for step in kept]
    return {
        "outcome": result.outcome.value,
        "kind": result.kind,
        "detail": result.detail,
        "reason": None if result.reason is None else result.reason.value,
        "attempts": attempt,
        "seconds": result.seconds,
        "parts": dict(counts),
        "steps": steps,
        **result.model_dump(mode="json", include={"figures", "success_due"}, exclude_none=True),
    }
