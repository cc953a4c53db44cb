"""Many namespaces with strong on Bitcoin and cold on an authority: one transaction and one token a slot (X7)."""

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from devnet.tsa import Tsa
from tests.support.bitcoin_system import TARGET as BITCOIN
from tests.support.bitcoin_system import BitcoinSystem
from tests.support.system import rfc9162_root
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.target import Target

pytestmark = [pytest.mark.server, pytest.mark.btc, pytest.mark.slow, pytest.mark.timeout(300)]
AUTHORITY = "rfc3161:tsa"
EVERY_SECONDS = 10
WINDOW = "3s"
"""How long both aggregators collect: on a busy machine twenty clocks need more than the quarter second of default."""
FILES = {BITCOIN: "btc_regtest.json", AUTHORITY: "rfc3161_tsa.json"}


class AllLedgers(BitcoinSystem):
    """Temporal, a Bitcoin network, an authority, and workers."""

    @override
    def __enter__(self) -> "AllLedgers":
        self.tsa = Tsa(self.root)
        try:
            self.tsa.part.start()
            super().__enter__()
        except BaseException:
            self.tsa.part.kill()
            raise
        return self

    @override
    def __exit__(self, *exception: object) -> None:
        self.tsa.part.kill()
        super().__exit__(*exception)

    @override
    def write_anchors(self, **changes: object) -> None:
        super().write_anchors(**changes)
        place = self.root / "vmsh/config/anchors.yaml"
        authority = {
            "url": self.tsa.url,
            "spacing": "0s",
            "trustBundle": "tsa/roots.pem",
            "window": WINDOW,
        }
        both = {**json.loads(place.read_text()), "rfc3161": {"default": authority}}
        place.write_text(json.dumps(both))

    @override
    def register(self, namespace: str, **cadences: str) -> None:
        """Start a namespace's workflow with both cadences in the same slots."""
        del cadences
        every = f"{EVERY_SECONDS}s"
        configuration = Configuration(
            namespace=namespace,
            cadences={
                label: CadenceConfig(target=Target.parse(target), every=every)
                for label, target in (("strong", BITCOIN), ("cold", AUTHORITY))
            },
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

    def receipt_on(self, target: str, namespace: str, batch_id: str) -> dict[str, Any] | None:
        """Return a receipt on one of the two ledgers."""
        folder = self.root / "out/anchors" / path_form(namespace) / path_form(batch_id)
        place = folder / FILES[target]
        return json.loads(place.read_text()) if place.exists() else None

    def final(self, target: str, batches: dict[str, str]) -> list[dict[str, Any]]:
        """Wait until every batch is final on a ledger, and return their receipts."""

        def look() -> list[dict[str, Any]] | None:
            found = [self.receipt_on(target, *one) for one in batches.items()]
            every = [one for one in found if one and one["finality"]["state"] == "finalized"]
            return every if len(every) == len(batches) else None

        found = self.wait(look, f"final receipts on {target}", 90)
        assert found is not None
        return found

    def tokens(self) -> list[Path]:
        """Return every reply of the authority that was kept."""
        return sorted((self.root / "out/rounds/rfc3161_tsa").glob("*/reply-*"))

    def seal_amid_a_slot(self, namespaces: list[str]) -> dict[str, str]:
        """Seal a batch for each, so far from a slot's edges that the next slot finds all of them.

        A clock that answers has looked for what was owed at its registration.
        """
        self.wait(lambda: all(map(self.status, namespaces)), "the clocks")
        self.wait(lambda: 2 < time.time() % EVERY_SECONDS < EVERY_SECONDS - 4, "a quiet moment")
        return {namespace: self.seal(namespace) for namespace in namespaces}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AllLedgers]:
    with AllLedgers(tmp_path_factory.mktemp("all"), window=WINDOW) as running:
        running.start_worker()
        yield running


def _stamps(system: AllLedgers, token: str, data: bytes) -> bool:
    """Ask openssl whether a reply stamps these bytes, by the authority's own root."""
    reply, stamped = system.folder / "reply.tsr", system.folder / "stamped"
    reply.write_bytes(base64.b64decode(token, validate=True))
    stamped.write_bytes(data)
    command = [
        "openssl", "ts", "-verify", "-in", str(reply), "-data", str(stamped),
        "-CAfile", str(system.root / "tsa/roots.pem"),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_twenty_namespaces_in_one_slot_give_one_transaction_and_one_token(
    system: AllLedgers,
) -> None:
    namespaces = [f"twenty:{index}" for index in range(20)]
    for namespace in namespaces:
        system.register(namespace)
    paid, tokens, queries = system.commitments(), system.tokens(), system.tsa.queries()
    assert not paid, "nothing is sealed yet"
    batches = system.seal_amid_a_slot(namespaces)
    stamped = system.final(AUTHORITY, batches)
    (txid,) = system.wait_pooled()
    system.node.mine(2)
    anchored = system.final(BITCOIN, batches)
    assert system.node.rpc("getrawmempool") == []

    assert {one["txRef"] for one in anchored} == {txid}
    (committed,) = {rfc9162_root(one["evidence"]["aggregation"]) for one in anchored}
    assert system.commitments() == {committed: 1}
    assert len({one["txRef"] for one in stamped}) == 1
    (signed,) = {rfc9162_root(one["evidence"]["aggregation"]) for one in stamped}
    (token,) = {one["evidence"]["rfc3161"]["token"] for one in stamped}
    assert _stamps(system, token, bytes.fromhex(signed[2:]))
    assert not _stamps(system, token, bytes(32))
    assert system.tsa.queries() == queries + 1
    assert len(system.tokens()) == len(tokens) + 1
    for receipts in (anchored, stamped):
        assert {one["evidence"]["aggregation"]["treeSize"] for one in receipts} == {20}
        assert {one["evidence"]["aggregation"]["index"] for one in receipts} == set(range(20))
        assert len({one["metadata"]["slot"] for one in receipts}) == 1
        assert {one["metadata"]["namespace"] for one in receipts} == set(namespaces)


def test_one_root_alone_is_committed_directly_on_both_ledgers(system: AllLedgers) -> None:
    namespace = "one:alone"
    system.register(namespace)
    paid, queries = system.commitments(), system.tsa.queries()
    batches = system.seal_amid_a_slot([namespace])
    (stamped,) = system.final(AUTHORITY, batches)
    (txid,) = system.wait_pooled()
    system.node.mine(2)
    (anchored,) = system.final(BITCOIN, batches)
    root = stamped["root"]
    assert anchored["root"] == root
    assert (anchored["evidence"]["aggregation"], stamped["evidence"]["aggregation"]) == (None, None)
    assert anchored["txRef"] == txid
    assert system.commitments() - paid == {root: 1}
    assert _stamps(system, stamped["evidence"]["rfc3161"]["token"], bytes.fromhex(root[2:]))
    assert system.tsa.queries() == queries + 1
