"""Observes the rounds of a target on one provider's chain (E6-E9).

1. A round that was included stays so while the block's hash is canonical at its height: the hash fixes the receipts.
2. Else each candidate's receipt is read, after the account's count: an empty answer then means that none was mined.
3. A provider that is behind a block says nothing about it.
4. Answers that do not fit together decide nothing: a load balancer's nodes lag behind each other, and a chain may be
   reorganised during a look. The look fails and the next one starts from new answers.
5. What one provider shows against a round is a suspicion, never a finding: `vaultmesh.ledgers.evm.inquiry` asks all.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from vaultmesh.domain.aggregator.ledger_messages import (
    BlockRef,
    Reservation,
    RoundState,
    RoundView,
    WatchedRound,
)
from vaultmesh.domain.depth import is_final, required_depth
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.ledgers.evm.outcome import OwnCall, contradicts
from vaultmesh.ledgers.evm.providers import Provider, supported_by
from vaultmesh.ledgers.evm.reads import (
    Block,
    ChainTip,
    Rules,
    TxReceipt,
    block_at,
    count_at,
    is_known,
    read_tip,
    tx_receipt,
)
from vaultmesh.ledgers.evm.settings import EvmFinality


class KnownOnly(NetworkFailure):
    """A provider knows a candidate and counts its nonce as used, but shows no receipt: no round is lost against that."""


@dataclass(frozen=True, slots=True)
class ProviderView:
    """What one provider shows of one round."""

    state: RoundState
    """Never `STUCK` or `LOST`: those are decided from what all providers show. `DISPLACED` is a suspicion only."""
    height: int
    tx_ref: str = ""
    block: BlockRef | None = None
    settled: bool = False
    """Whether the finality rule covers it."""
    foreign: bool = False
    message: str = ""
    free_at: BlockRef | None = None
    """A block at which the nonce was still free."""
    count: int | None = None
    """Transactions of the account then."""
    left_block: bool = False
    """Whether another block is in the place of the one that it was included in."""


async def look_from(
    provider: Provider, rules: Rules, rounds: Sequence[WatchedRound]
) -> tuple[ChainTip, list[ProviderView]]:
    """Look once at every round through one provider."""
    tip = await read_tip(provider, rules)
    look = _Look(provider, rules, tip)
    return tip, list(await asyncio.gather(*(look.provider_view_of(watched) for watched in rounds)))


class _Look:
    """One look: every block and count is read at most once."""

    def __init__(self, provider: Provider, rules: Rules, tip: ChainTip) -> None:
        self._provider = provider
        self._rules = rules
        self._tip = tip
        self._blocks: dict[int, asyncio.Task[Block | None]] = {}
        self._counts: dict[str, asyncio.Task[int]] = {}

    async def provider_view_of(self, watched: WatchedRound) -> ProviderView:
        """Look at one round."""
        standing = await self._standing(watched)
        if standing is not None:
            return standing
        left_block = watched.state is RoundState.INCLUDED and watched.block is not None
        return replace(await self._elsewhere(watched), left_block=left_block)

    async def _elsewhere(self, watched: WatchedRound) -> ProviderView:
        """Look for the round where no earlier look found it."""
        count = await self._count(watched.reservation.account)
        mined = await self._mined(watched, count)
        if mined is not None:
            return mined
        if count > nonce_of(watched.reservation):
            return await self._consumed(watched)
        return await self._unmined(watched, count)

    async def _standing(self, watched: WatchedRound) -> ProviderView | None:
        """Return the earlier inclusion if its block is still canonical, or too new for this provider."""
        block = watched.block
        if watched.state is not RoundState.INCLUDED or block is None:
            return None
        if self._tip.height < block.number:
            message = f"{self._provider.label} is behind block {block.number}"
            return self._provider_view(RoundState.INCLUDED, watched.tx_ref, block, message=message)
        canonical = await self._block(block.number)
        if canonical.hash != block.hash:
            return None
        settled = self._tip.settles(block.number)
        return self._provider_view(RoundState.INCLUDED, watched.tx_ref, block, settled=settled)

    async def _mined(self, watched: WatchedRound, count: int) -> ProviderView | None:
        """Return what became of the candidate that is in a canonical block, if one is.

        A receipt of another block is left aside only once its branch can't come back, and while the nonce is free.
        """
        receipts = await asyncio.gather(
            *(tx_receipt(self._provider, tx_ref) for tx_ref in watched.tx_refs)
        )
        for receipt in receipts:
            if receipt is None:
                continue
            block = await self._block(receipt.block_number)
            if block.hash == receipt.block_hash:
                return self._outcome(watched, receipt, block.ref)
            free = count <= nonce_of(watched.reservation)
            if not (free and self._tip.settles(block.number)):
                what = f"{receipt.tx_hash} is in a block {block.number} that is not canonical"
                raise self._contradiction(what)
        return None

    def _outcome(self, watched: WatchedRound, receipt: TxReceipt, block: BlockRef) -> ProviderView:
        """Return inclusion where the event is there, else the suspicion that our call failed (E7)."""
        call = OwnCall.of(watched, self._rules.contract)
        if contradicts(receipt, call):
            what = (
                f"{receipt.tx_hash} has a receipt of another contract, or logged although it failed"
            )
            raise self._contradiction(what)
        settled = self._tip.settles(block.number)
        if call.is_logged(receipt):
            return self._provider_view(RoundState.INCLUDED, receipt.tx_hash, block, settled=settled)
        message = f"shows {receipt.tx_hash} in block {block.number} without our event"
        state = RoundState.DISPLACED
        return self._provider_view(state, receipt.tx_hash, block, settled=settled, message=message)

    async def _consumed(self, watched: WatchedRound) -> ProviderView:
        """Suspect that the nonce was used by somebody else, unless the provider knows a candidate."""
        account, nonce = watched.reservation.account, nonce_of(watched.reservation)
        count = await count_at(self._provider, account, "latest")
        mined = await self._mined(watched, count)
        if mined is not None:
            return mined
        if count <= nonce:  # undone meanwhile, or another node behind the same address
            return await self._unmined(watched, count)
        known = await self._known(watched)
        if known:
            message = (
                f"{self._provider.label} knows {known} and counts nonce {nonce} as used, but shows no receipt; asked "
                "again. If that lasts, use a node that keeps receipts in rpcUrl or rpcUrls"
            )
            raise KnownOnly(message)
        message = f"counts nonce {nonce} of {account} as used, and shows none of our candidates"
        state = RoundState.DISPLACED
        return ProviderView(state, self._tip.height, foreign=True, message=message)

    async def _unmined(self, watched: WatchedRound, count: int) -> ProviderView:
        known = await self._known(watched)
        state = RoundState.PENDING if known else RoundState.MISSING
        return replace(
            self._provider_view(state, known, None), free_at=self._tip.head.ref, count=count
        )

    async def _known(self, watched: WatchedRound) -> str:
        """Return the newest candidate that the provider has in its pool or in a block; empty without one."""
        for tx_ref in reversed(watched.tx_refs):
            if await is_known(self._provider, tx_ref):
                return tx_ref
        return ""

    def _contradiction(self, what: str) -> NetworkFailure:
        return NetworkFailure(f"{self._provider.label} contradicts itself: {what}; asked again")

    def _provider_view(
        self,
        state: RoundState,
        tx_ref: str,
        block: BlockRef | None,
        *,
        settled: bool = False,
        message: str = "",
    ) -> ProviderView:
        if state is RoundState.INCLUDED and not settled:
            message = message or self._tip.unsettled
        return ProviderView(
            state, self._tip.height, tx_ref, block, settled=settled, message=message
        )

    async def _block(self, number: int) -> Block:
        """Return the canonical block at a height that the provider has named."""
        if number not in self._blocks:
            self._blocks[number] = asyncio.create_task(block_at(self._provider, hex(number)))
        block = await self._blocks[number]
        if block is None:
            what = f"it has no block {number} any more"
            raise self._contradiction(what)
        return block

    async def _count(self, account: str) -> int:
        if account not in self._counts:
            reading = count_at(self._provider, account, "latest")
            self._counts[account] = asyncio.create_task(reading)
        return await self._counts[account]


def nonce_of(reservation: Reservation) -> int:
    """Return the reserved nonce; without one, a number that no account reaches, so that it never counts as used."""
    return 2**64 if reservation.sequence is None else reservation.sequence


def agreed_view(
    watched: WatchedRound, provider_views: Sequence[ProviderView], rules: Rules
) -> RoundView:
    """Return what at least `rules.quorum` of the views support; there MUST be that many."""
    included = _largest([view for view in provider_views if view.state is RoundState.INCLUDED])
    if len(included) >= rules.quorum:
        return _included(watched, included, rules)
    return _unmined(watched, provider_views, rules)


def is_suspected(provider_views: Sequence[ProviderView], agreed: RoundView, rules: Rules) -> bool:
    """Whether somebody shows something against a round, and fewer than the quorum that it can still be mined."""
    states = [view.state for view in provider_views]
    free = states.count(RoundState.PENDING) + states.count(RoundState.MISSING)
    settled = agreed.state is RoundState.INCLUDED or free >= rules.quorum
    return not settled and RoundState.DISPLACED in states


def is_divided(provider_views: Sequence[ProviderView], agreed: RoundView) -> bool:
    """Whether the views contradict each other so far that too few agree on where a round is."""
    states = {view.state for view in provider_views}
    is_free = states <= {RoundState.PENDING, RoundState.MISSING}
    return len(provider_views) > 1 and agreed.state is not RoundState.INCLUDED and not is_free


def _included(
    watched: WatchedRound, provider_views: Sequence[ProviderView], rules: Rules
) -> RoundView:
    seen = provider_views[0]
    height = supported_by([view.height for view in provider_views], rules.quorum)
    depth = max(height - seen.block.number, 0) if seen.block is not None else 0
    settled = _support(provider_views, settled=True) >= rules.quorum
    irrevocable = settled or rules.finality is EvmFinality.DEPTH
    required = required_depth(watched.depths, rules.confirmations)
    return RoundView(
        round_id=watched.round_id,
        state=RoundState.INCLUDED,
        tx_ref=seen.tx_ref,
        block=seen.block,
        depth=depth,
        irrevocable=irrevocable,
        final=is_final(depth, required, settled=irrevocable),
        height=height,
        message=next((view.message for view in provider_views if view.message), ""),
    )


def _unmined(
    watched: WatchedRound, provider_views: Sequence[ProviderView], rules: Rules
) -> RoundView:
    height = supported_by([view.height for view in provider_views], rules.quorum)
    states = Counter(view.state for view in provider_views)
    message = ""
    missing = states[RoundState.MISSING] >= rules.quorum
    if not states.keys() <= {RoundState.PENDING, RoundState.MISSING}:
        counted = ", ".join(f"{count} {state.value}" for state, count in sorted(states.items()))
        message = f"the providers do not agree: {counted}"
    state = RoundState.MISSING if missing else _waiting(watched, height, rules)
    known = next((view.tx_ref for view in provider_views if view.state is RoundState.PENDING), "")
    return RoundView(
        round_id=watched.round_id, state=state, tx_ref=known, height=height, message=message
    )


def _waiting(watched: WatchedRound, height: int, rules: Rules) -> RoundState:
    since = watched.first_seen_block
    overdue = since is not None and height - since >= rules.bump_after_blocks
    return RoundState.STUCK if overdue else RoundState.PENDING


def _largest(provider_views: Sequence[ProviderView]) -> list[ProviderView]:
    """Return the largest group that shows the same transaction in the same block."""
    groups: dict[Hashable, list[ProviderView]] = {}
    for view in provider_views:
        groups.setdefault((view.tx_ref, view.block, view.foreign), []).append(view)
    return max(groups.values(), key=len, default=[])


def _support(provider_views: Sequence[ProviderView], *, settled: bool) -> int:
    return sum(view.settled is settled for view in provider_views)
