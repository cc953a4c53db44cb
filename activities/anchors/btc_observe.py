"""The place where a node is looked at for the rounds of a Bitcoin target (B8-B10); needs no index of transactions.

1. A round that was included stays so while its block is in the chain. A node that is behind the block says nothing.
2. Else the wallet tells which candidate is in a block, and the node whether that block is in the chain.
3. Else a candidate in the pool is waited for, and a higher bid is due after a time. The time counts from the
   signature, and after a reorganisation from the block that was the newest then, so that the same bytes go first.
4. Else the spent output tells: while it is unspent, the bytes are missing from the pool; once a block holds another
   transaction in our place, the round is displaced, and lost when that block is as deep as a final one.
"""

from collections.abc import Sequence
from datetime import datetime

from activities.anchors.btc_coins import CoinState, coin_state, is_spent_in_pool, spender_of
from activities.anchors.btc_ledger import Block, Rules, block_hash_at, block_of, read_ledger
from activities.anchors.btc_plan import Plan
from activities.anchors.btc_rpc import Node, NodeError
from vaultmesh.domain.bitcoin import Transaction
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.ledger import RoundState, RoundView, WatchedRound


async def look_at(
    node: Node, rules: Rules, rounds: Sequence[WatchedRound], now: datetime
) -> list[RoundView]:
    """Look once at every round, in order."""
    pinned = rounds[0].reservation.fields.get("genesis")
    ledger = await read_ledger(node, rules.network, pinned)
    look = _Look(node, rules, ledger.height, now)
    return [await look.view_of(watched) for watched in rounds]


class _Look:
    """One look, at one height."""

    def __init__(self, node: Node, rules: Rules, height: int, now: datetime) -> None:
        self._node = node
        self._rules = rules
        self._height = height
        self._now = now

    async def view_of(self, watched: WatchedRound) -> RoundView:
        """Look at one round."""
        standing = await self._standing(watched)
        if standing is not None:
            return standing
        mined = await self._mined(watched)
        if mined is not None:
            return mined
        pooled = await self._pooled(watched)
        return pooled if pooled is not None else await self._without_ours(watched)

    async def _standing(self, watched: WatchedRound) -> RoundView | None:
        """Return the earlier inclusion if its block is still in the chain, or too new for this node."""
        seen = watched.block
        if watched.state is not RoundState.INCLUDED or seen is None:
            return None
        block = await block_of(self._node, seen.hash)
        if block is None and self._height < seen.number:
            message = f"{self._node.label} is behind block {seen.number}"
            behind = Block(seen, 0)
            return self._included(watched, watched.tx_ref, behind, message)
        if block is None or block.depth == 0:
            return None
        return self._included(watched, watched.tx_ref, block)

    async def _mined(self, watched: WatchedRound) -> RoundView | None:
        """Return the candidate that is in a block of the chain, if one is."""
        for tx_ref in watched.tx_refs:
            known = await self._node.found_in_wallet("gettransaction", tx_ref)
            if known is None or known.number("confirmations") <= 0:
                continue
            block = await block_of(self._node, known.text("blockhash"))
            if block is None or block.depth == 0:
                continue
            if not _commits(known.text("hex"), watched):
                message = f"our transaction {tx_ref} does not commit to round {watched.round_id}"
                return self._displaced(watched, tx_ref, block.depth, message, foreign=False)
            return self._included(watched, tx_ref, block)
        return None

    async def _pooled(self, watched: WatchedRound) -> RoundView | None:
        for tx_ref in reversed(watched.tx_refs):
            if await self._node.found("getmempoolentry", tx_ref) is not None:
                overdue = await self._is_overdue(watched)
                state = RoundState.STUCK if overdue else RoundState.PENDING
                return self._view(watched, state, tx_ref=tx_ref)
        return None

    async def _without_ours(self, watched: WatchedRound) -> RoundView:
        """Say why no candidate is in a block or in the pool."""
        plan = Plan.of(watched.reservation)
        match await coin_state(self._node, plan):
            case CoinState.FREE:
                taken = await is_spent_in_pool(self._node, plan)
                message = f"a foreign transaction in the pool spends {plan.outpoint}"
                return self._view(watched, RoundState.MISSING, message=message if taken else "")
            case CoinState.UNCONFIRMED:
                message = f"the transaction of {plan.outpoint} is in no block"
                return self._view(watched, RoundState.MISSING, message=message)
            case CoinState.UNKNOWN:
                message = f"the wallet does not know the transaction of {plan.outpoint}; is it another one?"
                return self._displaced(watched, "", 0, message, foreign=True)
            case CoinState.SPENT | CoinState.GONE as state:
                return await self._taken(watched, plan, state)

    async def _taken(self, watched: WatchedRound, plan: Plan, state: CoinState) -> RoundView:
        """Make sure that the output was taken by somebody else before saying so."""
        mined = await self._mined(watched)
        if mined is not None:
            return mined
        spender = await spender_of(self._node, plan, watched.tx_refs)
        what = "was spent" if state is CoinState.SPENT else "ceased to exist"
        by = f", by {spender.txid}, which is none of ours" if spender and spender.txid else ""
        depth = 0 if spender is None else spender.depth
        message = (
            f"{plan.outpoint} {what}{by}: the root is anchored with another output once that can't be undone, at "
            f"{self._final_depth(watched)} blocks; leave the wallet to the scheduler alone"
        )
        return self._displaced(watched, "", depth, message, foreign=True)

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
        self, watched: WatchedRound, tx_ref: str, depth: int, message: str, *, foreign: bool
    ) -> RoundView:
        lost = depth >= self._final_depth(watched)
        state = RoundState.LOST if lost else RoundState.DISPLACED
        return RoundView(
            round_id=watched.round_id,
            state=state,
            tx_ref=tx_ref,
            depth=depth,
            irrevocable=lost,
            foreign=foreign,
            height=self._height,
            message=message,
        )

    def _view(
        self, watched: WatchedRound, state: RoundState, *, tx_ref: str = "", message: str = ""
    ) -> RoundView:
        return RoundView(
            round_id=watched.round_id,
            state=state,
            tx_ref=tx_ref,
            height=self._height,
            message=message,
        )


def _commits(raw: str, watched: WatchedRound) -> bool:
    """Say whether a transaction publishes the round's commitment, and nothing else of our form."""
    try:
        transaction = Transaction.parse_hex(raw)
    except InvalidValue:
        return False
    return transaction.commitments == [bytes.fromhex(watched.commitment.removeprefix("0x"))]
