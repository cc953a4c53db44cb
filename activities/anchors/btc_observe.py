"""The place where a node is looked at for the rounds of a Bitcoin target (B8-B10); needs no index of transactions.

1. A round that was included, or that a receipt proves to be, stays so while its block is in the chain. A node that is behind
   the block, or that has not caught up, says nothing, nor does one that shows nothing: only another block in its place does.
2. Else the wallet tells which candidate is in a block, and the node whether that block is in the chain.
3. Else a candidate in the pool is waited for, and a higher bid is due after a time. The time counts from the
   signature, and after a reorganisation from the block that was the newest then, so that the same bytes go first.
4. Else the spent output tells: while it is unspent, the bytes are missing from the pool. If it is not shown, the blocks
   since it was unspent are searched for what spent it (`btc_search`). What carries the round's commitment is an
   inclusion, also if the wallet forgot it, or the caller: it may have been put back to before a higher bid. Another
   transaction displaces the round, which is lost when that block is as deep as a final one. Where nothing is found,
   the search begins anew at the block of the reservation: that the output was unspent later may have been another node's word.
5. A spender that no block shows is no spender: the round stays open and is named until one does or an operator decides.
"""

from collections.abc import Sequence
from datetime import datetime

from activities.anchors.btc_coins import (
    is_spent_in_pool,
    is_unconfirmed,
    is_unspent,
    known_to_wallet,
    needed_by,
    transaction_in,
)
from activities.anchors.btc_ledger import (
    Block,
    Ledger,
    Rules,
    block_hash_at,
    block_of,
    is_canonical,
    read_ledger,
)
from activities.anchors.btc_notes import Mark, Notes, Spend
from activities.anchors.btc_plan import Plan
from activities.anchors.btc_rpc import Node, NodeError
from activities.anchors.btc_search import newest_mark, search
from vaultmesh.domain.ledger import RoundState, RoundView, WatchedRound

NO_HEIGHT = 0
"""Of a look that found out nothing: it refutes no receipt, unless another block is in the place that the receipt names."""


async def look_at(
    node: Node, rules: Rules, rounds: Sequence[WatchedRound], now: datetime
) -> list[RoundView]:
    """Look once at every round, in order."""
    pinned = rounds[0].reservation.fields.get("genesis")
    ledger = await read_ledger(node, rules.network, pinned)
    look = _Look(node, rules, ledger, now)
    return [await look.view_of(watched) for watched in rounds]


