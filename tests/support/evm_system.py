"""Runs a local system on anvil; judged by raw JSON-RPC."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eth_account import Account

from bench.local_system import DEPTH, EvmLedger
from devnet.anvil import CHAIN_ID
from tests.judge.proofs import proven_root
from tests.support.system import System
from vaultmesh.domain.names import aggregator_workflow_id

TARGET = f"eip155:{CHAIN_ID}"
AGGREGATOR = aggregator_workflow_id(TARGET)
FOREIGN_FEE = 500 * 10**9
"""More than we bid, in wei per gas."""


class EvmSystem(System):
    """Temporal, anvil with the contract, and workers."""

    def __init__(
        self,
        folder: Path,
        *,
        confirmations: int = DEPTH,
        block_seconds: int | None = 1,
        slots_in_an_epoch: int = 1,
        database: bool = True,
        **settings: object,
    ) -> None:
        self.evm = EvmLedger(
            folder,
            confirmations=confirmations,
            block_seconds=block_seconds,
            slots_in_an_epoch=slots_in_an_epoch,
            **settings,
        )
        self.anvil, self.rpc = self.evm.anvil, self.evm.anvil.rpc
        self.key, self.account = self.evm.key, self.evm.account
        super().__init__(folder, self.evm, database=database)

    def pool(self) -> list[dict[str, Any]]:
        """Return the transactions that wait to be mined."""
        accounts = self.rpc("txpool_content")["pending"].values()
        return [transaction for account in accounts for transaction in account.values()]

    def wait_pooled(self) -> list[dict[str, Any]]:
        return self.wait(self.pool, "a transaction in the pool")

    def broadcast(self, namespace: str) -> list[str]:
        """Register a namespace that owes two batches, and wait until their transaction is in the pool."""
        batches = [self.seal(namespace), self.seal(namespace)]
        self.register(namespace)
        self.wait_pooled()
        return batches

    def mine_until_final(self, namespace: str, *batch_ids: str, seconds: float = 240.0) -> None:
        """Mine block after block until batches are final."""

        def mined() -> bool:
            self.anvil.mine()
            time.sleep(0.3)
            return all(self.is_final(namespace, batch_id) for batch_id in batch_ids)

        self.wait(mined, f"final anchors of {namespace}", seconds)

    def send_foreign(self, nonce: int) -> str:
        """Use a nonce as the key's other owner would; returns the transaction's hash."""
        transaction = {"type": 2, "chainId": CHAIN_ID, "nonce": nonce, "value": 1, "gas": 21_000}
        return self.send({**transaction, "to": Account.create().address})

    def send(self, transaction: Mapping[str, Any]) -> str:
        """Send a transaction that no file has, with our key and a high fee; returns its hash."""
        fees = {"maxFeePerGas": FOREIGN_FEE, "maxPriorityFeePerGas": FOREIGN_FEE}
        signed = Account.sign_transaction({**transaction, **fees}, self.key)
        self.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
        return "0x" + signed.hash.hex()

    # --- what the chain says ---------------------------------------------------------------------

    def commitments(self) -> Counter[str]:
        """Return how often each 32-byte commitment is in the chain."""
        return Counter(entry["topics"][1] for entry in self.evm.logs())

    def transactions(self) -> set[str]:
        """Return the hash of every transaction that our key has in the chain."""
        blocks = (
            self.rpc("eth_getBlockByNumber", hex(number), True)
            for number in range(self.anvil.height() + 1)
        )
        return {
            transaction["hash"]
            for block in blocks
            for transaction in block["transactions"]
            if transaction["from"].lower() == self.account.lower()
        }

    def assert_paid_once(self, owed: Mapping[str, Sequence[str]]) -> None:
        """Judge by chain and files: each batch anchored, each root committed once, every transaction known."""
        commitments = self.commitments()
        assert all(count == 1 for count in commitments.values()), commitments
        roots: Counter[tuple[str, str]] = Counter()
        known = set()
        for receipt in self.all_receipts():
            proof = receipt["evidence"]["aggregation"]
            commitment = receipt["root"] if proof is None else proven_root(proof)
            assert commitments[commitment] == 1, receipt
            known.add(receipt["txRef"])
            roots[receipt["root"], commitment] += 1
        by_root = Counter(root for root, _ in roots)
        assert all(count == 1 for count in by_root.values()), by_root
        for namespace, batch_ids in owed.items():
            for batch_id in batch_ids:
                receipt = self.receipt(namespace, batch_id)
                assert receipt is not None, (namespace, batch_id)
                assert receipt["status"] == "verified", receipt
        assert self.transactions() <= known, self.transactions() - known
