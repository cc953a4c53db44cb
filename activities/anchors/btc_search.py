"""The place where blocks are read to find what spent an output; needs neither wallet nor index of transactions.

1. Found is only what lies in a whole block whose hash is the chain's and whose transactions give its Merkle root.
2. Blocks are read from the newest one at which the output was known unspent, at most 50 a look. A look goes on where
   the one before stopped, and after a reorganisation from the last block that is still in the chain.
3. A block that the node does not show is passed over and asked for again at each look. Found nothing is never a
   finding while one is missing, nor otherwise: it tells how far was searched, and whoever asked decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from activities.anchors.btc_ledger import block_hash_at, newest_block
from activities.anchors.btc_notes import Mark, Notes, Spend
from activities.anchors.btc_rpc import Node, NodeError
from vaultmesh.domain.bitcoin import Outpoint, Transaction, parse_hash, read_hex
from vaultmesh.domain.bitcoin_blocks import HEADER_BYTES, Block, Header
from vaultmesh.domain.errors import InvalidValue

MOST_BLOCKS = 50
"""Blocks read in one look: about 100 MB on the busiest network."""
DEEPEST_REORG = 100
"""Blocks that the search goes back where it can't be told at which one the chain parted: no reorganisation was deeper."""
_WHOLE = 0
"""Verbosity: the block's bytes."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What is searched for, and what is expected to be found."""

    spenders: Mapping[Outpoint, frozenset[str]]
    """Ids of the transactions of ours that may spend an output; any other one takes it away."""
    own: Outpoint
    """The round's own output."""
    commitment: bytes

    def find(self, raw: bytes) -> tuple[Transaction, Outpoint] | None:
        """Return what spends the round's own output, or takes away another needed one, in a block.

        Raises:
            InvalidValue: the bytes are not a whole block.
        """
        if not any(_as_spent(one) in raw for one in self.spenders):
            return None
        for transaction in Block.parse(raw).transactions:
            for given in transaction.inputs:
                expected = self.spenders.get(given.outpoint)
                is_own = given.outpoint == self.own
                if expected is not None and (is_own or transaction.txid not in expected):
                    return transaction, given.outpoint
        return None


def _as_spent(outpoint: Outpoint) -> bytes:
    """Return the bytes that stand for an output in every transaction that spends it."""
    return parse_hash(outpoint.txid) + outpoint.position.to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class Searched:
    """What one look's search came to."""

    notes: Notes
    is_complete: bool
    """Whether all blocks up to the newest one were read or refused."""


async def search(
    node: Node,
    needed: Needed,
    notes: Notes,
    decided_at: Mark,
    tip: Mark,
    *,
    claimed: int | None = None,
) -> Searched:
    """Search on; what was found is in the notes as long as its block is in the chain.

    Args:
        node: the node.
        needed: what is searched for.
        notes: what earlier looks left.
        decided_at: the newest block when the output was chosen: it was unspent then.
        tip: the newest block, up to which is searched.
        claimed: the block that receipts name, which is read first.
    """
    if notes.spend is not None:
        if await _hash_at(node, notes.spend.height) == notes.spend.block_hash:
            return Searched(notes, is_complete=True)
        below = Mark(height=notes.spend.height, hash=notes.spend.block_hash)
        notes = notes.model_copy(update={"spend": None, "read_to": below})
    if len(needed.spenders) > notes.needs:
        changes = {"needs": len(needed.spenders), "read_to": None, "unread": None}
        notes = notes.model_copy(update=changes)
    if notes.read_to is None and claimed is not None and 0 < claimed <= tip.height:
        found = await _spend_at(node, needed, claimed)
        if found is not None:
            return Searched(notes.model_copy(update={"spend": found}), is_complete=True)
    notes = await _unread_again(node, notes)
    begin = notes.read_to or notes.unspent_at or decided_at
    return await _read_on(node, needed, notes, await _last_common(node, begin, tip), tip)


