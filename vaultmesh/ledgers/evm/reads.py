"""Reads a node's JSON as values that can be trusted to have a form; nothing here asks twice."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from vaultmesh.domain.aggregator.ledger_messages import BlockRef
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.instants import LATEST_SECOND, of_seconds
from vaultmesh.ledgers.evm.node_errors import NodeError
from vaultmesh.ledgers.evm.providers import Provider
from vaultmesh.ledgers.evm.settings import EvmFinality

HEX = 16
_LONGEST_QUANTITY = 66
"""A quantity has at most 256 bits."""


def _quantity(value: object) -> object:
    if isinstance(value, str) and value.startswith("0x") and len(value) <= _LONGEST_QUANTITY:
        return int(value, HEX)
    message = "not a quantity"
    raise ValueError(message)


Quantity = Annotated[int, BeforeValidator(_quantity)]
"""A number as nodes write it: `0x` and hex."""
Hash = Annotated[
    str,
    StringConstraints(pattern=r"^0x[0-9a-fA-F]{64}$"),
    AfterValidator(lambda text: text.lower()),
]
Account = Annotated[
    str,
    StringConstraints(pattern=r"^0x[0-9a-fA-F]{40}$"),
    AfterValidator(lambda text: text.lower()),
]
HexBytes = Annotated[str, StringConstraints(pattern=r"^0x([0-9a-fA-F]{2})*$")]


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Block(_Read):
    """A block's header, as far as it is needed."""

    number: Quantity
    hash: Hash
    timestamp: Annotated[Quantity, Field(le=LATEST_SECOND)]
    base_fee_wei: Quantity | None = Field(default=None, alias="baseFeePerGas")

    @property
    def ref(self) -> BlockRef:
        """The block as the aggregator's messages name it."""
        return BlockRef(number=self.number, hash=self.hash, time=of_seconds(self.timestamp))


class Log(_Read):
    """One event of a transaction."""

    address: Account
    topics: list[Hash]


class FoundLog(Log):
    """One event that a search for events found."""

    tx_hash: Hash = Field(alias="transactionHash")
    block_hash: Hash = Field(alias="blockHash")
    block_number: Quantity = Field(alias="blockNumber")
    removed: bool = False
    """Whether its block has left the chain."""


class TxReceipt(_Read):
    """What a node says of a transaction that is in a block."""

    tx_hash: Hash = Field(alias="transactionHash")
    status: Quantity | None = None
    to: Account | None = None
    block_hash: Hash = Field(alias="blockHash")
    block_number: Quantity = Field(alias="blockNumber")
    logs: list[Log]


_Answer = TypeVar("_Answer")
_QUANTITY: TypeAdapter[int] = TypeAdapter(Quantity)
_BYTES: TypeAdapter[str] = TypeAdapter(HexBytes)
_BLOCK: TypeAdapter[Block | None] = TypeAdapter(Block | None)
_HEADER: TypeAdapter[Block] = TypeAdapter(Block)
_TX_RECEIPT: TypeAdapter[TxReceipt | None] = TypeAdapter(TxReceipt | None)
_TX_RECEIPTS: TypeAdapter[list[TxReceipt] | None] = TypeAdapter(list[TxReceipt] | None)
_LOGS: TypeAdapter[list[FoundLog]] = TypeAdapter(list[FoundLog])


async def quantity(provider: Provider, method: str, *params: JsonValue) -> int:
    """Read a number."""
    return await _read(_QUANTITY, provider, method, *params)


async def count_at(provider: Provider, account: str, block: str) -> int:
    """Read how many transactions of the account are mined as of a block."""
    return await quantity(provider, "eth_getTransactionCount", account, block)


async def code_of(provider: Provider, account: str) -> str:
    """Read the code at an address; `0x` when there is none."""
    return await _read(_BYTES, provider, "eth_getCode", account, "latest")


async def block_at(provider: Provider, block: str) -> Block | None:
    """Read a header by tag or number; None when the node has no such block."""
    return await _read(_BLOCK, provider, "eth_getBlockByNumber", block, False)


async def latest_block(provider: Provider) -> Block:
    """Read the newest header."""
    block = await block_at(provider, "latest")
    if block is None:
        message = f"{provider.label} has no latest block; is it still syncing?"
        raise NetworkFailure(message)
    return block


async def tx_receipt(provider: Provider, tx_ref: str) -> TxReceipt | None:
    """Read a transaction's receipt; None while it is in no block."""
    answer = await provider.call("eth_getTransactionReceipt", tx_ref)
    if isinstance(answer, dict) and answer.get("blockHash") is None:
        return None
    receipt = _parsed(_TX_RECEIPT, answer, provider, "eth_getTransactionReceipt")
    if receipt is not None and receipt.tx_hash != tx_ref.lower():
        message = f"{provider.label} answered with the receipt of another transaction"
        raise NetworkFailure(message)
    return receipt


async def logs_of(
    provider: Provider, contract: str, topics: list[str], first: int, last: int | None = None
) -> list[FoundLog]:
    """Read the events of a contract with these topics in a range of blocks, up to the newest one without `last`.

    Raises:
        NodeError: the range is too wide for the node, or it does not offer that.
    """
    wanted: dict[str, JsonValue] = {
        "address": contract,
        "topics": list(topics),
        "fromBlock": hex(first),
        "toBlock": "latest" if last is None else hex(last),
    }
    return await _read(_LOGS, provider, "eth_getLogs", wanted)


async def receipt_in_block(provider: Provider, tx_ref: str, number: int) -> TxReceipt | None:
    """Read a transaction's receipt from its block: for nodes without an index of old transactions.

    None when the node has no such block, or does not offer that.
    """
    try:
        receipts = await _read(_TX_RECEIPTS, provider, "eth_getBlockReceipts", hex(number))
    except NodeError:
        return None
    return next((receipt for receipt in receipts or () if receipt.tx_hash == tx_ref), None)


def parsed_block(answer: JsonValue, provider: Provider) -> Block:
    """Return the header in a node's answer."""
    return _parsed(_HEADER, answer, provider, "eth_getBlockByNumber")


async def is_known(provider: Provider, tx_ref: str) -> bool:
    """Say whether the node has the transaction, in its pool or in a block."""
    answer = await provider.call("eth_getTransactionByHash", tx_ref)
    return isinstance(answer, dict) and str(answer.get("hash", "")).lower() == tx_ref.lower()


async def raw_transaction(provider: Provider, tx_ref: str) -> str:
    """Read a mined transaction's bytes; not every node offers that."""
    return await _read(_BYTES, provider, "eth_getRawTransactionByHash", tx_ref)


async def _read(
    form: TypeAdapter[_Answer], provider: Provider, method: str, *params: JsonValue
) -> _Answer:
    return _parsed(form, await provider.call(method, *params), provider, method)


def _parsed(
    form: TypeAdapter[_Answer], answer: JsonValue, provider: Provider, method: str
) -> _Answer:
    try:
        return form.validate_python(answer)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "result"
        message = (
            f"{provider.label} answered {method} with something malformed: {place}: {first['msg']}"
        )
        raise NetworkFailure(message) from None


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
        finality = {rule.value: rule for rule in EvmFinality}.get(str(fields.get("finality")))
        return replace(
            self,
            contract=contract.lower() if isinstance(contract, str) else self.contract,
            finality=finality or self.finality,
            confirmations=confirmations if isinstance(confirmations, int) else self.confirmations,
            genesis=genesis.lower() if isinstance(genesis, str) else self.genesis,
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
