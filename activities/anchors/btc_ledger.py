"""The place where it is made sure that a node serves the configured Bitcoin network, and where its blocks are read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import JsonValue

from activities.anchors.btc_rpc import NO_SUCH_HEIGHT, Node, NodeError, Reply
from vaultmesh.domain.bitcoin import read_hex
from vaultmesh.domain.bitcoin_blocks import Header
from vaultmesh.domain.bitcoin_networks import Network
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.ledger import BlockRef

_TIME_ENDS = 2**32
"""Unix seconds that a header can't hold any more."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as final: as configured for new rounds, as signed for those that exist."""

    network: Network
    confirmations: int
    bump_after_seconds: float

    def signed_under(self, fields: Mapping[str, JsonValue]) -> "Rules":
        """Return the rules that a recorded reservation was made under; what it does not say is as configured today."""
        confirmations = fields.get("confirmations")
        return (
            replace(self, confirmations=confirmations) if isinstance(confirmations, int) else self
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a node serves at one moment."""

    genesis: str
    height: int
    tip: str
    """Hash of the newest block."""
    is_syncing: bool
    """Whether it knows of blocks that it has not taken up yet: what it does not show may be in them."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block that the node knows."""

    ref: BlockRef
    depth: int
    """Blocks from this one on, itself included; 0 when it left the chain."""


async def read_ledger(node: Node, network: Network, pinned: object = None) -> Ledger:
    """Read what the node serves, and check that it is the configured network (B14).

    Args:
        node: the node.
        network: what it must be.
        pinned: genesis hash that an earlier reservation names, if there is one.

    Raises:
        ValidationFailure: it serves another one.
    """
    chain = Reply.of(await node.call("getblockchaininfo"))
    genesis = await node.call("getblockhash", 0)
    name = chain.text("chain")
    if network.geneses.get(name) != genesis:
        message = (
            f"{node.label} serves the chain {name} with genesis block {genesis}, not btc:{network}: "
            "nothing is signed or believed; correct rpcUrl or the target"
        )
        raise ValidationFailure(message)
    if pinned is not None and pinned != genesis:
        message = (
            f"{node.label} serves another ledger than before: its genesis block is {genesis}, not {pinned}; "
            "correct rpcUrl"
        )
        raise ValidationFailure(message)
    height, tip = await _newest(node, chain)
    behind = chain.number("headers", height) > height + 1
    syncing = network is not Network.REGTEST and chain.flag("initialblockdownload")
    return Ledger(str(genesis), height, tip, behind or syncing)


async def newest_block(node: Node) -> tuple[int, str]:
    """Return height and hash of the block that the node's chain ends with now.

    Raises:
        NetworkFailure: its answers do not fit together.
    """
    return await _newest(node, Reply.of(await node.call("getblockchaininfo")))


async def _newest(node: Node, chain: Reply) -> tuple[int, str]:
    """Return the newest block once the node shows it at its height: a height alone may be miscounted, or another node's."""
    height, tip = chain.number("blocks"), chain.text("bestblockhash")
    try:
        shown = await block_hash_at(node, height)
    except NodeError as error:
        if error.code != NO_SUCH_HEIGHT:
            raise
        shown = ""
    if shown != tip:
        message = f"{node.label} contradicts itself: it does not show its newest block {tip} at height {height}; asked again"
        raise NetworkFailure(message)
    return height, tip


def require_synced(node: Node, ledger: Ledger) -> None:
    """Raise `NetworkFailure` while the node has not caught up."""
    if ledger.is_syncing:
        message = (
            f"{node.label} is still syncing, at block {ledger.height}; it goes on when it is done"
        )
        raise NetworkFailure(message)


async def block_of(node: Node, block_hash: str) -> Block | None:
    """Return a block by its hash; nothing if the node knows none."""
    found = await node.found("getblockheader", block_hash)
    if found is None:
        return None
    seconds = found.number("time")
    if not 0 <= seconds < _TIME_ENDS:
        message = f"{node.label} names an impossible time of block {block_hash}"
        raise NetworkFailure(message)
    time = datetime.fromtimestamp(seconds, UTC)
    ref = BlockRef(number=found.number("height"), hash=found.text("hash"), time=time)
    return Block(ref, max(found.number("confirmations"), 0))


async def is_canonical(node: Node, ledger: Ledger, number: int, block_hash: str) -> bool | None:
    """Say whether a block is in the node's chain; None where the node can't tell.

    It can't while its chain is shorter than the block's number, while it has not caught up and shows another block
    there, or while its own header says otherwise. A pruned node tells as well: it keeps all headers.
    """
    if ledger.height < number:
        return None
    if await block_hash_at(node, number) == block_hash:
        return True
    if ledger.is_syncing:
        return None
    header = await block_of(node, block_hash)
    return None if header is not None and header.depth > 0 else False


async def block_hash_at(node: Node, number: int) -> str:
    """Return the hash of the canonical block of a number; raises `NodeError` above the newest."""
    return str(await node.call("getblockhash", number))


async def header_of(node: Node, block_hash: str) -> Header:
    """Return a block's header; raises `NetworkFailure` when the bytes are not that block's."""
    raw = await node.call("getblockheader", block_hash, False)
    try:
        header = Header.parse(read_hex(str(raw)))
    except InvalidValue as error:
        message = f"{node.label} answered no header of block {block_hash}: {error}"
        raise NetworkFailure(message) from error
    if header.hash != block_hash or not header.has_work:
        message = f"{node.label} answered another header than that of block {block_hash}"
        raise NetworkFailure(message)
    return header
