"""Asks targets that back off or are held whether they answer, and tells their aggregators as soon as one does again.

1. A target is asked only after a step of this process failed there, or if its aggregator was in trouble at the start.
2. The aggregator is told when the ledger answers after it did not, and when what an operator may mend there changed.
3. A target that answers is asked no more, unless it waits for an operator. Every other failure is left to the backoff.
4. What is told costs no money: the aggregator tries again, as it would later. Two workers may tell the same.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from temporalio.client import Client

from activities.anchoring.signals import NO_STATUS, hurry, view_of
from activities.anchoring.targets import Targets
from activities.anchoring.troubles import Troubles
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.failures import FailureKind, NetworkFailure
from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    ENDPOINT_BACK,
    aggregator_workflow_id,
)
from vaultmesh.domain.status import AggregatorView
from vaultmesh.domain.target import Target
from vaultmesh.process.unforeseen import Unforeseen

TASK = "probing"
PERIOD_SECONDS = 5.0
"""Between two questions to a target, and so the least between two signals about it."""
ANSWER_SECONDS = 4.0
"""A ledger that takes longer does not answer."""
RECHECK_SECONDS = 60.0
"""Between two looks whether an aggregator is in trouble still: another worker's step may have succeeded."""
QUIET_SECONDS = 300.0
"""After so long without a signal, one that helped nothing counts no more."""
_RUNNING = f"WorkflowType = '{AGGREGATOR_WORKFLOW}' AND ExecutionStatus = 'Running'"
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Watch:
    """What is known of one target in trouble."""

    needs_operator: bool = False
    is_down: bool = False
    """Whether it did not answer when it was asked last."""
    reason: str = ""
    """Why it did not."""
    hope_at: float | None = None
    """When a target that answers may be tried all the same: its last return helped nothing."""
    mark: str | None = None
    """What it answered last."""

    def failed(self, reason: str = "") -> None:
        """Take that it does not answer, or that nobody could be told."""
        self.is_down, self.reason = True, reason

    def answered(self, mark: str, now: float) -> bool:
        """Take its answer; returns whether a step that failed may succeed now."""
        was_down, before = self.is_down, self.mark
        self.is_down, self.reason, self.mark = False, "", mark
        is_mended = before is not None and before != mark
        return was_down or is_mended or (self.hope_at is not None and now >= self.hope_at)

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be expected from an answer that comes later."""
        return not (self.is_down or self.needs_operator or self.hope_at is not None)


@dataclass(frozen=True, slots=True)
class _Signalled:
    """The last signal about a target."""

    at: float
    in_vain: int
    """Signals in a row after which a step failed although the ledger answered."""

    def hope_at(self) -> float:
        """Return when the next one may follow: distances double."""
        return self.at + PERIOD_SECONDS * 2.0**self.in_vain


class Probing:
    """Asks for one process."""

    def __init__(
        self, client: Client, targets: Targets, troubles: Troubles, unforeseen: Unforeseen
    ) -> None:
        """Tell aggregators through a client; ask through the opened targets."""
        self._client = client
        self._unforeseen = unforeseen
        self._targets = targets
        self._troubles = troubles
        self._watched: dict[Target, Watch] = {}
        self._signalled: dict[Target, _Signalled] = {}

    async def run(self) -> None:
        """Ask until cancelled, each target beside the others."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._unforeseen.keep(TASK, partial(self._learn, tasks)))
            while True:
                await self._troubles.news()
                for target, needs_operator in self._troubles.take().items():
                    self._begin(tasks, target, self._watch(target, needs_operator=needs_operator))

    def unreachable(self) -> Mapping[str, str]:
        """Return the targets that did not answer when they were asked last, and why."""
        return {
            str(target): watch.reason for target, watch in self._watched.items() if watch.reason
        }

    # --- which targets ---------------------------------------------------------------------------------------------

    def _begin(self, tasks: asyncio.TaskGroup, target: Target, watch: Watch) -> None:
        """Watch a target, unless it is watched: then it may need an operator as well."""
        known = self._watched.setdefault(target, watch)
        known.needs_operator = known.needs_operator or watch.needs_operator
        if known is watch:
            tasks.create_task(self._attend(target, watch))

    def _watch(self, target: Target, *, needs_operator: bool) -> Watch:
        """Return what is known of a target where a step failed just now."""
        last = self._signalled.get(target)
        is_fresh = last is not None and time.monotonic() - last.at < QUIET_SECONDS
        hope_at = last.hope_at() if last is not None and is_fresh and not needs_operator else None
        return Watch(needs_operator=needs_operator, hope_at=hope_at)

    async def _learn(self, tasks: asyncio.TaskGroup) -> None:
        """Watch the targets whose aggregators were in trouble at the start; each is tried once if it answers."""
        unasked: list[Target] | None = None
        while unasked is None or unasked:
            try:
                unasked = unasked if unasked is not None else await self._running()
                while unasked:
                    view = await view_of(self._client, unasked[0])
                    target = unasked.pop(0)
                    if view is not None and _in_trouble(view):
                        held = view.held is not None and view.held.kind is FailureKind.AUTH
                        self._begin(tasks, target, Watch(needs_operator=held, is_down=True))
            except NO_STATUS as error:
                _LOG.debug("aggregators not asked yet", extra={"err": str(error)})
                unasked = unasked and [*unasked[1:], unasked[0]]
                await asyncio.sleep(PERIOD_SECONDS)

    async def _running(self) -> list[Target]:
        running = [run.id async for run in self._client.list_workflows(_RUNNING)]
        return [target for target in map(_target_of, running) if target is not None]

    # --- asking ----------------------------------------------------------------------------------------------------

    async def _attend(self, target: Target, watch: Watch) -> None:
        """Ask one target until its aggregator was told, or nothing is to be expected, whatever else goes wrong."""
        try:
            while True:
                try:
                    return await self._ask(target, watch)
                except Exception as error:  # noqa: BLE001 - it is asked again after a rest, and others go on
                    self._unforeseen.note(TASK, error, str(target))
                await asyncio.sleep(RECHECK_SECONDS)
        finally:
            del self._watched[target]

    async def _ask(self, target: Target, watch: Watch) -> None:
        recheck_at = time.monotonic() + RECHECK_SECONDS
        while True:
            began = time.monotonic()
            if await self._is_told(target, watch) or watch.is_over:
                return
            if began >= recheck_at:
                recheck_at = began + RECHECK_SECONDS
                if not await self._lasts(target):
                    return
            await asyncio.sleep(max(began + PERIOD_SECONDS - time.monotonic(), 0.0))

    async def _is_told(self, target: Target, watch: Watch) -> bool:
        """Ask once; returns whether the aggregator was told."""
        try:
            mark = await self._answer(target)
        except DomainError as error:
            watch.failed(str(error))
            return False
        in_vain = not watch.is_down and watch.hope_at is not None
        return watch.answered(mark, time.monotonic()) and await self._tell(
            target, watch, in_vain=in_vain
        )

    async def _answer(self, target: Target) -> str:
        """Return a ledger's answer.

        Raises:
            DomainError: there is none; that is known, and worth no line in the log.
        """
        try:
            anchoring = await self._targets.open(target)
            async with asyncio.timeout(ANSWER_SECONDS):
                return await anchoring.probe()
        except TimeoutError as error:
            message = f"{target} does not answer within {ANSWER_SECONDS:g} s"
            raise NetworkFailure(message) from error

    async def _lasts(self, target: Target) -> bool:
        """Whether an aggregator is in trouble still, as far as it can be asked."""
        try:
            view = await view_of(self._client, target)
        except NO_STATUS:
            return True
        return view is not None and (_in_trouble(view) or bool(view.rounds))

    async def _tell(self, target: Target, watch: Watch, *, in_vain: bool) -> bool:
        """Signal the aggregator; what fails afterwards is watched anew."""
        try:
            await hurry(self._client, target, ENDPOINT_BACK)
        except NetworkFailure as failure:
            watch.failed()
            _LOG.warning("aggregator not told", extra={"err": str(failure)})
            return False
        last = self._signalled.get(target)
        in_a_row = last.in_vain + 1 if last is not None and in_vain else 0
        self._signalled[target] = _Signalled(time.monotonic(), in_a_row)
        _LOG.info("ledger answers again", extra={"target": str(target)})
        return True


def _in_trouble(view: AggregatorView) -> bool:
    return view.failures > 0 or view.held is not None


def _target_of(workflow_id: str) -> Target | None:
    try:
        target = Target.parse(workflow_id.partition(":")[2])
    except InvalidValue:
        return None
    return target if aggregator_workflow_id(str(target)) == workflow_id else None
