"""Searches for what used a nonce: in the blocks themselves, without any node's index or old state.

1. Only blocks between the last one at which the nonce was free and the first one after its use are read, in full, at
   most `MOST_BLOCKS` a step; the progress is the caller's to keep.
2. The count is bisected where the node answers for old blocks. That only chooses where to read first: what counts is a
   transaction whose bytes hash to its hash, and whose signature recovers to the account with chain id and nonce.
3. An authorisation (EIP-7702) is taken only once no transaction in all those blocks is it.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, JsonValue

from vaultmesh.domain.aggregator.ledger_messages import BlockRef
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.ledgers.evm.anchor_contract import anchored_by
from vaultmesh.ledgers.evm.block_encoding import Object, encode_transaction, keccak_hex
from vaultmesh.ledgers.evm.node_errors import NodeError
from vaultmesh.ledgers.evm.providers import Provider
from vaultmesh.ledgers.evm.reads import HEX, Block, block_at, count_at, parsed_block
from vaultmesh.ledgers.evm.signer import Signer, authorities_of, signer_of

MOST_BLOCKS = 50
"""Blocks that one step reads in full."""
_AT_ONCE = 8
"""Of them, read at the same time."""
_EVERY_CHAIN = 0
"""Chain id of an authorisation that holds on every chain."""


class Kind(StrEnum):
    """What used a nonce."""

    CANDIDATE = "candidate"
    """One of our candidates."""
    FOREIGN = "foreign"
    """Another transaction that our key signed."""
    SAME_CALL = "same_call"
    """Another one, with the very call that the round signed: a candidate whose record was lost."""
    AUTHORISATION = "authorisation"
    """An authorisation (EIP-7702) that our key signed, in somebody's transaction."""


class Use(BaseModel):
    """What used a nonce, and where."""

    nonce: int
    tx_ref: str
    block: BlockRef
    kind: Kind
    anchored: str = ""
    """Hex of what an anchor call commits to; empty of any other transaction."""


class Search(BaseModel):
    """How far one provider's blocks have been read."""

    provider: str
    """Its name."""
    low: int
    """The nonce was free at this block."""
    high: int
    """It was used by this block."""
    high_hash: str
    next: int
    """First block that has not been read."""
    bisected: bool = False
    """Whether the count was asked for old blocks already."""
    authorised: Use | None = None
    """The last authorisation that was found, should no transaction be."""

    @property
    def is_over(self) -> bool:
        """Whether every block has been read."""
        return self.next > self.high

    def up_to(self, head: Block) -> "Search":
        """Return the search of what was added to the chain meanwhile."""
        if head.number <= self.high:
            return self
        return self.model_copy(update={"high": head.number, "high_hash": head.hash})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose nonces are searched for."""

    account: str
    chain_id: int
    nonces: Collection[int]
    tx_refs: Collection[str] = ()
    """Our candidates."""
    call: tuple[str, str] = ("", "")
    """Contract and calldata that the round signed; lower case."""


def begin(name: str, low: int, head: Block) -> Search:
    """Start a search of a provider's blocks above `low` and up to `head`."""
    high = max(head.number, low)
    return Search(provider=name, low=low, high=high, high_hash=head.hash, next=low + 1)


async def step(provider: Provider, wanted: Wanted, search: Search) -> tuple[Use | None, Search]:
    """Go on for at most `MOST_BLOCKS` blocks; returns what used the one nonce wanted, once found.

    Raises:
        NetworkFailure: the provider does not show a block.
    """
    if not search.bisected and search.high - search.next >= MOST_BLOCKS:
        bisected = await _bisected(provider, wanted, search)
        if bisected is not None:
            return bisected, search
        search = search.model_copy(update={"bisected": True})
    last = min(search.next + MOST_BLOCKS - 1, search.high)
    uses = await uses_in(provider, range(search.next, last + 1), wanted)
    transaction = next((use for use in uses if use.kind is not Kind.AUTHORISATION), None)
    if transaction is not None:
        return transaction, search
    authorised = uses[-1] if uses else search.authorised
    search = search.model_copy(update={"next": last + 1, "authorised": authorised})
    return (authorised if search.is_over else None), search


