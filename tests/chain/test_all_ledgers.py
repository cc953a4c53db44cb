"""Many namespaces with strong on Bitcoin and cold on an authority: one transaction and one token a slot (X7)."""

import base64
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.tsa import Tsa
from tests.judge.proofs import proven_root
from tests.support.bitcoin_system import TARGET as BITCOIN
from tests.support.bitcoin_system import BitcoinSystem
from tests.support.marks import BITCOIN_SYSTEM
from tests.support.system import authority

pytestmark = BITCOIN_SYSTEM
AUTHORITY = "rfc3161:tsa"
EVERY_SECONDS = 10
WINDOW = "3s"
"""How long both aggregators collect: on a busy machine twenty namespaces need more than the quarter second of default."""


class AllLedgers(BitcoinSystem):
    """Temporal, a Bitcoin network, an authority, and workers."""

    def __init__(self, folder: Path) -> None:
        self.tsa = Tsa(folder / "root")
        super().__init__(folder, authority(self.tsa, window=WINDOW), window=WINDOW)

    def register_both(self, namespace: str) -> None:
        """Start a namespace's workflow with both cadences in the same slots."""
        every = f"{EVERY_SECONDS}s"
        self.register(namespace, strong=every, cold=every)

    def final(self, target: str, batches: dict[str, str]) -> list[dict[str, Any]]:
        """Wait until every batch is final on a ledger, and return their receipts."""

        def final_receipts() -> list[dict[str, Any]] | None:
            receipts = [self.receipt(*batch, target) for batch in batches.items()]
            final = [one for one in receipts if one and one["finality"]["state"] == "finalized"]
            return final if len(final) == len(batches) else None

        receipts = self.wait(final_receipts, f"final receipts on {target}", 90)
        assert receipts is not None
        return receipts

    def tokens(self) -> list[Path]:
        """Return every reply of the authority that was kept."""
        return sorted((self.root / "out/rounds/rfc3161_tsa").glob("*/reply-*"))

    def seal_amid_a_slot(self, namespaces: list[str]) -> dict[str, str]:
        """Seal a batch for each, so far from a slot's edges that the next slot finds all of them.

        A namespace that answers has looked for what was owed at its registration.
        """
        self.wait(lambda: all(map(self.status, namespaces)), "the namespaces")
        self.wait(lambda: 2 < time.time() % EVERY_SECONDS < EVERY_SECONDS - 4, "a quiet moment")
        return {namespace: self.seal(namespace) for namespace in namespaces}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AllLedgers]:
    with AllLedgers(tmp_path_factory.mktemp("all")) as running:
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
        system.register_both(namespace)
    paid, tokens, queries = system.commitments(), system.tokens(), system.tsa.queries()
    assert not paid, "nothing is sealed yet"
    batches = system.seal_amid_a_slot(namespaces)
    stamped = system.final(AUTHORITY, batches)
    (txid,) = system.wait_pooled()
    system.node.mine(2)
    anchored = system.final(BITCOIN, batches)
    assert system.node.rpc("getrawmempool") == []

    assert {one["txRef"] for one in anchored} == {txid}
    (committed,) = {proven_root(one["evidence"]["aggregation"]) for one in anchored}
    assert system.commitments() == {committed: 1}
    assert len({one["txRef"] for one in stamped}) == 1
    (signed,) = {proven_root(one["evidence"]["aggregation"]) for one in stamped}
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
    system.register_both(namespace)
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
