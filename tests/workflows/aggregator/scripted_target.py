"""Scripts the aggregator's activities: they answer as planned and note every call in order."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from tests.workflows.stage import Adapter, AggregatorRun, until
from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    BlockRef,
    Broadcasted,
    Bumped,
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
    Verdict,
    WatchedRound,
)
from vaultmesh.domain.aggregator.messages import (
    Broadcast,
    Bump,
    Fill,
    Filled,
    Observe,
    Observed,
    Record,
    Recorded,
    Recover,
    Recovered,
    Reserve,
    Reserved,
    Resolution,
    Resolve,
    Seal,
    Sealed,
    SealedRound,
    Sign,
    Signed,
)
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest, Answer, Nothing, ReportFailure, Wire

SETTINGS = AggregatorSettings(window_seconds=0.05, window_max_seconds=1.0, max_leaves=1_000)
GENESIS = datetime(2026, 1, 1, tzinfo=UTC)
SHOWN_AFTER_SECONDS = 0.1
"""A look finds what a test says only then, so that no look overtakes the broadcast before it."""


def failure(kind: FailureKind, message: str = "as the test says") -> ApplicationError:
    """Return the failure of a step."""
    return ApplicationError(message, type=kind.value, non_retryable=True)


def request(number: int = 1, **more: Any) -> AnchorRequest:
    """Return a request of its own namespace."""
    return AnchorRequest(namespace=f"dao:n{number}", cadence="fast", slot="1000", **more)


class ScriptedTarget:
    """What stands behind an aggregator: a storage, a key, and a ledger."""

    def __init__(self) -> None:
        """Take everything, and include nothing before the test says so."""
        self.calls: list[tuple[str, Any]] = []
        self.planned: dict[str, list[Any]] = {}
        """Answers, or failures, of the next calls by name; a function gets what was asked."""
        self.views: dict[str, RoundView] = {}
        self._said: dict[str, float] = {}
        """When each round's view was said, by the monotonic clock."""
        self.recovered = Recovered(settings=SETTINGS)
        self.records: Callable[[Record], Recorded] = lambda _: Recorded(receipts=1)
        self.gates: dict[str, asyncio.Event] = {}
        """Steps that end only when their gate is open; without a gate, at once."""
        self._sealed = 0

    def adapters(self) -> list[Adapter]:
        """Return the activities."""
        return [
            self.recover, self.seal, self.reserve, self.sign, self.broadcast, self.bump,
            self.observe, self.fill, self.record, self.resolve, self.answer, self.report_failure,
        ]  # fmt: skip

    # --- what the test says ----------------------------------------------------------------------------------------

    def plan(self, name: str, *answers: Any) -> None:
        """Have the next calls of a step answered, or failed, like this."""
        self.planned.setdefault(name, []).extend(answers)

    def include(self, round_id: str, *, depth: int = 0, block: int = 5, final: bool = True) -> None:
        """Put a round's newest candidate into a block."""
        signed = [one for name, one in self.calls if name == "broadcast"]
        newest = [one.candidate.tx_ref for one in signed if one.round_id == round_id][-1]
        ref = BlockRef(number=block, hash=f"0x{block:064x}", time=GENESIS)
        self.show(
            round_id, RoundState.INCLUDED, tx_ref=newest, block=ref, depth=depth,
            irrevocable=final, final=final,
        )  # fmt: skip

    def show(self, round_id: str, state: RoundState, **more: Any) -> None:
        """Have the ledger show a round like this."""
        self.views[round_id] = RoundView(round_id=round_id, state=state, height=9, **more)
        self._said[round_id] = time.monotonic()

    def asked(self, name: str) -> list[Any]:
        """Return what a step was asked, in order."""
        return [asked for called, asked in self.calls if called == name]

    @property
    def names(self) -> list[str]:
        """Return the steps in order, without looks at the ledger."""
        return [name for name, _ in self.calls if name != "observe"]

    def _planned(self, name: str, asked: Wire) -> Any:
        self.calls.append((name, asked))
        queue = self.planned.get(name)
        if not queue:
            return None
        answer = queue.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(asked) if callable(answer) else answer

    async def _gate(self, name: str) -> None:
        while name in self.gates and not self.gates[name].is_set():
            activity.heartbeat()
            await asyncio.sleep(0.02)

    # --- the steps -------------------------------------------------------------------------------------------------

    @activity.defn(name="recover")
    async def recover(self, order: Recover) -> Recovered:
        return self._planned("recover", order) or self.recovered

    @activity.defn(name="seal")
    async def seal(self, order: Seal) -> Sealed:
        answer: Sealed = self._planned("seal", order) or self.sealed(order)
        await self._gate("seal")
        return answer

    def sealed(self, order: Seal, **more: Any) -> Sealed:
        """Return a new round with everything that is asked for."""
        self._sealed += 1
        commitment = "0x" + hashlib.sha256(str(self._sealed).encode()).hexdigest()
        sealed = SealedRound(
            round_id=commitment[2:34],
            commitment=commitment,
            label="b1",
            leaves=max(1, len(order.requests)),
            required_depths=sorted({one.required_depth for one in order.requests} or {0}),
        )
        everybody = [one.id for one in order.requests]
        content = {"round": sealed, "requests": everybody, "resealed": order.reseal}
        return Sealed.model_validate({**content, "settings": SETTINGS, **more})

    @activity.defn(name="reserve")
    async def reserve(self, order: Reserve) -> Reserved:
        planned = self._planned("reserve", order)
        last = order.last.sequence if order.last and order.last.sequence is not None else -1
        made = Reservation(account="0xaggregator", sequence=last + 1, fields={"nonce": last + 1})
        return planned or Reserved(reservation=made, terms={"bid": 1})

    @activity.defn(name="sign")
    async def sign(self, order: Sign) -> Signed:
        name = f"0x{order.round_id}{order.n:02d}"
        made = SignedCandidate(n=order.n, tx_ref=name, raw=name + "raw", terms=order.terms)
        answer: Signed = self._planned("sign", order) or Signed(candidate=made, number=order.number)
        await self._gate("sign")
        return answer

    @activity.defn(name="broadcast")
    async def broadcast(self, order: Broadcast) -> Broadcasted:
        planned = self._planned("broadcast", order)
        await self._gate("broadcast")
        if planned is None or planned.verdict is Verdict.ACCEPTED:
            now = self.views.get(order.round_id)
            if now is None or now.state in (RoundState.MISSING, RoundState.STUCK):
                self.show(order.round_id, RoundState.PENDING)
        return planned or Broadcasted(verdict=Verdict.ACCEPTED)

    @activity.defn(name="bump")
    async def bump(self, order: Bump) -> Bumped:
        bid = order.highest["bid"]
        assert isinstance(bid, int)
        return self._planned("bump", order) or Bumped(terms={"bid": bid + 1})

    @activity.defn(name="observe")
    async def observe(self, order: Observe) -> Observed:
        self._planned("observe", order)
        while True:
            activity.heartbeat()
            news = [
                view
                for row in order.rounds
                if (view := self._seen(row)) is not None and _differs(row, view)
            ]
            if news:
                return Observed(views=news)
            await asyncio.sleep(0.05)

    def _seen(self, row: WatchedRound) -> RoundView | None:
        """Return what a look finds, if it finds anything yet; a bid that was not sent yet waits for no block."""
        view = self.views.get(row.round_id)
        if view is None or time.monotonic() - self._said[row.round_id] < SHOWN_AFTER_SECONDS:
            return None
        sent = {one.candidate.tx_ref for one in self.asked("broadcast")}
        return None if view.state is RoundState.STUCK and row.tx_refs[-1] not in sent else view

    @activity.defn(name="fill")
    async def fill(self, order: Fill) -> Filled:
        return self._planned("fill", order) or Filled(sent=["0xfiller"])

    @activity.defn(name="record")
    async def record(self, order: Record) -> Recorded:
        answer: Recorded = self._planned("record", order) or self.records(order)
        await self._gate("record")
        return answer

    @activity.defn(name="resolve")
    async def resolve(self, order: Resolve) -> Resolution:
        answer: Resolution = self._planned("resolve", order) or Resolution(path="resolved.json")
        await self._gate("resolve")
        return answer

    @activity.defn(name="answer")
    async def answer(self, order: Answer) -> Nothing:
        self._planned("answer", order)
        return Nothing()

    @activity.defn(name="report_failure")
    async def report_failure(self, order: ReportFailure) -> Nothing:
        self._planned("report_failure", order)
        return Nothing()


