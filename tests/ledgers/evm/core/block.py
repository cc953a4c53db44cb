"""Makes an EVM block with an anchor in it, from libraries alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rlp
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from trie.hexary import HexaryTrie

from vaultmesh.ledgers.evm.core.proof import BlockProof, Claim

CHAIN_ID = 8453
CONTRACT = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
TIME = datetime(2026, 1, 15, 10, 0, 3, tzinfo=UTC)
NUMBER = 4_711
TOPIC = keccak(text="BatchAnchored(bytes32,bytes32,string)")
KEY = "0x" + "17" * 32
"""Of nobody: it signs in tests only."""
BLOOM = bytes(256)


@dataclass
class Anchored:
    """An anchor in a block, and what may be wrong with it."""

    commitment: bytes = bytes(range(32))
    batch_id: bytes = keccak(text="1761300000")
    chain_id: int = CHAIN_ID
    to: bytes = CONTRACT
    logged_by: bytes = CONTRACT
    topics: Sequence[bytes] | None = None
    status: int = 1
    index: int = 3
    transactions: int = 20
    later_fields: int = 6
    receipt_type: int = 2

    @property
    def raw(self) -> bytes:
        arguments = encode(
            ["bytes32", "bytes32", "string", "bool"], [self.commitment, self.batch_id, "", False]
        )
        signed = Account.from_key(KEY).sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": 7,
                "to": to_checksum_address(self.to),
                "value": 0,
                "gas": 60_000,
                "maxFeePerGas": 3 * 10**9,
                "maxPriorityFeePerGas": 10**9,
                "data": bytes.fromhex("131b5b07") + arguments,
            }
        )
        return bytes(signed.raw_transaction)

    @property
    def receipt(self) -> bytes:
        topics = self.topics or [TOPIC, self.commitment, self.batch_id]
        logs = [[self.logged_by, list(topics), encode(["string"], [""])]]
        return bytes([self.receipt_type]) + rlp.encode([self.status, 99_000, BLOOM, logs])

    def prove(self) -> tuple[Claim, BlockProof]:
        """Return the true claim of a receipt, and its proof."""
        raw, key = self.raw, rlp.encode(self.index)
        others = [rlp.encode([place, b"other", bytes(90)]) for place in range(self.transactions)]
        transactions = trie_of([*others[: self.index], raw, *others[self.index + 1 :]])
        receipts = trie_of([*others[: self.index], self.receipt, *others[self.index + 1 :]])
        header = rlp.encode(self._header(transactions.root_hash, receipts.root_hash))
        claim = Claim(
            chain_id=CHAIN_ID,
            block_hash=keccak(header),
            block_number=NUMBER,
            block_time=TIME,
            tx_hash=keccak(raw),
            raw_transaction=raw,
            contract=CONTRACT,
            batch_id=self.batch_id,
            commitment=self.commitment,
        )
        proof = BlockProof(header, self.index, nodes(receipts, key), nodes(transactions, key))
        return claim, proof

    def _header(self, transactions: bytes, receipts: bytes) -> list[object]:
        root = b"\x55" * 32
        first: list[object] = [root, root, b"\x66" * 20, root, transactions, receipts, BLOOM]
        numbers: list[object] = [0, NUMBER, 30_000_000, 21_000, int(TIME.timestamp())]
        later: list[object] = [10**9, root, 0, 0, root, root]
        return [*first, *numbers, b"extra", root, bytes(8), *later[: self.later_fields]]


def trie_of(values: Sequence[bytes]) -> HexaryTrie:
    """Return the trie of values by their index."""
    trie = HexaryTrie({})
    for place, value in enumerate(values):
        trie[rlp.encode(place)] = value
    return trie


def nodes(trie: Any, key: bytes) -> list[bytes]:
    """Return the listed nodes on the way to a key."""
    found = [rlp.encode(node) for node in trie.get_proof(key)]
    return [node for place, node in enumerate(found) if not place or len(node) >= 32]
