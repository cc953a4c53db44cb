"""Notes at which targets a step of this process failed, for whoever asks them whether they answer again."""

import asyncio
from collections.abc import Sequence
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from typing_extensions import override

from vaultmesh.domain.aggregator.ledger_messages import Bumped
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.target import Target

LEDGER_STEPS = frozenset({"reserve", "sign", "broadcast", "bump", "fill", "observe", "record"})
"""Activities that ask a ledger."""


class Troubles:
    """Targets where a step failed since somebody took them last."""

    def __init__(self) -> None:
        """Know of none."""
        self._noted: dict[Target, bool] = {}
        self._news = asyncio.Event()

    def note(self, target: Target, *, needs_operator: bool) -> None:
        """Note a failure; `needs_operator`: somebody has to mend it, such as by funding a key."""
        self._noted[target] = self._noted.get(target, False) or needs_operator
        self._news.set()

    async def news(self) -> None:
        """Wait until a failure is noted."""
        await self._news.wait()

    def take(self) -> dict[Target, bool]:
        """Return what was noted, and whether it needs an operator; forgets it."""
        noted, self._noted = self._noted, {}
        self._news.clear()
        return noted


class NotesTroubles(Interceptor):
    """Notes each failure of an activity that asks a ledger."""

    def __init__(self, troubles: Troubles) -> None:
        """Note them there."""
        self._troubles = troubles

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _Noting(next, self._troubles)


class _Noting(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, troubles: Troubles) -> None:
        super().__init__(inner)
        self._troubles = troubles

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            result = await super().execute_activity(input)
        except ApplicationError as error:
            self._note(input.args, needs_operator=error.type == FailureKind.AUTH)
            raise
        if isinstance(result, Bumped) and result.terms is None:
            self._note(input.args, needs_operator=True)  # no funds for a higher bid, or the fee cap
        return result

    def _note(self, arguments: Sequence[Any], *, needs_operator: bool) -> None:
        target = getattr(arguments[0], "target", None) if arguments else None
        if activity.info().activity_type in LEDGER_STEPS and isinstance(target, Target):
            self._troubles.note(target, needs_operator=needs_operator)