async def _read_on(node: Node, needed: Needed, notes: Notes, here: Mark, tip: Mark) -> Searched:
    last = min(tip.height, here.height + MOST_BLOCKS)
    while here.height < last:
        height = here.height + 1
        block_hash = await _hash_at(node, height)
        if not block_hash:
            break
        raw = await _block(node, block_hash)
        if raw is None:
            notes = notes.without(height)
        elif here.hash and Header.parse(raw[:HEADER_BYTES]).previous != here.hash:
            break  # the chain is another one meanwhile: from the last common block at the next look
        else:
            found = await node.apart(_found, needed, raw)
            if isinstance(found, Spend):
                placed = found.model_copy(update={"height": height, "block_hash": block_hash})
                return Searched(notes.model_copy(update={"spend": placed}), is_complete=True)
            notes = notes if found is None else notes.without(height)
        here = Mark(height=height, hash=block_hash)
    notes = notes.model_copy(update={"read_to": here})
    return Searched(notes, is_complete=here == tip)


async def _spend_at(node: Node, needed: Needed, height: int) -> Spend | None:
    """Return what one block shows, if the node shows the block."""
    block_hash = await _hash_at(node, height)
    raw = await _block(node, block_hash) if block_hash else None
    found = await node.apart(_found, needed, raw) if raw is not None else None
    if not isinstance(found, Spend):
        return None
    return found.model_copy(update={"height": height, "block_hash": block_hash})


def _found(needed: Needed, raw: bytes) -> Spend | InvalidValue | None:
    try:
        found = needed.find(raw)
    except InvalidValue as error:
        return error
    if found is None:
        return None
    transaction, outpoint = found
    return Spend(
        txid=transaction.txid,
        outpoint=str(outpoint),
        height=0,
        block_hash="",
        is_candidate=transaction.txid in needed.spenders[outpoint],
        commits=transaction.commitments == [needed.commitment],
    )


async def _unread_again(node: Node, notes: Notes) -> Notes:
    """Search anew from the first block that was refused, if it is shown now."""
    if notes.unread is None:
        return notes
    first = notes.unread[0]
    shown = await _hash_at(node, first)
    if not shown or await _block(node, shown) is None:
        return notes
    below = Mark(height=max(first - 1, 0), hash=await _hash_at(node, max(first - 1, 0)))
    return notes.model_copy(update={"unread": None, "read_to": below})


async def _last_common(node: Node, mark: Mark, tip: Mark) -> Mark:
    """Return a block in the chain at or below a mark that may have left it."""
    for _ in range(DEEPEST_REORG):
        header = await node.found("getblockheader", mark.hash) if mark.hash else None
        if header is not None and header.number("confirmations") > 0:
            return Mark(height=header.number("height"), hash=mark.hash)
        if header is None or not header.has("previousblockhash"):
            break
        mark = Mark(height=max(mark.height - 1, 0), hash=header.text("previousblockhash"))
    height = max(min(mark.height, tip.height) - DEEPEST_REORG, 0)
    return Mark(height=height, hash=await _hash_at(node, height))


async def _hash_at(node: Node, height: int) -> str:
    """Return the hash of the chain's block of a height; empty where the chain is shorter."""
    try:
        return await block_hash_at(node, height)
    except NodeError:
        return ""


async def _block(node: Node, block_hash: str) -> bytes | None:
    """Return a block's bytes; nothing if the node refuses it, such as when it is pruned, or shows another one."""
    try:
        told = await node.call("getblock", block_hash, _WHOLE)
    except NodeError:
        return None
    try:
        raw = read_hex(str(told))
        is_that = Header.parse(raw[:HEADER_BYTES]).hash == block_hash
    except InvalidValue:
        return None
    return raw if is_that else None


async def newest_mark(node: Node) -> Mark:
    """Return the block that the node's chain ends with now; raises as `newest_block` does."""
    height, tip = await newest_block(node)
    return Mark(height=height, hash=tip)
