"""Runs the real thing on Bitcoin: Temporal, bitcoind without index, and workers; judged by blocks."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from typing_extensions import override

from devnet.bitcoind import WALLET, Bitcoind
from tests.support.system import System, write_whole
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.target import Target

TARGET = "btc:regtest"
SCRIPT_START = "6a225256"


class BitcoinSystem(System):
    """Temporal, a Bitcoin network, and workers."""

    def __init__(
        self,
        folder: Path,
        *,
        confirmations: int = 2,
        clock_seconds: float | None = None,
        options: tuple[str, ...] = (),
        **settings: object,
    ) -> None:
        super().__init__(folder, confirmations=confirmations)
        self.node = Bitcoind(folder, txindex=False, block_seconds=clock_seconds, options=options)
        self.settings = dict(settings)

    @override
    def __enter__(self) -> "BitcoinSystem":
        try:
            self.temporal.part.start()
            self.node.start()
            self.write_anchors()
            asyncio.run(self._ensure())
        except BaseException:
            self.stop()
            raise
        return self

    @override
    def stop(self) -> None:
        """Stop everything, without a look at histories."""
        super().stop()
        self.node.kill()

    @override
    def write_anchors(self, **changes: object) -> None:
        """Write anchors.yaml."""
        self.settings.update(changes)
        given = {"rpcUrl": self.node.url, "network": "regtest", "wallet": WALLET}
        section = {**given, "confirmations": self.confirmations, **self.settings}
        config = self.root / "vmsh" / "config"
        config.mkdir(parents=True, exist_ok=True)
        (config / "namespaces.yaml").write_text("namespaces: {}\n")
        write_whole(config / "anchors.yaml", json.dumps({"btc": {"default": section}}))

    @override
    def register(self, namespace: str, **cadences: str) -> None:
        """Start a namespace's workflow with a strong cadence."""
        every = cadences.get("strong", "2s")
        cadence = CadenceConfig(target=Target.parse(TARGET), every=every)
        configuration = Configuration(
            namespace=namespace,
            cadences={"strong": cadence},
            backoff=Backoff(base_seconds=0.5),
            anchor_timeout_seconds=5,
            config_hash="test",
        )

        async def start() -> None:
            client = await self.client()
            await client.start_workflow(
                "NamespaceWorkflow",
                NamespaceInput(configuration=configuration),
                id=namespace_workflow_id(namespace),
                task_queue="scheduler",
            )

        asyncio.run(start())

    @override
    def aggregator(self) -> dict[str, Any]:
        """Return the aggregator's `status`."""
        return self.ask(
            lambda client: client.get_workflow_handle(aggregator_workflow_id(TARGET)).query(
                "status"
            )
        )

    @override
    def receipt(self, namespace: str, batch_id: str) -> dict[str, Any] | None:
        folder = self.root / "out/anchors" / path_form(namespace) / path_form(batch_id)
        place = folder / "btc_regtest.json"
        return json.loads(place.read_text()) if place.exists() else None

    @override
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
