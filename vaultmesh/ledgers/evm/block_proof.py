"""Gives an included transaction a proof that needs no node later (E15).

1. Header and both tries of the block are built anew from what a provider shows; only when hash and roots come out as
   the block's are they used. So a provider can't make a false proof, and need not be trusted.
2. Some chains show entries at the end that are in neither trie, such as Polygon's state syncs before PIP-74. What does
   not hash to its hash there is left out; the roots decide whether that was right.
3. A chain whose blocks are built in another way, or a provider that does not show a whole block, costs the proof and
   never the receipt: the reason is logged, and the receipt carries it.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import rlp
from pydantic import JsonValue
from trie.hexary import HexaryTrie

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, NetworkFailure
from vaultmesh.domain.receipts.receipt import PROOF_MISSING
from vaultmesh.ledgers.evm.block_encoding import (
    Object,
    encode_header,
    encode_receipt,
    encode_transaction,
    keccak_hex,
)
from vaultmesh.ledgers.evm.core.proof import BlockProof, Claim, verify_receipt_proof
from vaultmesh.ledgers.evm.core.trie import HASH_BYTES, decode, index_key
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.evm.providers import Provider, Providers

LARGEST_PROOF = 12_000
"""Characters of a proof in a receipt; what two tries of a thousand entries need is below."""
MOST_SINGLE_READS = 256
"""Receipts or transactions of one block that are asked for one by one, of a node that can't show them at once."""
PAUSE_SECONDS = (1.0, 4.0)
"""Before a block is asked for again after a failure that may pass: a closed round's receipts are not written again."""
LONGEST_SECONDS = 60.0
"""Of all attempts together: a proof must not hold up the record of what is final."""
_AT_ONCE = 8
"""Such reads under way together; below what usual providers allow in a second."""
_LONGEST_TYPE = 6
"""Characters of a transaction's type that are shown."""
_TRANSACTIONS_ROOT, _RECEIPTS_ROOT = 4, 5
"""Places in a header."""
_log = logging.getLogger(__name__)


class Left(Exception):
    """Why there is no proof."""


@dataclass(frozen=True, slots=True)
class BlockContent:
    """A block as a provider shows it: its header hashes to the block's hash; the rest is to be checked by the header's roots."""

    header: bytes
    hashes: Sequence[str]
    transactions: Sequence[bytes]
    receipts: Sequence[bytes]


async def portable_proof(providers: Providers, claim: Claim) -> Mapping[str, JsonValue]:
    """Return the parts of a receipt's evidence that prove the claim, or why they can't be had."""
    reasons: dict[str, str] = {}
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            for pause in (*PAUSE_SECONDS, None):
                proof, may_pass = await _from_any(providers, claim, reasons)
                if proof is not None:
                    return proof
                if pause is None or not may_pass:
                    break
                await asyncio.sleep(pause)
    except TimeoutError:
        reasons["all"] = f"it took longer than {LONGEST_SECONDS:g} s"
    reason = "; ".join(f"{label}: {text}" for label, text in reasons.items())
    extra = {"tx_ref": "0x" + claim.tx_hash.hex(), "reason": reason}
    _log.warning("block proof left out", extra=extra)
    return {PROOF_MISSING: _without_labels(reasons)}


def _without_labels(reasons: Mapping[str, str]) -> str:
    """Return the reasons for those who read a receipt: our endpoints' addresses are no concern of theirs."""
    texts = (text.replace(label, "the node") for label, text in reasons.items())
    return "; ".join(dict.fromkeys(texts))


async def _from_any(
    providers: Providers, claim: Claim, reasons: dict[str, str]
) -> tuple[Mapping[str, JsonValue] | None, bool]:
    """Return the proof of the first provider that shows it, or None and whether asking again may help.

    `reasons` keeps why each other one showed none.
    """
    may_pass = False
    for provider in providers.awake_first:
        try:
            content = await read_block(provider, "0x" + claim.block_hash.hex(), claim.block_number)
            return await asyncio.to_thread(_proof, content, claim), False
        except (Left, InvalidValue) as error:
            reasons[provider.label] = str(error)
        except AnchorError as error:
            reasons[provider.label] = str(error)
            may_pass = True
    return None, may_pass


# --- the block's content -----------------------------------------------------------------------


async def read_block(provider: Provider, block_hash: str, number: int) -> BlockContent:
    """Read a block's header, transactions and receipts.

    Raises:
        Left: they are of a form that is not known.
        InvalidValue: a field is missing or malformed.
        AnchorError: the provider does not show them.
    """
    block = await provider.call("eth_getBlockByHash", block_hash, True)
    if not isinstance(block, dict):
        message = f"it does not show block {block_hash}"
        raise NetworkFailure(message)
    header = encode_header(block)
    if keccak_hex(header) != block_hash:
        message = "the header has parts that are not known"
        raise Left(message)
    listed = _objects(block.get("transactions"), "transactions")
    hashes = [str(transaction.get("hash")).lower() for transaction in listed]
    transactions = await _transactions(provider, listed, hashes)
    hashes = hashes[: len(transactions)]
    receipts = await _receipts(provider, number, hashes)
    if any(str(receipt.get("blockHash")).lower() != block_hash for receipt in receipts):
        message = "the receipts are of another block"
        raise Left(message)
    return BlockContent(
        header=header,
        hashes=hashes,
        transactions=transactions,
        receipts=await asyncio.to_thread(lambda: list(map(encode_receipt, receipts))),
    )


