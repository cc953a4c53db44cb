"""Observes a target's open rounds: looks at the ledger until something differs from what is known.

Any stored candidate may win (X5), also one that the caller does not know: a workflow that was reset, or whose database
was put back, forgets the newest bids.
"""

import asyncio
import time
from collections.abc import Sequence

from temporalio import activity

from activities.anchoring.reopen import Reopening
from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from activities.failures import decided_by_the_aggregator, retried
from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, WatchedRound, refutes
from vaultmesh.domain.aggregator.messages import Observe, Observed
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.process.target_metrics import TargetMetrics

LONGEST_LOOK_SECONDS = 3_600.0
"""An hour: then the activity ends without news and is started again, three events later."""


class Observing:
    """Adapter of the port `observe`."""

    def __init__(
        self,
        files: Files,
        targets: Targets,
        closed: Reopening,
        metrics: TargetMetrics | None = None,
    ) -> None:
        """Look through the opened targets for what the files hold, at closed rounds as well; `metrics` count what is seen."""
        self._files = files
        self._metrics = metrics
        self._targets = targets
        self._closed = closed

    @activity.defn(name="observe")
    async def observe(self, order: Observe) -> Observed:
        """Return the views that differ from what the order says; idempotent, since it only looks."""
        waited_for = any(row.state is not RoundState.INCLUDED for row in order.rounds)
        views = list[RoundView]()
        with decided_by_the_aggregator() if waited_for else retried():
            rows = await asyncio.to_thread(self._with_stored, order)
            started = time.monotonic()
            while time.monotonic() - started < LONGEST_LOOK_SECONDS:
                anchoring = await self._targets.open(order.target)
                views = await anchoring.look(rows)
                news = differing(rows, views)
                reopened = await self._closed.look(order.target, anchoring)
                if news or reopened:
                    self._count(order.target, rows, views)
                    for _ in reopened:
                        self._count_reorganisation(order.target)
                    noted = _noted(rows, views, besides=news)
                    return Observed(views=[*news, *noted], reopened=reopened)
                rows = [_remembering(row, view) for row, view in zip(rows, views, strict=True)]
                await asyncio.sleep(anchoring.poll_seconds)
        return Observed(views=_noted(rows, views, besides=()))

    def _count(
        self, target: Target, rows: Sequence[WatchedRound], views: Sequence[RoundView]
    ) -> None:
        """Count what befell rounds: their block was replaced, or somebody else used up what they had reserved."""
        for row, view in zip(rows, views, strict=True):
            if has_moved(row, view):
                self._count_reorganisation(target)
            if view.foreign and view.state is not row.state and self._metrics is not None:
                self._metrics.used_elsewhere(target)

    def _count_reorganisation(self, target: Target) -> None:
        if SCHEMES[target.scheme].has_blocks and self._metrics is not None:
            self._metrics.reorganised(target)

    def _with_stored(self, order: Observe) -> list[WatchedRound]:
        """Return the rounds with every candidate that is stored for their reservations."""
        rounds = self._files.rounds(order.target)
        completed = []
        for row in order.rounds:
            stored = rounds.candidates_of(row.round_id, row.reservation)
            tx_refs = list(dict.fromkeys([*row.tx_refs, *stored]))
            completed.append(row.model_copy(update={"tx_refs": tx_refs}))
        return completed


def differing(known: Sequence[WatchedRound], views: Sequence[RoundView]) -> list[RoundView]:
    """Return the views that say something new."""
    return [view for row, view in zip(known, views, strict=True) if _differs(row, view)]


def has_moved(row: WatchedRound, view: RoundView) -> bool:
    """Whether a round is not in the block any more that it was included in."""
    if row.state is not RoundState.INCLUDED or row.block is None:
        return False
    return view.block is None or view.block.hash != row.block.hash


def _remembering(row: WatchedRound, view: RoundView) -> WatchedRound:
    """Return a round with what this look found out for the next one."""
    return row if view.notes is None else row.model_copy(update={"notes": view.notes})


def _noted(
    rows: Sequence[WatchedRound], views: Sequence[RoundView], besides: Sequence[RoundView]
) -> list[RoundView]:
    """Return the views that say nothing new, but hold what the next call of the activity needs to know."""
    pairs = zip(rows, views, strict=True) if views else ()
    remembered = (
        view if view.notes is not None else view.model_copy(update={"notes": row.notes})
        for row, view in pairs
        if view not in besides and view.state is not RoundState.INCLUDED
    )
    return [view for view in remembered if view.notes]


def _differs(row: WatchedRound, view: RoundView) -> bool:
    if view.state is not RoundState.INCLUDED:
        first_height = row.first_seen_block is None and view.height > 0
        return (
            view.state is not row.state
            or (view.undecided, view.gap) != (row.undecided, row.gap)
            or (first_height and view.state is RoundState.PENDING)
            or refutes(view, row.claimed_block)
        )
    if row.state is not RoundState.INCLUDED or row.block is None or view.block is None:
        return True
    if (view.tx_ref, view.block.hash) != (row.tx_ref, row.block.hash):
        return True
    deeper = view.irrevocable and any(depth <= view.depth for depth in row.depths)
    return deeper or view.final
