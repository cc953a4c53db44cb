"""The place where one provider's chain is looked at for the rounds of a target (E6-E9).

1. A round that was included stays so while the block's hash is canonical at its height: the hash fixes the receipts.
2. Else each candidate's receipt is read, after the account's count: an empty answer then means that none was mined.
3. A provider that is behind a block says nothing about it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from activities.anchors.evm_contract import anchored_logs, batch_id_of
from activities.anchors.evm_horizon import Horizon, Rules, read_horizon, settled_count
from activities.anchors.evm_reads import Block, TxReceipt, block_at, count_at, is_known, tx_receipt
from activities.anchors.evm_rpc import Provider
from vaultmesh.domain.ledger import BlockRef, RoundState, WatchedRound

SUCCESS = 1


@dataclass(frozen=True, slots=True)
class Sight:
    """What one provider shows of one round."""

    state: RoundState
    """Never `STUCK`: that is decided from what all providers show."""
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
        mined = await self._mined(watched)
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
        if canonical is None or canonical.hash != block.hash:
            return None
        settled = self._horizon.settles(block.number)
        return self._sight(RoundState.INCLUDED, watched.tx_ref, block, settled=settled)

    async def _mined(self, watched: WatchedRound) -> Sight | None:
        """Return what became of the candidate that is in a canonical block, if one is."""
        receipts = await asyncio.gather(
            *(tx_receipt(self._provider, tx_ref) for tx_ref in watched.tx_refs)
        )
        for receipt in receipts:
            block = await self._block(receipt.block_number) if receipt is not None else None
            if receipt is None or block is None or block.hash != receipt.block_hash:
                continue
            return self._outcome(watched, receipt, block.ref)
        return None

    def _outcome(self, watched: WatchedRound, receipt: TxReceipt, block: BlockRef) -> Sight:
        commitment = bytes.fromhex(watched.commitment.removeprefix("0x"))
        settled = self._horizon.settles(block.number)
        contract = self._rules.contract
        if anchors_round(receipt, contract, commitment, batch_id_of(watched.label)):
            return self._sight(RoundState.INCLUDED, receipt.tx_hash, block, settled=settled)
        state = RoundState.LOST if settled else RoundState.DISPLACED
        what = "reverted" if receipt.status != SUCCESS else "was mined without our event"
        message = f"our call {receipt.tx_hash} {what} in block {block.number}"
        return self._sight(state, receipt.tx_hash, block, settled=settled, message=message)

    async def _consumed(self, watched: WatchedRound) -> Sight:
        """Make sure that the nonce was used by somebody else before saying so."""
        account, nonce = watched.reservation.account, _nonce(watched)
        count = await count_at(self._provider, account, "latest")
        mined = await self._mined(watched)
        if mined is not None:
            return mined
        if count <= nonce:  # undone meanwhile, or another node behind the same address
            return await self._unmined(watched)
        settled = await settled_count(self._provider, account, self._horizon) > nonce
        state = RoundState.LOST if settled else RoundState.DISPLACED
        message = f"nonce {nonce} of {account} was used by a transaction that is none of ours"
        return Sight(state, self._horizon.height, settled=settled, foreign=True, message=message)

    async def _unmined(self, watched: WatchedRound) -> Sight:
        for tx_ref in reversed(watched.tx_refs):
            if await is_known(self._provider, tx_ref):
                return self._sight(RoundState.PENDING, tx_ref, None)
        return self._sight(RoundState.MISSING, "", None)

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

    async def _block(self, number: int) -> Block | None:
        if number not in self._blocks:
            self._blocks[number] = asyncio.create_task(block_at(self._provider, hex(number)))
        return await self._blocks[number]

    async def _count(self, account: str) -> int:
        if account not in self._counts:
            reading = count_at(self._provider, account, "latest")
            self._counts[account] = asyncio.create_task(reading)
        return await self._counts[account]


def _nonce(watched: WatchedRound) -> int:
    """Return the reserved nonce; a reservation without one never passes for consumed."""
    sequence = watched.reservation.sequence
    return sequence if sequence is not None else 2**64