async def _receipts(provider: Provider, number: int, hashes: Sequence[str]) -> list[Object]:
    """Read the receipts of these transactions of a block, in its order: at once, else one by one."""
    try:
        answer = await provider.call("eth_getBlockReceipts", hex(number))
    except NodeError as error:
        if error.meaning is Meaning.BUSY:
            raise
        answer = None
    if isinstance(answer, list):
        receipts = _objects(answer[: len(hashes)], "receipts")
        if [str(receipt.get("transactionHash")).lower() for receipt in receipts] == list(hashes):
            return receipts
    answers = await _one_by_one(provider, "eth_getTransactionReceipt", hashes)
    return _objects(answers, "receipts")


async def _transactions(
    provider: Provider, transactions: Sequence[Object], hashes: Sequence[str]
) -> list[bytes]:
    """Return the bytes of a block's transactions, without what its end holds beside them.

    Those that can't be encoded are what the node itself has.
    """
    encoded = await asyncio.to_thread(lambda: list(map(_encoded, transactions)))
    unknown = [place for place, data in enumerate(encoded) if keccak_hex(data) != hashes[place]]
    if len(unknown) > MOST_SINGLE_READS:
        message = f"{len(unknown)} transactions of the block are of no known form"
        raise Left(message)
    for place in unknown:
        encoded[place] = await _raw(provider, hashes[place])
    while encoded and keccak_hex(encoded[-1]) != hashes[len(encoded) - 1]:
        encoded.pop()
    for transaction, data in zip(transactions, encoded, strict=False):
        if not data:
            kind = str(transaction.get("type"))[:_LONGEST_TYPE]
            message = f"it does not show the bytes of a transaction of type {kind}"
            raise Left(message)
    return encoded


def _encoded(transaction: Object) -> bytes:
    """Return a transaction's bytes; empty where its form is not known."""
    try:
        return encode_transaction(transaction)
    except InvalidValue:
        return b""


async def _raw(provider: Provider, tx_ref: str) -> bytes:
    """Return the bytes of a transaction as the node has them; empty where it shows none."""
    try:
        answer = await provider.call("eth_getRawTransactionByHash", tx_ref)
    except NodeError as error:
        if error.meaning is Meaning.BUSY:
            raise
        return b""
    try:
        return bytes.fromhex(str(answer).removeprefix("0x"))
    except ValueError:
        return b""


async def _one_by_one(provider: Provider, method: str, hashes: Sequence[str]) -> list[JsonValue]:
    if len(hashes) > MOST_SINGLE_READS:
        message = f"it does not show the receipts of a block at once, and there are {len(hashes)}"
        raise Left(message)
    answers: list[JsonValue] = []
    for start in range(0, len(hashes), _AT_ONCE):
        some = hashes[start : start + _AT_ONCE]
        answers += await asyncio.gather(*(provider.call(method, tx_ref) for tx_ref in some))
    return answers


def _objects(value: JsonValue, what: str) -> list[Object]:
    items = value if isinstance(value, list) else [value]
    objects: list[Object] = [item for item in items if isinstance(item, dict)]
    if len(objects) != len(items):
        message = f"it does not show the block's {what}"
        raise Left(message)
    return objects


# --- the proof ---------------------------------------------------------------------------------


def _proof(content: BlockContent, claim: Claim) -> Mapping[str, JsonValue]:
    """Build both tries, take the two ways out of them, and check the whole as a verifier will."""
    tx_ref = "0x" + claim.tx_hash.hex()
    if tx_ref not in content.hashes:
        message = "the block does not hold the transaction"
        raise Left(message)
    index = content.hashes.index(tx_ref)
    transactions, receipts = tries_of(content)
    proof = BlockProof(
        header=content.header,
        tx_index=index,
        receipt_nodes=_way_to(index, receipts),
        transaction_nodes=_way_to(index, transactions),
    )
    verify_receipt_proof(claim, proof)
    document = proof.document()
    size = len(json.dumps(document))
    if size > LARGEST_PROOF:
        message = f"the proof has {size} characters, more than {LARGEST_PROOF}"
        raise Left(message)
    return document


def tries_of(content: BlockContent) -> tuple[HexaryTrie, HexaryTrie]:
    """Return the tries of a block's transactions and receipts.

    Raises:
        Left: they have other roots than the header names.
    """
    roots = decode(content.header, "the header")[_TRANSACTIONS_ROOT : _RECEIPTS_ROOT + 1]
    tries = trie_of(content.transactions), trie_of(content.receipts)
    for what, trie, root in zip(("transactions", "receipts"), tries, roots, strict=True):
        if trie.root_hash != root:
            message = f"the {what} that it shows do not give the root in the header: they have parts that are not known"
            raise Left(message)
    return tries


def trie_of(values: Sequence[bytes]) -> HexaryTrie:
    """Return the trie that a block's header names the root of."""
    trie = HexaryTrie({})
    for place, value in enumerate(values):
        trie[index_key(place)] = value
    return trie


def _way_to(index: int, trie: HexaryTrie) -> list[bytes]:
    """Return the nodes from a trie's root to one value, without those that lie inside their parent."""
    way = trie.get_proof(index_key(index))  # type: ignore[no-untyped-call]
    nodes: list[bytes] = [rlp.encode(node) for node in way]
    return [node for place, node in enumerate(nodes) if not place or len(node) >= HASH_BYTES]