async def uses_in(provider: Provider, numbers: Sequence[int], wanted: Wanted) -> list[Use]:
    """Return every use of the nonces in these blocks, in their order."""
    uses: list[Use] = []
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        blocks = await asyncio.gather(*(_full_block(provider, number) for number in some))
        for block, transactions in blocks:
            uses += await asyncio.to_thread(_uses, block, transactions, wanted)
    return uses


async def _bisected(provider: Provider, wanted: Wanted, search: Search) -> Use | None:
    """Return what the count's first rise leads to; None where the node can't tell, or was wrong."""
    (nonce,) = wanted.nonces
    below, above = search.next - 1, search.high
    try:
        while above - below > 1:
            middle = (below + above) // 2
            if await count_at(provider, wanted.account, hex(middle)) > nonce:
                above = middle
            else:
                below = middle
    except NodeError:  # "missing trie node": it keeps no state that old
        return None
    uses = await uses_in(provider, [above], wanted)
    return next((use for use in uses if use.kind is not Kind.AUTHORISATION), None)


async def _full_block(provider: Provider, number: int) -> tuple[Block, list[Object]]:
    answer = await provider.call("eth_getBlockByNumber", hex(number), True)
    transactions = answer.get("transactions") if isinstance(answer, dict) else None
    if not isinstance(transactions, list):
        message = f"{provider.label} does not show block {number}"
        raise NetworkFailure(message)
    block = parsed_block(answer, provider)
    if block.number != number:
        message = f"{provider.label} answered with block {block.number} when asked for {number}"
        raise NetworkFailure(message)
    return block, [item for item in transactions if isinstance(item, dict)]


def _uses(block: Block, transactions: Sequence[Object], wanted: Wanted) -> list[Use]:
    uses: list[Use] = []
    for transaction in transactions:
        tx_ref = str(transaction.get("hash")).lower()
        nonce = _quantity(transaction.get("nonce"))
        if tx_ref in wanted.tx_refs and nonce in wanted.nonces:
            uses.append(_use(nonce, tx_ref, block, Kind.CANDIDATE))
        elif nonce in wanted.nonces or transaction.get("authorizationList"):
            uses += _signed_uses(block, transaction, tx_ref, wanted)
    return uses


def _signed_uses(block: Block, transaction: Object, tx_ref: str, wanted: Wanted) -> list[Use]:
    """Return the uses that the signatures in a transaction prove."""
    try:
        raw = encode_transaction(transaction)
        if keccak_hex(raw) != tx_ref:
            return []
        signer, authorities = signer_of(raw), authorities_of(raw)
    except InvalidValue:  # a form of this chain's own: nobody's signature can be told from it
        return []
    uses = []
    if _is_ours(signer, wanted, (wanted.chain_id,)):
        call = tuple(str(transaction.get(name)).lower() for name in ("to", "input"))
        kind = Kind.SAME_CALL if call == wanted.call else Kind.FOREIGN
        use = _use(signer.nonce, tx_ref, block, kind)
        uses.append(use.model_copy(update={"anchored": anchored_by(call[1]).hex()}))
    uses += [
        _use(authority.nonce, tx_ref, block, Kind.AUTHORISATION)
        for authority in authorities
        if _is_ours(authority, wanted, (wanted.chain_id, _EVERY_CHAIN))
    ]
    return uses


def _is_ours(signer: Signer, wanted: Wanted, chain_ids: Collection[int]) -> bool:
    return (
        signer.account == wanted.account.lower()
        and signer.chain_id in chain_ids
        and signer.nonce in wanted.nonces
    )


def _use(nonce: int, tx_ref: str, block: Block, kind: Kind) -> Use:
    return Use(nonce=nonce, tx_ref=tx_ref, block=block.ref, kind=kind)


def _quantity(value: JsonValue) -> int:
    try:
        return int(value, HEX) if isinstance(value, str) else -1
    except ValueError:
        return -1


async def is_canonical(provider: Provider, block: BlockRef) -> bool:
    """Whether the provider's block at that height is this very one; null is no answer.

    Raises:
        NetworkFailure: it has none.
    """
    canonical = await block_at(provider, hex(block.number))
    if canonical is None:
        message = f"{provider.label} does not show block {block.number}"
        raise NetworkFailure(message)
    return canonical.hash == block.hash
