"""Gives every activity call its time-outs and retry policy, each with its reason."""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

from vaultmesh.domain.jobs.other_scheduler import BEGINS_WITHIN
from vaultmesh.domain.messages import GOLDEN_RATIO
from vaultmesh.domain.names import ANCHORS_QUEUE, JOBS_QUEUE, SCHEDULER_QUEUE


class ActivityOptions(TypedDict, total=False):
    """Keyword arguments of an activity call."""

    task_queue: str
    start_to_close_timeout: timedelta
    schedule_to_start_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType


HEARTBEAT = timedelta(seconds=10)
"""A worker that died is noticed within this; workers beat every 2 s."""

GOLDEN = RetryPolicy(
    initial_interval=timedelta(seconds=8.09),
    backoff_coefficient=GOLDEN_RATIO,
    maximum_interval=timedelta(seconds=145.2),
)
"""The backoff for base 5 s and cap 7, as the fallback where a failure brings no delay of its own; never gives up."""

ONLY_TIMEOUTS = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)
)
"""For steps that report failures as non-retryable: only a lost worker makes the server try again."""

SEAL: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=5),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": ONLY_TIMEOUTS,
}
"""Long enough to index a folder of 100,000 batches once."""

RESERVE: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=1),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": ONLY_TIMEOUTS,
}
SIGN: ActivityOptions = RESERVE
BUMP: ActivityOptions = RESERVE
FILL: ActivityOptions = RESERVE
BROADCAST: ActivityOptions = RESERVE

OBSERVE_WITH_WAITERS: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=65),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": ONLY_TIMEOUTS,
    "cancellation_type": ActivityCancellationType.TRY_CANCEL,
}
"""While somebody waits for inclusion, a failure comes back to the aggregator, which reports it."""

OBSERVE_ALONE: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=65),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": GOLDEN,
    "cancellation_type": ActivityCancellationType.TRY_CANCEL,
}
"""Nobody waits: retries stay with the server and cost no history, however long finality takes."""

RECORD: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=5),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": ONLY_TIMEOUTS,
}
"""The aggregator orders it for ever, on its backoff: a receipt store that fails never stops it."""

RECOVER: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=15),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": ONLY_TIMEOUTS,
}
"""Nothing is reserved before it has succeeded; the aggregator tries again on its backoff."""

RESOLVE: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=1),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
}
"""An operator waits: after three lost workers the command fails, and may be given again."""

REPLY: ActivityOptions = {
    "task_queue": ANCHORS_QUEUE,
    "start_to_close_timeout": timedelta(minutes=1),
    "heartbeat_timeout": HEARTBEAT,
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
}
"""Answers and failure reports: whoever is not reached asks again by itself."""

ASK_AGAIN: ActivityOptions = {
    "task_queue": SCHEDULER_QUEUE,
    "start_to_close_timeout": timedelta(seconds=20),
    "schedule_to_close_timeout": timedelta(minutes=2),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)
    ),
}
"""Sends a signal on behalf of a namespace; given up after two minutes, since the request itself is retried anyway."""


def anchor(attempt: timedelta) -> ActivityOptions:
    """Options of `anchor`: no schedule-to-close, no heartbeat; each attempt is bounded, and the next one asks again."""
    return {
        "task_queue": SCHEDULER_QUEUE,
        "start_to_close_timeout": attempt,
        "retry_policy": GOLDEN,
        "cancellation_type": ActivityCancellationType.ABANDON,
    }


CALL_ROOM = timedelta(seconds=15) + BEGINS_WITHIN
"""Beside the call itself, a run opens its row and closes it, and may have to wait for another scheduler."""


def run_job(timeout: timedelta, catch_up: timedelta) -> ActivityOptions:
    """Options of `run_job`: one attempt, since a call whose fate is unknown is not repeated; taken in time, or missed."""
    return {
        "task_queue": JOBS_QUEUE,
        "schedule_to_start_timeout": catch_up,
        "start_to_close_timeout": timeout + CALL_ROOM,
        "heartbeat_timeout": HEARTBEAT,
        "retry_policy": RetryPolicy(maximum_attempts=1),
    }


TASK_ROOM = timedelta(seconds=30)
"""Beside the task itself, a run opens its row and closes it, waits for the lock of an attempt that died, and for a cancelled statement."""


def run_task(deadline: timedelta, catch_up: timedelta, attempts: int) -> ActivityOptions:
    """Options of `run_task`: what may be repeated is tried again; its own deadline ends it before these do."""
    return {
        "task_queue": JOBS_QUEUE,
        "schedule_to_start_timeout": catch_up,
        "start_to_close_timeout": deadline + TASK_ROOM,
        "schedule_to_close_timeout": catch_up + deadline + TASK_ROOM,
        "heartbeat_timeout": HEARTBEAT,
        "retry_policy": RetryPolicy(
            initial_interval=timedelta(seconds=1), maximum_attempts=attempts
        ),
        "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }


STORE: ActivityOptions = {
    "task_queue": JOBS_QUEUE,
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": GOLDEN,
    "cancellation_type": ActivityCancellationType.ABANDON,
}
"""Writes what the store does not know yet, however long it is down: the server tries again, and that costs no history."""
