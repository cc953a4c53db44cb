"""Scripts a namespace's three activities: they answer as told and note every call."""

import asyncio
from collections.abc import Callable

from temporalio import activity
from temporalio.exceptions import ApplicationError

from tests.workflows.stage import Adapter
from vaultmesh.domain.messages import (
    AnchorAsk,
    AnchorOutcome,
    AnchorRequest,
    Nothing,
    OutcomeStatus,
)

ANCHORED = AnchorOutcome(
    status=OutcomeStatus.ANCHORED, batch_ids=["b1"], batch_count=1, tx_ref="0xab", block=7
)


class ScriptedWorker:
    """What stands behind a namespace."""

    def __init__(self, owed: int = 1) -> None:
        """Owe so many batches whenever asked; anchor at once."""
        self.owed: Callable[[AnchorAsk], int] = lambda _: owed
        """How many batches a look finds; it may raise."""
        self.looked: list[AnchorAsk] = []
        """Every call of `anchor`, in order of arrival."""
        self.asked: list[AnchorRequest] = []
        """Requests that owed something, in order of arrival; a request that is sent again comes again."""
        self.outcome = ANCHORED
        self.asked_again: list[str] = []
        self.withdrawn: list[str] = []
        self.takes_back = True
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_look = asyncio.Event()
        self.may_look.set()
        self.fail_first = 0
        """How many calls of `anchor` end as if somebody had ended them by hand."""
        self._taken_back: set[str] = set()
        self._running = 0

    @property
    def slots(self) -> list[str]:
        """Return the slots that an anchor was asked for."""
        return [request.slot for request in self.asked]

    @property
    def idle(self) -> bool:
        """Whether no `anchor` is running."""
        return self._running == 0

    def adapters(self) -> list[Adapter]:
        """Return the activities."""
        return [self.anchor, self.ask_again, self.withdraw]

    @activity.defn(name="anchor")
    async def anchor(self, ask: AnchorAsk) -> AnchorOutcome:
        """Look, and answer when allowed to, or as withdrawn."""
        request = ask.request
        self.looked.append(ask)
        await self.may_look.wait()
        if not self.owed(ask):
            return AnchorOutcome(status=OutcomeStatus.NOTHING_OWED)
        if request.id in self._taken_back:
            return AnchorOutcome(status=OutcomeStatus.WITHDRAWN)
        self.asked.append(request)
        if self.fail_first > 0:
            self.fail_first -= 1
            raise ApplicationError("ended by hand", non_retryable=True)
        self._running += 1
        try:
            while not self.may_answer.is_set():
                if request.id in self._taken_back:
                    return AnchorOutcome(status=OutcomeStatus.WITHDRAWN)
                await asyncio.sleep(0.02)
            return self.outcome
        finally:
            self._running -= 1

    @activity.defn(name="ask_again")
    async def ask_again(self, ask: AnchorAsk) -> Nothing:
        """Note it."""
        self.asked_again.append(ask.request.slot)
        return Nothing()

    @activity.defn(name="withdraw")
    async def withdraw(self, ask: AnchorAsk) -> Nothing:
        """Take the request back, if it is in no round."""
        self.withdrawn.append(ask.request.slot)
        if self.takes_back:
            self._taken_back.add(ask.request.id)
        return Nothing()
