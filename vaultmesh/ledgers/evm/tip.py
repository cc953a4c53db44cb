"""Decides how far one provider's chain reaches, and what of it can't be undone any more (E9)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.ledgers.evm.node_errors import NodeError
from vaultmesh.ledgers.evm.providers import Provider
from vaultmesh.ledgers.evm.reads import Block, block_at, latest_block, quantity
from vaultmesh.ledgers.evm.settings import EvmFinality


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
        finality = {one.value: one for one in EvmFinality}.get(str(fields.get("finality")))
        return replace(
            self,
            contract=contract.lower() if isinstance(contract, str) else self.contract,
            finality=finality or self.finality,
            confirmations=confirmations if isinstance(confirmations, int) else self.confirmations,
        )


@dataclass(frozen=True, slots=True)
class ChainTip:
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


async def read_tip(provider: Provider, rules: Rules) -> ChainTip:
    """Read both, and check that the provider serves the configured chain.

    Raises:
        ValidationFailure: it serves another chain (E1).
    """
    chain_id, head, tagged = await asyncio.gather(
        quantity(provider, "eth_chainId"), latest_block(provider), _tagged(provider, rules.tag)
    )
    require_chain(provider, chain_id, rules)
    if rules.tag is None:
        settled = head.number - rules.confirmations
        return ChainTip(head, settled if settled >= 0 else None)
    return ChainTip(head, tagged.number if tagged is not None else None)


def require_chain(provider: Provider, chain_id: int, rules: Rules) -> None:
    """Raise `ValidationFailure` unless the chain id is the target's."""
    if chain_id != rules.chain_id:
        message = (
            f"{provider.label} serves chain {chain_id}, not eip155:{rules.chain_id}: "
            "nothing is signed or believed; correct rpcUrl or the target"
        )
        raise ValidationFailure(message)


async def _tagged(provider: Provider, tag: str | None) -> Block | None:
    if tag is None:
        return None
    try:
        return await block_at(provider, tag)
    except NodeError:  # "finalized block not found": the chain has none yet
        return None
