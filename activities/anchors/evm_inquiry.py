"""The place where it is decided what became of a round whose nonce is used, or whose call seems to have failed (E7, X6).

1. "Nothing found" is no finding. A round is displaced or lost only by the foreign transaction itself, found in the
   blocks (`activities.anchors.evm_search`), or by a failure of our own call that the block's receipts prove
   (`activities.anchors.evm_outcome`); where those can't be rebuilt, by two providers of different hosts that show it.
2. Every configured provider is asked first, at any quorum. One that shows our anchor, or knows a candidate, vetoes.
3. Silence is no consent: a round is not lost while a provider does not answer. After `evidence_wait` it is held, and
   the silent ones are named; so is what nobody can show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from activities.anchors.evm_horizon import Rules
from activities.anchors.evm_notes import MARGIN, Notes, signed_at_block
from activities.anchors.evm_observe import Sight, nonce_of
from activities.anchors.evm_outcome import Outcome, OwnCall, bloom_holds, proven_outcome
from activities.anchors.evm_quorum import agreed_view
from activities.anchors.evm_reads import block_at
from activities.anchors.evm_rpc import Providers, supported_by
from activities.anchors.evm_search import Kind, Search, Use, Wanted, begin, is_canonical, step
from activities.anchors.evm_witness import Answer, Silence, ask_all, counts_free, nonce_text
from vaultmesh.domain.failures import AnchorError, NetworkFailure
from vaultmesh.domain.ledger import BlockRef, RoundState, RoundView, WatchedRound

HOSTS_THAT_CONVINCE = 2
"""Providers of different hosts that show a failed call whose block can't be rebuilt."""
_ADVICE = (
    "nothing is paid again before that is known; add a node that keeps receipts to rpcUrls, or decide it with "
    "`starter.py resolve`"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is proven against a round."""

    tx_ref: str
    block: BlockRef
    foreign: bool
    message: str


async def inquire(
    providers: Providers,
    rules: Rules,
    watched: WatchedRound,
    *,
    now: datetime,
    wait: timedelta,
) -> RoundView:
    """Ask everybody, and return what is proven.

    Raises:
        NetworkFailure: fewer providers than the quorum answered.
    """
    notes = Notes.of(watched)
    notes = notes.model_copy(update={"since": notes.since or now})
    answers, silent = await ask_all(providers, rules, watched, notes)
    if len(answers) < rules.quorum and not any(one.veto for one in silent):
        raise NetworkFailure("; ".join(one.reason for one in silent))
    waited = now - (notes.since or now) >= wait
    inquiry = _Inquiry(rules, watched, notes, answers, silent, waited=waited)
    return await inquiry.decide()


class _Inquiry:
    """One round, and what all providers said of it."""

    def __init__(
        self,
        rules: Rules,
        watched: WatchedRound,
        notes: Notes,
        answers: Sequence[Answer],
        silent: Sequence[Silence],
        *,
        waited: bool,
    ) -> None:
        self._rules = rules
        self._watched = watched
        self._call = OwnCall.of(watched, rules.contract)
        self._answers = answers
        self._silent = silent
        self._waited = waited
        events = {one.name: one.events for one in answers if one.events is not None}
        self._notes = notes.model_copy(update={"events": {**notes.events, **events}})

    async def decide(self) -> RoundView:
        """Return the view: included, vetoed, proven against it, or nothing known."""
        included = self._agreed()
        if included is not None:
            return included
        veto = self._veto()
        if veto:
            return self._open(veto, undecided=self._waited)
        for prove in (self._failed_call, self._used_by):
            finding = await prove()
            included = self._agreed()  # a block's receipts may have shown what their node did not
            if included is not None:
                return included
            if finding is not None:
                return await self._displaced(finding)
        return self._nothing_found()

    # --- for the round ------------------------------------------------------------------------------------------

    def _agreed(self) -> RoundView | None:
        sights = [one.sight for one in self._answers]
        if len(sights) < self._rules.quorum:
            return None
        view = agreed_view(self._watched, sights, self._rules)
        if view.state is not RoundState.INCLUDED:
            return None
        return view.model_copy(update={"notes": self._notes.calm(None, None).document()})

    def _veto(self) -> str:
        """Return who shows something for the round; empty if nobody does."""
        for one in self._silent:
            if one.veto:
                return one.veto
        for answer in self._answers:
            sight = answer.sight
            if sight.state is RoundState.INCLUDED:
                return f"{answer.name} shows {sight.tx_ref} included; fewer than the quorum do"
            if sight.state is RoundState.PENDING:
                return (
                    f"{answer.name} knows {sight.tx_ref} as waiting, others count its nonce as used"
                )
            if answer.elsewhere:
                return (
                    f"{answer.name} shows the round's anchor in {answer.elsewhere}, which is no stored candidate; "
                    "adopt it with `starter.py resolve`"
                )
        return ""

    # --- against it ---------------------------------------------------------------------------------------------

    async def _failed_call(self) -> Finding | None:
        """Return the failure of our own call that is proven, or that two hosts show."""
        shown: dict[tuple[str, BlockRef], set[str]] = {}
        for one in self._answers:
            if _is_failed(one.sight) and one.sight.block is not None:
                place = one.sight.tx_ref, one.sight.block
                shown.setdefault(place, set()).add(one.provider.label)
        for (tx_ref, block), labels in shown.items():
            outcome = await self._proven(tx_ref, block)
            if outcome is not None:
                return await self._decided(outcome, tx_ref, block)
            if len(labels) >= HOSTS_THAT_CONVINCE and not await self._may_hold_event(block):
                return self._failure(tx_ref, block, f"failed, as {len(labels)} providers show,")
        return None

    async def _proven(self, tx_ref: str, block: BlockRef) -> Outcome | None:
        """Return what the receipts of a block prove, through whichever provider shows them whole."""
        for answer in self._answers:
            outcome = await proven_outcome(answer.provider, self._call, tx_ref, block)
            if outcome is not None:
                return outcome
        return None

    async def _decided(self, outcome: Outcome, tx_ref: str, block: BlockRef) -> Finding | None:
        """Return a proven failure; a proven success turns the sights of all on whose chain the block lies."""
        if outcome is Outcome.ANCHORED:
            await self._include(tx_ref, block)
            return None
        return self._failure(tx_ref, block, outcome.value)

    async def _may_hold_event(self, block: BlockRef) -> bool:
        for one in self._answers:
            if await bloom_holds(one.provider, self._call, block):
                return True
        return False

    def _failure(self, tx_ref: str, block: BlockRef, what: str) -> Finding:
        message = f"our call {tx_ref} {what} in block {block.number}"
        return Finding(tx_ref, block, foreign=False, message=message)

    async def _include(self, tx_ref: str, block: BlockRef) -> None:
        """Let every provider count for the inclusion on whose chain the block lies: its hash fixes the receipts."""
        self._answers = [await self._turned(one, tx_ref, block) for one in self._answers]

    async def _turned(self, answer: Answer, tx_ref: str, block: BlockRef) -> Answer:
        if not await _lies_in(answer, block):
            return answer
        settled = answer.horizon.settles(block.number)
        height = answer.horizon.height
        sight = Sight(RoundState.INCLUDED, height, tx_ref, block, settled=settled)
        return replace(answer, sight=sight)

    async def _used_by(self) -> Finding | None:
        """Return the foreign use of the nonce, once the blocks have shown it."""
        use = self._notes.use
        if use is None or not await self._stands(use.block):
            use = await self._search()
            self._note(use=use)
        if use is None:
            return None
        if use.kind not in (Kind.CANDIDATE, Kind.SAME_CALL):
            by = "an authorisation in " if use.kind is Kind.AUTHORISATION else ""
            message = (
                f"{nonce_text(self._watched)} was used by {by}{use.tx_ref} in block {use.block.number}, "
                "which is none of ours"
            )
            return Finding(use.tx_ref, use.block, foreign=True, message=message)
        outcome = await self._proven(use.tx_ref, use.block)
        if use.kind is Kind.SAME_CALL and outcome in (None, Outcome.ANCHORED):
            return None  # its bytes are not stored, so that no receipt could carry them
        if outcome is None and use.block.number == self._watched.claimed_block:
            outcome = Outcome.ANCHORED  # our own receipts say what it logged there
        return None if outcome is None else await self._decided(outcome, use.tx_ref, use.block)

    async def _search(self) -> Use | None:
        """Go on with the search through the blocks of one provider; of the next one too once all were read in vain."""
        for answer in self._answers:
            if counts_free(answer):
                continue
            try:
                use = await self._search_at(answer)
            except AnchorError:
                continue  # it does not show its blocks: the next one may
            if use is not None or not self._notes.searches[answer.name].is_over:
                return use
        return None

    async def _search_at(self, answer: Answer) -> Use | None:
        search = await self._search_of(answer)
        fields = self._watched.reservation.fields
        wanted = Wanted(
            account=self._watched.reservation.account,
            chain_id=self._rules.chain_id,
            nonces=(nonce_of(self._watched),),
            tx_refs=frozenset(self._watched.tx_refs),
            call=(str(fields.get("to")).lower(), str(fields.get("data")).lower()),
        )
        use, search = await step(answer.provider, wanted, search)
        least = signed_at_block(self._watched)
        if use is None and search.is_over and search.low > least:
            search = begin(answer.name, least, answer.horizon.head)
        self._note(searches={**self._notes.searches, answer.name: search})
        return use

    async def _search_of(self, answer: Answer) -> Search:
        """Return where to read on; a search that ended goes on with the blocks that came since.

        The nodes behind one address lag: the head that was read may lie below the use, and a block at which one of them
        counted the nonce as free above it. So in vain the search begins again at the block of signing.
        """
        search = self._notes.searches.get(answer.name)
        if search is None or not await self._same(answer, search):
            return begin(answer.name, await self._free_until(answer), answer.horizon.head)
        return search.up_to(answer.horizon.head) if search.is_over else search

    async def _same(self, answer: Answer, search: Search) -> bool:
        """Whether the block up to which is searched is still the chain's; null is no answer."""
        block = await block_at(answer.provider, hex(search.high))
        return block is None or block.hash == search.high_hash

    async def _free_until(self, answer: Answer) -> int:
        """Return the newest block at which the nonce was free on this provider's chain, less a margin."""
        notes, least = self._notes, signed_at_block(self._watched)
        free = notes.free
        if free is not None:
            block = await block_at(answer.provider, hex(free.number))
            if block is not None and block.hash == free.hash:
                return max(free.number - MARGIN, 0)
        if notes.free_final is not None:
            return max(notes.free_final - MARGIN, least)
        return least

    async def _stands(self, block: BlockRef) -> bool:
        """Whether a block is on the chain of as many providers as must agree."""
        return await self._support(block) >= self._rules.quorum

    async def _support(self, block: BlockRef, *, settled: bool = False) -> int:
        agreeing = [one for one in self._answers if await _lies_in(one, block)]
        return sum(one.horizon.settles(block.number) or not settled for one in agreeing)

    # --- what is told -------------------------------------------------------------------------------------------

    async def _displaced(self, finding: Finding) -> RoundView:
        """Return the finding; as lost once it is final, was found before, and nobody is silent."""
        if not await self._stands(finding.block):
            return self._open(
                f"{finding.message}; too few providers show that block", undecided=False
            )
        settled = await self._support(finding.block, settled=True) >= self._rules.quorum
        silent = self._not_answered()
        lost = settled and not silent and self._watched.state is RoundState.DISPLACED
        waits = f"; not lost before an answer of {silent}" if silent else ""
        undecided = ""
        if silent and settled and self._waited:
            undecided = f"{finding.message}, but {silent} did not answer: {_ADVICE}"
        return RoundView(
            round_id=self._watched.round_id,
            state=RoundState.LOST if lost else RoundState.DISPLACED,
            tx_ref=finding.tx_ref,
            block=finding.block,
            irrevocable=lost,
            foreign=finding.foreign,
            height=self._height(),
            message=finding.message + waits,
            undecided=undecided,
            notes=self._notes.document(),
        )

    def _nothing_found(self) -> RoundView:
        """Return that nobody shows what became of the round; held once all were asked and searched."""
        free = [one for one in self._answers if counts_free(one)]
        if len(free) >= self._rules.quorum:
            view = agreed_view(self._watched, [one.sight for one in self._answers], self._rules)
            if view.state is RoundState.MISSING:
                return view.model_copy(update={"notes": self._notes.document()})
        search = next((one for one in self._notes.searches.values() if not one.is_over), None)
        if search is not None and self._notes.use is None:
            at = f"blocks {search.low + 1} to {search.next - 1} of {search.high} are read"
            return self._open(f"{nonce_text(self._watched)} is counted as used: {at}")
        silent = self._not_answered()
        if silent and not self._waited:
            what = f"{self._unknown()}; {silent} did not answer and is asked again"
            return self._open(what)
        also = f"; {silent} did not answer" if silent else ""
        return self._open(f"{self._unknown()}{also}: {_ADVICE}", undecided=True)

    def _unknown(self) -> str:
        """Return what nobody shows."""
        names = ", ".join(one.name for one in self._answers)
        show = "no longer show" if len(self._answers) > 1 else "no longer shows"
        failed = next((one for one in self._answers if _is_failed(one.sight)), None)
        if failed is not None:
            return f"{failed.name} alone {failed.sight.message}, and its block's receipts do not prove it"
        use = self._notes.use
        if use is not None and use.kind is Kind.SAME_CALL:
            return (
                f"{use.tx_ref} in block {use.block.number} made the round's call with {nonce_text(self._watched)}, and is no "
                "stored candidate; adopt it"
            )
        if use is not None:
            return f"{names} {show} the receipt of our {use.tx_ref} in block {use.block.number}"
        return f"{names} {show} what used {nonce_text(self._watched)}"

    def _open(self, message: str, *, undecided: bool = False) -> RoundView:
        return RoundView(
            round_id=self._watched.round_id,
            state=RoundState.PENDING,
            height=self._height(),
            message=message,
            undecided=message if undecided else "",
            notes=self._notes.document(),
        )

    def _not_answered(self) -> str:
        """Name who did not answer, or not in full."""
        partly = (one.name for one in self._answers if one.unread or counts_free(one))
        return ", ".join([*(one.name for one in self._silent), *partly])

    def _height(self) -> int:
        heights = [one.horizon.height for one in self._answers]
        return supported_by(heights, min(self._rules.quorum, len(heights))) if heights else 0

    def _note(self, **changes: object) -> None:
        self._notes = self._notes.model_copy(update=changes)


def _is_failed(sight: Sight) -> bool:
    """Whether a provider shows our own call without our event."""
    return sight.state is RoundState.DISPLACED and not sight.foreign


async def _lies_in(answer: Answer, block: BlockRef) -> bool:
    try:
        return await is_canonical(answer.provider, block)
    except AnchorError:
        return False
