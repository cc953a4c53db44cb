"""Tells what operators had decided about a namespace when its workflow was ended, so that a new one goes on with it.

1. The source is the memo of the last run: the workflow writes it in the same step in which it obeys.
2. Where Temporal has nothing of that run any more, such as an empty database, this process may still have seen its memo.
3. If neither is so, and receipts say that the namespace ran, nobody knows: the new workflow says that of itself.
4. A run that did not know its own past either leaves that behind.
5. A run that was stopped leaves nothing behind: whoever registers it again decides anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.names import MEMO_DECIDED, MEMO_STATUS, namespace_workflow_id
from vaultmesh.domain.namespaces.state import Decided
from vaultmesh.domain.status import NamespaceMemo, PausedView

ANSWER_WITHIN = timedelta(seconds=6)


async def _never_ran(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Past:
    """What a process knows of the past of namespaces, beside Temporal."""

    seen: Mapping[str, Decided] = field(default_factory=dict)
    """What the memos of runs said that this process saw, by namespace."""
    has_receipts: Callable[[str], Awaitable[bool]] = _never_ran
    """Tells whether a namespace was ever anchored."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """What a new workflow of a namespace comes after."""

    runs: bool = False
    """Whether it runs still, so that no other is started."""
    decided: Decided = field(default_factory=Decided)
    is_unknown: bool = False
    """Whether the namespace ran before, and nobody knows what had been decided."""


async def last_run(client: Client, namespace: str, past: Past) -> LastRun:
    """Return what the newest workflow of a namespace left behind.

    Raises:
        RPCError: Temporal does not answer.
        NetworkFailure: the storage does not.
    """
    handle = client.get_workflow_handle(namespace_workflow_id(namespace))
    try:
        run = await handle.describe(rpc_timeout=ANSWER_WITHIN)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return await _without_memo(namespace, past)
    if run.status is WorkflowExecutionStatus.RUNNING:
        return LastRun(runs=True)
    try:
        memo = NamespaceMemo.model_validate(await run.memo_value(MEMO_STATUS, default=None))
    except ValidationError:  # it was ended before its first step, or is of another version
        memo = NamespaceMemo(namespace=namespace)
    if run.status is WorkflowExecutionStatus.COMPLETED or memo.stopping:
        return LastRun()
    try:
        decided = await decided_in(run)
    except ValidationError:
        return await _without_memo(namespace, past)
    if decided.is_nothing and memo.paused:  # an earlier version said no more
        since = run.close_time or run.start_time
        paused = PausedView(reason="paused before its last run was ended", since=since)
        decided = Decided(paused=dict.fromkeys(memo.paused, paused))
    return LastRun(decided=decided, is_unknown=memo.unknown_since is not None)


async def decided_in(run: WorkflowExecution) -> Decided:
    """Return what the memo of a run says was decided.

    Raises:
        ValidationError: it says something that is not understood.
    """
    content = await run.memo_value(MEMO_DECIDED, default=None)
    return Decided() if content is None else Decided.model_validate(content)


async def _without_memo(namespace: str, past: Past) -> LastRun:
    seen = past.seen.get(namespace)
    if seen is not None:
        return LastRun(decided=seen)
    return LastRun(is_unknown=await past.has_receipts(namespace))
