"""Runs a local system on bitcoind without an index; judged by blocks."""

from collections import Counter
from pathlib import Path
from typing import Any

from bench.local_system import DEPTH, Ledger
from devnet.bitcoind import WALLET, Bitcoind
from tests.support.system import System

TARGET = "btc:regtest"
SCRIPT_START = "6a225256"


class BitcoinSystem(System):
    """Temporal, a Bitcoin network, and workers."""

    def __init__(
        self,
        folder: Path,
        *further: Ledger,
        confirmations: int = DEPTH,
        block_seconds: float | None = None,
        options: tuple[str, ...] = (),
        **settings: object,
    ) -> None:
        self.node = Bitcoind(folder, txindex=False, block_seconds=block_seconds, options=options)
        section: dict[str, object] = {
            "rpcUrl": self.node.url,
            "network": "regtest",
            "wallet": WALLET,
        }
        section = {**section, "confirmations": confirmations, **settings}
        super().__init__(folder, Ledger(TARGET, "strong", section, self.node), *further)

    def commitments(self) -> Counter[str]:
        """Return how often each 32-byte commitment is in the chain's blocks."""
        commitments: Counter[str] = Counter()
        for number in range(self.node.height() + 1):
            block = self.node.rpc("getblock", self.node.rpc("getblockhash", number), 2)
            for transaction in block["tx"]:
                for output in transaction["vout"]:
                    script = output["scriptPubKey"]["hex"]
                    if script.startswith(SCRIPT_START):
                        commitments["0x" + script.removeprefix(SCRIPT_START)] += 1
        return commitments

    def replace_wallet(self) -> None:
        """Take the wallet away, and name one that knows nothing of it."""
        self.node.rpc("unloadwallet", WALLET)
        self.node.rpc("createwallet", "fresh")
        self.write_anchors(wallet="fresh")

    def spend_elsewhere(self, txid: str) -> dict[str, Any]:
        """Mine a block that spends the input of a transaction in another way, as a thief would; returns the input."""
        spent = self.node.rpc("getrawtransaction", txid, 1)["vin"][0]
        outpoint = {"txid": spent["txid"], "vout": spent["vout"]}
        value = self.node.rpc("gettxout", spent["txid"], spent["vout"], False)["value"] - 0.001
        pays = {self.node.wallet("getnewaddress"): round(value, 8)}
        raw = self.node.rpc("createrawtransaction", [outpoint], pays)
        self.node.mine_with(self.node.wallet("signrawtransactionwithwallet", raw)["hex"])
        return outpoint

    def begin(self, namespace: str) -> tuple[str, str]:
        """Start a worker and a namespace that owes a batch; returns the batch and the transaction that is in the pool."""
        self.start_worker()
        batch = self.seal()
        self.register(namespace)
        (txid,) = self.wait_pooled()
        return batch, txid

    def wait_pooled(self, count: int = 1) -> list[str]:
        """Wait until so many transactions are in the pool, and return their ids."""
        return self.wait(
            lambda: pool if len(pool := self.node.rpc("getrawmempool")) >= count else None,
            f"{count} transactions in the pool",
        )

    def assert_each_root_once(self, namespace: str, batches: list[str]) -> None:
        """Judge by blocks and files: every batch is anchored, and no commitment is in the chain twice."""
        commitments = self.commitments()
        assert set(commitments.values()) <= {1}, commitments
        for batch in batches:
            receipt = self.receipt(namespace, batch)
            assert receipt is not None, batch
            proof = receipt["evidence"]["aggregation"]
            assert commitments[receipt["root"] if proof is None else proof["root"]] == 1, receipt
