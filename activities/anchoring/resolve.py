"""Carries out an operator's decision about a round, where evidence can't decide.

1. What speaks against it is looked for first: nothing is given up whose bytes could still be mined, or that somebody shows.
2. The decision is written into the round's folder, exclusively and durably, before anything acts on it. The same decision
   again changes nothing, so an attempt that died is simply repeated.
3. `recover`, `seal`, `reserve` and `sign` read it: neither a reset nor the loss of Temporal's database forgets it.
"""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import JsonValue
from temporalio import activity

from activities.anchoring.stores import Files
from activities.anchoring.targets import Targets
from activities.failures import decided_by_the_aggregator
from vaultmesh.domain.aggregator.decisions import EVERY, Decision, Resolved
from vaultmesh.domain.aggregator.ledger_messages import Reservation
from vaultmesh.domain.aggregator.messages import Resolution, Resolve
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.rounds.manifest import ROUND_ID_DIGITS, Candidate
from vaultmesh.ledgers.driver import Anchoring, Fate
from vaultmesh.storage.round_numbers import Range
from vaultmesh.storage.rounds import Damage, RoundStore

MOST_NAMED = 10
"""Batches of a round that are named where it is given up, and rounds that are not."""
MOST_LINES = 1_000
"""Lines that one answer gives: a server refuses 2 MB."""
DECIDED_BEFORE = "it was decided before"
_ROUND_ID = re.compile(rf"[0-9a-f]{{{ROUND_ID_DIGITS}}}")


