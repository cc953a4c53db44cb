"""The place where one provider's chain is looked at for the rounds of a target (E6-E9).

1. A round that was included stays so while the block's hash is canonical at its height: the hash fixes the receipts.
2. Else each candidate's receipt is read, after the account's count: an empty answer then means that none was mined.
3. A provider that is behind a block says nothing about it.
4. Answers that do not fit together decide nothing: a load balancer's nodes lag behind each other, and a chain may be
   reorganised during a look. The look fails and the next one starts from new answers.
5. What one provider shows against a round is a suspicion, never a finding: `activities.anchors.evm_inquiry` asks all.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from activities.anchors.evm_horizon import Horizon, Rules, read_horizon
from activities.anchors.evm_outcome import OwnCall, contradicts
from activities.anchors.evm_reads import Block, TxReceipt, block_at, count_at, is_known, tx_receipt
from activities.anchors.evm_rpc import Provider
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.ledger import BlockRef, RoundState, WatchedRound


class KnownOnly(NetworkFailure):
    """A provider knows a candidate and counts its nonce as used, but shows no receipt: no round is lost against that."""


@dataclass(frozen=True, slots=True)
class Sight:
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
) -> tuple[Horizon, list[Sight]]:
    """Look once at every round through one provider."""
    horizon = await read_horizon(provider, rules)
    look = _Look(provider, rules, horizon)
    return horizon, list(await asyncio.gather(*(look.sight_of(watched) for watched in rounds)))


class _Look:
    """One look: every block and count is read at most once."""

    def __init__(self, provider: Provider, rules: Rules, horizon: Horizon) -> None:
        self._provider = provider
        self._rules = rules
        self._horizon = horizon
        self._blocks: dict[int, asyncio.Task[Block | None]] = {}
        self._counts: dict[str, asyncio.Task[int]] = {}

    async def sight_of(self, watched: WatchedRound) -> Sight:
        """Look at one round."""
        standing = await self._standing(watched)
        if standing is not None:
            return standing
        left_block = watched.state is RoundState.INCLUDED and watched.block is not None
        return replace(await self._elsewhere(watched), left_block=left_block)

    async def _elsewhere(self, watched: WatchedRound) -> Sight:
        """Look for the round where no earlier look found it."""
        count = await self._count(watched.reservation.account)
        mined = await self._mined(watched, count)
        if mined is not None:
            return mined
        if count > nonce_of(watched):
            return await self._consumed(watched)
        return await self._unmined(watched, count)

    async def _standing(self, watched: WatchedRound) -> Sight | None:
        """Return the earlier inclusion if its block is still canonical, or too new for this provider."""
        block = watched.block
        if watched.state is not RoundState.INCLUDED or block is None:
            return None
        if self._horizon.height < block.number:
            message = f"{self._provider.label} is behind block {block.number}"
            return self._sight(RoundState.INCLUDED, watched.tx_ref, block, message=message)
        canonical = await self._block(block.number)
        if canonical.hash != block.hash:
            return None
        settled = self._horizon.settles(block.number)
        return self._sight(RoundState.INCLUDED, watched.tx_ref, block, settled=settled)

    async def _mined(self, watched: WatchedRound, count: int) -> Sight | None:
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
            if count > nonce_of(watched) or not self._horizon.settles(block.number):
                what = f"{receipt.tx_hash} is in a block {block.number} that is not canonical"
                raise self._contradiction(what)
        return None

    def _outcome(self, watched: WatchedRound, receipt: TxReceipt, block: BlockRef) -> Sight:
        """Return inclusion where the event is there, else the suspicion that our call failed (E7)."""
        call = OwnCall.of(watched, self._rules.contract)
        if contradicts(receipt, call):
            what = (
                f"{receipt.tx_hash} has a receipt of another contract, or logged although it failed"
            )
            raise self._contradiction(what)
        settled = self._horizon.settles(block.number)
        if call.is_logged(receipt):
            return self._sight(RoundState.INCLUDED, receipt.tx_hash, block, settled=settled)
        message = f"shows {receipt.tx_hash} in block {block.number} without our event"
        state = RoundState.DISPLACED
        return self._sight(state, receipt.tx_hash, block, settled=settled, message=message)

    async def _consumed(self, watched: WatchedRound) -> Sight:
        """Suspect that the nonce was used by somebody else, unless the provider knows a candidate."""
        account, nonce = watched.reservation.account, nonce_of(watched)
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
        return Sight(state, self._horizon.height, foreign=True, message=message)

    async def _unmined(self, watched: WatchedRound, count: int) -> Sight:
        known = await self._known(watched)
        state = RoundState.PENDING if known else RoundState.MISSING
        return replace(self._sight(state, known, None), free_at=self._horizon.head.ref, count=count)

    async def _known(self, watched: WatchedRound) -> str:
        """Return the newest candidate that the provider has in its pool or in a block; empty without one."""
        for tx_ref in reversed(watched.tx_refs):
            if await is_known(self._provider, tx_ref):
                return tx_ref
        return ""

    def _contradiction(self, what: str) -> NetworkFailure:
        return NetworkFailure(f"{self._provider.label} contradicts itself: {what}; asked again")

    def _sight(
        self,
        state: RoundState,
        tx_ref: str,
        block: BlockRef | None,
        *,
        settled: bool = False,
        message: str = "",
    ) -> Sight:
        return Sight(state, self._horizon.height, tx_ref, block, settled=settled, message=message)

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


def nonce_of(watched: WatchedRound) -> int:
    """Return the reserved nonce; a reservation without one never passes for consumed."""
    sequence = watched.reservation.sequence
    return sequence if sequence is not None else 2**64
