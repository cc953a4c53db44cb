"""Proves what became of our own call in a block: by the receipts that the block's hash fixes.

Nodes drop logs, status and other parts of receipts. So a revert or a missing event counts only if header and both
tries of the block come out as its hash says; a receipt alone proves neither.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from eth_utils.crypto import keccak

from vaultmesh.domain.aggregator.ledger_messages import BlockRef, WatchedRound
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.ledgers.evm.anchor_contract import TOPIC, anchored_logs, batch_id_of
from vaultmesh.ledgers.evm.block_encoding import encode_header, keccak_hex
from vaultmesh.ledgers.evm.block_proof import BlockContent, Left, read_block, tries_of
from vaultmesh.ledgers.evm.core.trie import Item, decode
from vaultmesh.ledgers.evm.providers import Provider
from vaultmesh.ledgers.evm.reads import Log, TxReceipt

_FAILED, _SUCCESS = 0, b"\x01"
_BLOOM = 6
"""Place in a header."""
_FIRST_UNTYPED = 0xC0
_STATUS, _LOGS = 0, 3
_ADDRESS, _TOPICS = 0, 1
_BLOOM_BITS, _BITS_OF_AN_ITEM = 2048, 3


class Outcome(StrEnum):
    """What became of our call in its block."""

    ANCHORED = "anchored"
    REVERTED = "reverted"
    MUTE = "was mined without our event"


@dataclass(frozen=True, slots=True)
class OwnCall:
    """What a round's transaction is to have logged, as its reservation says."""

    contract: str
    """Lower case."""
    commitment: bytes
    batch_id: bytes

    @classmethod
    def of(cls, watched: WatchedRound, contract: str) -> "OwnCall":
        """Return a round's; `contract` is used only where the reservation names none."""
        to = watched.reservation.fields.get("to")
        return cls(
            contract=to.lower() if isinstance(to, str) else contract,
            commitment=watched.commitment.digest,
            batch_id=batch_id_of(watched.label),
        )

    @property
    def topics(self) -> list[str]:
        """The event's topics."""
        return [TOPIC, "0x" + self.commitment.hex(), "0x" + self.batch_id.hex()]

    def is_event(self, log: Log) -> bool:
        """Whether a log is the event: nodes are asked for it alone, and some answer with others too."""
        return log.address == self.contract and log.topics == self.topics

    def is_logged(self, receipt: TxReceipt) -> bool:
        """Whether a receipt holds the event: a reverted call leaves none, so it decides also where `status` is null."""
        logged = anchored_logs(receipt.logs, self.contract)
        return (self.commitment, self.batch_id) in logged


def contradicts(receipt: TxReceipt, call: OwnCall) -> bool:
    """Whether a receipt says what can't be: our event in a call that failed, or a call of another contract."""
    elsewhere = receipt.to is not None and receipt.to != call.contract
    return elsewhere or (receipt.status == _FAILED and call.is_logged(receipt))


async def proven_outcome(
    provider: Provider, call: OwnCall, tx_ref: str, block: BlockRef
) -> Outcome | None:
    """Return what the block's own receipts say; None where this provider's answers don't give the block's hash."""
    try:
        content = await read_block(provider, block.hash, block.number)
        return await asyncio.to_thread(_outcome, content, call, tx_ref)
    except (Left, InvalidValue, AnchorError):
        return None


async def bloom_holds(provider: Provider, call: OwnCall, block: BlockRef) -> bool:
    """Whether the header that hashes to the block's hash says that our event may be in it.

    False is no proof of the contrary: some chains leave that field empty.
    """
    try:
        answer = await provider.call("eth_getBlockByHash", block.hash, False)
        header = encode_header(answer if isinstance(answer, dict) else {})
        if keccak_hex(header) != block.hash:
            return False
        bloom = _list(decode(header, "the header"))[_BLOOM]
    except (InvalidValue, AnchorError):
        return False
    parts = [call.contract, *call.topics]
    return isinstance(bloom, bytes) and all(
        _in_bloom(bloom, bytes.fromhex(part[2:])) for part in parts
    )


def _outcome(content: BlockContent, call: OwnCall, tx_ref: str) -> Outcome | None:
    tries_of(content)  # raises unless the header's roots fix what follows
    digest = bytes.fromhex(tx_ref.removeprefix("0x"))
    place = next((at for at, raw in enumerate(content.transactions) if keccak(raw) == digest), None)
    if place is None:
        return None
    receipt = content.receipts[place]
    data = receipt if receipt[0] >= _FIRST_UNTYPED else receipt[1:]
    items = _list(decode(data, "the transaction receipt"))
    if items[_STATUS] != _SUCCESS:
        return Outcome.REVERTED
    wanted = [bytes.fromhex(topic[2:]) for topic in call.topics]
    logged = any(_is_ours(_list(log), call, wanted) for log in _list(items[_LOGS]))
    return Outcome.ANCHORED if logged else Outcome.MUTE


def _is_ours(log: Sequence[Item], call: OwnCall, topics: list[bytes]) -> bool:
    address = bytes.fromhex(call.contract[2:])
    return log[_ADDRESS] == address and list(_list(log[_TOPICS])) == topics


def _in_bloom(bloom: bytes, item: bytes) -> bool:
    bits = int.from_bytes(bloom, "big")
    digest = keccak(item)
    places = (
        int.from_bytes(digest[2 * n : 2 * n + 2], "big") % _BLOOM_BITS
        for n in range(_BITS_OF_AN_ITEM)
    )
    return all(bits >> place & 1 for place in places)


def _list(item: Item) -> Sequence[Item]:
    if isinstance(item, bytes):
        message = "bytes where the block has a list"
        raise InvalidValue(message)
    return item
