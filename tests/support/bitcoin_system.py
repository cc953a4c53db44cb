"""Runs a local system on bitcoind without an index; judged by blocks."""

from collections import Counter
from pathlib import Path

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
        section = {"rpcUrl": self.node.url, "network": "regtest", "wallet": WALLET}
        section = {**section, "confirmations": confirmations, **settings}
        super().__init__(folder, Ledger(TARGET, "strong", section, self.node), *further)

    def commitments(self) -> Counter[str]:
        """Return how often each 32-byte commitment is in the chain's blocks."""
        found: Counter[str] = Counter()
        for number in range(self.node.height() + 1):
            block = self.node.rpc("getblock", self.node.rpc("getblockhash", number), 2)
            for transaction in block["tx"]:
                for output in transaction["vout"]:
                    script = output["scriptPubKey"]["hex"]
                    if script.startswith(SCRIPT_START):
                        found["0x" + script.removeprefix(SCRIPT_START)] += 1
        return found

    def replace_wallet(self) -> None:
        """Take the wallet away, and name one that knows nothing of it."""
        self.node.rpc("unloadwallet", WALLET)
        self.node.rpc("createwallet", "fresh")
        self.write_anchors(wallet="fresh")

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
