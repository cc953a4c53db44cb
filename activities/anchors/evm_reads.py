"""The place where a node's JSON becomes values that can be trusted to have a form; nothing here asks twice."""

from datetime import UTC, datetime
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

from activities.anchors.evm_errors import NodeError
from activities.anchors.evm_rpc import Provider
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.ledger import BlockRef
from vaultmesh.domain.receipt import LATEST_SECOND

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
        """The block as the pen's messages name it."""
        return BlockRef(
            number=self.number, hash=self.hash, time=datetime.fromtimestamp(self.timestamp, UTC)
        )


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
        found = await _read(_TX_RECEIPTS, provider, "eth_getBlockReceipts", hex(number))
    except NodeError:
        return None
    return next((one for one in found or () if one.tx_hash == tx_ref), None)


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
