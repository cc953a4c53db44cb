"""Rebroadcasts or fee-bumps an aggregator's signed rounds until the ledger includes one.

Which round is due for what is decided in `vaultmesh.domain.aggregator.rounds`.
"""

from temporalio import workflow

from vaultmesh.domain.aggregator.ledger_messages import Terms, Verdict
from vaultmesh.domain.aggregator.messages import Broadcast, Bump, Fill, Sign
from vaultmesh.domain.aggregator.open_round import OpenRound
from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.log_events import LogEvent
from workflows import options, ports
from workflows.calls import StepFailed, call
from workflows.lines import Lines


class Submission:
    """Broadcasts and bumps the un-included rounds of one aggregator."""

    def __init__(
        self, start: AggregatorInput, rounds: OpenRounds, pace: Pace, lines: Lines
    ) -> None:
        """Submit the open rounds of an aggregator."""
        self._target = start.target
        self._backoff = start.backoff
        self._rounds = rounds
        self._pace = pace
        self._lines = lines

    async def broadcast_all(self) -> None:
        """Send the newest bytes of every round that wants it, in order of reservation.

        Raises:
            StepFailed: a ledger did not take or answer; the later rounds wait for the earlier one.
        """
        now = workflow.now()
        for row in self._rounds.unincluded():
            if row.is_ready(now):
                row.sending()
                await self._broadcast(row)

    async def _broadcast(self, row: OpenRound) -> None:
        candidate = row.candidates[-1]
        order = Broadcast(
            target=self._target,
            round_id=row.round_id,
            reservation=row.reservation,
            candidate=candidate,
            number=row.sealed.number,
        )
        answer = await call(ports.BROADCAST, order, options.BROADCAST, f"{candidate.tx_ref[:18]}…")
        row.broadcasted(answer.verdict, self._backoff, workflow.now())
        if answer.verdict is Verdict.ACCEPTED and row.note_taken(candidate):
            self._lines.log_event(LogEvent.BROADCAST, round=row.round_id, tx=candidate.tx_ref)
        if answer.verdict is Verdict.GAP:
            self._rounds.send_below(row)
        if answer.verdict is Verdict.ACCEPTED and row.blocks_others and not row.bump_due:
            self._pace.succeeded()  # at the fee cap the same bytes are only kept alive: a bid is still owed

    async def fill(self) -> None:
        """Use up the free sequences below a gap; the same bytes go out again until the gap is closed.

        Raises:
            StepFailed: they could not be signed or sent.
        """
        row = self._rounds.beyond_gap()
        if row is None:
            return
        order = Fill(
            target=self._target,
            round_id=row.round_id,
            reservation=row.reservation,
            tries=row.fills,
        )
        row.filling(workflow.now())
        await call(ports.FILL, order, options.FILL, f"{row.gap} free below {row.round_id[:12]}")

    async def bump_lowest(self) -> None:
        """Bid more on the lowest un-included round's reservation, if the caps allow (E3).

        Raises:
            StepFailed: the cap is reached, or a step failed; the same bytes stay broadcast.
        """
        row = self._rounds.unincluded()[0]
        order = Bump(
            target=self._target,
            round_id=row.round_id,
            reservation=row.reservation,
            highest=row.candidates[-1].terms,
        )
        bumped = await call(ports.BUMP, order, options.BUMP, f"round {row.round_id[:12]}")
        if bumped.terms is None:
            row.keep_alive()
            message = bumped.message or "the fee cap is reached; raise it in anchors.yaml"
            raise StepFailed(FailureKind.AUTH, message)
        await self._sign(row, bumped.terms)

    async def _sign(self, row: OpenRound, terms: Terms) -> None:
        n = row.all_candidates
        order = Sign(
            target=self._target,
            round_id=row.round_id,
            n=n,
            reservation=row.reservation,
            terms=terms,
            number=row.sealed.number,
        )
        signed = await call(ports.SIGN, order, options.SIGN, f"candidate {n}")
        if signed.stale or signed.candidate is None:
            self._rounds.recover_again()
        else:
            row.signed(signed.candidate, self._backoff, workflow.now())