class Resolving:
    """Adapter of the port `resolve`."""

    def __init__(self, files: Files, targets: Targets) -> None:
        """Decide over the rounds of the files; look through the opened targets."""
        self._files = files
        self._targets = targets

    @activity.defn(name="resolve")
    async def resolve(self, order: Resolve) -> Resolution:
        """Write one decision; idempotent by round, decision and reservation."""
        with decided_by_the_aggregator():
            is_every = order.round_id == EVERY and order.decision is Decision.FORGOTTEN
            if not is_every and not _ROUND_ID.fullmatch(order.round_id):
                message = f"{order.round_id!r} is no round: write the {ROUND_ID_DIGITS} hex digits that status shows"
                raise InvalidValue(message)
            anchoring = await self._targets.open(order.target)
            match order.decision:
                case Decision.LOST:
                    return await self._lose(order, anchoring)
                case Decision.ADOPTED:
                    return await self._adopt(order, anchoring)
                case Decision.FORGOTTEN if is_every:
                    return await self._forget_every(order, anchoring)
                case Decision.FORGOTTEN:
                    return await self._forget(order, anchoring)

    # --- lost ----------------------------------------------------------------------------------

    async def _lose(self, order: Resolve, anchoring: Anchoring) -> Resolution:
        rounds = self._files.rounds(order.target)
        candidates = await asyncio.to_thread(_open_candidates, rounds, order.round_id)
        newest = candidates[-1].reservation
        if await asyncio.to_thread(rounds.is_given_up, order.round_id, newest):
            return Resolution(lines=[DECIDED_BEFORE])
        asked = _reservation(newest), _of_reservation(candidates)
        fate = await anchoring.fate(*asked, order.notes)
        if fate.shown_by:
            message = f"round {order.round_id} is not lost: {fate.shown_by}; wait for it, or --adopt what is shown"
            raise InvalidValue(message)
        if fate.unused:
            message = f"round {order.round_id} is not lost: its bytes could still be mined, since {fate.unused}"
            raise InvalidValue(message)
        known = frozenset(candidate.tx_ref for candidate in candidates)
        return await self._write(order, fate.lines, reservation=newest, considered=known)

    # --- adopted -------------------------------------------------------------------------------

    async def _adopt(self, order: Resolve, anchoring: Anchoring) -> Resolution:
        rounds = self._files.rounds(order.target)
        candidates = await asyncio.to_thread(_open_candidates, rounds, order.round_id)
        newest = candidates[-1].reservation
        if await asyncio.to_thread(_is_adopted, rounds, order):
            return Resolution(lines=[DECIDED_BEFORE])
        if any(signed.tx_ref == order.tx_ref.lower() for signed in candidates):
            message = (
                f"{order.tx_ref} is a candidate of round {order.round_id} already; it is watched"
            )
            raise InvalidValue(message)
        transaction = await anchoring.adoptable(_reservation(newest), order.tx_ref)
        candidate = Candidate.model_validate(
            {
                "n": candidates[-1].n + 1,
                "reservation": newest,
                "terms": transaction.terms,
                "raw": transaction.raw,
                "hash": transaction.tx_ref,
            }
        )
        lines = (f"{transaction.tx_ref} spends the reservation and carries the commitment",)
        done = await self._write(order, lines, reservation=newest, candidate=candidate)
        await asyncio.to_thread(rounds.complete_adoptions, order.round_id)
        return done

    # --- forgotten -----------------------------------------------------------------------------

    async def _forget_every(self, order: Resolve, anchoring: Anchoring) -> Resolution:
        """Give up every round that can't be read, as after an older copy of the storage was put back.

        Raises:
            InvalidValue: there is none, or some are not given up: it names them, the others are.
        """
        unread = await asyncio.to_thread(self._files.damaged(order.target).unread, order.number)
        lines: list[str] = []
        refusals: list[str] = []
        for round_id, damage in unread.items():  # each look at very many takes long: one is enough
            one_of_them = order.model_copy(update={"round_id": round_id})
            try:
                done = await self._forget(one_of_them, anchoring, damage)
            except InvalidValue as error:
                refusals.append(str(error))
            else:
                lines += [f"{round_id}: {line}" for line in done.lines]
        if refusals:
            given_up = len(unread) - len(refusals)
            message = f"{given_up} of {len(unread)} rounds were given up, and these not: {'; '.join(refusals[:MOST_NAMED])}"
            raise InvalidValue(message)
        if not unread:
            message = f"every round of {order.target} can be read, or is known from elsewhere: nothing is held back"
            raise InvalidValue(message)
        more = [f"and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
        return Resolution(lines=[*lines[:MOST_LINES], *more])

    async def _forget(
        self, order: Resolve, anchoring: Anchoring, known: Damage | None = None
    ) -> Resolution:
        """Give up one round; where it is not `known` why, that is looked for."""
        rounds = self._files.rounds(order.target)
        if await asyncio.to_thread(rounds.is_forgotten, order.round_id):
            return Resolution(lines=[DECIDED_BEFORE])
        damage = known or await asyncio.to_thread(self._unread, order)
        reason = str(damage.refused) if damage else "receipts name it, and its folder is gone"
        lines = [reason, *await self._fate_of_unread(order, anchoring)]
        lines.append(await asyncio.to_thread(_owed_again, rounds, order.round_id))
        return await self._write(order, lines, numbers=damage.numbers if damage else None)

    def _unread(self, order: Resolve) -> Damage | None:
        """Return why a round can't be read; None where only receipts tell of it.

        Raises:
            InvalidValue: it can, or nobody knows of it.
        """
        damage = self._files.damaged(order.target).unread(order.number).get(order.round_id)
        if damage is not None:
            return damage
        rounds = self._files.rounds(order.target)
        if not rounds.count(order.round_id):
            if self._files.receipts.of_rounds(order.target, {order.round_id}):
                return None
            message = f"nobody knows round {order.round_id} of {order.target}: it has no candidate, and no receipt names it"
            raise InvalidValue(message)
        message = (
            f"round {order.round_id} can be read, or is known from elsewhere: nothing is held back for it, and nothing is to be "
            "given up"
        )
        raise InvalidValue(message)

    async def _fate_of_unread(self, order: Resolve, anchoring: Anchoring) -> Sequence[str]:
        """Return what the ledger shows of a round that may be on its way.

        Raises:
            InvalidValue: its bytes could still be mined.
        """
        rounds = self._files.rounds(order.target)
        try:
            closed = await asyncio.to_thread(rounds.closed, order.round_id)
        except InvalidValue:
            closed = None
        if closed is not None:
            return [f"it was closed as {closed.outcome.value}"]
        try:
            candidates = await asyncio.to_thread(rounds.candidates, order.round_id)
        except InvalidValue as error:
            return [f"nobody can tell what it signed: {error}"]
        if not candidates:
            return ["nobody can tell what it signed"]
        newest = candidates[-1].reservation
        asked = _reservation(newest), _of_reservation(candidates)
        fate: Fate = await anchoring.fate(*asked, order.notes)
        if fate.unused:
            message = f"round {order.round_id} can't be given up yet: its bytes could still be mined, since {fate.unused}"
            raise InvalidValue(message)
        return [*fate.lines, *([fate.shown_by] if fate.shown_by else [])]

    # --- the decision --------------------------------------------------------------------------

    async def _write(
        self,
        order: Resolve,
        lines: Sequence[str],
        *,
        reservation: dict[str, JsonValue] | None = None,
        candidate: Candidate | None = None,
        considered: frozenset[str] = frozenset(),
        numbers: Range | None = None,
    ) -> Resolution:
        document = {
            "decision": order.decision,
            "txRef": order.tx_ref.lower(),
            "by": order.by,
            "decidedAt": datetime.now(UTC),
            "evidence": tuple(lines),
            "reservation": reservation,
            "candidate": candidate,
            "numbers": numbers,
        }
        resolved = Resolved.model_validate(document)
        path = await asyncio.to_thread(
            self._files.rounds(order.target).resolve, order.round_id, resolved, considered
        )
        log_event(
            activity.logger,
            LogEvent.RESOLVED,
            target=str(order.target),
            round=order.round_id,
            decision=order.decision.value,
            by=order.by,
            file=path,
        )
        return Resolution(path=path, lines=list(lines))


def _owed_again(rounds: RoundStore, round_id: str) -> str:
    """Return which batches are owed again once a round is given up (X11)."""
    try:
        leaves = rounds.read_manifest(round_id).leaves
    except InvalidValue:
        return "what it holds is not known: older batches without a receipt are owed again"
    named = ", ".join(dict.fromkeys(leaf.batch_id for leaf in leaves[:MOST_NAMED]))
    more = f" and {len(leaves) - MOST_NAMED} more" if len(leaves) > MOST_NAMED else ""
    return f"owed again: batch {named}{more}"


def _open_candidates(rounds: RoundStore, round_id: str) -> list[Candidate]:
    """Return an open round's candidates.

    Raises:
        InvalidValue: it can't be read, was never signed, or has ended.
    """
    closed, candidates = rounds.closed(round_id), rounds.candidates(round_id)
    if not candidates:
        message = f"{rounds.folder}/{round_id} has no candidate: nothing was ever signed for it"
        raise InvalidValue(message)
    if closed is not None:
        message = f"round {round_id} has ended as {closed.outcome.value}; nothing is to be decided"
        raise InvalidValue(message)
    rounds.read_manifest(round_id)
    return candidates


def _is_adopted(rounds: RoundStore, order: Resolve) -> bool:
    """Say whether this transaction was adopted before; completes that if it was cut off."""
    rounds.complete_adoptions(order.round_id)
    tx_ref = order.tx_ref.lower()
    return any(
        resolution.decision is Decision.ADOPTED and resolution.tx_ref.lower() == tx_ref
        for resolution in rounds.resolutions(order.round_id)
    )


def _reservation(stored: dict[str, JsonValue]) -> Reservation:
    return Reservation.model_validate(stored)


def _of_reservation(candidates: Sequence[Candidate]) -> list[str]:
    """Return what the ledger may know the newest reservation's candidates by."""
    newest = candidates[-1].reservation
    return [candidate.tx_ref for candidate in candidates if candidate.reservation == newest]