class _Look:
    """One look, at one height."""

    def __init__(self, node: Node, rules: Rules, ledger: Ledger, now: datetime) -> None:
        self._node = node
        self._rules = rules
        self._ledger = ledger
        self._height = ledger.height
        self._now = now

    async def view_of(self, watched: WatchedRound) -> RoundView:
        """Look at one round."""
        standing = await self._standing(watched)
        if standing is not None:
            return standing
        proven = await self._proven(watched)
        if proven is not None:
            return proven
        view = await self._elsewhere(watched)
        was_included = watched.state is RoundState.INCLUDED and watched.block is not None
        changes: dict[str, object] = {
            "left_block": was_included and view.state is not RoundState.INCLUDED
        }
        if view.height == NO_HEIGHT and await self._is_refuted(watched):
            changes["height"] = self._height
        return view.model_copy(update=changes)

    async def _proven(self, watched: WatchedRound) -> RoundView | None:
        """Return the inclusion that a receipt proves, while its block is in the chain: the node may keep no more than headers."""
        if not watched.claimed_tx:
            return None
        block = await block_of(self._node, watched.claimed_hash)
        if block is None or block.depth == 0 or block.ref.number > self._height:
            return None
        return self._included(watched, watched.claimed_tx, block)

    async def _is_refuted(self, watched: WatchedRound) -> bool:
        """Whether another block is in the place of the one that receipts name."""
        number, block_hash = watched.claimed_block, watched.claimed_hash
        if number is None or not block_hash:
            return False
        return await is_canonical(self._node, self._ledger, number, block_hash) is False

    async def _elsewhere(self, watched: WatchedRound) -> RoundView:
        """Look at one round whose block, if it had one, left the chain."""
        mined = await self._mined(watched)
        if mined is not None:
            return mined
        pooled = await self._pooled(watched)
        return pooled if pooled is not None else await self._without_ours(watched)

    async def _standing(self, watched: WatchedRound) -> RoundView | None:
        """Return the earlier inclusion unless the node shows another block in its place."""
        seen = watched.block
        if watched.state is not RoundState.INCLUDED or seen is None:
            return None
        canonical = await is_canonical(self._node, self._ledger, seen.number, seen.hash)
        if canonical is None:
            message = f"{self._node.label} is behind block {seen.number}"
            return self._included(watched, watched.tx_ref, Block(seen, 0), message)
        if not canonical:
            return None
        return self._included(watched, watched.tx_ref, Block(seen, self._height - seen.number + 1))

    async def _mined(self, watched: WatchedRound) -> RoundView | None:
        """Return the candidate that the wallet shows in a block of the chain, if it does."""
        commitment = _commitment(watched)
        for tx_ref in watched.tx_refs:
            known = await known_to_wallet(self._node, tx_ref)
            if known is None or known.number("confirmations") <= 0:
                continue
            transaction = transaction_in(known, tx_ref)
            if transaction is None or transaction.commitments != [commitment]:
                continue
            block = await block_of(self._node, known.text("blockhash"))
            if block is not None and block.depth > 0:
                return self._included(watched, tx_ref, block)
        return None

    async def _pooled(self, watched: WatchedRound) -> RoundView | None:
        for tx_ref in reversed(watched.tx_refs):
            if await self._node.found("getmempoolentry", tx_ref) is not None:
                overdue = await self._is_overdue(watched)
                state = RoundState.STUCK if overdue else RoundState.PENDING
                return self._view(watched, state, self._unspent_now(), tx_ref=tx_ref)
        return None

    async def _without_ours(self, watched: WatchedRound) -> RoundView:
        """Say why no candidate is in the pool, or in a block that the wallet knows."""
        plan = Plan.of(watched.reservation)
        if await is_unspent(self._node, plan):
            taken = await is_spent_in_pool(self._node, plan)
            message = f"a foreign transaction in the pool spends {plan.outpoint}" if taken else ""
            return self._view(watched, RoundState.MISSING, self._unspent_now(), message)
        if self._ledger.is_syncing or self._height < plan.height:
            why = (
                f"{self._node.label} has not caught up with its chain: what became of output {plan.outpoint} "
                "can't be told yet; it goes on when it has"
            )
            return self._undecided(watched, Notes.of(watched.notes), why)
        return await self._searched(watched, plan)

    async def _searched(self, watched: WatchedRound, plan: Plan) -> RoundView:
        """Search the chain for what spent the output."""
        node, notes = self._node, Notes.of(watched.notes)
        tip = await newest_mark(node)
        if await is_unspent(node, plan):
            return self._unchanged(watched, notes, "the chain changed during the look")
        needed = await needed_by(node, plan, watched.tx_refs, _commitment(watched))
        decided_at = Mark(height=plan.height, hash=plan.block_hash)
        claimed = watched.claimed_block
        searched = await search(node, needed, notes, decided_at, tip, claimed=claimed)
        notes = searched.notes
        if notes.spend is not None:
            return await self._spent(watched, plan, notes, notes.spend, tip)
        if not searched.is_complete or await newest_mark(node) != tip:
            read = notes.read_to.height if notes.read_to else 0
            message = (
                f"looking for what spent {plan.outpoint}: read up to block {read} of {tip.height}"
            )
            return self._unchanged(watched, notes, message)
        if notes.unspent_at is not None and notes.unread is None:
            return self._unchanged(
                watched,
                Notes(),
                f"searching anew from block {plan.height} for what spent {plan.outpoint}",
            )
        if await is_unconfirmed(node, plan.txid):
            message = f"the transaction of {plan.outpoint} is in no block"
            return self._view(watched, RoundState.MISSING, notes, message)
        return self._undecided(watched, notes, self._unexplained(plan, notes))

    async def _spent(
        self, watched: WatchedRound, plan: Plan, notes: Notes, spend: Spend, tip: Mark
    ) -> RoundView:
        """Say what a transaction in a block that spends what the round needs means to it."""
        if spend.commits:
            block = await block_of(self._node, spend.block_hash)
            if block is None or block.depth == 0:
                return self._unchanged(watched, notes, "the chain changed during the look")
            return self._included(watched, spend.txid, block)
        place = f"{spend.txid} in block {spend.height}"
        depth = tip.height - spend.height + 1
        if spend.is_candidate:
            message = f"our transaction {place} does not commit to round {watched.round_id}"
            return self._displaced(watched, notes, depth, message, foreign=False)
        is_own = spend.outpoint == str(plan.outpoint)
        what = "was spent" if is_own else f"ceased to exist since {spend.outpoint} was spent"
        message = (
            f"{plan.outpoint} {what} by {place}, which is none of ours: the root is anchored with another output once "
            f"that can't be undone, at {self._final_depth(watched)} blocks; leave the wallet to the scheduler alone"
        )
        return self._displaced(watched, notes, depth, message, foreign=True)

    def _unexplained(self, plan: Plan, notes: Notes) -> str:
        """Say what was looked for in vain, and what helps; the same as long as nothing else is found."""
        label = self._node.label
        if notes.unread is None:
            seen = "no block since it was unspent spends it"
        else:
            first, last = notes.unread
            seen = f"blocks from {first} to {last} that may spend it are not shown (pruned?)"
        return (
            f"nobody can tell what became of output {plan.outpoint}: {label} does not show it as unspent, and {seen}. "
            "Nothing is paid again before that is clear: let rpcUrl name a node that keeps all blocks, "
            "or decide with starter.py resolve"
        )

    def _unspent_now(self) -> Notes:
        return Notes(unspent_at=Mark(height=self._height, hash=self._ledger.tip))

    def _final_depth(self, watched: WatchedRound) -> int:
        return max([*watched.depths, self._rules.confirmations])

    async def _is_overdue(self, watched: WatchedRound) -> bool:
        waited = (self._now - watched.signed_at).total_seconds()
        if watched.first_seen_block is None or waited < self._rules.bump_after_seconds:
            return False
        try:
            number = min(watched.first_seen_block, self._height)
            first = await block_of(self._node, await block_hash_at(self._node, number))
        except NodeError:  # the chain became shorter meanwhile
            return False
        if first is None:
            return False
        since_block = (self._now - first.ref.time).total_seconds()
        return since_block >= self._rules.bump_after_seconds

    def _included(
        self, watched: WatchedRound, tx_ref: str, block: Block, message: str = ""
    ) -> RoundView:
        return RoundView(
            round_id=watched.round_id,
            state=RoundState.INCLUDED,
            tx_ref=tx_ref,
            block=block.ref,
            depth=block.depth,
            irrevocable=block.depth > 0,
            final=block.depth >= max(watched.depths, default=self._rules.confirmations),
            height=self._height,
            message=message,
        )

    def _displaced(
        self, watched: WatchedRound, notes: Notes, depth: int, message: str, *, foreign: bool
    ) -> RoundView:
        lost = depth >= self._final_depth(watched)
        state = RoundState.LOST if lost else RoundState.DISPLACED
        view = self._view(watched, state, notes, message)
        return view.model_copy(update={"depth": depth, "irrevocable": lost, "foreign": foreign})

    def _undecided(self, watched: WatchedRound, notes: Notes, why: str) -> RoundView:
        view = self._view(watched, RoundState.PENDING, notes, why)
        return view.model_copy(update={"undecided": why, "height": NO_HEIGHT})

    def _unchanged(self, watched: WatchedRound, notes: Notes, message: str) -> RoundView:
        """Say nothing new of a round that is in no block: the node could not be asked enough."""
        is_open = watched.state not in (RoundState.INCLUDED, RoundState.LOST)
        state = watched.state if is_open else RoundState.PENDING
        view = self._view(watched, state, notes, message)
        return view.model_copy(update={"undecided": watched.undecided, "height": NO_HEIGHT})

    def _view(
        self,
        watched: WatchedRound,
        state: RoundState,
        notes: Notes,
        message: str = "",
        *,
        tx_ref: str = "",
    ) -> RoundView:
        return RoundView(
            round_id=watched.round_id,
            state=state,
            tx_ref=tx_ref,
            height=self._height,
            message=message,
            notes=notes.terms,
        )


def _commitment(watched: WatchedRound) -> bytes:
    return bytes.fromhex(watched.commitment.removeprefix("0x"))
