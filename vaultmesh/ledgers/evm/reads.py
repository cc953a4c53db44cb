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
from vaultmesh.ledgers.evm.core.proof import TOPIC
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.evm.providers import Provider
from vaultmesh.ledgers.evm.settings import EvmFinality

HEX = 16
NO_ANSWER = (None, "", "0x")
"""What nodes write for a value that they do not know; 0 is `0x0`."""
_LONGEST_QUANTITY = 66
"""A quantity has at most 256 bits."""


def _quantity(value: object) -> object:
    if value in NO_ANSWER:
        message = "no value where a quantity is due"
        raise ValueError(message)
    if isinstance(value, str) and value.startswith("0x") and len(value) <= _LONGEST_QUANTITY:
        return int(value, HEX)
    message = "not a quantity"
    raise ValueError(message)


Quantity = Annotated[int, BeforeValidator(_quantity)]
"""A number as nodes write it: `0x` and hex."""


def _known(value: object) -> object:
    return None if value in NO_ANSWER else value


def _anchor_logs(value: object) -> object:
    """Leave out the logs without our topic: they are others', and a part of them that makes no sense is no harm to us."""
    if value is None:
        return []
    return [log for log in value if _has_topic(log)] if isinstance(value, list) else value


def _has_topic(log: object) -> bool:
    topics = log.get("topics") if isinstance(log, dict) else None
    return isinstance(topics, list) and bool(topics) and str(topics[0]).lower() == _TOPIC


_TOPIC = "0x" + TOPIC.hex()
MaybeQuantity = Annotated[Quantity | None, BeforeValidator(_known)]
"""A number that some nodes do not tell."""
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
    base_fee_wei: MaybeQuantity = Field(default=None, alias="baseFeePerGas")

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
    status: MaybeQuantity = None
    to: Annotated[Account | None, BeforeValidator(_known)] = None
    block_hash: Hash = Field(alias="blockHash")
    block_number: Quantity = Field(alias="blockNumber")
    logs: Annotated[list[Log], BeforeValidator(_anchor_logs)] = Field(default_factory=list)
    """Anchor events, of whatever contract; those of others are not read."""


_Answer = TypeVar("_Answer")
_QUANTITY: TypeAdapter[int] = TypeAdapter(Quantity)
_MAYBE_QUANTITY: TypeAdapter[int | None] = TypeAdapter(MaybeQuantity)
_BYTES: TypeAdapter[str] = TypeAdapter(HexBytes)
_BLOCK: TypeAdapter[Block | None] = TypeAdapter(Block | None)
_HEADER: TypeAdapter[Block] = TypeAdapter(Block)
_TX_RECEIPT: TypeAdapter[TxReceipt | None] = TypeAdapter(TxReceipt | None)
_LOGS: TypeAdapter[list[FoundLog]] = TypeAdapter(
    Annotated[list[FoundLog], BeforeValidator(lambda value: value and _anchor_logs(value))]
)


async def quantity(provider: Provider, method: str, *params: JsonValue) -> int:
    """Read a number."""
    return await _read(_QUANTITY, provider, method, *params)


async def maybe_quantity(provider: Provider, method: str, *params: JsonValue) -> int | None:
    """Read a number that a node may not know."""
    return await _read(_MAYBE_QUANTITY, provider, method, *params)


async def count_at(provider: Provider, account: str, block: str) -> int:
    """Read how many transactions of the account are mined as of a block."""
    return await quantity(provider, "eth_getTransactionCount", account, block)


async def code_of(provider: Provider, account: str) -> str:
    """Read the code at an address; `0x` when there is none."""
    return await _read(_BYTES, provider, "eth_getCode", account, "latest")


async def block_at(provider: Provider, block: str) -> Block | None:
    """Read a header by tag or number; None when the node has no such block, or keeps none that old."""
    method = "eth_getBlockByNumber"
    return _parsed(_BLOCK, await _unless_pruned(provider, method, block, False), provider, method)


async def latest_block(provider: Provider) -> Block:
    """Read the newest header."""
    block = await block_at(provider, "latest")
    if block is None:
        message = f"{provider.label} has no latest block; is it still syncing?"
        raise NetworkFailure(message)
    return block


async def tx_receipt(provider: Provider, tx_ref: str) -> TxReceipt | None:
    """Read a transaction's receipt; None while it is in no block, and where the node keeps no receipts that old."""
    answer = await _unless_pruned(provider, "eth_getTransactionReceipt", tx_ref)
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

    None when the node has no such block, or does not offer that. The receipts of others are not read.
    """
    method = "eth_getBlockReceipts"
    try:
        answer = await provider.call(method, hex(number))
    except NodeError as error:
        if error.meaning is Meaning.BUSY:
            raise
        return None
    for receipt in answer if isinstance(answer, list) else ():
        if isinstance(receipt, dict) and str(receipt.get("transactionHash")).lower() == tx_ref:
            return _parsed(_TX_RECEIPT, receipt, provider, method)
    return None


def parsed_block(answer: JsonValue, provider: Provider) -> Block:
    """Return the header in a node's answer."""
    return _parsed(_HEADER, answer, provider, "eth_getBlockByNumber")


async def is_known(provider: Provider, tx_ref: str) -> bool:
    """Say whether the node has the transaction, in its pool or in a block."""
    answer = await _unless_pruned(provider, "eth_getTransactionByHash", tx_ref)
    return isinstance(answer, dict) and str(answer.get("hash", "")).lower() == tx_ref.lower()


async def raw_transaction(provider: Provider, tx_ref: str) -> str:
    """Read a mined transaction's bytes; not every node offers that."""
    return await _read(_BYTES, provider, "eth_getRawTransactionByHash", tx_ref)


async def _unless_pruned(provider: Provider, method: str, *params: JsonValue) -> JsonValue:
    """Return an answer, or null where the node says that it keeps no history that old, as other nodes write it."""
    try:
        return await provider.call(method, *params)
    except NodeError as error:
        if error.meaning is Meaning.PRUNED:
            return None
        raise


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
YOUNG_BLOCKS = 128
"""Up to that height a chain need not know a finalized block yet: four epochs of Ethereum."""
_TAG_ADVICE = (
    "anchors stay observed until it names one; use another endpoint, or, where the chain itself knows no finality, set "
    "`finality: depth` and enough `confirmations` in anchors.yaml for rounds to come"
)


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
    unsettled: str = ""
    """Why the provider names none, and what to do if that lasts."""

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
    chain_id, head, (tagged, refusal), genesis = await asyncio.gather(
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
    if tagged is not None:
        return ChainTip(head, tagged.number)
    if not refusal and head.number > YOUNG_BLOCKS:
        refusal = unnamed(provider, rules.tag)
    return ChainTip(head, None, refusal)


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


async def _tagged(provider: Provider, tag: str | None) -> tuple[Block | None, str]:
    """Return the block that a tag names; without one, why the node refuses the tag, if it does."""
    if tag is None:
        return None, ""
    try:
        return await block_at(provider, tag), ""
    except NodeError as error:
        if error.meaning is Meaning.BUSY:  # "finalized block not found": the chain has none yet
            return None, ""
        what = f"{provider.label} refuses the tag {tag!r} (error {error.code}: {error.text})"
        return None, f"{what}; {_TAG_ADVICE}"


def unnamed(provider: Provider, tag: str) -> str:
    """Return what to say of a node that names no block for a tag although the chain is not new."""
    return f"{provider.label} names no {tag} block; if that lasts: {_TAG_ADVICE}"
