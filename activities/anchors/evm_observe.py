"""The place where one provider's chain is looked at for the rounds of a target (E6-E9).

1. A round that was included stays so while the block's hash is canonical at its height: the hash fixes the receipts.
2. Else each candidate's receipt is read, after the account's count: an empty answer then means that none was mined.
3. A provider that is behind a block says nothing about it.
4. Answers that do not fit together decide nothing: a load balancer's nodes lag behind each other, and a chain may be
   reorganised during a look. The look fails and the next one starts from new answers.
5. Somebody else's use of the nonce is believed only while the provider knows no candidate of ours.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from activities.anchors.evm_contract import anchored_logs, batch_id_of
from activities.anchors.evm_horizon import Horizon, Rules, read_horizon, settled_count
from activities.anchors.evm_reads import Block, TxReceipt, block_at, count_at, is_known, tx_receipt
from activities.anchors.evm_rpc import Provider
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.ledger import BlockRef, RoundState, WatchedRound

SUCCESS = 1


@dataclass(frozen=True, slots=True)
class Sight:
    """What one provider shows of one round."""

    state: RoundState
    """Never `STUCK` or `LOST`: those are decided from what all providers show."""
    height: int
    tx_ref: str = ""
    block: BlockRef | None = None
    settled: bool = False
    """Whether the finality rule covers it."""
    foreign: bool = False
    message: str = ""


async def look_from(
    provider: Provider, rules: Rules, rounds: Sequence[WatchedRound]
) -> tuple[Horizon, list[Sight]]:
    """Look once at every round through one provider."""
    horizon = await read_horizon(provider, rules)
    look = _Look(provider, rules, horizon)
    return horizon, list(await asyncio.gather(*(look.sight_of(watched) for watched in rounds)))


def anchors_round(tx_receipt: TxReceipt, contract: str, commitment: bytes, batch_id: bytes) -> bool:
    """Say whether a mined transaction does what the round wants: success, our contract, its event with our root."""
    return (
        tx_receipt.status == SUCCESS
        and tx_receipt.to == contract
        and (commitment, batch_id) in anchored_logs(tx_receipt.logs, contract)
    )


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
        count = await self._count(watched.reservation.account)
        mined = await self._mined(watched, count)
        if mined is not None:
            return mined
        if count > _nonce(watched):
            return await self._consumed(watched)
        return await self._unmined(watched)

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
            if count > _nonce(watched) or not self._horizon.settles(block.number):
                what = f"{receipt.tx_hash} is in a block {block.number} that is not canonical"
                raise self._contradiction(what)
        return None

    def _outcome(self, watched: WatchedRound, receipt: TxReceipt, block: BlockRef) -> Sight:
        commitment = bytes.fromhex(watched.commitment.removeprefix("0x"))
        settled = self._horizon.settles(block.number)
        contract = self._rules.contract
        if anchors_round(receipt, contract, commitment, batch_id_of(watched.label)):
            return self._sight(RoundState.INCLUDED, receipt.tx_hash, block, settled=settled)
        what = "reverted" if receipt.status != SUCCESS else "was mined without our event"
        message = f"our call {receipt.tx_hash} {what} in block {block.number}"
        state = RoundState.DISPLACED
        return self._sight(state, receipt.tx_hash, block, settled=settled, message=message)

    async def _consumed(self, watched: WatchedRound) -> Sight:
        """Make sure that the nonce was used by somebody else before saying so."""
        account, nonce = watched.reservation.account, _nonce(watched)
        count = await count_at(self._provider, account, "latest")
        mined = await self._mined(watched, count)
        if mined is not None:
            return mined
        if count <= nonce:  # undone meanwhile, or another node behind the same address
            return await self._unmined(watched)
        known = await self._known(watched)
        if known:
            message = (
                f"{self._provider.label} knows {known} and counts nonce {nonce} as used, but shows no receipt; asked "
                "again. If that lasts, use a node that keeps receipts in rpcUrl or rpcUrls"
            )
            raise NetworkFailure(message)
        settled = await settled_count(self._provider, account, self._horizon) > nonce
        message = f"nonce {nonce} of {account} was used by a transaction that is none of ours"
        state = RoundState.DISPLACED
        return Sight(state, self._horizon.height, settled=settled, foreign=True, message=message)

    async def _unmined(self, watched: WatchedRound) -> Sight:
        known = await self._known(watched)
        return self._sight(RoundState.PENDING if known else RoundState.MISSING, known, None)

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


def _nonce(watched: WatchedRound) -> int:
    """Return the reserved nonce; a reservation without one never passes for consumed."""
    sequence = watched.reservation.sequence
    return sequence if sequence is not None else 2**64
