"""Rebroadcasts or fee-bumps an aggregator's signed rounds until the ledger includes one.

Only the newest candidate is sent; any candidate may win. Only the lowest un-included round is bumped (E4, E8).
"""

from datetime import datetime, timedelta

from temporalio import workflow

from vaultmesh.domain.aggregator.ledger_messages import RoundState, Terms, Verdict
from vaultmesh.domain.aggregator.messages import Broadcast, Bump, Fill, Sign
from vaultmesh.domain.aggregator.state import AggregatorInput, AggregatorState, OpenRound
from vaultmesh.domain.failures import FailureKind
from workflows import options, ports
from workflows.aggregator.replies import Replies
from workflows.calls import StepFailed, call

QUICK_BIDS = 2
"""Refused bids in a row that are followed by a higher one at once: each is signed, and any might still be mined."""

GAP_PATIENCE = timedelta(seconds=20)
"""How long a gap must have been shown before a new round takes a free sequence: nodes lag."""
FILL_REST = timedelta(seconds=15)
"""Between two orders to fill a gap."""


class Submission:
    """Broadcasts and bumps the un-included rounds of one aggregator."""

    def __init__(self, given: AggregatorInput, state: AggregatorState, replies: Replies) -> None:
        """Drive the rounds in an aggregator's state."""
        self._target = given.target
        self._state = state
        self._replies = replies

    def broadcast_due(self, now: datetime) -> bool:
        """Whether a round's bytes are to be sent now."""
        return any(_ready(one, now) for one in self._state.unincluded())

    def bump_due(self) -> bool:
        """Whether the lowest un-included round wants a higher bid; beyond a gap none can help."""
        unincluded = self._state.unincluded()
        return bool(unincluded) and unincluded[0].bump_due and not unincluded[0].gap

    def next_broadcast(self, now: datetime) -> datetime | None:
        """Return when a round that rests may be sent again."""
        instants = [one.not_before for one in self._state.unincluded() if one.needs_broadcast]
        return min(
            (instant for instant in instants if instant is not None and instant > now), default=None
        )

    async def broadcast_all(self) -> None:
        """Send the newest bytes of every round that wants it, in order of reservation.

        Raises:
            StepFailed: a ledger did not take or answer; the later rounds wait for the earlier one.
        """
        now = workflow.now()
        for one in self._state.unincluded():
            if _ready(one, now):
                one.sent = True
                await self._broadcast(one)

    async def _broadcast(self, one: OpenRound) -> None:
        candidate = one.candidates[-1]
        order = Broadcast(
            target=self._target,
            round_id=one.round_id,
            reservation=one.reservation,
            candidate=candidate,
        )
        answer = await call(ports.BROADCAST, order, options.BROADCAST, f"{candidate.tx_ref[:18]}…")
        one.broadcasts += 1
        one.not_before = self._replies.later(one.broadcasts, FailureKind.NETWORK)
        one.needs_broadcast = False
        match answer.verdict:
            case Verdict.ACCEPTED:
                self._accepted(one)
            case Verdict.CONSUMED:
                self._consumed(one)
            case Verdict.FEE_TOO_LOW:
                one.refused += 1
                one.bump_due = True
                one.needs_broadcast = True
            case Verdict.GAP:
                self._close_gap(one)

    def _consumed(self, one: OpenRound) -> None:
        """Let the next look tell by whom, also one that still finds nothing: the node may not be the one that answered."""
        if one.state is RoundState.MISSING:
            one.state = RoundState.PENDING

    def _accepted(self, one: OpenRound) -> None:
        """Leave the backoff, unless a higher bid is still owed: at the fee cap the same bytes are only kept alive.

        A look that overtook this answer knows more: a round that it found in a block, or lost, stays so.
        """
        one.refused = 0
        if not one.blocks_others:
            return
        if not one.bump_due:
            one.state = RoundState.PENDING
            self._replies.succeeded()

    def _close_gap(self, one: OpenRound) -> None:
        """Send every earlier round again; a root never moves to another reservation (E4)."""
        one.needs_broadcast = True
        for lower in self._state.unincluded():
            if lower is one:
                return
            lower.needs_broadcast = True

    def gap_instants(self) -> list[datetime]:
        """Return when something may be done about a gap."""
        row = self._state.beyond_gap()
        if row is None or row.gap_since is None:
            return []
        fill = timedelta(seconds=self._state.settings.gap_fill_seconds)
        instants = [row.gap_since + GAP_PATIENCE, row.gap_since + fill, row.fill_not_before]
        return [one for one in instants if one is not None]

    def may_take_free(self, now: datetime) -> bool:
        """Whether a new round may take the lowest free sequence: the gap has lasted, and nothing fills it."""
        row = self._state.beyond_gap()
        if row is None or row.gap_since is None or row.fills:
            return False
        return now >= row.gap_since + GAP_PATIENCE

    def fill_due(self, now: datetime) -> bool:
        """Whether the free sequences below a gap are to be used up now."""
        row = self._state.beyond_gap()
        if row is None or row.gap_since is None:
            return False
        wait = timedelta(seconds=self._state.settings.gap_fill_seconds)
        wanted = bool(row.fills) or self._state.fill_gap_now or now >= row.gap_since + wait
        return wanted and (row.fill_not_before is None or row.fill_not_before <= now)

    async def fill(self) -> None:
        """Use up the free sequences below a gap; the same bytes go out again until the gap is closed.

        Raises:
            StepFailed: they could not be signed or sent.
        """
        row = self._state.beyond_gap()
        if row is None:
            return
        order = Fill(
            target=self._target,
            round_id=row.round_id,
            reservation=row.reservation,
            tries=row.fills,
        )
        row.fills += 1
        row.fill_not_before = workflow.now() + FILL_REST
        await call(ports.FILL, order, options.FILL, f"{row.gap} free below {row.round_id[:12]}")

    async def bump_lowest(self) -> None:
        """Bid more on the lowest un-included round's reservation, if the caps allow (E3).

        Raises:
            StepFailed: the cap is reached, or a step failed; the same bytes stay broadcast.
        """
        one = self._state.unincluded()[0]
        order = Bump(
            target=self._target,
            round_id=one.round_id,
            reservation=one.reservation,
            highest=one.candidates[-1].terms,
        )
        bumped = await call(ports.BUMP, order, options.BUMP, f"round {one.round_id[:12]}")
        if bumped.terms is None:
            one.needs_broadcast = True
            one.not_before = None
            message = bumped.message or "the fee cap is reached; raise it in anchors.yaml"
            raise StepFailed(FailureKind.AUTH, message)
        await self._sign(one, bumped.terms)

    async def _sign(self, one: OpenRound, terms: Terms) -> None:
        n = one.sealed.candidates + len(one.candidates)
        order = Sign(
            target=self._target,
            round_id=one.round_id,
            n=n,
            reservation=one.reservation,
            terms=terms,
        )
        signed = await call(ports.SIGN, order, options.SIGN, f"candidate {n}")
        if signed.stale or signed.candidate is None:
            self._state.recovered = False
            return
        one.candidates.append(signed.candidate)
        one.signed_at = workflow.now()
        one.state = RoundState.PENDING
        one.first_seen_block = None
        one.bump_due = False
        one.needs_broadcast = True
        one.not_before = self._next_bid(one)

    def _next_bid(self, one: OpenRound) -> datetime | None:
        """Return when a new bid is sent: at once, or after a rest if several in a row were too low for the node."""
        if one.refused < QUICK_BIDS:
            return None
        return self._replies.later(one.refused - QUICK_BIDS + 1, FailureKind.NETWORK)


def _ready(one: OpenRound, now: datetime) -> bool:
    return one.needs_broadcast and (one.not_before is None or one.not_before <= now)
