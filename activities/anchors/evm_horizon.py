"""The place where it is decided how far one provider's chain reaches, and what of it can't be undone any more (E9)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from activities.anchors.evm_errors import NodeError
from activities.anchors.evm_reads import Block, block_at, latest_block, quantity
from activities.anchors.evm_rpc import Provider
from activities.anchors.evm_settings import EvmFinality
from vaultmesh.domain.failures import ValidationFailure

GENESIS = "0x0"


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as an anchor, and as final: as configured for new rounds, as signed for those that exist."""

    chain_id: int
    contract: str
    """Lower case."""
    finality: EvmFinality
    confirmations: int
    bump_after_blocks: int
    quorum: int
    genesis: str = ""
    """Hash of the first block of the chain that was signed for; empty for rounds that are still to be signed."""

    @property
    def tag(self) -> str | None:
        """The block tag that the finality rule reads; None when only depth counts."""
        return None if self.finality is EvmFinality.DEPTH else self.finality.value

    @property
    def recorded(self) -> dict[str, JsonValue]:
        """What a reservation keeps of them, beside the contract that it calls."""
        return {"finality": self.finality.value, "confirmations": self.confirmations}

    def signed_under(self, fields: Mapping[str, JsonValue]) -> "Rules":
        """Return the rules that a recorded reservation was made under; what it does not say is as configured today."""
        contract, confirmations = fields.get("to"), fields.get("confirmations")
        genesis = fields.get("genesis")
        finality = {one.value: one for one in EvmFinality}.get(str(fields.get("finality")))
        return replace(
            self,
            contract=contract.lower() if isinstance(contract, str) else self.contract,
            finality=finality or self.finality,
            confirmations=confirmations if isinstance(confirmations, int) else self.confirmations,
            genesis=genesis.lower() if isinstance(genesis, str) else self.genesis,
        )


@dataclass(frozen=True, slots=True)
class Horizon:
    """One provider's newest block and the newest one that its finality rule covers."""

    head: Block
    settled_number: int | None
    """None while the chain names none: a stall of finality delays, and never fails."""

    @property
    def height(self) -> int:
        """Number of the newest block."""
        return self.head.number

    def settles(self, number: int) -> bool:
        """Say whether a block of that number can't be undone any more."""
        return self.settled_number is not None and number <= self.settled_number

    def depth_of(self, number: int) -> int:
        """Count the blocks on top of one."""
        return max(self.height - number, 0)


async def read_horizon(provider: Provider, rules: Rules) -> Horizon:
    """Read both, and check that the provider serves the chain that was signed for.

    Raises:
        ValidationFailure: it serves another chain, or another ledger with the same chain id (E1).
    """
    chain_id, head, tagged, genesis = await asyncio.gather(
        quantity(provider, "eth_chainId"),
        latest_block(provider),
        _tagged(provider, rules.tag),
        _genesis(provider, rules),
    )
    require_chain(provider, chain_id, rules)
    require_genesis(provider, genesis, rules.genesis)
    if rules.tag is None:
        settled = head.number - rules.confirmations
        return Horizon(head, settled if settled >= 0 else None)
    return Horizon(head, tagged.number if tagged is not None else None)


def require_chain(provider: Provider, chain_id: int, rules: Rules) -> None:
    """Raise `ValidationFailure` unless the chain id is the target's."""
    if chain_id != rules.chain_id:
        message = (
            f"{provider.label} serves chain {chain_id}, not eip155:{rules.chain_id}: "
            "nothing is signed or believed; correct rpcUrl or the target"
        )
        raise ValidationFailure(message)


def require_genesis(provider: Provider, genesis: str, expected: str) -> None:
    """Raise `ValidationFailure` if a provider's first block is another one; a hash that is empty says nothing."""
    if genesis and expected and genesis != expected:
        message = (
            f"{provider.label} serves another ledger with the same chain id: its genesis block is {genesis}, "
            f"not {expected}: nothing is signed or believed; correct rpcUrl"
        )
        raise ValidationFailure(message)


async def _genesis(provider: Provider, rules: Rules) -> str:
    """Return the hash of the first block; empty where nothing is compared, or the node does not keep it."""
    if not rules.genesis:
        return ""
    try:
        block = await block_at(provider, GENESIS)
    except NodeError:
        return ""
    return "" if block is None else block.hash


async def _tagged(provider: Provider, tag: str | None) -> Block | None:
    if tag is None:
        return None
    try:
        return await block_at(provider, tag)
    except NodeError:  # "finalized block not found": the chain has none yet
        return None