def _differs(row: WatchedRound, view: RoundView) -> bool:
    if view.state is not row.state:
        return True
    if view.state is not RoundState.INCLUDED:
        return (view.undecided, view.gap) != (row.undecided, row.gap)
    reached = view.irrevocable and any(depth <= view.depth for depth in row.depths)
    return (view.tx_ref, view.block) != (row.tx_ref, row.block) or reached


async def enqueue(aggregator: AggregatorRun, *requests: AnchorRequest) -> None:
    """Let requests become due."""
    await aggregator.handle.signal("enqueue", list(requests))


async def one_round(aggregator: AggregatorRun, scripted: ScriptedTarget, number: int = 1) -> str:
    """Write a round for one request; returns its id."""
    sent = len(scripted.asked("broadcast"))
    await enqueue(aggregator, request(number))
    await until(lambda: len(scripted.asked("broadcast")) > sent)
    return str(scripted.asked("broadcast")[-1].round_id)


async def included_round(aggregator: AggregatorRun, scripted: ScriptedTarget, number: int) -> str:
    """Write a round and have it included, though not final."""
    round_id = await one_round(aggregator, scripted, number)
    scripted.include(round_id, final=False, block=number)
    await aggregator.shows(
        lambda view: any(one.round_id == round_id and one.recorded for one in view.rounds)
    )
    return round_id
